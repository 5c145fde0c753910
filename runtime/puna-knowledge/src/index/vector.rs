//! Vectors and their nearest.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};

use super::{
    Row, RowSet, Vectors,
    graph::{Graph, Plan},
    number::Precision,
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

/// Rows that a search by the graph holds as candidates, at least.
const CANDIDATES: usize = 64;

/// The square root of the rows over this are candidates enough for 99 of 100 nearest neighbours: 32 found .993 of them among
/// 100,000 rows, 64 found .990 among 400,000, and 128 found .996 among a million.
const CANDIDATES_DIVISOR: usize = 8;

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

/// The vectors of all rows, and a graph of the first of them.
#[derive(Debug)]
pub(crate) struct VectorIndex {
    metric: Metric,
    vectors: Vectors,
    /// Links between near rows, once there are many. Rows behind those that it has are compared one by one.
    graph: Graph,
    /// Which index this is, of all that the process has made: the rows of another are in other places.
    identity: u64,
}

/// What linking a row changes.
#[derive(Debug)]
pub(crate) struct Link {
    plan: Plan,
    identity: u64,
}

impl VectorIndex {
    pub(crate) fn new(dimension: usize, metric: Metric, precision: Precision) -> Self {
        Self::from_parts(metric, Vectors::new(dimension, precision), Graph::default())
    }

    /// From what [`vectors`](Self::vectors) and [`graph`](Self::graph) gave.
    pub(crate) fn from_parts(metric: Metric, vectors: Vectors, graph: Graph) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { metric, vectors, graph, identity: NEXT.fetch_add(1, Relaxed) }
    }

    /// The graph as it is kept.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The vectors as they are kept.
    pub(crate) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    pub(crate) fn rows(&self) -> usize {
        self.vectors.rows()
    }

    /// Adds the next row. [`link`](Self::link) makes it a part of the graph, later.
    pub(crate) fn add(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.vectors.dimension());
        self.vectors.push(&self.prepared(vector));
    }

    /// Whether the graph has all rows that it is to have.
    pub(crate) fn is_linked(&self) -> bool {
        // A larger dot product is not always nearer by a path of larger ones: without lengths of 1 all are compared.
        let wanted = self.metric == Metric::Cosine && self.rows() >= GRAPH_ROWS;
        !wanted || self.graph.rows() == self.rows()
    }

    /// How the next row that is not in the graph is to be linked. This is the work, for which the index is only read.
    pub(crate) fn link(&self) -> Option<Link> {
        let missing = !self.is_linked();
        missing.then(|| Link { plan: self.graph.plan(&self.vectors), identity: self.identity })
    }

    /// Makes a row a part of the graph. Does nothing where this is another index than the one it was planned for.
    pub(crate) fn apply(&mut self, link: Link) {
        if link.identity == self.identity {
            self.graph.apply(link.plan);
        }
    }

    fn prepared(&self, vector: &[f32]) -> Vec<f32> {
        match self.metric {
            Metric::Cosine => normalised(vector),
            Metric::Dot => vector.to_vec(),
        }
    }

    /// How many candidates a search by the graph needs among so many rows.
    fn candidates(&self) -> usize {
        CANDIDATES.max(self.rows().isqrt() / CANDIDATES_DIVISOR)
    }

    /// The nearest rows, nearest first. `alive` are the rows that there are, `allowed` those that may be
    /// found. A search by the graph holds so many `candidates`, or as many as it needs.
    pub(crate) fn search(
        &self,
        vector: &[f32],
        k: usize,
        alive: &RowSet,
        allowed: Option<&RowSet>,
        scan: Scan,
        candidates: Option<usize>,
    ) -> Vec<(Row, f32)> {
        let query = self.prepared(vector);
        let may = |row| alive.has(row) && allowed.is_none_or(|allowed| allowed.has(row));
        let wanted = allowed.map_or(alive.len(), RowSet::len);
        let linked = self.graph.rows();
        let mut top = Top::new(k);
        if linked > 0 && scan != Scan::Exact {
            let candidates = candidates.unwrap_or_else(|| self.candidates()).max(k);
            // Where few may be found, the graph has to go past many that may not.
            let compared = (candidates * COMPARED).saturating_mul(self.rows()) / wanted.max(1);
            if scan == Scan::Graph || compared < wanted {
                for (row, score) in self.graph.search(&self.vectors, &query, k, candidates, may) {
                    top.push(row, score);
                }
                self.scan(&query, linked, &mut top, may);
                return top.into_sorted();
            }
        }
        match allowed {
            // Below this share, going to single rows reads less than going past all.
            Some(allowed) if wanted < self.rows() / 4 => {
                let found = allowed.iter().filter(|row| alive.has(*row));
                found.for_each(|row| top.push(row, self.vectors.dot(&query, row)));
            }
            _ => self.scan(&query, 0, &mut top, may),
        }
        top.into_sorted()
    }

    /// How near a row is to a vector, and how near the vector is to itself.
    pub(crate) fn likeness(&self, vector: &[f32], row: Row) -> (f32, f32) {
        let query = self.prepared(vector);
        let itself = query.iter().map(|x| x * x).sum();
        (self.vectors.dot(&query, row), itself)
    }

    /// Compares all rows from one on.
    fn scan(&self, query: &[f32], from: usize, top: &mut Top, may: impl Fn(Row) -> bool) {
        let mut scores = [0.0; BLOCK];
        for first in (from..self.rows()).step_by(BLOCK) {
            let rows = first..self.rows().min(first + BLOCK);
            let scores = &mut scores[..rows.len()];
            self.vectors.scan(query, rows.clone(), scores);
            for (row, score) in rows.zip(scores) {
                let row = row as Row;
                if top.takes(*score) && may(row) {
                    top.push(row, *score);
                }
            }
        }
    }

    /// A row's vector as it is compared.
    pub(crate) fn vector(&self, row: Row) -> Vec<f32> {
        let mut vector = Vec::new();
        self.vectors.get(row, &mut vector);
        vector
    }

    /// These rows alone, in this order, which is that of before.
    pub(crate) fn packed(&self, kept: &[Row]) -> Self {
        let vectors = self.vectors.packed(kept);
        let linked = kept.partition_point(|row| (*row as usize) < self.graph.rows());
        let graph = if kept.len() < GRAPH_ROWS {
            Graph::default()
        } else {
            self.graph.packed(&vectors, &kept[..linked])
        };
        Self::from_parts(self.metric, vectors, graph)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.vectors.bytes() + self.graph.bytes()
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
