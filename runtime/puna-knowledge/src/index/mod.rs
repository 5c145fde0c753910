//! What is searched: vectors and words of every chunk, in memory. All of it comes from the store and can be made again.

mod distance;
mod graph;
mod keyword;
mod nearest;
mod rows;
mod terms;
mod vector;

pub(crate) use self::distance::Vectors;
pub use self::{
    distance::Precision,
    nearest::NearestVectors,
    vector::{Metric, Scan},
};
pub(crate) use self::{
    graph::Graph,
    keyword::{KeywordIndex, Posting},
    rows::{Row, RowSet, Rows},
    terms::terms,
    vector::VectorIndex,
};
