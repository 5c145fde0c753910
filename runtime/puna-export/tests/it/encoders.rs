//! What exported encoders compute. `tests/encoders/make.py` writes the checkpoints.

use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::{Classifier, Embedder, ErrorKind, Reranker};
use puna_export::{EncoderOptions as Options, Weights, export_encoder};
use puna_inference::{EncoderOptions, LongInput, OnnxClassifier, OnnxEmbedder, OnnxReranker, Runtime};
use serde_json::Value;
use tempfile::TempDir;

const EMBEDDERS: [&str; 8] =
    ["bert", "bert-tanh", "roberta", "camembert", "distilbert", "mpnet", "deberta", "deberta-plain"];
const CLASSIFIERS: [&str; 6] = [
    "bert-classes",
    "camembert-classes",
    "distilbert-classes",
    "mpnet-classes",
    "deberta-classes",
    "prompt-guard",
];
const RERANKERS: [&str; 2] = ["bert-ranker", "xlm-roberta-ranker"];

pub(crate) fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

fn exported(name: &str, weights: Weights) -> (TempDir, PathBuf) {
    export(&case(name), weights)
}

/// Exports a checkpoint into the folder `out` of a temporary one.
pub(crate) fn export(checkpoint: &Path, weights: Weights) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    export_encoder(checkpoint, &out, Options { weights }, &|_| ())
        .unwrap_or_else(|error| panic!("{}: {}", checkpoint.display(), error.report()));
    (folder, out)
}

struct Golden {
    query: String,
    texts: Vec<String>,
    outputs: Vec<Vec<f32>>,
    /// A text that is longer than the model takes, and what it gives by the policy of windows.
    long: String,
    long_output: Vec<f32>,
}

fn golden(name: &str) -> Golden {
    let text = fs::read_to_string(case(name).join("golden.json")).expect("the golden");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    Golden {
        query: said["query"].as_str().unwrap_or_default().to_owned(),
        texts: serde_json::from_value(said["texts"].clone()).expect("texts"),
        outputs: serde_json::from_value(said["outputs"].clone()).expect("numbers"),
        long: said["long"].as_str().unwrap_or_default().to_owned(),
        long_output: serde_json::from_value(said["long_output"].clone()).unwrap_or_default(),
    }
}

pub(crate) fn options() -> EncoderOptions {
    EncoderOptions { threads: Some(2), long: LongInput::Error, ..EncoderOptions::default() }
}

fn runtime() -> Runtime {
    Runtime::get(&|_| ()).expect("ONNX Runtime")
}

pub(crate) fn embedder(folder: &Path, options: &EncoderOptions) -> OnnxEmbedder {
    OnnxEmbedder::load(&runtime(), folder, options).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// The largest difference of two lists of vectors.
pub(crate) fn worst(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let pairs = found.iter().zip(wanted).flat_map(|(found, wanted)| {
        assert_eq!(found.len(), wanted.len());
        found.iter().zip(wanted)
    });
    pairs.fold(0.0, |worst, (found, wanted)| (found - wanted).abs().max(worst))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let sum: f32 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / sum).collect()
}

#[tokio::test]
async fn embeddings_are_those_of_transformers() {
    for name in EMBEDDERS {
        let golden = golden(name);
        let (_folder, out) = exported(name, Weights::Fp32);
        let found = embedder(&out, &options()).embed(&golden.texts).await.expect("vectors");
        let distance = worst(&found, &golden.outputs);
        println!("{name}: {distance:e}");
        assert!(distance < 1e-4, "{name}: {distance}");
        let (_folder, out) = exported(name, Weights::Int8);
        let rounded = embedder(&out, &options()).embed(&golden.texts).await.expect("vectors");
        let least = rounded.iter().zip(&golden.outputs).map(|(a, b)| cosine(a, b)).fold(1.0, f32::min);
        println!("{name} int8: cosine {least}");
        assert!(least > 0.99, "{name}: {least}");
    }
}

#[tokio::test]
async fn scores_are_those_of_transformers() {
    for name in CLASSIFIERS {
        let golden = golden(name);
        let wanted: Vec<Vec<f32>> = match name {
            "distilbert-classes" => {
                golden.outputs.iter().map(|row| row.iter().copied().map(sigmoid).collect()).collect()
            }
            _ => golden.outputs.iter().map(|row| softmax(row)).collect(),
        };
        for (weights, limit) in [(Weights::Fp32, 1e-4), (Weights::Int8, 0.1)] {
            let (_folder, out) = exported(name, weights);
            let model = OnnxClassifier::load(&runtime(), &out, &options()).expect("a classifier");
            let found = model.classify(&golden.texts).await.expect("scores");
            let second = if name == "prompt-guard" { "MALICIOUS" } else { "LABEL_1" };
            assert_eq!(found[0][1].label, second);
            let found: Vec<Vec<f32>> =
                found.iter().map(|row| row.iter().map(|one| one.score).collect()).collect();
            let distance = worst(&found, &wanted);
            println!("{name} {weights}: {distance:e}");
            assert!(distance < limit, "{name} {weights}: {distance}");
        }
    }
}

#[tokio::test]
async fn rankings_are_those_of_transformers() {
    for name in RERANKERS {
        let golden = golden(name);
        let (_folder, out) = exported(name, Weights::Fp32);
        let model = OnnxReranker::load(&runtime(), &out, &options()).expect("a reranker");
        let found = model.rerank(&golden.query, &golden.texts).await.expect("scores");
        for (found, wanted) in found.iter().zip(&golden.outputs) {
            // One names its activation, the other has the one of cross-encoders that do not.
            let wanted = if name == "bert-ranker" { sigmoid(wanted[0]) } else { wanted[0] };
            assert!((found - wanted).abs() < 1e-4, "{name}: {found} for {wanted}");
        }
    }
}

