use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Result;

/// A part of a text, in bytes, on character borders: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// A text with where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Identifies the document within its source.
    pub id: String,
    /// The text.
    pub text: String,
    /// Title, author, page and whatever else the loader knows.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Length of each vector.
    fn dimension(&self) -> usize;

    /// One vector a text, in the same order: `[texts.len()][dimension]`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a text the embedder cannot take.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>>;

    /// The vectors of questions, for models that tell them from what is searched. By default as [`embed`](Self::embed).
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    async fn embed_queries(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.embed(texts).await
    }

    /// Tells this embedder's vectors from those of others: the same where texts get the same vectors. Whoever keeps
    /// vectors keeps it beside them.
    fn fingerprint(&self) -> String;

    /// Where each of a text's tokens ends, in bytes and in order; none when the embedder does not tell. What its model
    /// wants around them is not counted.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) when the tokenizer fails.
    fn token_ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        let _ = text;
        Ok(None)
    }
}

/// Tells how well texts answer a question, reading both together.
#[async_trait]
pub trait Reranker: Send + Sync {
    /// One score a document, in the same order; higher is better.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a text the model cannot take.
    async fn rerank(&self, query: &str, documents: &[String]) -> Result<Vec<f32>>;
}

/// A label and how well a text fits it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// The label, as the model names it.
    pub label: String,
    /// From 0 to 1; of a model for numbers the number itself.
    pub score: f32,
}

/// Sorts texts under labels.
#[async_trait]
pub trait Classifier: Send + Sync {
    /// The labels, in the model's order.
    fn labels(&self) -> &[String];

    /// For each text every label with its score, in the order of [`labels`](Self::labels).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a text the model cannot take.
    async fn classify(&self, texts: &[String]) -> Result<Vec<Vec<LabelScore>>>;
}

/// Reads documents from a source.
#[async_trait]
pub trait Loader: Send + Sync {
    /// The documents behind a path or address, in the source's order; large sources are read as the
    /// stream is polled.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when the source does not exist.
    async fn load(&self, source: &str, options: &Value) -> Result<BoxStream<'static, Result<Document>>>;
}

/// Finds the passages that bear on a question.
#[async_trait]
pub trait Retriever: Send + Sync {
    /// At most `k` hits, best first. `page` is what the page before gave as `next`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for options or pages the retriever cannot take.
    async fn retrieve(&self, query: &str, k: usize, options: &Value, page: Option<&str>) -> Result<HitPage>;
}

/// Hits, best first, and how to get more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HitPage {
    /// The hits.
    pub hits: Vec<Hit>,
    /// Give this back for the next page; none at the end.
    pub next: Option<String>,
}

/// A passage that bears on a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The document the passage is from.
    pub document: String,
    /// The passage.
    pub text: String,
    /// Where it stands in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Higher is better; only comparable within one answer.
    pub score: f64,
    /// What the index holds beside the text.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}
