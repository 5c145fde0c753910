//! Any bytes as a checkpoint's tensors, index or configuration: an export, or a typed error that can be shown.
#![no_main]

use std::{fs, sync::LazyLock};

use puna_export::{Checkpoint, DecoderConfig, ExportOptions, Weights};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// Of two layers and eight numbers.
const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 3, "hidden_size": 16, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 16}"#;

/// What an error tells is bounded, however long what it is about.
fn check(error: &puna_core::Error) {
    assert!((1..20_000).contains(&error.report().len()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let path = |name: &str| FOLDER.path().join(name);
    let (tensors, index, config) =
        (path("model.safetensors"), path("model.safetensors.index.json"), path("config.json"));
    drop(fs::remove_file(&index));
    match choice % 4 {
        // A whole file, and a header with as many bytes behind it as the second byte says.
        0 => fs::write(&tensors, content).expect("a file"),
        1 => {
            let Some((tail, header)) = content.split_first() else { return };
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header);
            bytes.resize(bytes.len() + usize::from(*tail), 0);
            fs::write(&tensors, bytes).expect("a file");
        }
        2 => {
            fs::write(&tensors, [2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']).expect("a file");
            fs::write(&index, content).expect("a file");
        }
        _ => {
            match DecoderConfig::parse(content) {
                Ok(config) => assert!(config.heads % config.kv_heads == 0 && config.head_dim % 2 == 0),
                Err(error) => check(&error),
            }
            return;
        }
    }
    match Checkpoint::open(FOLDER.path()) {
        Ok(checkpoint) => assert!(checkpoint.tensors() <= 1 << 16),
        Err(error) => check(&error),
    }
    fs::write(config, CONFIG).expect("a file");
    let options = ExportOptions { weights: Weights::Fp32, ..ExportOptions::default() };
    if let Err(error) = puna_export::export(FOLDER.path(), &path("out"), &options, &|_| ()) {
        check(&error);
    } else {
        fs::remove_dir_all(path("out")).expect("a folder");
    }
});
