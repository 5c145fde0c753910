//! Adapters that PEFT saved, held against what it computes with them. `tests/references/adapters.py` writes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::{StreamExt, future::join_all};
use puna_core::{BeamOptions, Error, ErrorKind, GenerateOptions, ModelEvent, Result, TokenScore};
use puna_export::{ExportOptions, Weights, convert_adapter};
use puna_inference::{CompletionRequest, OnnxModel};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Golden, TOP, checkpoint, distance, export, load, references};

/// An adapter and the checkpoint that it is of.
const ADAPTERS: [(&str, &str); 6] = [
    ("llama3-all", "llama3"),
    ("llama3-values", "llama3"),
    ("llama-biased", "llama-biased"),
    ("phi3-fused", "phi3"),
    ("gemma2-all", "gemma2"),
    ("qwen3-queries", "qwen3"),
];

fn folder(adapter: &str) -> PathBuf {
    references().join("adapters").join(adapter)
}

/// What PEFT computes for the sequences of an adapter's checkpoint.
fn golden(adapter: &str, case: &str) -> Golden {
    Golden::rounded(case, &format!("../adapters/{adapter}/golden"))
}

fn floats() -> ExportOptions {
    ExportOptions { weights: Weights::Fp32, ..ExportOptions::default() }
}

/// An exported case that takes adapters, with some of them in its folder.
fn adaptable(case: &str, adapters: &[&str], options: &ExportOptions) -> (TempDir, PathBuf) {
    let (held, out, _) = export(case, &ExportOptions { adapters: true, ..options.clone() });
    for adapter in adapters {
        let file = out.join(format!("adapters/{adapter}.onnx_adapter"));
        convert_adapter(&folder(adapter), &out, &file, Weights::Fp32)
            .unwrap_or_else(|error| panic!("{adapter}: {}", error.report()));
    }
    (held, out)
}

/// Continues tokens with an adapter or without; gives the tokens' scores and how many of the prompt were cached.
async fn answer(
    model: &OnnxModel,
    adapter: Option<&str>,
    prompt: &[u32],
    tokens: u32,
) -> (Vec<TokenScore>, u64) {
    let request = CompletionRequest {
        prompt: prompt.to_vec(),
        options: GenerateOptions {
            max_tokens: Some(tokens),
            temperature: Some(0.0),
            ..GenerateOptions::default()
        },
        ignore_end: true,
        logprobs: Some(TOP as u32),
        adapter: adapter.map(str::to_owned),
        ..CompletionRequest::default()
    };
    let mut stream = model.complete(request).expect("a request");
    let mut scores = Vec::new();
    loop {
        match stream.next().await.expect("an end").expect("an answer") {
            ModelEvent::Token(score) => scores.push(score),
            ModelEvent::Finished(completion) => return (scores, completion.usage.cached_tokens),
            _ => {}
        }
    }
}

