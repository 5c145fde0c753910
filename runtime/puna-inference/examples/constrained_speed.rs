//! What holding answers to a form costs and saves: constrained against free decoding, a tool call with forced tokens
//! against plain decoding of the same text, alone and in a batch, and the time of masks.
//!
//! ```text
//! puna model random --shape llama-3.2-1b --weights int4 --out /tmp/llama-1b
//! cargo run --release -p puna-inference --example constrained_speed -- /tmp/llama-1b [--rounds 3]
//! ```
//!
//! Prints the median of each figure over the rounds. Every round measures the free and the constrained answers in turn, so
//! that what else the machine does meets both. Guessing ahead is off. One call has arguments of few choices, as tools with
//! enumerations have: names, keys and what stands between them are forced. The other's argument is a long text, of which
//! nothing is. `tests/bench/constrained.py` makes the model, runs this, and says what is reached.

use std::{error::Error, path::Path, time::Instant};

use futures_util::{StreamExt, future::try_join_all};
use puna_core::{Constraint, GenerateOptions, ModelEvent, Usage};
use puna_inference::{CompletionRequest, LoadOptions, OnnxModel, Runtime};
use serde_json::json;

/// Tokens of an answer whose speed is compared with a free one's.
const TOKENS: u32 = 48;

/// Rows of the batch.
const BATCH: u32 = 8;

/// What a call looks like to the engine: everything but two values has no choice.
const CALL: &str = r#"{"name": "set_thermostat", "parameters": {"room": "(kitchen|bedroom|cellar)", "mode": "(heat|cool|off)", "fan": "automatic"}}"#;

/// A call whose argument is a text that the model writes: before it, what it may be, and behind it.
const MESSAGE: [&str; 3] = [
    r#"{"name": "send_message", "parameters": {"channel": "(news|help)", "text": ""#,
    "(?s:[^\"\\\\\\x00-\\x1f]{800,1000})",
    r#"", "urgent": (true|false)}}"#,
];

struct Run {
    /// From the prompt's end to the last answer's, in milliseconds.
    time: f64,
    tokens: Vec<Vec<u32>>,
    usage: Vec<Usage>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, rounds) = match &arguments[..] {
        [folder] => (folder, 3),
        [folder, flag, rounds] if flag == "--rounds" => (folder, rounds.parse()?),
        _ => return Err("usage: constrained_speed MODEL_FOLDER [--rounds COUNT]".into()),
    };
    let runtime = Runtime::get(&|progress| progress.line().iter().for_each(|line| eprintln!("{line}")))?;
    let options = LoadOptions { draft_tokens: 0, ..LoadOptions::default() };
    let model = OnnxModel::load(&runtime, Path::new(folder), options)?;
    // Prose of any words, so that every mask is one of a whole vocabulary.
    let prose = Constraint::Regex("(?s:[^{}]{1,2000})".to_owned());
    let schema = Constraint::JsonSchema(json!({
        "type": "array", "minItems": 40, "items": { "type": "object", "properties": {
            "title": { "type": "string" }, "count": { "type": "integer" } }, "required": ["title", "count"] },
    }));
    let call = Constraint::Regex(escape(CALL));
    let [start, text, end] = MESSAGE;
    let message = Constraint::Regex([&escape(start), text, &escape(end)].concat());
    let mut figures: [[Vec<f64>; NAMES.len()]; 2] = Default::default();
    for round in 0..=rounds {
        for (place, batch) in [1, BATCH].into_iter().enumerate() {
            let free = run(&model, round, batch, None, TOKENS).await?;
            let held = run(&model, round, batch, Some(&prose), TOKENS).await?;
            let array = run(&model, round, batch, Some(&schema), TOKENS).await?;
            let called = run(&model, round, batch, Some(&call), 200).await?;
            let longest = called.tokens.iter().map(Vec::len).max().unwrap_or_default();
            // As many steps as the call has tokens: what was written costs nothing.
            let plain = run(&model, round, batch, None, u32::try_from(longest)?).await?;
            let written = run(&model, round, batch, Some(&message), 400).await?;
            let longest = written.usage.iter().map(|usage| usage.completion_tokens).max();
            let beside = run(&model, round, batch, None, u32::try_from(longest.unwrap_or_default())?).await?;
            if round == 0 {
                continue;
            }
            let sum = |count: fn(&Usage) -> f64, run: &Run| run.usage.iter().map(count).sum::<f64>();
            let masks = |run: &Run| sum(|usage| usage.mask_ms, run);
            let waits = |run: &Run| sum(|usage| usage.mask_wait_ms, run);
            let tokens = |run: &Run| sum(|usage| (usage.completion_tokens - usage.forced_tokens) as f64, run);
            let speed = |run: &Run| 1000.0 * sum(|usage| usage.completion_tokens as f64, run) / run.time;
            let values = [
                speed(&free),
                speed(&held) / speed(&free),
                speed(&array) / speed(&free),
                speed(&called) / speed(&plain),
                100.0 * sum(|usage| usage.forced_tokens as f64, &called)
                    / sum(|usage| usage.completion_tokens as f64, &called),
                speed(&written) / speed(&beside),
                sum(|usage| usage.completion_tokens as f64, &written) / f64::from(batch),
                100.0 * sum(|usage| usage.forced_tokens as f64, &written)
                    / sum(|usage| usage.completion_tokens as f64, &written),
                1000.0 * masks(&held) / tokens(&held),
                100.0 * (1.0 - waits(&held) / masks(&held)),
                1000.0 * masks(&array) / tokens(&array),
                100.0 * (1.0 - waits(&array) / masks(&array)),
            ];
            figures[place].iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        }
    }
    println!("| median of {rounds} | alone | batch of {BATCH} |\n|---|---|---|");
    let [alone, batch] = figures;
    for (name, (alone, batch)) in NAMES.into_iter().zip(alone.into_iter().zip(batch)) {
        println!("| {name} | {:.2} | {:.2} |", median(alone), median(batch));
    }
    Ok(())
}

