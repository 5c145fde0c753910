//! How far a model's distributions are from another's, token by token.
//!
//! One model at a time: the first one's log-probabilities lie in a file while the second is computed, so that a machine
//! compares any two models of which it can run each.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use puna_core::{Error, Result};
use puna_text::Tokenizer;
use serde::Serialize;

use crate::{
    OnnxModel, Perplexity,
    engine::EachLogits,
    score::{Window, logprobs, windows},
};

/// What a model expects of a text: its perplexity, and the probabilities of the whole vocabulary at each place. These
/// are in a temporary file of four bytes a token of the text and a token of the vocabulary.
pub struct Likelihoods {
    perplexity: Perplexity,
    tokens: Vec<u32>,
    window: usize,
    vocabulary: usize,
    rows: File,
}

/// How far a model is from the one that [`Likelihoods`] are of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// How well it expects the text.
    pub perplexity: Perplexity,
    /// The mean over the places of the Kullback-Leibler divergence `Σ p ln(p / q)`, `p` the other model's
    /// probabilities and `q` this one's, in nats.
    pub divergence: f64,
    /// The largest divergence at a place.
    pub worst_divergence: f64,
    /// The share of places at which both models' likeliest token is the same, from 0 to 1.
    pub agreement: f64,
}

/// A text's tokens, which must be the same for both folders' models.
///
/// # Errors
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for models of different vocabularies.
pub fn shared_tokens(text: &str, folders: [&Path; 2]) -> Result<Vec<u32>> {
    let [a, b] = folders;
    let (ours, theirs) = (Tokenizer::from_folder(a)?, Tokenizer::from_folder(b)?);
    let (size, other) = (ours.vocabulary_size(), theirs.vocabulary_size());
    let differ = |what: String| {
        Error::invalid_input(format!(
            "`{}` and `{}` {what}; only models of one vocabulary can be compared token by token",
            a.display(),
            b.display()
        ))
    };
    if size != other {
        return Err(differ(format!("have vocabularies of {size} and {other} tokens")));
    }
    let tokens = |tokenizer: &Tokenizer| -> Result<Vec<u32>> {
        let mut tokens = tokenizer.start_tokens()?;
        tokens.extend(tokenizer.encode_text(text)?);
        Ok(tokens)
    };
    let found = tokens(&ours)?;
    if found != tokens(&theirs)? {
        return Err(differ("cut the text into different tokens".to_owned()));
    }
    Ok(found)
}

impl Likelihoods {
    /// Scores a text in windows of so many tokens at most. `progress` is told how many tokens are done.
    ///
    /// # Errors
    /// Those of [`OnnxModel::score`]; [`Io`](puna_core::ErrorKind::Io) and its like when the temporary file cannot be
    /// written.
    pub async fn of(
        model: &OnnxModel,
        tokens: &[u32],
        window: usize,
        progress: Arc<dyn Fn(usize) + Send + Sync>,
    ) -> Result<Self> {
        check(tokens)?;
        let window = window.min(model.details().context_length);
        let path = std::env::temp_dir();
        let failed = |error| Error::from_io("write a temporary file in", &path, error);
        let rows = tempfile::tempfile().map_err(failed)?;
        let out = BufWriter::new(rows.try_clone().map_err(failed)?);
        let written = Arc::new(Mutex::new((out, Ok(()))));
        let each = |logits: &[f32], written: &mut (BufWriter<File>, std::io::Result<()>)| {
            let (out, outcome) = written;
            if outcome.is_ok() {
                let row = logprobs(logits);
                *outcome = row.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
            }
        };
        let perplexity = scored(model, tokens, window, progress, &written, each).await?;
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut written.1, Ok(())).and_then(|()| written.0.flush()).map_err(failed)?;
        drop(written);
        Ok(Self { perplexity, tokens: tokens.to_vec(), window, vocabulary: model.details().vocabulary, rows })
    }

    /// How well the model expects the text.
    pub fn perplexity(&self) -> Perplexity {
        self.perplexity
    }

    /// Scores the same text with another model and tells how far it is from this one.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a model of another vocabulary or one whose context is
    /// shorter than the windows; else those of [`of`](Self::of).
    pub async fn compare(
        &self,
        model: &OnnxModel,
        progress: Arc<dyn Fn(usize) + Send + Sync>,
    ) -> Result<Comparison> {
        let details = model.details();
        if details.vocabulary != self.vocabulary {
            return Err(Error::invalid_input(format!(
                "`{}` gives logits of {} tokens and the other model of {}; only models of one vocabulary can be compared",
                details.name, details.vocabulary, self.vocabulary
            )));
        }
        if details.context_length < self.window {
            return Err(Error::invalid_input(format!(
                "`{}` has a context of {} tokens, shorter than the windows of {}",
                details.name, details.context_length, self.window
            )));
        }
        let path = std::env::temp_dir();
        let failed = |error| Error::from_io("read a temporary file in", &path, error);
        let mut rows = self.rows.try_clone().map_err(failed)?;
        rows.rewind().map_err(failed)?;
        let distances = Arc::new(Mutex::new(Distances {
            rows: BufReader::new(rows),
            bytes: vec![0; self.vocabulary * 4],
            outcome: Ok(()),
            sum: 0.0,
            worst: 0.0,
            agreed: 0,
        }));
        let each = |logits: &[f32], distances: &mut Distances| {
            if distances.outcome.is_ok() {
                distances.outcome = distances.add(&logprobs(logits));
            }
        };
        let perplexity = scored(model, &self.tokens, self.window, progress, &distances, each).await?;
        let mut found = distances.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut found.outcome, Ok(())).map_err(failed)?;
        let places = perplexity.tokens as f64;
        Ok(Comparison {
            perplexity,
            divergence: found.sum / places,
            worst_divergence: found.worst,
            agreement: f64::from(found.agreed) / places,
        })
    }
}