/// How far the likeliest tokens behind each of the golden's sequences are from what they should be.
async fn worst(model: &OnnxModel, adapter: Option<&str>, golden: &Golden) -> f64 {
    let mut worst = 0_f64;
    for (sequence, wanted) in golden.sequences.iter().zip(&golden.logprobs) {
        let (scores, _) = answer(model, adapter, sequence, 1).await;
        let wanted = wanted.last().expect("a place");
        for (token, logprob) in &scores[0].top {
            worst = worst.max((logprob - wanted[*token as usize]).abs());
        }
    }
    worst
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_adapters_give_what_peft_gives() {
    for (adapter, case) in ADAPTERS {
        let options = ExportOptions { merge: Some(folder(adapter)), ..floats() };
        let (_folder, out, _) = export(case, &options);
        let found = distance(&load(&out), &golden(adapter, case)).await;
        println!("{adapter}: {found:?}");
        assert!(found.worst <= 1e-3, "{adapter}: {found:?}");
    }
}

/// With an adapter and without, in one process, in any order.
#[tokio::test(flavor = "multi_thread")]
async fn adapters_of_a_request_give_what_peft_gives() {
    for (adapter, case) in ADAPTERS {
        for standard_ops in [false, true] {
            let (_folder, out) = adaptable(case, &[adapter], &ExportOptions { standard_ops, ..floats() });
            let model = load(&out);
            assert!(model.details().takes_adapters);
            for (name, golden) in [(None, Golden::of(case)), (Some(adapter), golden(adapter, case))] {
                let found = worst(&model, name, &golden).await;
                println!("{name:?} of {case}, standard {standard_ops}: {found}");
                assert!(found <= 1e-3, "{name:?} of {case}: {found}");
            }
            let again = worst(&model, None, &Golden::of(case)).await;
            assert!(again <= 1e-3, "{case} behind {adapter}: {again}");
        }
    }
}

/// Keys and values that one adapter computed are of no use to another, and a step has one.
#[tokio::test(flavor = "multi_thread")]
async fn adapters_are_never_mixed() {
    let names = ["llama3-all", "llama3-values"];
    let (_folder, out) = adaptable("llama3", &names, &floats());
    let model = load(&out);
    assert_eq!(model.adapters(), names);
    let prompt = &Golden::of("llama3").sequences[3];
    let kinds = [None, Some(names[0]), Some(names[1])];
    let mut alone = Vec::new();
    for kind in kinds {
        let (scores, cached) = answer(&model, kind, prompt, 16).await;
        assert_eq!(cached, 0, "{kind:?}");
        let (again, cached) = answer(&model, kind, prompt, 16).await;
        assert_eq!(cached as usize, prompt.len() - 1, "{kind:?}");
        near(&again, &scores);
        alone.push(scores);
    }
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[0] != alone[2]);
    // More than there are rows, so that some wait; prompts of different lengths end at different times.
    let jobs: Vec<_> = (0..24).map(|job| (kinds[job % 3], &prompt[..prompt.len() - job / 3])).collect();
    let together = join_all(jobs.iter().map(|(kind, prompt)| answer(&model, *kind, prompt, 16))).await;
    for ((kind, prompt), (scores, _)) in jobs.into_iter().zip(together) {
        let fresh = load(&out);
        near(&scores, &answer(&fresh, kind, prompt, 16).await.0);
    }
}

#[track_caller]
fn near(found: &[TokenScore], wanted: &[TokenScore]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found.logprob - wanted.logprob).abs() < 1e-3, "{found:?} and {wanted:?}");
        if found.token != wanted.token {
            // Nearly as likely; what follows is another text.
            return;
        }
    }
}

/// What an adapter computed of a prompt is kept on the disk for it alone.
#[tokio::test(flavor = "multi_thread")]
async fn kept_prompts_are_an_adapters_own() {
    let name = "llama3-all";
    let (held, out) = adaptable("llama3", &[name], &floats());
    let kept = held.path().join("kept");
    let prompt = &Golden::of("llama3").sequences[3];
    let wanted = answer(&load(&out), Some(name), prompt, 4).await.0;
    assert!(!load(&out).warm_start(&prompt[..40], Some(name), &kept).await.expect("a file"), "it is written");
    let plain = load(&out);
    assert!(!plain.warm_start(&prompt[..40], None, &kept).await.expect("a file"), "another is written");
    assert_eq!(answer(&plain, Some(name), prompt, 4).await.1, 0);
    let fresh = load(&out);
    assert!(fresh.warm_start(&prompt[..40], Some(name), &kept).await.expect("a file"), "it is read");
    assert_eq!(answer(&fresh, None, prompt, 1).await.1, 0);
    let (scores, cached) = answer(&fresh, Some(name), prompt, 4).await;
    assert_eq!(cached, 40);
    near(&scores, &wanted);
}

/// The likeliest answer as a whole is searched for with an adapter too.
#[tokio::test(flavor = "multi_thread")]
async fn beams_take_adapters() {
    let name = "llama3-all";
    let (_folder, out) = adaptable("llama3", &[name], &floats());
    let (_merged, merged, _) = export("llama3", &ExportOptions { merge: Some(folder(name)), ..floats() });
    let prompt = &Golden::of("llama3").sequences[2];
    let search = async |model: &OnnxModel, adapter: Option<&str>| {
        let beam = Some(BeamOptions { beams: 3, ..BeamOptions::default() });
        let request = CompletionRequest {
            prompt: prompt.clone(),
            options: GenerateOptions {
                max_tokens: Some(8),
                temperature: Some(0.0),
                beam,
                ..GenerateOptions::default()
            },
            ignore_end: true,
            adapter: adapter.map(str::to_owned),
            ..CompletionRequest::default()
        };
        let mut stream = model.complete(request).expect("a request");
        loop {
            if let ModelEvent::Finished(completion) = stream.next().await.expect("an end").expect("an answer")
            {
                return completion.message.plain_text();
            }
        }
    };
    let model = load(&out);
    let found = search(&model, Some(name)).await;
    assert_eq!(found, search(&load(&merged), None).await);
    assert_ne!(found, search(&model, None).await);
}

