use std::sync::Arc;

use async_trait::async_trait;
use puna_core::{Error, Reranker, Result};

use super::OnnxEmbedder;

/// A reranker that needs no model but the embedding model: each token of the question is compared with every token of the
/// document, and the mean of the best likeness of each counts (MaxSim, Khattab and Zaharia 2020, "ColBERT").
///
/// `score = mean over tokens q of the question of max over tokens d of the document of cos(q, d)`, from -1 to 1.
#[derive(Clone)]
pub struct LateInteraction(Arc<OnnxEmbedder>);

impl LateInteraction {
    /// Compares with the tokens' vectors of this model, which must give them.
    pub fn new(embedder: Arc<OnnxEmbedder>) -> Self {
        Self(embedder)
    }
}

#[async_trait]
impl Reranker for LateInteraction {
    async fn rerank(&self, query: &str, documents: &[String]) -> Result<Vec<f32>> {
        let width = self.0.token_width();
        let question = self.0.token_vectors(&[query.to_owned()], true).await?;
        let question =
            question.into_iter().next().ok_or_else(|| Error::internal("the question was not read"))?;
        let documents = self.0.token_vectors(documents, false).await?;
        // Thousands of products of vectors for each document.
        let scores = tokio::task::spawn_blocking(move || {
            documents.iter().map(|document| likeness(&question, document, width)).collect()
        });
        scores.await.map_err(|error| Error::internal("comparing tokens broke").with_source(error))
    }
}

fn likeness(question: &[f32], document: &[f32], width: usize) -> f32 {
    let best = |token: &[f32]| {
        let with = document.chunks_exact(width).map(|other| dot(token, other));
        with.fold(f32::NEG_INFINITY, f32::max)
    };
    let tokens = question.chunks_exact(width);
    let count = tokens.len().max(1) as f32;
    tokens.map(best).sum::<f32>() / count
}

/// In eight sums, which the compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}