/// A text's vector is the same alone and among others: to 1e-5, because products of many rows are summed in another
/// order than those of few.
#[tokio::test]
async fn neighbours_change_nothing() {
    for name in EMBEDDERS {
        let golden = golden(name);
        let long: Vec<String> = (0..20).map(|count| vec!["w3 w17"; 1 + count % 17].join(" ")).collect();
        for weights in [Weights::Fp32, Weights::Int8] {
            let (_folder, out) = exported(name, weights);
            let model = embedder(&out, &options());
            let among = model.embed(&[golden.texts.clone(), long.clone()].concat()).await.expect("vectors");
            for (text, among) in golden.texts.iter().zip(among) {
                let alone = model.embed(std::slice::from_ref(text)).await.expect("a vector");
                let distance = worst(&alone, &[among]);
                assert!(distance < 1e-5, "{name} {weights}: `{text}` is off by {distance}");
            }
        }
    }
}

#[tokio::test]
async fn long_texts_are_never_cut_in_silence() {
    let (_folder, out) = exported("bert", Weights::Fp32);
    let text = vec!["w4 w9 w30"; 40].join(" ");
    let texts = [text, "w1".to_owned()];
    let refused = embedder(&out, &options()).embed(&texts).await.expect_err("a long text");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    let cut = embedder(&out, &EncoderOptions { long: LongInput::Truncate, ..options() });
    let cut = cut.documents(&texts).await.expect("vectors");
    assert_eq!((cut[0].truncated, cut[0].tokens, cut[1].truncated), (true, 40, false));
    let parts = embedder(&out, &EncoderOptions { long: LongInput::Windows, ..options() });
    let parts = parts.documents(&texts).await.expect("vectors");
    assert!(parts[0].parts > 3 && !parts[0].truncated && parts[0].tokens > 120, "{:?}", parts[0]);
    assert_eq!(parts[1].vector, cut[1].vector);
}

/// Windows overlap by a quarter; vectors are averaged by their tokens, and of scores the highest counts.
#[tokio::test]
async fn long_texts_are_read_in_windows() {
    let windows = EncoderOptions { long: LongInput::Windows, ..options() };
    let check = |name: &str, found: &[f32], wanted: &[f32]| {
        let distance = worst(&[found.to_vec()], &[wanted.to_vec()]);
        assert!(distance < 1e-4, "{name}: off by {distance}");
    };
    for name in ["bert", "camembert"] {
        let golden = golden(name);
        let (_folder, out) = exported(name, Weights::Fp32);
        let read = embedder(&out, &windows).documents(&[golden.long]).await.expect("vectors");
        check(name, &read[0].vector, &golden.long_output);
    }
    for (name, tokens) in [("bert-classes", 40), ("prompt-guard", 512)] {
        let golden = golden(name);
        let (_folder, out) = exported(name, Weights::Fp32);
        let model = OnnxClassifier::load(&runtime(), &out, &windows).expect("a classifier");
        assert_eq!(model.folder().max_tokens, tokens);
        let scores = &model.classify(&[golden.long]).await.expect("scores")[0];
        let scores: Vec<f32> = scores.iter().map(|one| one.score).collect();
        check(name, &scores, &golden.long_output);
    }
    let golden = golden("bert-ranker");
    let (_folder, out) = exported("bert-ranker", Weights::Fp32);
    let model = OnnxReranker::load(&runtime(), &out, &windows).expect("a reranker");
    let scores = model.rerank(&golden.query, std::slice::from_ref(&golden.long)).await.expect("scores");
    check("bert-ranker", &scores, &[sigmoid(golden.long_output[0])]);
    // A question that leaves no room to the document is no question.
    let refused = model.rerank(&golden.long, &golden.texts).await.expect_err("a long question");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    for long in [LongInput::Error, LongInput::Truncate] {
        let model = OnnxReranker::load(&runtime(), &out, &EncoderOptions { long, ..options() });
        let scores =
            model.expect("a reranker").rerank(&golden.query, std::slice::from_ref(&golden.long)).await;
        assert_eq!(scores.is_err(), long == LongInput::Error, "{long:?}: {scores:?}");
    }
}

/// The name of a special token in a text is text.
#[tokio::test]
async fn texts_hold_no_special_tokens() {
    let (_folder, out) = exported("bert", Weights::Fp32);
    let model = embedder(&out, &options());
    let read = model.documents(&["w1 [SEP] w2".to_owned(), "w1 w2".to_owned()]).await.expect("vectors");
    assert!(read[0].tokens > read[1].tokens + 1, "{} {}", read[0].tokens, read[1].tokens);
}

#[test]
fn what_is_not_supported_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |config: &str, part: &str| {
        fs::write(folder.path().join("config.json"), config).expect("a file");
        let error = export_encoder(folder.path(), &folder.path().join("out"), Options::default(), &|_| ())
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.report().contains(part), "{}", error.report());
    };
    check(r#"{"model_type": "t5"}"#, "supported are `bert`");
    check(r#"{"model_type": "bert"}"#, "`hidden_size` is missing");
    let bert = fs::read_to_string(case("bert").join("config.json")).expect("a file");
    check(&bert.replace("BertModel", "BertForQuestionAnswering"), "`BertForQuestionAnswering`");
    check(&bert.replace("\"gelu\"", "\"mish\""), "`hidden_act` is `mish`");
}
