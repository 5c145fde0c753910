//! What constraints cost: building for a vocabulary, compiling, and each token's mask.
//!
//! ```text
//! cargo run --release -p puna-text --example mask_speed [folder with a tokenizer.json]
//! ```
//!
//! Without a folder, a vocabulary of 128,000 made-up words is taken.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use puna_core::{Constraint, Result, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, ConstraintCompiler, Dialect, Matcher, Tokenizer};
use serde_json::{Value, json};

/// Tokens of the made-up vocabulary, as in Llama 3's.
const VOCABULARY: usize = 128_000;

/// The most tokens of an answer.
const LONGEST: usize = 300;

/// Answers a form is measured with.
const ANSWERS: u64 = 20;

fn main() -> Result<()> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => folder.into(),
        None => made_up(),
    };
    let tokenizer = Tokenizer::from_folder(&folder)?;
    let eos = ["<|eot_id|>", "<|im_end|>", "</s>", "<|endoftext|>"];
    let eos: Vec<u32> = eos.iter().filter_map(|name| tokenizer.token_to_id(name)).collect();
    let began = Instant::now();
    let compiler = ConstraintCompiler::new(&tokenizer, &eos)?;
    println!("{} tokens: built in {:.0} ms", tokenizer.vocabulary_size(), milliseconds(began.elapsed()));
    println!(
        "{:<34} {:>10} {:>10} | {:>6} {:>7} {:>7} {:>7} {:>7} | {:>7} {:>8}",
        "", "compile ms", "cached us", "masks", "mean us", "p50", "p99", "most", "forced", "commit us"
    );
    let tools: Vec<ToolSchema> = (0..16).map(tool).collect();
    for dialect in [Dialect::LlamaJson, Dialect::Pythonic, Dialect::Hermes, Dialect::Mistral] {
        for (name, choice) in [("text", ToolChoice::Auto), ("call", ToolChoice::Required)] {
            let form = AnswerForm { dialect, tools: &tools, choice: &choice, parallel: true, answer: None };
            measure(&compiler, &tokenizer, &eos, &format!("{dialect}, 16 tools, {name}"), &form)?;
        }
    }
    let constraints = [
        ("a schema", Constraint::JsonSchema(tool(0).parameters)),
        ("any JSON", Constraint::JsonSchema(json!({}))),
        ("a regular expression", Constraint::Regex("[A-Z][a-z]+( [a-z]+){2,9}\\.".to_owned())),
    ];
    for (name, constraint) in &constraints {
        let form = AnswerForm {
            dialect: Dialect::LlamaJson,
            tools: &[],
            choice: &ToolChoice::None,
            parallel: true,
            answer: Some(constraint),
        };
        measure(&compiler, &tokenizer, &eos, name, &form)?;
    }
    Ok(())
}

fn measure(
    compiler: &ConstraintCompiler,
    tokenizer: &Tokenizer,
    eos: &[u32],
    name: &str,
    form: &AnswerForm<'_>,
) -> Result<()> {
    let began = Instant::now();
    let compiled = compiler.compile(form)?;
    let cold = began.elapsed();
    let began = Instant::now();
    compiler.compile(form)?;
    let cached = began.elapsed();
    let mut costs = Costs::default();
    for seed in 0..ANSWERS {
        answer(&mut compiled.matcher(), tokenizer, eos, seed, &mut costs)?;
    }
    costs.masks.sort_unstable();
    let at = |share: f64| microseconds(costs.masks[((costs.masks.len() - 1) as f64 * share) as usize]);
    let sum: Duration = costs.masks.iter().sum();
    println!(
        "{name:<34} {:>10.1} {:>10.1} | {:>6} {:>7.1} {:>7.1} {:>7.1} {:>7.1} | {:>6.0}% {:>8.1}",
        milliseconds(cold),
        microseconds(cached),
        costs.masks.len(),
        microseconds(sum) / costs.masks.len() as f64,
        at(0.5),
        at(0.99),
        at(1.0),
        100.0 * costs.forced as f64 / costs.tokens as f64,
        microseconds(costs.commits) / costs.tokens as f64,
    );
    Ok(())
}