/// What was found of the places so far.
struct Distances {
    rows: BufReader<File>,
    bytes: Vec<u8>,
    outcome: std::io::Result<()>,
    sum: f64,
    worst: f64,
    agreed: u32,
}

impl Distances {
    /// Adds a place, whose other log-probabilities are the file's next.
    fn add(&mut self, ours: &[f32]) -> std::io::Result<()> {
        self.rows.read_exact(&mut self.bytes)?;
        let (theirs, _) = self.bytes.as_chunks::<4>();
        let theirs = || theirs.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let divergence: f64 = theirs()
            .zip(ours)
            .map(|(p, q)| (f64::from(p), f64::from(*q)))
            // What is impossible adds nothing.
            .filter(|(p, _)| *p > f64::NEG_INFINITY)
            .map(|(p, q)| p.exp() * (p - q))
            .sum();
        // Rounding may take it below.
        let divergence = divergence.max(0.0);
        self.sum += divergence;
        self.worst = self.worst.max(divergence);
        let best = |row: &mut dyn Iterator<Item = f32>| {
            row.enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(token, _)| token)
        };
        self.agreed += u32::from(best(&mut theirs()) == best(&mut ours.iter().copied()));
        Ok(())
    }
}

fn check(tokens: &[u32]) -> Result<()> {
    if tokens.len() < 2 {
        return Err(Error::invalid_input(format!(
            "models are compared over {} tokens; there must be two at least",
            tokens.len()
        )));
    }
    Ok(())
}

/// Scores a text in windows and shows each place's logits with what is gathered.
async fn scored<T: Send + 'static>(
    model: &OnnxModel,
    tokens: &[u32],
    window: usize,
    progress: Arc<dyn Fn(usize) + Send + Sync>,
    gathered: &Arc<Mutex<T>>,
    each: impl Fn(&[f32], &mut T) + Copy + Send + 'static,
) -> Result<Perplexity> {
    let mut all = Vec::with_capacity(tokens.len());
    for Window { tokens, from } in windows(tokens, window) {
        let (gathered, progress) = (Arc::clone(gathered), Arc::clone(&progress));
        let mut done = all.len();
        let each: EachLogits = Box::new(move |logits| {
            // Nobody else holds it while this runs.
            each(logits, &mut gathered.lock().unwrap_or_else(PoisonError::into_inner));
            done += 1;
            progress(done);
        });
        let scores = model.score_each(tokens, from, 0, None, Some(each)).await?;
        all.extend(scores.iter().map(|score| score.logprob));
    }
    Ok(Perplexity::of(all))
}
