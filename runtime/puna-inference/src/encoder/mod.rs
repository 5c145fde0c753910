//! Models that read a text whole: embeddings, rerankers, classifiers.

mod classifier;
mod embedder;
mod fingerprint;
mod late_interaction;
mod pooling;
mod queue;
mod reranker;
mod session;
mod worker;

use puna_core::{Error, Result};
use serde::Serialize;

pub use self::{
    classifier::OnnxClassifier,
    embedder::{Embedding, OnnxEmbedder},
    late_interaction::LateInteraction,
    reranker::OnnxReranker,
};

/// What becomes of a text that is longer than the model takes. Nothing is cut without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongInput {
    /// It is an error.
    Error,
    /// The rest is left out, and the result says so.
    Truncate,
    /// It is read in parts that overlap: embeddings are averaged by the parts' lengths, and of scores the highest of any
    /// part counts.
    #[default]
    Windows,
}

/// How an encoder is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderOptions {
    /// Threads of a batch; without it the machine's physical cores.
    pub threads: Option<usize>,
    /// Which of a folder's graphs, by name or file.
    pub variant: Option<String>,
    /// What becomes of long texts.
    pub long: LongInput,
    /// The longest input in tokens, where it is to be less than the model's.
    pub max_tokens: Option<usize>,
    /// Most tokens of a batch, padding included, unless one text has more: bounds memory, and what a layer computes stays in
    /// the processor's caches.
    pub batch_tokens: usize,
    /// Most requests that wait; one more is [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) at once.
    pub queue: usize,
}

/// What an encoder has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EncoderStats {
    /// Requests that wait now.
    pub waiting: usize,
    /// Batches computed.
    pub batches: u64,
    /// Tokens in them, padding left out.
    pub tokens: u64,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            threads: None,
            variant: None,
            long: LongInput::default(),
            max_tokens: None,
            batch_tokens: 1024,
            queue: 64,
        }
    }
}

impl EncoderOptions {
    fn check(&self) -> Result<()> {
        let least = [
            ("threads", self.threads.unwrap_or(1)),
            ("batch_tokens", self.batch_tokens),
            ("queue", self.queue),
        ];
        match least.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::invalid_input(format!("`{name}` is `0`; it must be at least 1"))),
            None => Ok(()),
        }
    }
}

/// `exp(x) / sum(exp)`, or each number on its own.
fn activate(logits: &mut [f32], how: crate::folder::Activation) {
    use crate::folder::Activation;
    match how {
        Activation::Identity => {}
        Activation::Sigmoid => logits.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
        Activation::Softmax => {
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter_mut().for_each(|x| *x = (*x - best).exp());
            let sum: f32 = logits.iter().sum();
            logits.iter_mut().for_each(|x| *x /= sum);
        }
    }
}