/// Prompts may go through a companion, and weights may be of few bits: an adapter is in floats beside them.
#[tokio::test(flavor = "multi_thread")]
async fn adapters_go_with_few_bits() {
    let (adapter, case) = ADAPTERS[0];
    let (plain, adapted) = (Golden::of(case), golden(adapter, case));
    for (weights, companion_int8) in [(Weights::Int4, false), (Weights::Int8, false), (Weights::Int8, true)] {
        let options = ExportOptions { weights, companion_int8, ..ExportOptions::default() };
        let (_folder, out) = adaptable(case, &[adapter], &options);
        let model = load(&out);
        let (with, without) =
            (worst(&model, Some(adapter), &adapted).await, worst(&model, None, &adapted).await);
        println!("{weights} {companion_int8}: {with} with and {without} without");
        assert!(with < without / 2.0, "{weights}: {with} with and {without} without");
        assert!(worst(&model, None, &plain).await < without / 2.0);
    }
}

/// What the engine says of a request that names this adapter.
fn asked(model: &OnnxModel, adapter: &str) -> Result<()> {
    let request = CompletionRequest {
        prompt: vec![3],
        adapter: Some(adapter.to_owned()),
        ..CompletionRequest::default()
    };
    model.complete(request).map(|_| ())
}

#[track_caller]
fn check(error: Option<Error>, kind: ErrorKind, told: &str) {
    let error = error.expect("an error");
    assert_eq!(error.kind(), kind, "{}", error.report());
    assert!(error.report().to_string().contains(told), "no `{told}` in {}", error.report());
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let (_folder, out) = adaptable("llama3", &["llama3-all"], &floats());
    let model = load(&out);
    check(asked(&model, "other").err(), ErrorKind::NotFound, "there are llama3-all");
    check(asked(&model, "../adapters/llama3-all").err(), ErrorKind::NotFound, "no adapter");
    let own = out.join("adapters/llama3-all.onnx_adapter");
    model.load_adapter("again", &own).expect("the same under another name");
    model.load_adapter("again", &own).expect("the same again");
    // Of another model: another width, another head.
    for case in ["gemma2-all", "llama-biased"] {
        let file = out.join(case);
        let base = references().join(case.trim_end_matches("-all"));
        convert_adapter(&folder(case), &base, &file, Weights::Fp32).expect("an adapter");
        check(model.load_adapter(case, &file).err(), ErrorKind::InvalidInput, "of another model");
        check(model.load_adapter("again", &file).err(), ErrorKind::InvalidInput, "of another model");
    }
    assert!(model.unload_adapter("again") && !model.unload_adapter("again"));
    check(asked(&model, "again").err(), ErrorKind::NotFound, "no adapter `again`");
    asked(&model, "llama3-all").expect("the model's own");
    let half = out.join("half");
    convert_adapter(&folder("llama3-all"), &out, &half, Weights::Fp16).expect("an adapter");
    check(model.load_adapter("half", &half).err(), ErrorKind::InvalidInput, "the graph takes f32");
    let mut bytes = fs::read(&own).expect("the file");
    bytes.truncate(bytes.len() / 2);
    fs::write(&half, &bytes).expect("a file");
    check(model.load_adapter("half", &half).err(), ErrorKind::Corrupt, "is not an adapter");
    let (_folder, plain, _) = export("llama3", &floats());
    check(
        load(&plain).load_adapter("own", &own).err(),
        ErrorKind::InvalidInput,
        "export it with `--adapters`",
    );

    let bf16 = convert_adapter(&folder("llama3-all"), &out, &half, Weights::Bf16);
    check(bf16.err(), ErrorKind::InvalidInput, "`fp32` or `fp16`");
    let elsewhere =
        convert_adapter(&folder("llama3-all"), &references().join("gemma2"), &half, Weights::Fp32);
    check(elsewhere.err(), ErrorKind::InvalidInput, "in the model");
    let fused = convert_adapter(&folder("llama3-all"), &references().join("phi3"), &half, Weights::Fp32);
    check(fused.err(), ErrorKind::InvalidInput, "in the model");
}