#[derive(Default)]
struct Costs {
    masks: Vec<Duration>,
    commits: Duration,
    tokens: usize,
    forced: usize,
}

/// Follows an answer of a model that likes to end strings and objects.
fn answer(
    matcher: &mut Matcher,
    tokenizer: &Tokenizer,
    eos: &[u32],
    seed: u64,
    costs: &mut Costs,
) -> Result<()> {
    let mut random = seed;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let mut length = 0;
    while length < LONGEST && !matcher.is_finished() {
        let began = Instant::now();
        let mut next = matcher.forced();
        if next.is_empty() {
            let mask = matcher.mask()?;
            costs.masks.push(began.elapsed());
            let allowed: Vec<u32> = mask.tokens().filter(|token| !eos.contains(token)).collect();
            let ends = |token: &&u32| {
                tokenizer.id_to_token(**token).is_some_and(|text| text.starts_with(['"', '}']))
            };
            // Short lists hold what ends something more often.
            let ending = (below(8) == 0).then(|| allowed.iter().find(ends)).flatten();
            next = match ending.or_else(|| allowed.get(below(allowed.len().max(1)))) {
                Some(token) => vec![*token],
                None => return Ok(()),
            };
        } else {
            costs.forced += next.len();
        }
        let began = Instant::now();
        for token in &next {
            matcher.commit(*token)?;
        }
        costs.commits += began.elapsed();
        costs.tokens += next.len();
        length += next.len();
    }
    Ok(())
}

fn tool(index: usize) -> ToolSchema {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "description": "Where." },
            "days": { "type": "integer", "minimum": 1, "maximum": 14 },
            "unit": { "enum": ["celsius", "fahrenheit"] },
            "details": { "type": "array", "items": { "type": "string" }, "maxItems": 8 },
            "exact": { "type": "boolean" },
        },
        "required": ["city", "unit"],
    });
    ToolSchema { name: format!("weather_{index}"), description: String::new(), parameters, output: None }
}

/// A folder with a tokenizer of made-up words.
fn made_up() -> std::path::PathBuf {
    let parts = [
        "a", "e", "i", "o", "u", "th", "st", "n", "r", "ing", "er", "l", "s", "k", "m", "t", "\u{e4}",
        "\u{4e2d}", "0", "7", "-", "_",
    ];
    let mut random = 1_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let mut vocabulary = BTreeMap::new();
    for byte in 0..=255_u8 {
        vocabulary.insert(byte_level(&[byte]), vocabulary.len());
    }
    for text in [
        "{\"", "\":", "\",", " {\"", " \"", "\"}", "\":\"", "},", "]}", "\", \"", ": ", "\"}}", "[\"",
        "name", " true", "\n\n",
    ] {
        let next = vocabulary.len();
        vocabulary.entry(byte_level(text.as_bytes())).or_insert(next);
    }
    while vocabulary.len() < VOCABULARY {
        let mut word = if below(2) == 0 { " ".to_owned() } else { String::new() };
        for _ in 0..=below(5) {
            word.push_str(parts[below(parts.len())]);
        }
        if below(20) == 0 {
            word.push_str(["\"", "\":", ".", ",", "(", ")\n"][below(6)]);
        }
        let next = vocabulary.len();
        vocabulary.entry(byte_level(word.as_bytes())).or_insert(next);
    }
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer: Value = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{ "id": VOCABULARY, "content": "<|eot_id|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false }],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": { "type": "BPE", "ignore_merges": true, "vocab": vocabulary, "merges": [] },
    });
    let folder = std::env::temp_dir().join(format!("puna-mask-speed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    std::fs::write(Path::new(&folder).join("tokenizer.json"), tokenizer.to_string()).expect("a file in it");
    folder
}

/// Bytes as GPT-2's byte-level vocabularies write them.
fn byte_level(bytes: &[u8]) -> String {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    bytes
        .iter()
        .map(|byte| {
            if printable(byte) {
                char::from(*byte)
            } else {
                let before = (0..*byte).filter(|byte| !printable(byte)).count();
                char::from_u32(0x100 + before as u32).unwrap_or_default()
            }
        })
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
