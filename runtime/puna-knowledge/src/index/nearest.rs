use puna_core::{Error, Result};

use super::{Metric, Precision, Row, RowSet, Scan, VectorIndex};

/// The vector index of knowledge bases on its own, in memory.
///
/// ```
/// use puna_knowledge::{Metric, NearestVectors, Precision, Scan};
/// let mut vectors = NearestVectors::new(2, Metric::Cosine, Precision::F32)?;
/// for vector in [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]] {
///     vectors.add(&vector)?;
/// }
/// vectors.remove(0);
/// let nearest = vectors.search(&[2.0, 0.5], 1, Scan::Auto)?;
/// assert_eq!(nearest[0].0, 2);
/// # Ok::<(), puna_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NearestVectors {
    dimension: usize,
    index: VectorIndex,
    alive: RowSet,
    candidates: Option<usize>,
}

impl NearestVectors {
    /// An empty index of vectors of `dimension` numbers.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a dimension of 0.
    pub fn new(dimension: usize, metric: Metric, precision: Precision) -> Result<Self> {
        if dimension == 0 {
            return Err(Error::invalid_input("vectors have at least 1 number"));
        }
        let index = VectorIndex::new(dimension, metric, precision);
        Ok(Self { dimension, index, alive: RowSet::default(), candidates: None })
    }

    /// Adds a vector and gives its number, which counts from 0.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a vector of another length.
    pub fn add(&mut self, vector: &[f32]) -> Result<Row> {
        self.check(vector)?;
        let row = self.index.rows() as Row;
        self.index.add(vector);
        while let Some(link) = self.index.link() {
            self.index.apply(link);
        }
        self.alive.grow(self.index.rows());
        self.alive.set(row, true);
        Ok(row)
    }

    /// How many candidates a search by the graph holds, in place of a number that follows from the rows: more of the nearest
    /// are found with more, in more time.
    pub fn set_candidates(&mut self, candidates: usize) {
        self.candidates = Some(candidates);
    }

    /// Takes a vector out of what is found.
    pub fn remove(&mut self, row: Row) {
        if self.alive.has(row) {
            self.alive.set(row, false);
        }
    }

    /// The nearest `k` with their scores, nearest first.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a vector of another length.
    pub fn search(&self, vector: &[f32], k: usize, scan: Scan) -> Result<Vec<(Row, f32)>> {
        self.check(vector)?;
        Ok(self.index.search(vector, k, &self.alive, None, scan, self.candidates))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    fn check(&self, vector: &[f32]) -> Result<()> {
        if vector.len() == self.dimension {
            return Ok(());
        }
        Err(Error::invalid_input(format!(
            "the vector has {} numbers; the index is of {}",
            vector.len(),
            self.dimension
        )))
    }
}
