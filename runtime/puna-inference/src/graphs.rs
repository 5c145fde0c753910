//! The graphs of one model: one that decodes, and maybe one that prompts go through.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use puna_core::Result;
use serde::{Deserialize, Serialize};

use crate::{
    adapter::Adapter,
    cache::Cache,
    graph::{Graph, Logits, Wanted},
};

/// What a folder's second graph is used for.
///
/// The choice is by what is computed, never by what runs beside it: an answer is the same in company.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CompanionUse {
    /// Nothing; it is not loaded.
    Never,
    /// Prompts. Both graphs are in memory.
    Prefill,
    /// Prompts and answers, in place of the other graph, which is not loaded: for many requests at a time, and slower
    /// for one alone.
    Always,
}

/// How much faster a companion has to be at prompts to be worth its memory, where nobody asked for it.
const WORTH: f64 = 1.2;

/// Tokens of the prompt that measures the graphs at load: enough that a batch pays, few enough that loading a slow
/// model takes less than a second longer.
const MEASURED_TOKENS: usize = 32;

pub(crate) struct Graphs {
    decode: Graph,
    prefill: Option<Graph>,
    /// Whether the last step was one of a prompt.
    prefilled: bool,
}

impl Graphs {
    pub(crate) fn new(decode: Graph, prefill: Option<Graph>) -> Self {
        Self { decode, prefill, prefilled: false }
    }

    /// Why a graph cannot be another's companion, if it cannot.
    pub(crate) fn mismatch(decode: &Graph, companion: &Graph) -> Option<&'static str> {
        let (a, b) = (decode.layout(), companion.layout());
        if a.vocab_size != b.vocab_size {
            Some("has another vocabulary")
        } else if a.cache != b.cache {
            Some("has other keys and values")
        } else if a.openings != b.openings {
            Some("takes other adapters")
        } else if companion.context() < decode.context() {
            Some("has a smaller context")
        } else {
            None
        }
    }

    /// How much faster a companion computes a prompt.
    pub(crate) fn speedup(decode: &mut Graph, companion: &mut Graph) -> Result<f64> {
        let time = |graph: &mut Graph| -> Result<Duration> {
            let tokens = vec![0; MEASURED_TOKENS.min(graph.context())];
            let mut fastest = Duration::MAX;
            // The first time a kernel runs it prepares itself.
            for _ in 0..2 {
                let mut cache = graph.new_cache(1, u64::MAX);
                cache.grow(0, tokens.len())?;
                let began = Instant::now();
                graph.step(&mut cache, 0, &tokens, Wanted::Last)?;
                fastest = fastest.min(began.elapsed());
                graph.unbind();
            }
            Ok(fastest)
        };
        let (slow, fast) = (time(decode)?, time(companion)?);
        Ok(slow.as_secs_f64() / fast.as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// Whether a companion is worth its memory.
    pub(crate) fn is_worth(speedup: f64) -> bool {
        speedup >= WORTH
    }

    pub(crate) fn new_cache(&self, rows: usize, budget: u64) -> Cache {
        self.decode.new_cache(rows, budget)
    }

    /// Whether prompts go through a graph of their own.
    pub(crate) fn has_companion(&self) -> bool {
        self.prefill.is_some()
    }

    pub(crate) fn context(&self) -> usize {
        self.decode.context()
    }

    /// Whether one step takes a token of several answers.
    pub(crate) fn batches(&self) -> bool {
        self.decode.batches()
    }

    /// Whether guessed tokens are checked in one step.
    pub(crate) fn verifies(&self) -> bool {
        self.decode.verifies()
    }

    /// What the last step gave.
    pub(crate) fn logits(&self) -> Logits<'_> {
        match &self.prefill {
            Some(prefill) if self.prefilled => prefill.logits(),
            _ => self.decode.logits(),
        }
    }

    /// Has the steps that follow changed by an adapter, or by none.
    pub(crate) fn use_adapter(&mut self, adapter: Option<&Arc<Adapter>>) {
        self.decode.use_adapter(adapter);
        if let Some(prefill) = &mut self.prefill {
            prefill.use_adapter(adapter);
        }
    }

    /// Lets go of the cache's buffers, so that they can be replaced.
    pub(crate) fn unbind(&mut self) {
        self.decode.unbind();
        if let Some(prefill) = &mut self.prefill {
            prefill.unbind();
        }
    }

    /// Appends tokens of a prompt to a row, see [`Graph::step`].
    pub(crate) fn prefill(&mut self, cache: &mut Cache, row: usize, tokens: &[u32]) -> Result<()> {
        self.prefilled = true;
        self.prefill.as_mut().unwrap_or(&mut self.decode).step(cache, row, tokens, Wanted::Last)
    }

    /// Appends tokens to a row with the graph that decodes, see [`Graph::step`].
    pub(crate) fn step(
        &mut self,
        cache: &mut Cache,
        row: usize,
        tokens: &[u32],
        wanted: Wanted,
    ) -> Result<()> {
        self.prefilled = false;
        self.decode.step(cache, row, tokens, wanted)
    }

    /// Appends a token to each of several rows, see [`Graph::step_rows`].
    pub(crate) fn step_rows(&mut self, cache: &mut Cache, first: usize, tokens: &[u32]) -> Result<()> {
        self.prefilled = false;
        self.decode.step_rows(cache, first, tokens)
    }
}
