//! Any bytes as a file of an adapter that PEFT saved: a file that models take, or a typed error that can be shown.
#![no_main]

use std::{fs, sync::LazyLock};

use puna_export::{ExportOptions, Weights};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("adapter")).expect("a folder");
    fs::write(folder.path().join("config.json"), CONFIG).expect("a file");
    // The model that an adapter is merged into, of zeros.
    let tensors = [
        ("model.embed_tokens.weight", "[3,16]", 48),
        ("model.norm.weight", "[16]", 16),
        ("model.layers.0.input_layernorm.weight", "[16]", 16),
        ("model.layers.0.post_attention_layernorm.weight", "[16]", 16),
        ("model.layers.0.self_attn.q_proj.weight", "[16,16]", 256),
        ("model.layers.0.self_attn.k_proj.weight", "[16,16]", 256),
        ("model.layers.0.self_attn.v_proj.weight", "[16,16]", 256),
        ("model.layers.0.self_attn.o_proj.weight", "[16,16]", 256),
        ("model.layers.0.mlp.gate_proj.weight", "[4,16]", 64),
        ("model.layers.0.mlp.up_proj.weight", "[4,16]", 64),
        ("model.layers.0.mlp.down_proj.weight", "[16,4]", 64),
        ("lm_head.weight", "[3,16]", 48),
    ];
    fs::write(folder.path().join("model.safetensors"), safetensors(&tensors)).expect("a file");
    folder
});

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 3, "hidden_size": 16, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 16}"#;

const ADAPTER: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#;

/// A file of 32-bit zeros.
fn safetensors(tensors: &[(&str, &str, usize)]) -> Vec<u8> {
    let (mut fields, mut end) = (Vec::new(), 0);
    for (name, shape, count) in tensors {
        let begin = end;
        end += count * 4;
        fields.push(format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", fields.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + end, 0);
    bytes
}

/// What an error tells is bounded, however long what it is about.
fn check(error: &puna_core::Error) {
    assert!((1..20_000).contains(&error.report().len()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let base = FOLDER.path();
    let adapter = base.join("adapter");
    let (config, weights) = (adapter.join("adapter_config.json"), adapter.join("adapter_model.safetensors"));
    let name = "base_model.model.model.layers.0.self_attn.v_proj";
    let (a, b) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
    match choice % 3 {
        0 => {
            fs::write(config, content).expect("a file");
            fs::write(weights, safetensors(&[(&a, "[2,16]", 32), (&b, "[16,2]", 32)])).expect("a file");
        }
        1 => {
            fs::write(config, ADAPTER).expect("a file");
            fs::write(weights, content).expect("a file");
        }
        // A header with as many bytes behind it as the second byte says.
        _ => {
            let Some((tail, header)) = content.split_first() else { return };
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header);
            bytes.resize(bytes.len() + usize::from(*tail) * 16, 0);
            fs::write(config, ADAPTER).expect("a file");
            fs::write(weights, bytes).expect("a file");
        }
    }
    let file = base.join("one.onnx_adapter");
    match puna_export::convert_adapter(&adapter, base, &file, Weights::Fp32) {
        Ok(report) => {
            assert_eq!(report.bytes, fs::metadata(&file).expect("a file").len());
            fs::remove_file(file).expect("a file");
        }
        Err(error) => {
            check(&error);
            assert!(!file.exists());
        }
    }
    let options = ExportOptions { weights: Weights::Fp32, merge: Some(adapter), ..ExportOptions::default() };
    let out = base.join("out");
    match puna_export::export(base, &out, &options, &|_| ()) {
        Ok(_) => fs::remove_dir_all(out).expect("a folder"),
        Err(error) => check(&error),
    }
});
