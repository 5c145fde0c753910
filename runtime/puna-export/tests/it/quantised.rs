//! Weights in few bits.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::StreamExt;
use puna_core::{ErrorKind, GenerateOptions, ModelEvent};
use puna_export::{ExportOptions, Weights};
use puna_inference::{
    CompanionUse, CompletionRequest, Likelihoods, LoadOptions, ModelFolder, OnnxModel, Runtime,
};
use serde_json::Value;

use crate::{CASES, Golden, checkpoint, distance, export, load};

/// What `make.py` let ONNX Runtime's own quantiser round.
const ROUNDED: [(&str, &str, Weights, bool); 6] = [
    ("llama3", "int4-32", Weights::Int4, true),
    ("llama3", "int4-32-asymmetric", Weights::Int4, false),
    ("llama3", "int8-32", Weights::Int8, true),
    ("llama3", "int8-32-asymmetric", Weights::Int8, false),
    ("llama-dynamic", "int4-32", Weights::Int4, true),
    ("llama-dynamic", "int4-32-asymmetric", Weights::Int4, false),
];

/// Computed in 32-bit floats, an export has the logits of weights that ONNX Runtime rounded.
#[tokio::test(flavor = "multi_thread")]
async fn weights_are_rounded_as_onnx_runtime_rounds_them() {
    for (case, how, weights, symmetric) in ROUNDED {
        let options = ExportOptions { weights, symmetric, accuracy_level: 1, ..ExportOptions::default() };
        let (_folder, out, _) = export(case, &options);
        let found = distance(&load(&out), &Golden::rounded(case, how)).await;
        println!("{case} {how}: {found:?}");
        assert!(found.worst <= 2e-3, "{case} {how}: {found:?}");
    }
}

/// With 8-bit activations too a graph computes what was meant, alone and as a companion. A number that is nearly between
/// two levels may fall to either, which moves few logits a little.
#[tokio::test(flavor = "multi_thread")]
async fn activations_are_rounded_row_by_row() {
    let runtime = Runtime::get(&|_| ()).expect("ONNX Runtime");
    for case in ["llama3", "llama-biased"] {
        let golden = Golden::rounded(case, "int8-rows");
        let form = ExportOptions { weights: Weights::Int8, ..ExportOptions::default() };
        let (_alone, alone, _) = export(case, &ExportOptions { activations_int8: true, ..form.clone() });
        let (_both, both, _) = export(case, &ExportOptions { companion_int8: true, ..form });
        let options = LoadOptions { companion: Some(CompanionUse::Always), ..LoadOptions::default() };
        let companion = OnnxModel::load(&runtime, &both, options).expect("the companion");
        for (how, model) in [("alone", load(&alone)), ("a companion", companion)] {
            let found = distance(&model, &golden).await;
            println!("{case} {how}: {found:?}");
            assert!(found.mean <= 2e-3 && found.worst <= 0.05, "{case} {how}: {found:?}");
        }
    }
}

/// Rounding activations to 8 bits costs far less than rounding weights to 4.
#[tokio::test(flavor = "multi_thread")]
async fn eight_bits_are_near_and_four_are_not_far() {
    for case in CASES {
        let golden = Golden::of(case);
        let mut means = Vec::new();
        for (weights, activations_int8) in
            [(Weights::Int8, false), (Weights::Int8, true), (Weights::Int4, false)]
        {
            let options = ExportOptions { weights, activations_int8, ..ExportOptions::default() };
            let (_folder, out, _) = export(case, &options);
            let found = distance(&load(&out), &golden).await;
            println!("{case} {weights} {activations_int8}: {found:?}");
            means.push(found.mean);
        }
        let [int8, activations, int4] = means[..] else { unreachable!() };
        assert!(int8 * 4.0 < int4 && activations * 4.0 < int4, "{case}: {means:?}");
    }
}

