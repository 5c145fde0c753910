//! Models made on the spot: exported from a checkpoint, and of random weights.

use std::fs;

use serde_json::Value;

use crate::support::{Puna, root};

const REFERENCES: &str = "runtime/puna-export/tests/references";

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

#[test]
fn a_random_model_is_measured() {
    let puna = Puna::new();
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().join("out");
    let out = out.to_str().expect("a path");
    let config = target.path().join("config.json");
    fs::write(
        &config,
        r#"{"model_type": "llama", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256,
            "bos_token_id": 298, "eos_token_id": 299}"#,
    )
    .expect("a file");
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
