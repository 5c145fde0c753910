//! Checkpoints that are not what they say.

use std::{fs, path::Path};

use proptest::prelude::*;
use puna_core::ErrorKind;
use puna_export::{Checkpoint, DecoderConfig, ExportOptions};
use serde_json::{Value, json};

use crate::checkpoint;

/// A file of tensors: the length of its header as told, the header, and so many bytes.
fn file_of(length: Option<u64>, header: &str, data: usize) -> Vec<u8> {
    let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[track_caller]
fn check_file(bytes: &[u8], told: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("model.safetensors"), bytes).expect("a file");
    match (Checkpoint::open(folder.path()), told) {
        (Ok(_), "") => {}
        (Ok(_), _) => panic!("it is not sound: {told}"),
        (Err(error), _) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let text = error.to_string();
            assert!(!told.is_empty() && text.contains(told) && text.contains("model.safetensors"), "{text}");
        }
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"a": {{"dtype": "F16", "shape": [2], "data_offsets": {first}}}, "b": {{"dtype": "F16", "shape": [2], "data_offsets": {second}}}}}"#
        )
    };
    let sound = one("F32", "[2, 3]", "[0, 24]");
    check_file(&file_of(None, &sound, 24), "");
    check_file(&file_of(None, &format!("{sound}    "), 24), "");
    check_file(&file_of(None, r#"{"__metadata__": {"format": "pt"}}"#, 0), "");
    check_file(&file_of(None, &two("[4, 8]", "[0, 4]"), 8), "");
    // A type that no weight has is an error when it is wanted.
    check_file(&file_of(None, &one("I64", "[3]", "[0, 24]"), 24), "");
    check_file(b"abc", "3 bytes");
    check_file(&file_of(Some(u64::MAX), "{}", 0), "18446744073709551615");
    check_file(&file_of(Some(1000), "{}", 0), "1000 bytes");
    check_file(&file_of(None, "not JSON", 0), "not JSON");
    check_file(&file_of(None, "[1]", 0), "not JSON");
    check_file(&file_of(None, r#"{"a": 1}"#, 0), "`a` is not a tensor");
    check_file(&file_of(None, &sound, 23), "bytes 0 to 24 of 23");
    check_file(&file_of(None, &sound, 25), "1 bytes that belong to no tensor");
    check_file(&file_of(None, &one("F32", "[2, 3]", "[24, 0]"), 24), "24 to 0");
    check_file(&file_of(None, &one("F32", "[2, 4]", "[0, 24]"), 24), "[2, 4] of F32; they do not match");
    check_file(&file_of(None, &one("F16", "[2, 3]", "[0, 24]"), 24), "do not match");
    check_file(&file_of(None, &one("F32", "[4294967296, 4294967296]", "[0, 0]"), 0), "do not match");
    check_file(&file_of(None, &one("I8", "[9223372036854775807, 3]", "[0, 0]"), 0), "do not match");
    check_file(&file_of(None, &one("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4), "9 dimensions");
    check_file(&file_of(None, &one("F32", "[-1]", "[0, 4]"), 4), "not a tensor");
    check_file(&file_of(None, &two("[0, 4]", "[2, 6]"), 6), "inside the tensor before it");
    check_file(&file_of(None, &two("[0, 4]", "[0, 4]"), 4), "inside the tensor before it");
    check_file(&file_of(None, &two("[0, 4]", "[6, 10]"), 10), "a hole of 2 bytes before `b`");
    let twice = r#"{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}, "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}"#;
    check_file(&file_of(None, twice, 4), "`a` is there twice");
    // More than a header may have, in a file that is as long as it says.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    fs::write(&path, (64_u64 << 20).to_le_bytes()).expect("a file");
    fs::OpenOptions::new().write(true).open(&path).expect("a file").set_len(100 << 20).expect("a length");
    let error = Checkpoint::open(folder.path()).err().expect("an error");
    assert!(error.to_string().contains("more than 33554432"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_error_or_a_checkpoint(
        length in prop_oneof![any::<u64>().prop_map(Some), Just(None)],
        header in ".{0,200}",
        data in 0_usize..64,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("model.safetensors"), file_of(length, &header, data)).expect("a file");
        let _ = Checkpoint::open(folder.path());
    }

    /// A sound configuration with one value replaced.
    #[test]
    fn any_value_ends_in_an_error_or_a_configuration(
        key in prop_oneof![
            Just("vocab_size"), Just("hidden_size"), Just("num_hidden_layers"), Just("num_attention_heads"),
            Just("num_key_value_heads"), Just("head_dim"), Just("max_position_embeddings"), Just("rms_norm_eps"),
            Just("rope_theta"), Just("rope_scaling"), Just("sliding_window"), Just("layer_types"), Just("eos_token_id"),
            Just("partial_rotary_factor"),
        ],
        value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!(0)), Just(json!(1)), Just(json!(1e308)), Just(json!("x")),
            Just(json!([])), Just(json!({"rope_type": "longrope"})), any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ],
    ) {
        let mut config = config("mistral");
        config[key] = value;
        if let Ok(config) = DecoderConfig::parse(config.to_string().as_bytes()) {
            prop_assert!(config.layers > 0 && config.heads % config.kv_heads == 0 && config.head_dim % 2 == 0);
        }
    }
}

fn config(case: &str) -> Value {
    let text = fs::read(crate::references().join(case).join("config.json")).expect("a configuration");
    serde_json::from_slice(&text).expect("JSON")
}

#[track_caller]
fn check_config(case: &str, changes: Value, told: &str) {
    let mut config = config(case);
    for (key, value) in changes.as_object().expect("changes") {
        config[key] = value.clone();
    }
    let error = DecoderConfig::parse(config.to_string().as_bytes()).expect_err(told);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(told), "no `{told}` in {error}");
}

#[test]
fn configurations_that_no_model_has_are_refused() {
    check_config("llama", json!({"model_type": "gpt2"}), "supported are the decoders `llama`, `mistral`");
    check_config("llama", json!({"model_type": null}), "and the encoders `bert`");
    check_config("llama", json!({"hidden_size": "big"}), "expected u64");
    check_config("llama", json!({"hidden_size": 0}), "`hidden_size` is `0`");
    check_config("llama", json!({"vocab_size": 1_u64 << 40}), "`vocab_size` is `1099511627776`");
    check_config("llama", json!({"num_key_value_heads": 3}), "not a multiple of `num_key_value_heads`");
    check_config("llama", json!({"hidden_size": 33}), "not a multiple of `num_attention_heads`");
    check_config("llama", json!({"head_dim": 15}), "must be even");
    check_config("llama", json!({"rms_norm_eps": -1}), "`rms_norm_eps` is `-1`");
    check_config("llama", json!({"hidden_act": "relu"}), "`hidden_act` is `relu`");
    check_config("llama", json!({"quantization_config": {"bits": 4}}), "quantised already");
    check_config("llama", json!({"rope_scaling": {"rope_type": "spiral"}}), "`rope_type` is `spiral`");
    check_config("llama", json!({"rope_scaling": {"rope_type": "linear"}}), "lacks `factor`");
    check_config("llama", json!({"rope_scaling": {"rope_type": "linear", "factor": 0}}), "`factor` is `0`");
    check_config("llama", json!({"partial_rotary_factor": 2}), "`partial_rotary_factor` is `2`");
    check_config("llama", json!({"rope_theta": 1e-300}), "too large or too small");
    check_config("gemma2", json!({"layer_types": ["full_attention"]}), "1 entries for 2 layers");
    check_config(
        "gemma2",
        json!({"layer_types": ["full_attention", "linear"]}),
        "`layer_types` has `linear`",
    );
    let scaling = json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]});
    check_config(
        "phi3-long",
        json!({"rope_scaling": scaling}),
        "`short_factor` has 1 numbers; it must have 8",
    );
}

#[track_caller]
fn check_export(folder: &Path, kind: ErrorKind, told: &[&str]) {
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().join("out");
    let error = puna_export::export(folder, &out, &ExportOptions::default(), &|_| ()).expect_err("an error");
    assert_eq!(error.kind(), kind, "{error}");
    for told in told {
        assert!(error.to_string().contains(told), "no `{told}` in {error}");
    }
    // Nothing is left, nor begun.
    assert_eq!(fs::read_dir(target.path()).expect("a folder").count(), 0);
}

/// The checkpoint of one case with the configuration of another, or a changed one.
fn with_config(case: &str, config: &Value) -> tempfile::TempDir {
    let folder = checkpoint(case);
    fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    folder
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let folder = with_config("llama", &config("qwen2"));
    let told = [
        "lacks `model.layers.0.self_attn.q_proj.bias`, `model.layers.0.self_attn.k_proj.bias`",
        "a `qwen2` has",
    ];
    check_export(folder.path(), ErrorKind::InvalidInput, &told);
    let folder = with_config("llama-biased", &config("llama"));
    let told = ["has `model.layers.0.mlp.down_proj.bias`", "which a `llama` does not have"];
    check_export(folder.path(), ErrorKind::InvalidInput, &told);
    let mut wide = config("llama");
    wide["intermediate_size"] = json!(65);
    let folder = with_config("llama", &wide);
    let told = ["`model.layers.0.mlp.gate_proj.weight`", "[65, 32]", "[64, 32]"];
    check_export(folder.path(), ErrorKind::InvalidInput, &told);
    let mut shallow = config("llama");
    shallow["num_hidden_layers"] = json!(1);
    let folder = with_config("llama", &shallow);
    check_export(folder.path(), ErrorKind::InvalidInput, &["has `model.layers.1.input_layernorm.weight`"]);
    let folder = checkpoint("llama");
    fs::remove_file(folder.path().join("config.json")).expect("the file");
    check_export(folder.path(), ErrorKind::NotFound, &["no `config.json`"]);
}

#[test]
fn files_that_are_missing_or_elsewhere_are_named() {
    let index = "model.safetensors.index.json";
    let folder = checkpoint("llama3");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).expect("the file");
    check_export(folder.path(), ErrorKind::NotFound, &["model-00002-of-00003.safetensors", index]);

    let folder = checkpoint("llama3");
    let text = fs::read_to_string(folder.path().join(index)).expect("the index");
    let mut said: Value = serde_json::from_str(&text).expect("JSON");
    said["weight_map"]["model.norm.weight"] = json!("model-00001-of-00003.safetensors");
    fs::write(folder.path().join(index), said.to_string()).expect("the index");
    check_export(folder.path(), ErrorKind::Corrupt, &["`model.norm.weight`", "does not place there"]);
    said["weight_map"]["model.norm.weight"] = json!("../elsewhere.safetensors");
    fs::write(folder.path().join(index), said.to_string()).expect("the index");
    check_export(folder.path(), ErrorKind::InvalidInput, &["`../elsewhere.safetensors`", "beside it"]);
    fs::write(
        folder.path().join(index),
        text.replace(
            "\"weight_map\": {",
            "\"weight_map\": {\"extra\": \"model-00001-of-00003.safetensors\",",
        ),
    )
    .expect("the index");
    check_export(folder.path(), ErrorKind::Corrupt, &["names `extra`, and no file has them"]);
    fs::write(folder.path().join(index), "{}").expect("the index");
    check_export(folder.path(), ErrorKind::InvalidInput, &["not an index of tensors"]);

    // The index as a file of tensors, which would have an index.
    fs::write(folder.path().join(index), json!({ "weight_map": { "a": index } }).to_string())
        .expect("the index");
    check_export(folder.path(), ErrorKind::Corrupt, &[index, "says that its header has"]);

    let folder = checkpoint("llama");
    fs::remove_file(folder.path().join("model.safetensors")).expect("the file");
    check_export(folder.path(), ErrorKind::NotFound, &["no `model.safetensors`", index]);
    fs::write(folder.path().join("pytorch_model.bin"), "").expect("a file");
    check_export(folder.path(), ErrorKind::NotFound, &["pytorch_model.bin", "save them as safetensors"]);
}

/// A weight that does not fit is found while weights are written: what was begun is removed.
#[test]
fn weights_that_do_not_fit_are_refused() {
    let with_last = |value: f32| {
        let folder = checkpoint("llama");
        let path = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&path).expect("the file");
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, bytes).expect("the file");
        folder
    };
    for value in [f32::NAN, f32::INFINITY] {
        let told = format!("`model.norm.weight` has `{value}` where a weight belongs");
        check_export(with_last(value).path(), ErrorKind::InvalidInput, &[&told]);
    }
    let folder = with_last(1e6);
    let out = folder.path().join("out");
    let options = ExportOptions { weights: puna_export::Weights::Fp16, ..ExportOptions::default() };
    let error = puna_export::export(folder.path(), &out, &options, &|_| ()).expect_err("it is too large");
    assert!(error.to_string().contains("`model.norm.weight` has a weight of `1000000`"), "{error}");
    assert!(!out.exists());
}
