//! Encoders in the folders of other exporters, and many requests of one. `tests/encoders/make.py` writes the folders.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use puna_core::{Classifier, Embedder, ErrorKind, Reranker};
use puna_inference::{EncoderOptions, OnnxClassifier, OnnxEmbedder, OnnxReranker, Runtime};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

fn options() -> EncoderOptions {
    EncoderOptions { threads: Some(2), ..EncoderOptions::default() }
}

fn runtime() -> Runtime {
    Runtime::get(&|_| ()).expect("ONNX Runtime")
}

fn embedder(name: &str, options: &EncoderOptions) -> OnnxEmbedder {
    OnnxEmbedder::load(&runtime(), &folder(name), options)
        .unwrap_or_else(|error| panic!("{}", error.report()))
}

/// The question, the texts and what comes of them.
fn golden(name: &str) -> (String, Vec<String>, Vec<Vec<f32>>) {
    let text = fs::read_to_string(folder(name).join("golden.json")).expect("the golden");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    let query = said["query"].as_str().unwrap_or_default().to_owned();
    let texts = serde_json::from_value(said["texts"].clone()).expect("texts");
    (query, texts, serde_json::from_value(said["outputs"].clone()).expect("numbers"))
}

#[track_caller]
fn check(name: &str, found: &[Vec<f32>], wanted: &[Vec<f32>], limit: f32) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.len(), wanted.len(), "{name}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < limit, "{name}: {found} for {wanted}");
        }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// `model.onnx` beside the tokenizer; a graph without pooling, and one with its own `sentence_embedding`, whose width the
/// graph does not say.
#[tokio::test]
async fn graphs_of_optimum_embed() {
    for name in ["optimum", "optimum-sentences"] {
        let (_, texts, wanted) = golden(name);
        let model = embedder(name, &options());
        assert_eq!((model.dimension(), model.folder().max_tokens), (32, 40), "{name}");
        let found = model.embed(&texts).await.expect("vectors");
        check(name, &found, &wanted, 1e-4);
    }
}

#[tokio::test]
async fn graphs_of_optimum_classify() {
    let (_, texts, logits) = golden("optimum-classes");
    let model =
        OnnxClassifier::load(&runtime(), &folder("optimum-classes"), &options()).expect("a classifier");
    let found = model.classify(&texts).await.expect("scores");
    let found: Vec<Vec<f32>> = found.iter().map(|row| row.iter().map(|one| one.score).collect()).collect();
    let softmax = |row: &Vec<f32>| -> Vec<f32> {
        let sum: f32 = row.iter().map(|logit| logit.exp()).sum();
        row.iter().map(|logit| logit.exp() / sum).collect()
    };
    check("optimum-classes", &found, &logits.iter().map(softmax).collect::<Vec<_>>(), 1e-4);
}

/// Graphs in `onnx`, the one in floats unless another is asked for.
#[tokio::test]
async fn graphs_of_transformers_js_rank() {
    let (query, texts, logits) = golden("transformers-js");
    let wanted: Vec<Vec<f32>> = logits.iter().map(|row| vec![sigmoid(row[0])]).collect();
    for (variant, file, limit) in [
        (None, "model.onnx", 1e-4),
        (Some("q8"), "model_quantized.onnx", 0.1),
        (Some("onnx/model_quantized.onnx"), "model_quantized.onnx", 0.1),
    ] {
        let options = EncoderOptions { variant: variant.map(str::to_owned), ..options() };
        let model = OnnxReranker::load(&runtime(), &folder("transformers-js"), &options).expect("a reranker");
        assert!(model.folder().graph.ends_with(Path::new("onnx").join(file)), "{:?}", model.folder().graph);
        let scores = model.rerank(&query, &texts).await.expect("scores");
        let scores: Vec<Vec<f32>> = scores.into_iter().map(|score| vec![score]).collect();
        check(file, &scores, &wanted, limit);
    }
    let options = EncoderOptions { variant: Some("q4".to_owned()), ..options() };
    let error =
        OnnxReranker::load(&runtime(), &folder("transformers-js"), &options).err().expect("no variant");
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("`fp32`, `q8`"), "{error}");
}

