//! What the tests share.

use async_trait::async_trait;
use puna_core::{Embedder, Result};

/// A real embedding, if a plain one: a text's words and their three-letter parts, hashed into a vector of unit length.
/// Texts with the same words are near each other, which is all that the tests need.
#[derive(Clone, Debug)]
pub(crate) struct HashEmbedder {
    pub(crate) dimension: usize,
    pub(crate) seed: u64,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self { dimension: 64, seed: 1 }
    }
}

impl HashEmbedder {
    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dimension];
        let lower = text.to_lowercase();
        let mut add = |part: &str, weight: f32| {
            let hash = part.bytes().fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let sign = if hash >> 63 == 0 { weight } else { -weight };
            vector[(hash >> 8) as usize % self.dimension] += sign;
        };
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            add(word, 1.0);
            let letters: Vec<char> = word.chars().collect();
            for part in letters.windows(3) {
                add(&part.iter().collect::<String>(), 0.3);
            }
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector
    }
}

#[async_trait]
impl Embedder for HashEmbedder {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }

    fn fingerprint(&self) -> String {
        format!("hash-{}-{}", self.dimension, self.seed)
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}