/// In standard operators the weights are the same, and so are the logits.
#[tokio::test(flavor = "multi_thread")]
async fn standard_operators_take_few_bits() {
    let symmetric = ROUNDED.into_iter().filter(|(_, _, _, symmetric)| *symmetric);
    for (case, how, weights, _) in symmetric.filter(|(case, ..)| *case == "llama3") {
        // The embedding is gathered in floats there.
        let keep = vec!["model.embed_tokens=fp32".parse().expect("a pattern")];
        let plain = ExportOptions { weights, keep, accuracy_level: 1, ..ExportOptions::default() };
        let standard = ExportOptions { standard_ops: true, ..plain.clone() };
        let (_folder, out, _) = export(case, &plain);
        let (_other, other, _) = export(case, &standard);
        let (plain, standard) = (load(&out), load(&other));
        for sequence in &Golden::of(case).sequences {
            let [a, b] = [&plain, &standard].map(|model| model.score(sequence, 1, 0, None));
            for (a, b) in a.await.expect("scores").iter().zip(&b.await.expect("scores")) {
                assert!((a.logprob - b.logprob).abs() < 2e-3, "{case} {how}: {a:?} {b:?}");
            }
        }
    }
}

/// The second graph computes prompts over the same keys and values, and keeps what it shares in the first one's file.
#[tokio::test(flavor = "multi_thread")]
async fn a_companion_computes_prompts() {
    for case in CASES {
        // Both have one embedding: in 4 bits it would be most of both errors.
        let keep = vec!["model.embed_tokens=bf16".parse().expect("a pattern")];
        let plain = ExportOptions { keep, ..ExportOptions::default() };
        let (_folder, out, report) = export(case, &ExportOptions { companion_int8: true, ..plain.clone() });
        assert_eq!(report.graphs, ["model.onnx", "model_prefill.onnx"]);
        let size = |name: &str| fs::metadata(out.join(name)).expect("a file").len();
        let (_other, alone, _) = export(case, &plain);
        let before = fs::metadata(alone.join("model.onnx.data")).expect("a file").len();
        assert_eq!(size("model.onnx.data"), before, "{case}");
        // What both need counts once.
        let folder = ModelFolder::open(&out).expect("a folder");
        let [graph, weights] = [size("model_prefill.onnx"), size("model_prefill.onnx.data")];
        assert_eq!(folder.total_bytes - folder.graph_bytes, graph + weights, "{case}");
        assert!(folder.companion_bytes > graph + weights, "{case}");
        // A byte a weight and a scale a row, without tables and norms.
        assert!(size("model_prefill.onnx.data") < 2 * before, "{case}");

        let golden = Golden::of(case);
        for (sequence, prompt) in &golden.answers {
            let prompt = &golden.sequences[*sequence][..*prompt];
            let wanted = &golden.logprobs[*sequence][prompt.len() - 1];
            let error = |scores: &[(u32, f64)]| {
                let squares =
                    scores.iter().map(|(token, logprob)| (logprob - wanted[*token as usize]).powi(2));
                (squares.sum::<f64>() / scores.len() as f64).sqrt()
            };
            let [with, without] =
                [CompanionUse::Prefill, CompanionUse::Never].map(|usage| first(&out, usage, prompt));
            let (with, without) = (error(&with.await), error(&without.await));
            println!("{case}: {with:.4} with, {without:.4} without");
            assert!(with < without, "{case}: {with} with, {without} without");
        }
    }
}

/// The likeliest first tokens behind a prompt.
async fn first(folder: &Path, companion: CompanionUse, prompt: &[u32]) -> Vec<(u32, f64)> {
    let runtime = Runtime::get(&|_| ()).expect("ONNX Runtime");
    let options = LoadOptions { threads: Some(2), companion: Some(companion), ..LoadOptions::default() };
    let model = OnnxModel::load(&runtime, folder, options).expect("the model");
    assert_eq!(model.details().prefill_graph.is_some(), companion == CompanionUse::Prefill);
    let options =
        GenerateOptions { max_tokens: Some(1), temperature: Some(0.0), ..GenerateOptions::default() };
    let request = CompletionRequest {
        prompt: prompt.to_vec(),
        options,
        ignore_end: true,
        logprobs: Some(20),
        ..CompletionRequest::default()
    };
    let mut stream = model.complete(request).expect("a request");
    let mut scores = Vec::new();
    while let Some(event) = stream.next().await {
        if let ModelEvent::Token(score) = event.expect("an answer") {
            scores.extend(score.top);
        }
    }
    scores
}

