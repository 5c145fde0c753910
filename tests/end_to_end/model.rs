//! Models without an agent: inspect, generate, score, bench.

use serde_json::{Value, json};

use crate::support::{Puna, Ran};

const TINY: &str = "examples/models/puna-tiny";

fn json(puna: &Puna, arguments: &[&str]) -> Value {
    serde_json::from_str(&puna.ok(arguments)).expect("JSON")
}

#[track_caller]
fn fails(ran: &Ran, code: i32, part: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(part) && ran.stdout.is_empty(), "no `{part}` in {ran:?}");
}

#[test]
fn a_model_is_inspected() {
    let puna = Puna::new();
    let text = puna.ok(&["model", "inspect", TINY]);
    for part in [
        "puna-tiny",
        "llama",
        "2048 tokens",
        "in place, f32 7.0 KiB a token",
        "conversations with tools",
        "int8",
        "llama_json",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let report = json(&puna, &["model", "inspect", TINY, "--json", "--slots", "3", "--context", "512"]);
    assert_eq!(report["architecture"], "llama");
    assert_eq!(report["details"]["slots"], 3);
    assert_eq!(report["details"]["context_length"], 512);
    assert_eq!(report["details"]["cache_bytes_per_token"], 7168);
    assert_eq!(report["details"]["template"], "chat_with_tools");
    fails(&puna.run(&["model", "inspect", "nowhere"]), 3, "no model folder `nowhere`");
    fails(&puna.run(&["model", "inspect", TINY, "--companion", "always"]), 3, "no companion graph");
    fails(&puna.run(&["model", "inspect", TINY, "--variant", "q4"]), 3, "q4");
    fails(&puna.run(&["model", "inspect", TINY, "--slots", "0"]), 2, "`slots` is `0`");
}

#[test]
fn a_model_answers_and_continues() {
    let puna = Puna::new();
    let text = puna.ok(&["generate", TINY, "Hello"]);
    assert!(text.len() > 3 && text.ends_with('\n'), "{text}");
    let answers = json(&puna, &["generate", TINY, "--json", "Hello"]);
    assert_eq!(answers[0]["message"]["content"], json!([{"type": "text", "text": text.trim_end()}]));
    assert_eq!(answers[0]["stop"], "end_of_turn");
    let sampled = [
        "generate",
        TINY,
        "--temperature",
        "9",
        "--seed",
        "4",
        "--max-tokens",
        "12",
        "--choices",
        "3",
        "--deterministic",
        "--json",
        "Hello",
    ];
    let choices = json(&puna, &sampled);
    assert_eq!(choices.as_array().map(Vec::len), Some(3));
    assert_ne!(choices[0]["message"], choices[1]["message"]);
    let messages = |choices: &Value| -> Vec<Value> {
        choices.as_array().expect("choices").iter().map(|choice| choice["message"].clone()).collect()
    };
    assert_eq!(messages(&json(&puna, &sampled)), messages(&choices), "the same seeds");
    let raw =
        json(&puna, &["generate", TINY, "--raw", "--max-tokens", "5", "--json", "one two one two one two"]);
    assert_eq!(raw[0]["usage"]["completion_tokens"].as_u64().map(|tokens| tokens <= 5), Some(true));
    fails(&puna.run(&["generate", TINY, "--top-p", "7", "Hello"]), 2, "`top_p` is `7`");
    fails(&puna.run(&["generate", TINY, "--choices", "99", "Hello"]), 2, "`99` answers");
    fails(&puna.run(&["generate", TINY, ""]), 2, "no question");
    fails(&puna.run(&["generate", TINY, "--cache-memory", "10kB", "Hello"]), 6, "cache_memory");
    fails(&puna.run(&["generate", TINY, "--cache-memory", "many", "Hello"]), 2, "a size with its unit");
}

#[test]
fn a_text_is_scored() {
    let puna = Puna::new();
    let report = json(&puna, &["score", TINY, "--json", "--top", "2", "Hello! How can I help?"]);
    let scores = report["scores"].as_array().expect("scores");
    assert_eq!(report["tokens"], scores.len());
    let sum: f64 = scores.iter().filter_map(|score| score["logprob"].as_f64()).sum();
    assert!((report["logprob"].as_f64().expect("a sum") - sum).abs() < 1e-9);
    let perplexity = report["perplexity"].as_f64().expect("a perplexity");
    assert!((perplexity.ln() * scores.len() as f64 + sum).abs() < 1e-6, "{perplexity}");
    let text: String = scores.iter().filter_map(|score| score["text"].as_str()).collect();
    assert!("Hello! How can I help?".ends_with(&text), "{text}");
    // Longer than the context, from a file.
    let file = puna.path("long.txt");
    std::fs::write(&file, "one two three ".repeat(60)).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let long = json(&puna, &["score", TINY, "--context", "64", "--file", file, "--json"]);
    assert!(long["tokens"].as_u64().is_some_and(|tokens| tokens > 64), "{long}");
    assert!(puna.ok(&["score", TINY, "Hello there"]).contains("perplexity"));
    fails(&puna.run(&["score", TINY, "--file", "nowhere.txt"]), 3, "nowhere.txt");
    fails(&puna.run(&["score", TINY, "--top", "99", "Hello there"]), 2, "at most 20");
    fails(&puna.run(&["score", TINY, "--context", "64", "--top", "1", "--file", file]), 8, "context");
}

#[test]
fn a_model_is_measured() {
    let puna = Puna::new();
    let arguments =
        ["model", "bench", TINY, "--rounds", "1", "--tokens", "8", "--prompt-tokens", "64", "--streams", "2"];
    let report = json(&puna, &[&arguments[..], &["--json", "--prefix-tokens", "9000"]].concat());
    for figure in [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "concurrent_tokens_per_second",
        "second_turn_ms",
    ] {
        assert!(report[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {report}");
    }
    assert_eq!((&report["tokens"], &report["streams"]), (&json!(8), &json!(2)));
    assert!(report["prefix_tokens"].as_u64().is_some_and(|tokens| tokens < 2048), "what fits: {report}");
    let text = puna.ok(&arguments);
    assert!(text.contains("tokens/s") && text.contains("second turn"), "{text}");
    fails(&puna.run(&["model", "bench", TINY, "--rounds", "0"]), 2, "`--rounds`");
}

/// A second process takes what the agent's prompt begins with from the cache folder.
#[test]
fn an_agent_starts_warm() {
    let puna = Puna::new();
    let agent = puna.agent(|text| text.replace("puna-tiny\n", "puna-tiny\n  warm_start: true\n"));
    let cache = puna.path("cache");
    // The library must be here before it is asked where it is.
    puna.ok(&["model", "inspect", TINY]);
    let usage = || {
        let mut command = puna.command(&["run", &agent, "--json", "Hello"]);
        // The compiled plugins are made anew there; the library is the machine's.
        let library = json(&puna, &["doctor", "--json"])["onnx_runtime"]["found"]["library"]["path"].clone();
        command.env("PUNA_CACHE_DIR", &cache).env("ORT_DYLIB_PATH", library.as_str().expect("a library"));
        let ran = crate::support::ran(command.output().expect("the binary runs"));
        assert_eq!(ran.code, 0, "{ran:?}");
        let events = crate::support::json_lines(&ran.stdout);
        let step = events.iter().find(|event| event["event"] == "step_finished").expect("a step");
        let count = |name: &str| step["usage"][name].as_u64().expect("a count");
        (count("prompt_tokens") - count("cached_tokens"), step["message"].clone())
    };
    let (cold, first) = usage();
    assert_eq!(std::fs::read_dir(cache.join("prefixes")).expect("the folder").count(), 1);
    let (warm, second) = usage();
    assert!(warm < 20, "{warm} of {cold} tokens were computed");
    assert_eq!(first, second);
}
