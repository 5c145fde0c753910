//! Checkpoints of sentence-transformers: pooling, scaling, prompts. `tests/encoders/sentences.py` writes what it computes.

use std::{fs, path::Path};

use puna_core::{Embedder, ErrorKind};
use puna_export::Weights;
use puna_inference::{EncoderFolder, EncoderOptions, LongInput, OnnxEmbedder};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::encoders::{case, embedder, export, options, worst};

#[derive(Deserialize)]
struct Sentences {
    texts: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    files: Map<String, Value>,
    documents: Vec<Vec<f32>>,
    /// None where there is no prompt.
    queries: Vec<Vec<f32>>,
}

fn sentences() -> Sentences {
    let text = fs::read_to_string(case("sentences.json")).expect("the goldens");
    serde_json::from_str(&text).expect("JSON")
}

/// The files of a case beside the model that all have.
fn checkpoint(files: &Map<String, Value>) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(case("bert").join(name), folder.path().join(name)).expect("a copy");
    }
    for (name, value) in files {
        write(folder.path(), name, value);
    }
    folder
}

fn write(folder: &Path, name: &str, value: &Value) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, value.to_string()).expect("a file");
}

fn exported(files: &Map<String, Value>) -> (TempDir, OnnxEmbedder) {
    let (folder, out) = export(checkpoint(files).path(), Weights::Fp32);
    // `short` is cut, as sentence-transformers cuts.
    let model = embedder(&out, &EncoderOptions { long: LongInput::Truncate, ..options() });
    (folder, model)
}

#[tokio::test]
async fn texts_become_vectors_as_sentence_transformers_makes_them() {
    let Sentences { texts, cases } = sentences();
    for case in cases {
        let (_folder, model) = exported(&case.files);
        let documents = model.embed(&texts).await.expect("vectors");
        let distance = worst(&documents, &case.documents);
        assert!(distance < 1e-4, "{}: documents are off by {distance}", case.name);
        assert_eq!(documents[0].len(), model.dimension(), "{}", case.name);
        let queries = model.embed_queries(&texts).await.expect("vectors");
        let wanted = if case.queries.is_empty() { &case.documents } else { &case.queries };
        let distance = worst(&queries, wanted);
        assert!(distance < 1e-4, "{}: queries are off by {distance}", case.name);
        for (text, vector) in texts.iter().zip(&documents) {
            let alone = model.embed(std::slice::from_ref(text)).await.expect("a vector");
            assert!(worst(&alone, std::slice::from_ref(vector)) < 1e-5, "{}: `{text}` alone", case.name);
        }
    }
}

/// Of a text in parts each stands behind the prompt, and counts by its tokens.
#[tokio::test]
async fn every_part_of_a_long_text_has_the_prompt() {
    let cases = sentences().cases;
    let files = &cases.iter().find(|case| case.name == "prompts").expect("a case").files;
    let (folder, cut) = exported(files);
    let windows = EncoderOptions { long: LongInput::Windows, ..options() };
    let model = embedder(&folder.path().join("out"), &windows);
    let words: Vec<String> = (0..90).map(|place| format!("w{}", place * place % 40)).collect();
    let [read] = &model.queries(&[words.join(" ")]).await.expect("vectors")[..] else { panic!() };
    // 40 tokens: BERT's two, the prompt's three and 35 words, of which the next part has 10 too.
    let parts: Vec<String> = [0..35, 25..60, 50..85, 75..90].map(|place| words[place].join(" ")).into();
    assert_eq!(read.parts, parts.len());
    let alone = cut.queries(&parts).await.expect("vectors");
    let tokens: usize = alone.iter().map(|part| part.tokens).sum();
    assert_eq!(read.tokens, tokens);
    let mut sum = vec![0.0; model.dimension()];
    for part in &alone {
        let share = part.tokens as f32 / tokens as f32;
        sum.iter_mut().zip(&part.vector).for_each(|(sum, value)| *sum += share * value);
    }
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    sum.iter_mut().for_each(|value| *value /= length);
    let distance = worst(std::slice::from_ref(&read.vector), &[sum]);
    assert!(distance < 1e-5, "off by {distance}");
}

#[test]
fn what_a_folder_says_wrongly_is_named() {
    let check = |name: &str, value: Value, part: &str| {
        let mut files = sentences().cases.swap_remove(0).files;
        files.insert(name.to_owned(), value);
        let folder = checkpoint(&files);
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../puna-inference/tests/encoders/optimum/model.onnx"),
            folder.path().join("model.onnx"),
        )
        .expect("a copy");
        let error = EncoderFolder::open(folder.path(), None).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.report().contains(part), "no `{part}` in {}", error.report());
    };
    let pooling = "1_Pooling/config.json";
    check(pooling, serde_json::json!({"pooling_mode": "median"}), "`\"median\"`; it must be one of cls, max");
    check(pooling, serde_json::json!({"pooling_mode": []}), "`pooling_mode`");
    check(pooling, serde_json::json!({"pooling_mode": ["mean", 3]}), "`pooling_mode`");
    check(pooling, serde_json::json!({"pooling_mode_cls_token": 1}), "`pooling_mode_cls_token`");
    check(pooling, serde_json::json!({"include_prompt": "no"}), "`include_prompt`");
    check("modules.json", serde_json::json!([{"type": "x.Dense"}]), "`Dense`; supported are");
    check(
        "modules.json",
        serde_json::json!([{"type": "Pooling", "path": "../other"}]),
        "outside the model's",
    );
    check("sentence_bert_config.json", serde_json::json!({"max_seq_length": 3}), "too few for any text");
    check("sentence_bert_config.json", serde_json::json!({"do_lower_case": "yes"}), "`do_lower_case`");
    check(
        "config_sentence_transformers.json",
        serde_json::json!({"prompts": {"query": 7}}),
        "`prompts.query`",
    );
}
