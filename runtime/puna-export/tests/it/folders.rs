//! The folders that exports write.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use puna_core::ErrorKind;
use puna_export::{ExportOptions, Weights};
use puna_inference::{Exporter, ModelFolder};
use serde_json::{Value, json};

use crate::{CASES, Golden, checkpoint, distance, export, load, references};

#[test]
fn a_folder_has_what_the_engine_and_others_want() {
    let (_folder, out, report) = export("llama3", &ExportOptions { context: Some(64), ..Default::default() });
    let names: BTreeSet<String> = fs::read_dir(&out)
        .expect("a folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = [
        "config.json",
        "genai_config.json",
        "generation_config.json",
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, wanted.map(str::to_owned).into());
    assert_eq!((&*report.architecture, report.context, report.parameters), ("llama", 64, 27_808));
    let found = ModelFolder::open(&out).expect("a folder");
    assert_eq!(found.exporter, Exporter::GenAi);
    assert_eq!(found.architecture.as_deref(), Some("llama"));
    assert_eq!((found.context_length, &*found.eos, found.share_buffer), (64, &[2][..], Some(true)));
    assert_eq!(
        (found.sizes.layers, found.sizes.kv_heads, found.sizes.head_dim),
        (Some(2), Some(2), Some(16))
    );
    assert_eq!((found.generation.do_sample, found.generation.temperature), (Some(true), Some(0.6)));
}

/// The same checkpoint gives the same bytes, however the threads take turns.
#[test]
fn exports_are_reproducible() {
    let options = ExportOptions { companion_int8: true, ..ExportOptions::default() };
    let (_one, one, _) = export("qwen3", &options);
    let (_two, two, _) = export("qwen3", &options);
    for file in fs::read_dir(&one).expect("a folder") {
        let name = file.expect("a file").file_name();
        assert_eq!(
            fs::read(one.join(&name)).expect("a file"),
            fs::read(two.join(&name)).expect("a file"),
            "{name:?}"
        );
    }
}

#[test]
fn progress_ends_where_it_says() {
    let seen = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().expect("a folder");
    let report = puna_export::export(
        checkpoint("mistral").path(),
        &folder.path().join("out"),
        &ExportOptions::default(),
        &|progress| seen.lock().expect("a list").push((progress.done, progress.total)),
    )
    .expect("an export");
    let seen = seen.into_inner().expect("a list");
    assert!(seen.iter().all(|(done, total)| *done <= *total && *total == report.weight_bytes));
    assert_eq!(seen.iter().map(|(done, _)| *done).max(), Some(report.weight_bytes));
}

