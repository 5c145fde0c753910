//! Retrievers: finders of passages. See [`retrievers!`](crate::retrievers!).

use serde_json::{Map, Value};

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The question.
    pub text: String,
    /// At most so many hits.
    pub k: usize,
    /// What the page before gave as `next`.
    pub page: Option<String>,
}

/// A passage that bears on a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hit {
    /// The document it is from.
    pub document: String,
    /// The passage.
    pub text: String,
    /// Where it stands in the document: first byte, and one past the last.
    pub span: Option<(u64, u64)>,
    /// Higher is better.
    pub score: f64,
    /// What is known beside the text.
    pub metadata: Map<String, Value>,
}

/// Hits, best first, and how to get more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hits {
    /// The hits.
    pub hits: Vec<Hit>,
    /// Given back for the next page; none at the end.
    pub next: Option<String>,
}
