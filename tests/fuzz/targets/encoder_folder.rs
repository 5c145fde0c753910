//! Any bytes as one file of an encoder's folder: what it says is within its bounds, or a typed error that can be shown. For
//! the runtime's folder and for the checkpoint of an export.
#![no_main]

use std::{fs, sync::LazyLock};

use puna_export::{EncoderConfig, EncoderOptions, export_encoder};
use puna_inference::EncoderFolder;

/// The files that are read before a graph is loaded. The first byte chooses among them.
const FILES: [&str; 6] = [
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
];

/// What is in those that are not chosen.
const CONFIG: &str = r#"{"model_type": "bert", "vocab_size": 3, "hidden_size": 4, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 16}"#;
const MODULES: &str =
    r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("1_Pooling")).expect("a folder");
    fs::write(folder.path().join("model.onnx"), "").expect("a file");
    let header = [2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'];
    fs::write(folder.path().join("model.safetensors"), header).expect("a file");
    folder
});

/// What an error tells is bounded, however long what it is about.
fn check(error: &puna_core::Error) {
    assert!((1..20_000).contains(&error.report().len()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let file = FILES[*choice as usize % FILES.len()];
    for name in FILES {
        let path = FOLDER.path().join(name);
        match name {
            name if name == file => fs::write(path, content).expect("a file"),
            "config.json" => fs::write(path, CONFIG).expect("a file"),
            "modules.json" => fs::write(path, MODULES).expect("a file"),
            _ => drop(fs::remove_file(path)),
        }
    }
    match EncoderFolder::open(FOLDER.path(), None) {
        Ok(folder) => {
            assert!((8..=1 << 20).contains(&folder.max_tokens));
            assert!((1..=6).contains(&folder.pooling.len()));
            assert!(folder.labels.len() <= 1 << 16);
            assert!(folder.query_prompt.len().max(folder.document_prompt.len()) <= 4096);
            assert!(folder.graph.starts_with(FOLDER.path()));
        }
        Err(error) => check(&error),
    }
    match EncoderFolder::is_encoder(FOLDER.path()) {
        Ok(_) => {}
        Err(error) => check(&error),
    }
    match EncoderConfig::open(FOLDER.path()) {
        Ok(Some(config)) => {
            assert!(config.context >= 4 && config.hidden_size > 0 && config.layers > 0);
            assert!(config.labels.is_none_or(|labels| (1..=1 << 16).contains(&labels)));
        }
        Ok(None) => {}
        Err(error) => check(&error),
    }
    // There is not one tensor.
    let out = FOLDER.path().join("out");
    check(&export_encoder(FOLDER.path(), &out, EncoderOptions::default(), &|_| ()).expect_err("no tensors"));
    assert!(!out.exists());
});
