use std::{path::Path, time::Instant};

use futures_util::{StreamExt, future::try_join_all};
use indicatif::{ProgressBar, ProgressStyle};
use puna::{
    Completion, Error, GenerateOptions, ModelEvent, Result,
    inference::{CompletionRequest, LoadOptions, ModelDetails, OnnxModel},
};
use serde::Serialize;

use crate::{
    args::LoadArgs,
    doctor::{line, size},
    model,
    sessions::print_json,
};

/// What is measured.
pub(crate) struct Plan {
    pub prompt_tokens: usize,
    pub tokens: u32,
    pub streams: usize,
    pub prefix_tokens: usize,
    pub rounds: usize,
}

/// Tokens of a second turn's question.
const QUESTION: usize = 16;

/// Medians over the rounds.
#[derive(Serialize)]
struct Figures {
    details: ModelDetails,
    load_ms: f64,
    prompt_tokens: usize,
    prefill_tokens_per_second: f64,
    tokens: u32,
    decode_tokens_per_second: f64,
    streams: usize,
    concurrent_tokens_per_second: f64,
    prefix_tokens: usize,
    first_turn_ms: f64,
    second_turn_ms: f64,
    cache_bytes: u64,
    /// The most memory the process ever had, where the system tells.
    peak_memory_bytes: Option<u64>,
}

pub(crate) async fn bench(folder: &Path, load: &LoadArgs, plan: &Plan, json: bool) -> Result<()> {
    if plan.rounds == 0 || plan.tokens < 2 || plan.prompt_tokens == 0 || plan.streams == 0 {
        return Err(Error::invalid_input(
            "`--rounds`, `--prompt-tokens` and `--streams` must be 1 or more, and `--tokens` 2 or more",
        ));
    }
    let defaults = load.options();
    let options = LoadOptions {
        needs_template: false,
        slots: defaults.slots.max(plan.streams),
        // Guesses help as much as a text repeats itself, and these mean nothing.
        draft_tokens: load.draft_tokens.unwrap_or(0),
        ..defaults
    };
    let began = Instant::now();
    let model = model::open(folder, options)?;
    let load_ms = milliseconds(began);
    let context = model.details().context_length;
    // What does not fit is measured with what does.
    let tokens = plan.tokens.min(u32::try_from(context / 4).unwrap_or(u32::MAX)).max(2);
    let room = context - tokens as usize - 1;
    let prompt_tokens = plan.prompt_tokens.min(room);
    let prefix_tokens = plan.prefix_tokens.min(room.saturating_sub(QUESTION + tokens as usize)).max(1);

    let bar = ProgressBar::new(plan.rounds as u64 * 4).with_style(
        ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}")
            .map_err(|error| Error::internal("the progress bar's form").with_source(error))?,
    );
    let mut seed = Seed::default();
    let (mut prefill, mut decode, mut concurrent) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first_turn, mut second_turn) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=plan.rounds {
        let keep = |figures: &mut Vec<f64>, figure| {
            if round > 0 {
                figures.push(figure);
                bar.inc(1);
            }
        };
        bar.set_message("prefill");
        let usage = run(&model, seed.prompt(&model, prompt_tokens), 1).await?.usage;
        keep(&mut prefill, usage.prompt_tokens as f64 * 1000.0 / usage.prefill_ms);
        bar.set_message("decode");
        let usage = run(&model, seed.prompt(&model, QUESTION), tokens).await?.usage;
        // The first token comes with the prompt.
        keep(&mut decode, (usage.completion_tokens - 1) as f64 * 1000.0 / usage.decode_ms);
        bar.set_message("several at a time");
        let prompts: Vec<_> = (0..plan.streams).map(|_| seed.prompt(&model, QUESTION)).collect();
        let began = Instant::now();
        try_join_all(prompts.into_iter().map(|prompt| run(&model, prompt, tokens))).await?;
        let written = f64::from(tokens) * plan.streams as f64;
        keep(&mut concurrent, written * 1000.0 / milliseconds(began));
        bar.set_message("second turn");
        let mut conversation = seed.prompt(&model, prefix_tokens);
        let first = run(&model, conversation.clone(), 1).await?.usage;
        conversation.extend(seed.prompt(&model, QUESTION));
        let second = run(&model, conversation, 1).await?.usage;
        if round > 0 {
            first_turn.push(first.prefill_ms);
        }
        keep(&mut second_turn, second.prefill_ms);
    }
    bar.finish_and_clear();
    let figures = Figures {
        details: model.details().clone(),
        load_ms,
        prompt_tokens,
        prefill_tokens_per_second: median(prefill),
        tokens,
        decode_tokens_per_second: median(decode),
        streams: plan.streams,
        concurrent_tokens_per_second: median(concurrent),
        prefix_tokens,
        first_turn_ms: median(first_turn),
        second_turn_ms: median(second_turn),
        cache_bytes: model.status().cache_bytes,
        peak_memory_bytes: peak_memory(),
    };
    if json { print_json(&figures) } else { show(&figures) }
}

