//! How fast the whole loop decodes: graph, sampling, text, events.
//!
//! ```text
//! cargo run --release -p puna-inference --example decode_speed -- MODEL_FOLDER THREADS PROMPT_WORDS TOKENS RUNS DRAFT_TOKENS
//! ```
//!
//! Prints one line of JSON: the prompt's token ids, for each run how long prompt and answer took, and the medians in tokens
//! a second. The first run warms up and is left out. The first token of an answer is the prompt's work, so decoding is
//! counted from the second. A fair run has a model folder whose end tokens never come, see `tests/bench/decode.py`;
//! where one comes all the same, what was written is what is counted.

use std::{error::Error, path::Path};

use futures_util::StreamExt;
use puna_core::{GenerateOptions, GenerateRequest, Message, Model, ModelEvent, Usage};
use puna_inference::{LoadOptions, OnnxModel, Runtime};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, words, tokens, runs, draft] = &arguments[..] else {
        return Err("usage: decode_speed MODEL_FOLDER THREADS PROMPT_WORDS TOKENS RUNS DRAFT_TOKENS".into());
    };
    let (threads, words, tokens, runs): (usize, usize, u32, usize) =
        (threads.parse()?, words.parse()?, tokens.parse()?, runs.parse()?);

    let runtime = Runtime::get(&|progress| progress.line().iter().for_each(|line| eprintln!("{line}")))?;
    let options =
        LoadOptions { threads: Some(threads), draft_tokens: draft.parse()?, ..LoadOptions::default() };
    let model = OnnxModel::load(&runtime, Path::new(folder), options)?;
    let mut prompt = Vec::new();
    let mut measured: Vec<Usage> = Vec::new();
    for run in 0..=runs {
        // Begins with another word in every run, so that no run finds its prompt in the cache.
        let text: Vec<String> = (run..run + words).map(|word| format!("w{word}")).collect();
        let request = GenerateRequest {
            messages: vec![Message::user(text.join(" "))],
            options: GenerateOptions {
                max_tokens: Some(tokens),
                temperature: Some(0.0),
                ..Default::default()
            },
            ..Default::default()
        };
        prompt = model.prompt(&request)?;
        let mut events = model.generate(request).await?;
        while let Some(event) = events.next().await {
            if let ModelEvent::Finished(completion) = event?
                && run > 0
            {
                measured.push(completion.usage);
            }
        }
    }
    let medians = json!({
        "prefill_tokens_per_second": median(&measured, |usage| {
            1000.0 * (usage.prompt_tokens - usage.cached_tokens) as f64 / usage.prefill_ms
        }),
        "decode_tokens_per_second": median(&measured, |usage| {
            1000.0 * usage.completion_tokens.saturating_sub(1) as f64 / usage.decode_ms
        }),
    });
    println!(
        "{}",
        json!({ "prompt": prompt, "runs": measured, "medians": medians, "details": model.details() })
    );
    Ok(())
}

/// The middle one; none where there were no runs.
fn median(runs: &[Usage], speed: impl Fn(&Usage) -> f64) -> Option<f64> {
    let mut speeds: Vec<f64> = runs.iter().map(speed).collect();
    speeds.sort_by(f64::total_cmp);
    let (low, high) = (speeds.get(speeds.len().saturating_sub(1) / 2)?, speeds[speeds.len() / 2]);
    Some((low + high) / 2.0)
}
