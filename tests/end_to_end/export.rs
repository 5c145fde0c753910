//! Models made on the spot: exported from a checkpoint, and of random weights.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Stdio, thread, time::Duration};

use serde_json::Value;

use crate::support::{Puna, root};

const REFERENCES: &str = "runtime/puna-export/tests/references";

/// A configuration of a small model.
const SMALL: &str = r#"{"model_type": "llama", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256, "bos_token_id": 298,
    "eos_token_id": 299}"#;

/// A checkpoint with the tokenizer that the references share.
fn checkpoint(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let references = root().join(REFERENCES);
    let files = fs::read_dir(references.join(case)).expect("a case").map(|file| file.expect("a file").path());
    let shared = ["tokenizer.json", "tokenizer_config.json"].map(|name| references.join(name));
    for file in files.chain(shared) {
        fs::copy(&file, folder.path().join(file.file_name().expect("a name"))).expect("a copy");
    }
    folder
}

#[test]
fn a_checkpoint_becomes_a_model() {
    let puna = Puna::new();
    let (source, target) = (checkpoint("llama3"), tempfile::tempdir().expect("a folder"));
    let (from, out) = (source.path().to_str().expect("a path"), target.path().join("out"));
    let out = out.to_str().expect("a path");
    let text =
        puna.ok(&["model", "export", from, "--out", out, "--companion", "int8", "--keep", "lm_head=int8"]);
    for part in ["llama", "model.onnx, model_prefill.onnx", "int4", "128 tokens"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let report: Value = serde_json::from_str(&puna.ok(&["score", out, "--json", "Hello."])).expect("JSON");
    assert!(report["perplexity"].as_f64().is_some_and(f64::is_finite), "{report}");
    let again = puna.run(&["model", "export", from, "--out", out]);
    assert!(again.code != 0 && again.stderr.contains("exists already"), "{again:?}");

    let floats = target.path().join("floats");
    let floats = floats.to_str().expect("a path");
    let report = puna.ok(&[
        "model",
        "export",
        from,
        "--out",
        floats,
        "--weights",
        "bf16",
        "--context",
        "64",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["context"], &report["graphs"][0]), (&64.into(), &"model.onnx".into()));

    for (arguments, code, told) in [
        (["--weights", "int3"], 2, "possible values: fp32, fp16, bf16, int8, int4"),
        (["--keep", "lm_head"], 2, "is not a pattern and weights"),
        (["--block", "7"], 2, "the block is `7`"),
    ] {
        let ran = puna.run(&[&["model", "export", from, "--out", "nowhere"][..], &arguments].concat());
        assert!(ran.code == code && ran.stderr.contains(told), "no `{told}` in {ran:?}");
    }
    let ran = puna.run(&["model", "export", "examples/models/puna-tiny", "--out", "nowhere"]);
    assert!(ran.code == 3 && ran.stderr.contains("no `model.safetensors`"), "{ran:?}");
}

/// A killed export leaves nothing under the folder's name, and the next one removes what it left.
#[test]
fn a_killed_export_leaves_nothing_half_done() {
    let puna = Puna::new();
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().join("out");
    let text = out.to_str().expect("a path");
    let begun = || -> BTreeSet<PathBuf> {
        let entries =
            fs::read_dir(target.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.join("model.onnx.data").is_file()).collect()
    };
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let mut child = puna
            .command(&["model", "random", "--shape", "llama-3.2-1b", "--out", text])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let fresh = loop {
            assert_eq!(child.try_wait().expect("a process"), None, "it ended before it was killed");
            match begun().difference(&seen).next() {
                Some(fresh) => break fresh.clone(),
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        child.kill().expect("a process");
        child.wait().expect("a process");
        assert!(!out.exists());
        assert_eq!(begun(), BTreeSet::from([fresh.clone()]), "what was left before is gone");
        seen.insert(fresh);
    }
    let config = target.path().join("config.json");
    fs::write(&config, SMALL).expect("a file");
    puna.ok(&["model", "random", "--config", config.to_str().expect("a path"), "--out", text]);
    assert_eq!(begun(), BTreeSet::from([out]));
}

/// What rounding costs and gives, and what cannot be held against each other.
#[test]
fn models_are_compared() {
    let puna = Puna::new();
    let (source, target) = (checkpoint("llama3"), tempfile::tempdir().expect("a folder"));
    let from = source.path().to_str().expect("a path");
    let [floats, few] = ["fp32", "int4"].map(|weights| {
        let out = target.path().join(weights).to_str().expect("a path").to_owned();
        puna.ok(&["model", "export", from, "--out", &out, "--weights", weights]);
        out
    });
    let text = target.path().join("text.txt");
    fs::write(&text, "What a quantisation costs, and what it gives.").expect("a file");
    let text = text.to_str().expect("a path");
    let compare = |a: &str, b: &str| {
        let report = puna.ok(&["model", "compare", a, b, "--text", text, "--rounds", "1", "--json"]);
        serde_json::from_str::<Value>(&report).expect("JSON")
    };
    let report = compare(&floats, &few);
    let figure =
        |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{report}"));
    assert!(figure("/divergence") > 0.0 && figure("/worst_divergence") >= figure("/divergence"));
    assert!((0.0..=1.0).contains(&figure("/agreement")));
    assert!(figure("/other/bytes") < figure("/base/bytes"));
    for model in ["base", "other"] {
        for speed in ["prefill", "decode"] {
            assert!(figure(&format!("/{model}/{speed}_tokens_per_second")) > 0.0);
        }
    }
    let scored = puna.ok(&["score", &few, "--file", text, "--json"]);
    let scored: Value = serde_json::from_str(&scored).expect("JSON");
    assert!((figure("/other/logprob") - scored["logprob"].as_f64().expect("a sum")).abs() < 1e-3);
    let same = compare(&few, &few);
    assert_eq!(
        (&same["agreement"], same["divergence"].as_f64().map(|nats| nats < 1e-9)),
        (&1.0.into(), Some(true))
    );
    let shown = puna.ok(&["model", "compare", &floats, &few, "--text", text, "--rounds", "0"]);
    assert!(shown.contains("nats in the mean") && !shown.contains("decode"), "{shown}");
    let ran = puna.run(&["model", "compare", &few, "examples/models/puna-tiny", "--text", text]);
    assert!(ran.code == 2 && ran.stderr.contains("vocabular"), "{ran:?}");
}

/// An adapter beside a model, asked for by name and by file, in an agent and merged.
#[test]
fn adapters_change_what_a_model_says() {
    let puna = Puna::new();
    let (source, target) = (checkpoint("llama3"), tempfile::tempdir().expect("a folder"));
    let peft = root().join(REFERENCES).join("adapters/llama3-all");
    let path = |name: &str| target.path().join(name).to_str().expect("a path").to_owned();
    let (from, peft) = (source.path().to_str().expect("a path"), peft.to_str().expect("a path"));
    let (model, merged) = (path("model"), path("merged"));
    puna.ok(&["model", "export", from, "--out", &model, "--weights", "fp32", "--adapters"]);
    puna.ok(&["model", "export", from, "--out", &merged, "--weights", "fp32", "--merge", peft]);
    let file = path("model/adapters/other.onnx_adapter");
    let shown = puna.ok(&["model", "adapter", peft, "--base", &model, "--out", &file]);
    assert!(shown.contains("modules       14") && shown.contains("rank          4"), "{shown}");
    assert!(puna.ok(&["model", "inspect", &model]).contains("one for each request"));
    let say = |folder: &str, adapter: &[&str]| {
        // The checkpoint's own `generation_config.json` asks for sampling.
        let request = ["generate", folder, "--raw", "--temperature", "0", "--max-tokens", "12", "Hello."];
        puna.ok(&[&request[..], adapter].concat())
    };
    let wanted = say(&merged, &[]);
    assert_eq!(say(&model, &["--adapter", "other"]), wanted);
    assert_eq!(say(&model, &["--adapter", &file]), wanted);
    assert_ne!(say(&model, &[]), wanted);
    let score = |folder: &str, adapter: &[&str]| -> f64 {
        let report = puna.ok(&[&["score", folder, "--json", "Hello to you."][..], adapter].concat());
        serde_json::from_str::<Value>(&report).expect("JSON")["logprob"].as_f64().expect("a sum")
    };
    let (merged_score, plain_score) = (score(&merged, &[]), score(&model, &[]));
    for adapter in ["other", &file] {
        let adapted = score(&model, &["--adapter", adapter]);
        assert!((adapted - merged_score).abs() < 1e-3, "{adapted} and {merged_score}");
    }
    assert!((plain_score - merged_score).abs() > 0.01, "{plain_score} and {merged_score}");
    let agent = |adapter: &str| {
        let yaml = format!(
            "version: 1\nname: a\nmodel:\n  path: {model}\n{adapter}  options:\n    temperature: 0\n    max_tokens: 12\nmemory:\n  conversation: false\n"
        );
        fs::write(path("agent.yaml"), yaml).expect("a file");
        puna.run(&["run", &path("agent.yaml"), "Hello.", "--json"]).stdout
    };
    let said = |events: &str| -> String {
        let events = crate::support::json_lines(events);
        events.iter().filter_map(|event| event["text"].as_str()).collect()
    };
    let adapted = said(&agent("  adapter: model/adapters/other.onnx_adapter\n"));
    let plain = said(&agent(""));
    assert!(!adapted.is_empty() && !plain.is_empty() && adapted != plain, "{adapted:?} and {plain:?}");
    let ran = puna.run(&["generate", &model, "--adapter", "none", "Hello"]);
    assert!(ran.code == 3 && ran.stderr.contains("no adapter `none`; there are other"), "{ran:?}");
    let ran = puna.run(&["generate", &merged, "--adapter", &file, "Hello"]);
    assert!(ran.code == 2 && ran.stderr.contains("export it with `--adapters`"), "{ran:?}");
}

#[test]
fn a_random_model_is_measured() {
    let puna = Puna::new();
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().join("out");
    let out = out.to_str().expect("a path");
    let config = target.path().join("config.json");
    fs::write(&config, SMALL).expect("a file");
    puna.ok(&["model", "random", "--config", config.to_str().expect("a path"), "--out", out, "--seed", "3"]);
    let report = puna.ok(&[
        "model",
        "bench",
        out,
        "--json",
        "--rounds",
        "1",
        "--prompt-tokens",
        "20",
        "--tokens",
        "4",
    ]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert!(report["decode_tokens_per_second"].as_f64().is_some_and(|speed| speed > 0.0), "{report}");
    let ran = puna.run(&["model", "random", "--shape", "llama-9", "--out", out]);
    assert!(ran.code == 2 && ran.stderr.contains("llama-3.2-1b"), "{ran:?}");
}