fn show(figures: &Figures) -> Result<()> {
    let Figures { prompt_tokens, tokens, streams, prefix_tokens, .. } = figures;
    let decode = figures.decode_tokens_per_second;
    let (first, second) = (figures.first_turn_ms, figures.second_turn_ms);
    line("model", &format!("{}, {} threads", figures.details.name, figures.details.threads))?;
    line("load", &format!("{:.0} ms", figures.load_ms))?;
    line(
        "prefill",
        &format!("{:.0} tokens/s, of {prompt_tokens} tokens", figures.prefill_tokens_per_second),
    )?;
    line("decode", &format!("{decode:.1} tokens/s, of {tokens} tokens"))?;
    line(
        "concurrent",
        &format!(
            "{:.1} tokens/s, {streams} at a time, {:.1} times one",
            figures.concurrent_tokens_per_second,
            figures.concurrent_tokens_per_second / decode
        ),
    )?;
    line(
        "second turn",
        &format!(
            "{second:.1} ms to the first token behind {prefix_tokens} tokens, {:.1} times as fast as the first turn's {first:.0} ms",
            first / second
        ),
    )?;
    let peak = figures.peak_memory_bytes.map_or("unknown".to_owned(), size);
    line("memory", &format!("{peak} at most, keys and values {}", size(figures.cache_bytes)))
}

/// Continues tokens by exactly so many.
pub(crate) async fn run(model: &OnnxModel, prompt: Vec<u32>, tokens: u32) -> Result<Completion> {
    let options =
        GenerateOptions { max_tokens: Some(tokens), temperature: Some(0.0), ..GenerateOptions::default() };
    let mut stream = model.complete(CompletionRequest {
        prompt,
        options,
        ignore_end: true,
        ..CompletionRequest::default()
    })?;
    while let Some(event) = stream.next().await {
        if let ModelEvent::Finished(completion) = event? {
            return Ok(completion);
        }
    }
    Err(Error::internal("the answer ended without an end"))
}

/// Prompts that differ from each other in their first token, so that none is found in the cache.
#[derive(Default)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn prompt(&mut self, model: &OnnxModel, length: usize) -> Vec<u32> {
        let vocabulary = model.details().vocabulary as u64;
        let base = self.0;
        self.0 += 1;
        // The multiplier of Knuth's MMIX generator; any that mixes will do.
        (0..length as u64)
            .map(|place| {
                let mixed = (base * 7919 + place).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(base);
                u32::try_from((mixed >> 33) % vocabulary).unwrap_or(0)
            })
            .collect()
    }
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        (figures[middle - 1] + figures[middle]) / 2.0
    } else {
        figures[middle]
    }
}

/// What Linux calls the high-water mark of the resident set.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