/// What a folder is not for is told when it is loaded.
#[test]
fn models_for_something_else_are_refused() {
    let error =
        OnnxEmbedder::load(&runtime(), &folder("optimum-classes"), &options()).err().expect("no vectors");
    assert!(error.to_string().contains("gives `logits`; wanted is `sentence_embedding`"), "{error}");
    let error =
        OnnxReranker::load(&runtime(), &folder("optimum-classes"), &options()).err().expect("classes");
    assert!(error.to_string().contains("has 3 labels; a reranker has one"), "{error}");
    let error = OnnxClassifier::load(&runtime(), &folder("optimum"), &options()).err().expect("no logits");
    assert!(error.to_string().contains("gives `last_hidden_state`; wanted is `logits`"), "{error}");
    for error in ["threads", "batch_tokens", "queue"] {
        let mut zero = options();
        match error {
            "threads" => zero.threads = Some(0),
            "batch_tokens" => zero.batch_tokens = 0,
            _ => zero.queue = 0,
        }
        let refused =
            OnnxEmbedder::load(&runtime(), &folder("optimum"), &zero).err().expect("nothing at all");
        assert!(refused.to_string().contains(&format!("`{error}` is `0`")), "{refused}");
    }
}

/// Texts of 38 words, a batch each with `batch_tokens` of 40.
fn many(count: usize) -> Vec<String> {
    let text = |number: usize| {
        (0..38).map(|place| format!("w{}", (number + place * place) % 59)).collect::<Vec<_>>()
    };
    (0..count).map(|number| text(number).join(" ")).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Of a request that nobody waits for any more no further batch runs.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests_end_after_their_batch() {
    let options = EncoderOptions { batch_tokens: 40, ..options() };
    let model = std::sync::Arc::new(embedder("optimum", &options));
    let texts = many(20_000);
    let running = tokio::spawn({
        let model = model.clone();
        async move { model.embed(&texts).await }
    });
    until("a batch", || model.stats().batches > 0).await;
    running.abort();
    assert!(running.await.expect_err("an end").is_cancelled());
    // Whatever is asked next waits for the batch that ran and for nothing else.
    let vectors = model.embed(&many(1)).await.expect("vectors");
    let batches = model.stats().batches;
    assert!(batches < 10_000, "{batches} batches ran");
    assert_eq!(vectors.len(), 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(model.stats().batches, batches, "nothing runs any more");
}

/// So many may wait; one more is told at once; and who leaves makes room, whose request is never computed.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_an_error_and_who_leaves_makes_room() {
    let options = EncoderOptions { batch_tokens: 40, queue: 2, ..options() };
    let model = std::sync::Arc::new(embedder("optimum", &options));
    let ask = |texts: Vec<String>| {
        let model = model.clone();
        tokio::spawn(async move { model.embed(&texts).await })
    };
    let running = ask(many(20_000));
    until("a batch", || model.stats().batches > 0).await;
    let waiting = [ask(many(3_000)), ask(many(2))];
    until("a full queue", || model.stats().waiting == 2).await;
    let refused = model.embed(&many(1)).await.expect_err("a full queue");
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    assert!(refused.to_string().contains("2 requests wait"), "{refused}");
    let [left, stays] = waiting;
    left.abort();
    until("room", || model.stats().waiting == 1).await;
    let last = ask(many(3));
    until("the place taken", || model.stats().waiting == 2).await;
    running.abort();
    let done = join_all([stays, last]).await;
    let lengths: Vec<usize> =
        done.into_iter().map(|done| done.expect("no panic").expect("vectors").len()).collect();
    assert_eq!(lengths, [2, 3]);
    assert!(model.stats().batches < 10_000, "{:?}", model.stats());
    assert_eq!(model.stats().waiting, 0);
}