/// What a comparison of two exports finds is what transformers' own logits say of the checkpoint and its rounded form.
#[tokio::test(flavor = "multi_thread")]
async fn comparing_exports_tells_what_rounding_costs() {
    let (plain, rounded) = (Golden::of("llama3"), Golden::rounded("llama3", "int4-32"));
    let form = |weights| ExportOptions { weights, accuracy_level: 1, ..ExportOptions::default() };
    let (_floats, floats, _) = export("llama3", &form(Weights::Fp32));
    let (_few, few, _) = export("llama3", &form(Weights::Int4));
    let (floats, few) = (load(&floats), load(&few));
    for (sequence, tokens) in plain.sequences.iter().enumerate() {
        let seen = Arc::new(AtomicUsize::new(0));
        let progress = |seen: &Arc<AtomicUsize>| {
            let seen = Arc::clone(seen);
            Arc::new(move |done| seen.store(done, Ordering::Relaxed)) as Arc<dyn Fn(usize) + Send + Sync>
        };
        let base = Likelihoods::of(&floats, tokens, 512, progress(&seen)).await.expect("likelihoods");
        assert_eq!(seen.swap(0, Ordering::Relaxed), tokens.len() - 1);
        let found = base.compare(&few, progress(&seen)).await.expect("a comparison");
        assert_eq!(seen.load(Ordering::Relaxed), tokens.len() - 1);
        let (mut divergences, mut agreed, mut likelihood) = (Vec::new(), 0_u32, 0.0);
        let places = plain.logprobs[sequence].iter().zip(&rounded.logprobs[sequence]).zip(&tokens[1..]);
        for ((p, q), next) in places {
            divergences.push(p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
            let best = |row: &[f64]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            agreed += u32::from(best(p) == best(q));
            likelihood += p[*next as usize];
        }
        let count = divergences.len() as f64;
        let worst = divergences.iter().copied().fold(0.0, f64::max);
        assert!((found.divergence - divergences.iter().sum::<f64>() / count).abs() < 1e-3, "{found:?}");
        assert!((found.worst_divergence - worst).abs() < 2e-3 && worst > 0.0, "{found:?}, {worst}");
        assert!((found.agreement - f64::from(agreed) / count).abs() < 1e-9, "{found:?}");
        assert!(
            (base.perplexity().perplexity.ln() + likelihood / count).abs() < 1e-3,
            "{:?}",
            base.perplexity()
        );
        let same = base.compare(&floats, progress(&seen)).await.expect("a comparison");
        assert!(same.divergence < 1e-9 && same.agreement == 1.0, "{same:?}");
    }
    let error = Likelihoods::of(&floats, &[1], 512, Arc::new(|_| ())).await.err().expect("one token");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let (_other, other, _) = export("llama", &form(Weights::Fp32));
    let base =
        Likelihoods::of(&floats, &plain.sequences[1], 512, Arc::new(|_| ())).await.expect("likelihoods");
    let error = base.compare(&load(&other), Arc::new(|_| ())).await.expect_err("another vocabulary");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.to_string().contains("logits of 80 tokens"),
        "{error}"
    );
}

