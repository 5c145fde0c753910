//! Any bytes as one file of a model's folder: what it says is within its bounds, or a typed error that can be shown.
#![no_main]

use std::{fs, sync::LazyLock};

use puna_inference::ModelFolder;

/// The files that are read before a graph is loaded. The first byte chooses among them.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "genai_config.json", "puna.json", "model.onnx"];

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let file = FILES[*choice as usize % FILES.len()];
    for name in FILES {
        let path = FOLDER.path().join(name);
        match name {
            name if name == file => fs::write(path, content).expect("a file"),
            "model.onnx" => fs::write(path, "").expect("a file"),
            _ => drop(fs::remove_file(path)),
        }
    }
    match ModelFolder::open(FOLDER.path()) {
        Ok(folder) => {
            assert!((2..=1 << 27).contains(&folder.context_length));
            assert!(folder.eos.len() <= 3 * 256);
            assert!(folder.sizes.kv_heads != Some(0) && folder.sizes.head_dim != Some(0));
            assert!(folder.graph.starts_with(FOLDER.path()));
        }
        Err(error) => assert!((1..20_000).contains(&error.report().len())),
    }
});
