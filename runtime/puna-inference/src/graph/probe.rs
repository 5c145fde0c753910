//! What a graph does with a few tokens, which its inputs and outputs do not tell.

use puna_core::{Error, Result};

use super::{CacheKind, Graph, Wanted};

impl Graph {
    /// Runs a few tokens, which shows that the graph runs at all, and whether its cache can be shared.
    pub(super) fn probe(&mut self, wanted: Option<CacheKind>) -> Result<()> {
        let least = self.layout.least_length();
        // A cache that may not be empty cannot begin to grow.
        self.kind = if least > 0 { CacheKind::Shared } else { CacheKind::Growing };
        if let Err(error) = self.probe_logits() {
            // Exporters that prune the head leave the number of positions open in the graph.
            self.layout.last_logits_only = true;
            self.probe_logits().map_err(|_| error)?;
        }
        if wanted == Some(CacheKind::Growing) && least == 0 {
            return Ok(());
        }
        let growing = self.probe_rows(1)?;
        self.kind = CacheKind::Shared;
        let works = match (self.probe_rows(1), wanted) {
            (Ok(shared), None) => shared == growing,
            (Ok(_), Some(_)) => true,
            (Err(error), None) => {
                tracing::debug!(%error, "the cache is not shared");
                false
            }
            // Slower and right, where the exporter is wrong.
            (Err(error), Some(_)) => {
                tracing::warn!(%error, "the cache cannot be shared, though the model's configuration says so");
                false
            }
        };
        if !works {
            self.kind = CacheKind::Growing;
        }
        self.unbind();
        if least > 0 && !works {
            return Err(Error::invalid_input(format!(
                "the graph takes caches of {least} positions and more, and they cannot be shared; export it with `windowed_kv_cache=false`"
            )));
        }
        Ok(())
    }

    /// Runs two tokens, whose logits must be as many as they are believed to be.
    fn probe_logits(&mut self) -> Result<()> {
        let mut cache = self.new_cache(1, u64::MAX);
        cache.grow(0, 2)?;
        let ran = self.step(&mut cache, 0, &[0; 2], Wanted::All);
        self.unbind();
        ran
    }

    /// Whether rows of different lengths, computed in one step, get the logits they get alone.
    pub(super) fn probe_batch(&mut self) -> bool {
        if self.layout.single_row || !self.layout.attention_mask {
            return false;
        }
        let rows = |graph: &mut Self, batches| {
            graph.batches = batches;
            graph.probe_rows(2)
        };
        let together = rows(self, true);
        let alone = rows(self, false);
        self.unbind();
        alike("several rows in one step", alone, together)
    }

    /// Whether tokens computed in one step get the logits they get one after the other.
    pub(super) fn probe_ahead(&mut self) -> bool {
        if self.layout.last_logits_only {
            return false;
        }
        let tokens = self.probe_tokens();
        let mut steps = |width: usize| {
            let mut cache = self.new_cache(1, u64::MAX);
            cache.grow(0, tokens.len())?;
            let mut all = Vec::new();
            for step in tokens.chunks(width) {
                self.step(&mut cache, 0, step, Wanted::All)?;
                all.extend_from_slice(self.logits().values);
            }
            self.unbind();
            Ok(all)
        };
        let (together, alone) = (steps(tokens.len()), steps(1));
        alike("several tokens in one step", alone, together)
    }

    /// The logits of a last token for each of so many rows, after prompts of different lengths.
    pub(super) fn probe_rows(&mut self, rows: usize) -> Result<Vec<f32>> {
        let mut cache = self.new_cache(rows, u64::MAX);
        let tokens = self.probe_tokens();
        cache.grow(0, tokens.len())?;
        for row in 0..rows {
            self.step(&mut cache, row, &tokens[row..tokens.len() - 1], Wanted::Last)?;
        }
        let last = vec![tokens[tokens.len() - 1]; rows];
        let ran = self.step_rows(&mut cache, 0, &last);
        let logits = self.logits().values.to_vec();
        // The next probe has a cache of its own.
        self.unbind();
        ran.map(|()| logits)
    }

    pub(super) fn probe_tokens(&self) -> Vec<u32> {
        let vocab = u32::try_from(self.layout.vocab_size).unwrap_or(u32::MAX);
        (0..PROBE_TOKENS).map(|token| token % vocab).collect()
    }
}

/// Tokens of the probe at load: a few, because its time is load time, and more than one step.
const PROBE_TOKENS: u32 = 4;

/// Whether logits computed in two ways are the same but for rounding.
fn alike(what: &str, alone: Result<Vec<f32>>, together: Result<Vec<f32>>) -> bool {
    match (alone, together) {
        (Ok(alone), Ok(together)) => {
            let scale = alone.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
            let difference =
                alone.iter().zip(&together).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            tracing::debug!(what, scale, difference, "probed");
            alone.len() == together.len() && difference <= PROBE_TOLERANCE * scale
        }
        (_, Err(error)) | (Err(error), _) => {
            tracing::debug!(what, %error, "cannot be computed");
            false
        }
    }
}

/// What logits computed in two ways may differ by, as a share of the largest: what another order of adding 32-bit
/// floats makes. A graph that differs by more, as one that quantises all rows of a step by one scale does, is computed
/// row by row: what runs beside a request must not change its answer.
const PROBE_TOLERANCE: f32 = 1e-4;
