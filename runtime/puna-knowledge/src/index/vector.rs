//! Vectors and their nearest.

use std::{cmp::Ordering, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use super::{
    Row, RowSet,
    distance::{Precision, Query, Vectors},
    graph::{Graph, Space},
};

/// Rows that are compared at a time.
const BLOCK: usize = 256;

/// How the nearest vectors are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scan {
    /// As is faster.
    #[default]
    Auto,
    /// Every vector is compared.
    Exact,
    /// By the graph, where there is one.
    Graph,
}

/// Rows from which on there is a graph: below it a scan takes less than some milliseconds.
const GRAPH_ROWS: usize = 20_000;

/// Rows that a search by the graph holds as candidates, at least. With it 99 of 100 nearest neighbours are found, and more.
const EF: usize = 96;

/// Rows that a search by the graph compares for each candidate, about.
const COMPARED: usize = 16;

/// How near two vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The cosine of the angle between them.
    #[default]
    Cosine,
    /// Their dot product, for models whose vectors' lengths mean something.
    Dot,
}

/// The vectors of all rows.
#[derive(Debug)]
pub(crate) struct VectorIndex {
    dimension: usize,
    metric: Metric,
    vectors: Vectors,
    rows: usize,
    /// Links between near rows, once there are many.
    graph: Option<Graph>,
}

impl VectorIndex {
    pub(crate) fn new(dimension: usize, metric: Metric, precision: Precision) -> Self {
        Self { dimension, metric, vectors: Vectors::new(precision), rows: 0, graph: None }
    }

    /// From what [`vectors`](Self::vectors) and [`graph`](Self::graph) gave.
    pub(crate) fn from_vectors(
        dimension: usize,
        metric: Metric,
        vectors: Vectors,
        rows: usize,
        graph: Option<Graph>,
    ) -> Self {
        Self { dimension, metric, vectors, rows, graph }
    }

    /// The graph as it is kept.
    pub(crate) fn graph(&self) -> Option<&Graph> {
        self.graph.as_ref()
    }

    /// The vectors as they are kept.
    pub(crate) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds the next row.
    pub(crate) fn add(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.dimension);
        self.vectors.push(&self.prepared(vector));
        self.rows += 1;
        // A larger dot product is not always nearer by a path of larger ones: without lengths of 1 all are compared.
        if self.metric == Metric::Cosine && (self.graph.is_some() || self.rows >= GRAPH_ROWS) {
            let space = Space { vectors: &self.vectors, dimension: self.dimension };
            let graph = self.graph.get_or_insert_default();
            while graph.rows() < self.rows {
                graph.add(space);
            }
        }
    }

    fn prepared(&self, vector: &[f32]) -> Vec<f32> {
        match self.metric {
            Metric::Cosine => normalised(vector),
            Metric::Dot => vector.to_vec(),
        }
    }

    /// The nearest rows, nearest first. `alive` are the rows that there are, `allowed` those that may be
    /// found.
    pub(crate) fn search(
        &self,
        vector: &[f32],
        k: usize,
        alive: &RowSet,
        allowed: Option<&RowSet>,
        scan: Scan,
    ) -> Vec<(Row, f32)> {
        let query = self.vectors.query(&self.prepared(vector));
        let may = |row| alive.has(row) && allowed.is_none_or(|allowed| allowed.has(row));
        let wanted = allowed.map_or(alive.len(), RowSet::len);
        if let Some(graph) = self.graph.as_ref().filter(|_| scan != Scan::Exact) {
            let ef = EF.max(k);
            // Where few may be found, the graph has to go past many that may not.
            let compared = (ef * COMPARED).saturating_mul(self.rows) / wanted.max(1);
            if scan == Scan::Graph || compared < wanted {
                let space = Space { vectors: &self.vectors, dimension: self.dimension };
                return graph.search(space, &query, k, ef, may);
            }
        }
        match allowed {
            // Below this share, going to single rows reads less than going past all.
            Some(allowed) if wanted < self.rows / 4 => {
                let found = allowed.iter().filter(|row| alive.has(*row));
                best(found.map(|row| (row, self.vectors.dot(&query, row as usize, self.dimension))), k)
            }
            _ => self.scan(&query, k, may),
        }
    }

    /// How near a row is to a vector, and how near the vector is to itself.
    pub(crate) fn likeness(&self, vector: &[f32], row: Row) -> (f32, f32) {
        let prepared = self.prepared(vector);
        let query = self.vectors.query(&prepared);
        let itself = prepared.iter().map(|x| x * x).sum();
        (self.vectors.dot(&query, row as usize, self.dimension), itself)
    }

    fn scan(&self, query: &Query, k: usize, may: impl Fn(Row) -> bool) -> Vec<(Row, f32)> {
        let mut top = Top::new(k);
        let mut scores = [0.0; BLOCK];
        for first in (0..self.rows).step_by(BLOCK) {
            let rows = first..self.rows.min(first + BLOCK);
            let scores = &mut scores[..rows.len()];
            self.vectors.scan(query, rows.clone(), self.dimension, scores);
            for (row, score) in rows.zip(scores) {
                let row = row as Row;
                if top.takes(*score) && may(row) {
                    top.push(row, *score);
                }
            }
        }
        top.into_sorted()
    }

    /// A row's vector as it is compared.
    pub(crate) fn vector(&self, row: Row) -> Vec<f32> {
        self.vectors.get(row as usize, self.dimension)
    }

    /// Keeps these rows, in this order.
    pub(crate) fn pack(&mut self, kept: &[Row]) {
        self.vectors.pack(kept, self.dimension);
        self.rows = kept.len();
        if self.rows < GRAPH_ROWS {
            self.graph = None;
        }
        if let Some(graph) = &mut self.graph {
            graph.pack(Space { vectors: &self.vectors, dimension: self.dimension }, kept);
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.vectors.bytes() + self.graph.as_ref().map_or(0, Graph::bytes)
    }
}

/// Scaled to a length of 1, with which the dot product is the cosine; zeros stay.
fn normalised(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
    vector.iter().map(|x| x * scale).collect()
}

/// The best of rows with scores, best first; of equals the earlier row.
pub(crate) fn best(scored: impl Iterator<Item = (Row, f32)>, k: usize) -> Vec<(Row, f32)> {
    let mut top = Top::new(k);
    for (row, score) in scored {
        top.push(row, score);
    }
    top.into_sorted()
}

/// The `k` best so far.
struct Top {
    k: usize,
    heap: BinaryHeap<Worst>,
}

/// Ordered so that the worst is on top.
#[derive(PartialEq)]
struct Worst(f32, Row);

impl Eq for Worst {}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0).then(self.1.cmp(&other.1))
    }
}

impl Top {
    fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k.min(1 << 16) + 1) }
    }

    /// Whether a score can be among the best.
    fn takes(&self, score: f32) -> bool {
        self.heap.len() < self.k || self.heap.peek().is_some_and(|worst| score >= worst.0)
    }

    fn push(&mut self, row: Row, score: f32) {
        self.heap.push(Worst(score, row));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
    }

    fn into_sorted(self) -> Vec<(Row, f32)> {
        self.heap.into_sorted_vec().into_iter().map(|Worst(score, row)| (row, score)).collect()
    }
}