/// An adapter's folder with some of its settings changed.
fn changed(settings: Value) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let source = folder("llama3-all");
    fs::copy(source.join("adapter_model.safetensors"), copy.path().join("adapter_model.safetensors"))
        .expect("a copy");
    let text = fs::read_to_string(source.join("adapter_config.json")).expect("the settings");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (name, value) in settings.as_object().expect("settings") {
        config[name] = value.clone();
    }
    fs::write(copy.path().join("adapter_config.json"), config.to_string()).expect("a file");
    copy
}

#[test]
fn kinds_of_adapters_that_are_not_supported_are_named() {
    let source = checkpoint("llama3");
    let out = source.path().join("out");
    let merge = |folder: &Path| {
        let options = ExportOptions { merge: Some(folder.to_owned()), ..floats() };
        let merged = puna_export::export(source.path(), &out, &options, &|_| ()).err();
        let converted = convert_adapter(folder, source.path(), &out, Weights::Fp32).err();
        assert!(!out.exists());
        let [merged, converted] = [merged, converted].map(|error| error.expect("an error"));
        assert_eq!((merged.kind(), merged.to_string()), (converted.kind(), converted.to_string()));
        merged
    };
    for (settings, told) in [
        (json!({ "peft_type": "LOHA" }), "`peft_type` is `LOHA`"),
        (json!({ "use_dora": true }), "DoRA"),
        (json!({ "fan_in_fan_out": true }), "`fan_in_fan_out`"),
        (json!({ "bias": "lora_only" }), "biases"),
        (json!({ "lora_bias": true }), "biases"),
        (json!({ "modules_to_save": ["lm_head"] }), "`lm_head`"),
        (json!({ "init_lora_weights": "pissa_niter_4" }), "`pissa_niter_4`"),
        (json!({ "layer_replication": [[0, 2]] }), "`layer_replication`"),
        (json!({ "use_qalora": true }), "`use_qalora`"),
        (json!({ "alora_invocation_tokens": [1] }), "`alora_invocation_tokens`"),
        (json!({ "alpha_pattern": { ".*up_proj": 3 } }), "`.*up_proj`"),
        (json!({ "lora_alpha": -1 }), "`lora_alpha` is `-1`"),
        (json!({ "lora_alpha": "much" }), "not an adapter's"),
    ] {
        let folder = changed(settings);
        check(Some(merge(folder.path())), ErrorKind::InvalidInput, told);
    }
    let folder = changed(json!({}));
    let file = folder.path().join("adapter_model.safetensors");
    let bytes = fs::read(&file).expect("the file");
    let renamed = String::from_utf8_lossy(&bytes[8..]).find("lora_B").expect("a name");
    let mut strange = bytes.clone();
    strange[8 + renamed..8 + renamed + 6].copy_from_slice(b"lora_C");
    fs::write(&file, &strange).expect("a file");
    check(Some(merge(folder.path())), ErrorKind::InvalidInput, "lora_C");
    fs::write(&file, &bytes[..bytes.len() - 8]).expect("a file");
    check(Some(merge(folder.path())), ErrorKind::Corrupt, "adapter_model.safetensors");
    let mut damaged = bytes;
    let last = damaged.len() - 4;
    damaged[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, &damaged).expect("a file");
    let options = ExportOptions { merge: Some(folder.path().to_owned()), ..floats() };
    let merged = puna_export::export(source.path(), &out, &options, &|_| ()).err();
    check(merged, ErrorKind::InvalidInput, "the adapter is damaged");
    fs::remove_file(&file).expect("the file");
    check(Some(merge(folder.path())), ErrorKind::NotFound, "adapter_model.safetensors");
    // Merged into another model.
    let other = checkpoint("qwen3");
    let options = ExportOptions { merge: Some(crate::adapters::folder("gemma2-all")), ..floats() };
    let error = puna_export::export(other.path(), &out, &options, &|_| ()).err();
    check(error, ErrorKind::InvalidInput, "in the checkpoint");
    let options = ExportOptions { rotate: true, adapters: true, ..floats() };
    let error = puna_export::export(source.path(), &out, &options, &|_| ()).err();
    check(error, ErrorKind::InvalidInput, "rotated");
}
