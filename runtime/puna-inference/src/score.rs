use puna_core::TokenScore;
use serde::Serialize;

/// How well a model expects a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// The tokens that were scored: all but the first.
    pub tokens: usize,
    /// The sum of their log-probabilities.
    pub logprob: f64,
    /// `exp(-logprob / tokens)`: as many tokens of equal likelihood would surprise as much.
    pub perplexity: f64,
}

impl Perplexity {
    /// Of tokens' log-probabilities; there must be one at least.
    pub fn of(logprobs: impl IntoIterator<Item = f64>) -> Self {
        let (mut tokens, mut logprob) = (0, 0.0);
        for value in logprobs {
            tokens += 1;
            logprob += value;
        }
        Self { tokens, logprob, perplexity: (-logprob / tokens as f64).exp() }
    }
}

/// A part of a text that is scored at once: its tokens, and the first that counts.
pub(crate) struct Window<'a> {
    pub tokens: &'a [u32],
    pub from: usize,
}

/// The parts of a text, each of at most so many tokens and overlapping by half: the first is scored whole, the others'
/// second halves.
pub(crate) fn windows(tokens: &[u32], length: usize) -> impl Iterator<Item = Window<'_>> {
    let length = length.max(2);
    let mut scored = 1;
    std::iter::from_fn(move || {
        if scored >= tokens.len() {
            return None;
        }
        let end = if scored == 1 { length } else { scored + (length / 2).max(1) }.min(tokens.len());
        let start = end.saturating_sub(length);
        let window = Window { tokens: &tokens[start..end], from: scored - start };
        scored = end;
        Some(window)
    })
}

/// How likely a token is, from the logits before it, with the `top` likeliest tokens. What is not a number counts as
/// impossible.
pub(crate) fn score_of(logits: &[f32], token: u32, top: usize) -> TokenScore {
    let score = |value: f32| if value.is_nan() { f64::NEG_INFINITY } else { f64::from(value) };
    let best = logits.iter().map(|value| score(*value)).fold(f64::NEG_INFINITY, f64::max);
    // In 64 bits, because thousands are summed.
    let sum: f64 = logits.iter().map(|value| (score(*value) - best).exp()).sum();
    let logprob = |value: f32| score(value) - best - sum.ln();
    let mut ranked: Vec<u32> = Vec::new();
    if top > 0 {
        ranked = (0..u32::try_from(logits.len()).unwrap_or(u32::MAX)).collect();
        let by_rank = |a: &u32, b: &u32| {
            score(logits[*b as usize]).total_cmp(&score(logits[*a as usize])).then(a.cmp(b))
        };
        if top < ranked.len() {
            ranked.select_nth_unstable_by(top - 1, by_rank);
            ranked.truncate(top);
        }
        ranked.sort_unstable_by(by_rank);
    }
    TokenScore {
        token,
        logprob: logits.get(token as usize).map_or(f64::NEG_INFINITY, |value| logprob(*value)),
        top: ranked.into_iter().map(|token| (token, logprob(logits[token as usize]))).collect(),
    }
}

/// The natural logarithms of the probabilities that logits stand for. What is not a number is impossible.
pub(crate) fn logprobs(logits: &[f32]) -> Vec<f32> {
    let score = |value: f32| if value.is_nan() { f64::NEG_INFINITY } else { f64::from(value) };
    let best = logits.iter().map(|value| score(*value)).fold(f64::NEG_INFINITY, f64::max);
    // In 64 bits, because thousands are summed.
    let sum: f64 = logits.iter().map(|value| (score(*value) - best).exp()).sum();
    logits.iter().map(|value| (score(*value) - best - sum.ln()) as f32).collect()
}
