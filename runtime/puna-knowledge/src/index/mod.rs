//! What is searched: vectors and words of every chunk, in memory. All of it comes from the store and can be made again.

mod dot;
mod graph;
mod keyword;
mod nearest;
mod number;
mod rows;
mod terms;
mod vector;
mod vectors;
mod visited;

pub(crate) use self::{
    graph::Graph,
    keyword::{KeywordIndex, Posting},
    number::{Half, Number},
    rows::{Row, RowSet, Rows},
    terms::terms,
    vector::VectorIndex,
    vectors::{Matrix, Vectors},
};
pub use self::{
    nearest::NearestVectors,
    number::Precision,
    vector::{Metric, Scan},
};
