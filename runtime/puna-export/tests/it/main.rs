//! Exports, run by the engine and held against what transformers computes with the same checkpoints.
//! `tests/references/make.py` writes the checkpoints.

mod adapters;
mod decoders;
mod encoders;
mod folders;
mod quantised;
mod refused;
mod sentences;

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::StreamExt;
use puna_core::{GenerateOptions, ModelEvent, TokenScore};
use puna_export::{ExportOptions, ExportReport};
use puna_inference::{CompletionRequest, LoadOptions, OnnxModel, Runtime};
use serde_json::Value;
use tempfile::TempDir;

/// Every checkpoint of the references.
const CASES: [&str; 13] = [
    "llama",
    "llama-linear",
    "llama-dynamic",
    "llama-biased",
    "llama3",
    "mistral",
    "qwen2",
    "qwen2-yarn",
    "qwen3",
    "phi3",
    "phi3-long",
    "phi4",
    "gemma2",
];

/// Most likely tokens compared at each place: the most that scoring gives.
const TOP: usize = 20;

fn references() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/references")
}

/// A case's checkpoint in a folder of its own, with the tokenizer that all share.
fn checkpoint(case: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files =
        fs::read_dir(references().join(case)).expect("a case").map(|file| file.expect("a file").path());
    let shared = ["tokenizer.json", "tokenizer_config.json"].map(|name| references().join(name));
    for file in files.chain(shared) {
        fs::copy(&file, folder.path().join(file.file_name().expect("a name"))).expect("a copy");
    }
    folder
}

/// Exports a case into the folder `out` of a temporary one.
fn export(case: &str, options: &ExportOptions) -> (TempDir, PathBuf, ExportReport) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let report = puna_export::export(checkpoint(case).path(), &out, options, &|_| ())
        .unwrap_or_else(|error| panic!("{case}: {}", error.report()));
    (folder, out, report)
}

fn load(folder: &Path) -> OnnxModel {
    let runtime = Runtime::get(&|_| ()).expect("ONNX Runtime");
    // Two threads: as many as the smallest machine has. No guesses, so that each token is a step.
    let options = LoadOptions { threads: Some(2), draft_tokens: 0, ..LoadOptions::default() };
    OnnxModel::load(&runtime, folder, options).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// A case's sequences and what transformers computes for them.
struct Golden {
    sequences: Vec<Vec<u32>>,
    /// `[sequence][place][vocabulary]`
    logprobs: Vec<Vec<Vec<f64>>>,
    /// Sequences of a prompt of so many tokens and its greedy continuation.
    answers: Vec<(usize, usize)>,
}

impl Golden {
    fn of(case: &str) -> Self {
        Self::rounded(case, "golden")
    }

    /// What transformers computes with weights as ONNX Runtime's quantiser rounds them.
    fn rounded(case: &str, how: &str) -> Self {
        let folder = references().join(case);
        let text = fs::read_to_string(folder.join("golden.json")).expect("the golden");
        let said: Value = serde_json::from_str(&text).expect("JSON");
        let vocabulary = said["vocabulary"].as_u64().expect("a size") as usize;
        let sequences: Vec<Vec<u32>> = serde_json::from_value(said["sequences"].clone()).expect("tokens");
        let prompts: Vec<usize> = serde_json::from_value(said["answers"].clone()).expect("lengths");
        let bytes = fs::read(folder.join(format!("{how}.f32"))).expect("the golden");
        let logits: Vec<f64> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
        assert_eq!(logits.len(), sequences.iter().map(Vec::len).sum::<usize>() * vocabulary);
        let mut rows = logits.chunks(vocabulary).map(log_softmax);
        let logprobs = sequences.iter().map(|one| rows.by_ref().take(one.len()).collect()).collect();
        let first = sequences.len() - prompts.len();
        let answers =
            prompts.into_iter().enumerate().map(|(index, length)| (first + index, length)).collect();
        Self { sequences, logprobs, answers }
    }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let best = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - best).exp()).sum();
    logits.iter().map(|logit| logit - best - sum.ln()).collect()
}

/// How far a model's log-probabilities are from transformers'.
#[derive(Debug)]
struct Distance {
    worst: f64,
    /// The root of the mean square.
    mean: f64,
    /// The share of places where the likeliest token is the same.
    agreement: f64,
}

/// Scores a case's sequences whole, with empty caches.
async fn distance(model: &OnnxModel, golden: &Golden) -> Distance {
    let (mut worst, mut squares, mut count) = (0_f64, 0.0, 0);
    let (mut agreed, mut places) = (0, 0);
    for (sequence, wanted) in golden.sequences.iter().zip(&golden.logprobs) {
        let scores = model.score(sequence, 1, TOP, None).await.expect("scores");
        assert_eq!(scores.len(), sequence.len() - 1);
        for (score, wanted) in scores.iter().zip(wanted) {
            let likeliest = (0..wanted.len()).max_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
            agreed += usize::from(score.top[0].0 as usize == likeliest.expect("a vocabulary"));
            places += 1;
            for (token, logprob) in score.top.iter().chain([&(score.token, score.logprob)]) {
                let error = (logprob - wanted[*token as usize]).abs();
                worst = worst.max(error);
                squares += error * error;
                count += 1;
            }
        }
    }
    Distance {
        worst,
        mean: (squares / f64::from(count)).sqrt(),
        agreement: f64::from(agreed as u32) / f64::from(places),
    }
}

/// Continues tokens by exactly so many, one step a token.
async fn answer(model: &OnnxModel, prompt: &[u32], tokens: usize) -> Vec<TokenScore> {
    let options = GenerateOptions {
        max_tokens: Some(tokens as u32),
        temperature: Some(0.0),
        ..GenerateOptions::default()
    };
    let request = CompletionRequest {
        prompt: prompt.to_vec(),
        options,
        ignore_end: true,
        logprobs: Some(TOP as u32),
        ..CompletionRequest::default()
    };
    let mut stream = model.complete(request).expect("a request");
    let mut scores = Vec::new();
    while let Some(event) = stream.next().await {
        if let ModelEvent::Token(score) = event.expect("an answer") {
            scores.push(score);
        }
    }
    scores
}