/// Products that keep more bits make an export larger and better.
#[tokio::test(flavor = "multi_thread")]
async fn chosen_products_keep_more_bits() {
    let golden = Golden::of("llama");
    let mut last = (0, f64::INFINITY);
    for keep in [vec![], vec!["*.down_proj=int8", "*.qkv_proj=int8"], vec!["*_proj=fp16"], vec!["*=fp32"]] {
        let keep: Vec<_> = keep.iter().map(|keep| keep.parse().expect("a pattern")).collect();
        let options = ExportOptions { keep, ..ExportOptions::default() };
        let (_folder, out, report) = export("llama", &options);
        let found = distance(&load(&out), &golden).await;
        println!("{:?}: {} bytes, {found:?}", options.keep, report.weight_bytes);
        assert!(report.weight_bytes > last.0 && found.mean < last.1, "{:?}: {found:?}", options.keep);
        last = (report.weight_bytes, found.mean);
    }
    assert!(last.1 < 1e-3);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let d = ExportOptions::default;
    let cases = [
        (ExportOptions { block: 48, ..d() }, "the block is `48`"),
        (ExportOptions { accuracy_level: 5, ..d() }, "the accuracy level is `5`"),
        (ExportOptions { activations_int8: true, ..d() }, "want weights in `int8`, not `int4`"),
        (ExportOptions { companion_int8: true, weights: Weights::Fp16, ..d() }, "weights in `fp16`"),
        (ExportOptions { companion_int8: true, standard_ops: true, ..d() }, "ONNX Runtime's own"),
        (ExportOptions { symmetric: false, standard_ops: true, ..d() }, "ONNX Runtime's own"),
        (ExportOptions { context: Some(1), ..d() }, "the context is `1`"),
    ];
    for (options, told) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let error = puna_export::export(checkpoint("llama").path(), &out, &options, &|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(told), "no `{told}` in {error}");
        assert!(!out.exists());
    }
    let options = ExportOptions { rotate: true, ..d() };
    let folder = tempfile::tempdir().expect("a folder");
    let error =
        puna_export::export(checkpoint("gemma2").path(), &folder.path().join("out"), &options, &|_| ());
    assert!(error.expect_err("it has other norms").to_string().contains("`gemma2`"));
}

/// The same model with a few large channels behind a norm, as trained models have them: the norm's weights grow and
/// the columns that take them shrink as much. Factors are powers of two, so that no weight is rounded.
fn with_outliers(case: &str) -> tempfile::TempDir {
    let folder = checkpoint(case);
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("the file");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    for (name, entry) in header.as_object().expect("tensors") {
        let norm = name.ends_with("layernorm.weight");
        let taker = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"];
        if !norm && !taker.iter().any(|part| name.ends_with(&format!("{part}.weight"))) {
            continue;
        }
        assert_eq!(entry["dtype"], "F32", "{name}");
        let columns =
            entry["shape"].as_array().and_then(|shape| shape.last()?.as_u64()).expect("a shape") as usize;
        let [start, end] = [0, 1].map(|at| entry["data_offsets"][at].as_u64().expect("a place") as usize);
        let values = &mut bytes[8 + length + start..8 + length + end];
        for (place, value) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if [3, 17].contains(&(place % columns)) {
                let factor = if norm { 64.0 } else { 1.0 / 64.0 };
                *value = (f32::from_le_bytes(*value) * factor).to_le_bytes();
            }
        }
    }
    fs::write(path, bytes).expect("the file");
    folder
}

/// Where a few channels are large, rounding costs more, and less when they are spread.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_spreads_large_channels() {
    for case in ["llama", "llama-biased"] {
        let (golden, source) = (Golden::of(case), with_outliers(case));
        for (weights, activations_int8) in
            [(Weights::Fp32, false), (Weights::Int4, false), (Weights::Int8, false), (Weights::Int8, true)]
        {
            let mut means = Vec::new();
            for rotate in [false, true] {
                let options = ExportOptions { weights, activations_int8, rotate, ..ExportOptions::default() };
                let folder = tempfile::tempdir().expect("a folder");
                let out = folder.path().join("out");
                puna_export::export(source.path(), &out, &options, &|_| ()).expect("an export");
                means.push(distance(&load(&out), &golden).await.mean);
            }
            println!("{case} {weights} {activations_int8}: {means:?}");
            let [plain, turned] = means[..] else { unreachable!() };
            match weights {
                // The outliers change nothing where nothing is rounded.
                Weights::Fp32 => assert!(plain < 1e-3 && turned < 1e-3),
                _ => assert!(turned < plain, "{case} {weights}: {turned} and {plain}"),
            }
        }
    }
}