/// What exists is not written over, and an export that ends in the middle leaves nothing behind its name.
#[test]
fn folders_appear_whole_or_not_at_all() {
    let source = checkpoint("llama");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("deep/er/out");
    let calls = AtomicUsize::new(0);
    let interrupted = std::panic::catch_unwind(|| {
        puna_export::export(source.path(), &out, &ExportOptions::default(), &|_| {
            assert!(!out.exists());
            assert!(calls.fetch_add(1, Ordering::Relaxed) < 3, "interrupted");
        })
    });
    assert!(interrupted.is_err() && !out.exists());

    // As a killed process leaves it.
    let parent = out.parent().expect("a parent");
    let stale = parent.join(".out.puna-export-abc");
    fs::create_dir_all(&stale).expect("a folder");
    fs::write(stale.join("lock"), "").expect("a file");
    fs::write(stale.join("model.onnx.data"), "half").expect("a file");
    // Another export is at work in this one.
    let busy = parent.join(".out.puna-export-def");
    fs::create_dir_all(&busy).expect("a folder");
    let lock = fs::File::create(busy.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    fs::create_dir(&out).expect("an empty folder");

    puna_export::export(source.path(), &out, &ExportOptions::default(), &|_| ()).expect("an export");
    assert!(out.join("model.onnx").is_file() && !out.join("lock").exists());
    assert!(!stale.exists() && busy.exists());

    let error = puna_export::export(source.path(), &out, &ExportOptions::default(), &|_| ())
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("exists already"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let error =
        puna_export::export(source.path(), &file, &ExportOptions::default(), &|_| ()).expect_err("a file");
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// A longer context than the model's is another table, and a shorter sequence's logits are the same.
#[tokio::test(flavor = "multi_thread")]
async fn contexts_can_be_chosen() {
    for (case, context) in [("llama", 4096), ("llama3", 60), ("phi3-long", 4096)] {
        let options = ExportOptions { context: Some(context), weights: Weights::Fp32, ..Default::default() };
        let (_folder, out, report) = export(case, &options);
        assert_eq!(report.context, context);
        let model = load(&out);
        assert_eq!(model.details().context_length, context);
        let found = distance(&model, &Golden::of(case)).await;
        // LongRoPE's factor depends on the context that the configuration says, not on this.
        assert!(found.worst < 1e-3, "{case}: {found:?}");
    }
}

/// A prompt's step gives the last position's logits, and they are the same.
#[tokio::test(flavor = "multi_thread")]
async fn logits_of_the_last_position_alone() {
    let options = ExportOptions { weights: Weights::Fp32, last_logits: true, ..Default::default() };
    let (_folder, out, _) = export("gemma2", &options);
    let model = load(&out);
    assert!(model.details().last_logits_only);
    assert!(distance(&model, &Golden::of("gemma2")).await.worst < 1e-3);
}

/// Random weights of every architecture make a model that the engine runs, with a tokenizer that keeps any text.
#[tokio::test(flavor = "multi_thread")]
async fn random_models_run() {
    for case in CASES {
        let config =
            fs::read_to_string(references().join(case).join("config.json")).expect("a configuration");
        // Room for the bytes.
        let mut config: Value = serde_json::from_str(&config).expect("JSON");
        config["vocab_size"] = json!(300);
        let (config, options) =
            (config.to_string(), ExportOptions { companion_int8: true, ..Default::default() });
        let folder = tempfile::tempdir().expect("a folder");
        let [one, same, other] = ["one", "same", "other"].map(|name| folder.path().join(name));
        for (out, seed) in [(&one, 7), (&same, 7), (&other, 8)] {
            puna_export::random(&config, seed, out, &options, &|_| ())
                .unwrap_or_else(|error| panic!("{case}: {}", error.report()));
        }
        let [first, again, differs] =
            [&one, &same, &other].map(|out| fs::read(out.join("model.onnx.data")).expect("weights"));
        assert!(first == again && first != differs, "{case}");
        let model = load(&one);
        let text = "Grüße, 草原!";
        let tokens = model.tokens(text).expect("tokens");
        assert_eq!(
            (tokens.len(), model.text(&tokens).expect("a text")),
            (text.len(), text.to_owned()),
            "{case}"
        );
        assert_eq!(crate::answer(&model, &tokens, 8).await.len(), 8, "{case}");
    }
}

/// What the disk has no room for is told before a byte is written.
#[test]
fn a_model_larger_than_the_disk_is_refused() {
    let config = json!({
        "model_type": "llama", "vocab_size": 300, "hidden_size": 65536, "intermediate_size": 262_144,
        "num_hidden_layers": 1024, "num_attention_heads": 512, "max_position_embeddings": 256, "bos_token_id": 298,
        "eos_token_id": 299,
    });
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for (weights, least) in [(Weights::Fp32, 281_000_000_000_000_u64), (Weights::Int4, 43_000_000_000_000)] {
        let options = ExportOptions { weights, ..ExportOptions::default() };
        let error =
            puna_export::random(&config.to_string(), 1, &out, &options, &|_| ()).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        let message = error.to_string();
        let numbers: Vec<u64> =
            message.split(' ').filter_map(|word| word.trim_matches(',').parse().ok()).collect();
        let [needed, free, lacking] = numbers[..] else { panic!("{message}") };
        assert!(needed > least && needed - free == lacking, "{message}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    }
}

#[test]
fn shapes_are_told_by_their_names() {
    for name in puna_export::shapes() {
        let config = puna_export::shape(name).expect("a shape");
        puna_export::DecoderConfig::parse(config.as_bytes())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let error = puna_export::shape("llama-9").expect_err("no such shape");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("llama-3.2-1b"), "{error}");
}