/// What is told of a round.
const NAMES: [&str; 12] = [
    "free, tokens/s",
    "constrained prose over free",
    "constrained JSON over free",
    "a call over plain decoding of as many tokens",
    "forced tokens of the call, %",
    "a call with a long text over plain decoding of as many tokens",
    "tokens of that call",
    "forced tokens of that call, %",
    "mask of prose, us a token",
    "of that hidden behind the model, %",
    "mask of JSON, us a token",
    "of the JSON's masks hidden, %",
];

/// So many answers at a time to prompts that nothing shares.
async fn run(
    model: &OnnxModel,
    round: u32,
    batch: u32,
    constraint: Option<&Constraint>,
    max_tokens: u32,
) -> Result<Run, Box<dyn Error>> {
    let answers = (0..batch).map(|index| async move {
        let start = 300 + (round * 977 + batch * 131 + index * 37) % 50_000;
        let request = CompletionRequest {
            prompt: (start..start + 8).collect(),
            options: GenerateOptions {
                temperature: Some(1.0),
                seed: Some(u64::from(round * 100 + index)),
                max_tokens: Some(max_tokens),
                ..GenerateOptions::default()
            },
            constraint: constraint.cloned(),
            ignore_end: constraint.is_none(),
            ..CompletionRequest::default()
        };
        let mut stream = model.complete(request)?;
        let mut began = None;
        while let Some(event) = stream.next().await {
            began.get_or_insert_with(Instant::now);
            if let ModelEvent::Finished(completion) = event? {
                let tokens = model.tokens(&completion.message.plain_text())?;
                return Ok::<_, puna_core::Error>((tokens, completion.usage));
            }
        }
        Err(puna_core::Error::internal("an answer without an end"))
    });
    let (tokens, usage): (Vec<_>, Vec<Usage>) = try_join_all(answers).await?.into_iter().unzip();
    let time = usage.iter().map(|usage| usage.decode_ms).fold(0.0, f64::max);
    Ok(Run { time, tokens, usage })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A template of a call as a regular expression: what is in parentheses is a choice, all else stands as it is.
fn escape(template: &str) -> String {
    template
        .chars()
        .map(|c| match c {
            '{' | '}' | '[' | ']' | '.' | '*' | '+' | '?' | '^' | '$' | '\\' => format!("\\{c}"),
            c => c.to_string(),
        })
        .collect()
}
