//! The default embedding model with its real weights, against what sentence-transformers computes.
//! `runtime/puna-export/tests/encoders/minilm.py` writes that.

use std::fs;

use puna::inference::provision::{Places, default_checkpoint};
use serde_json::Value;

use crate::support::{Puna, read, root};

const TEXTS: &str = "runtime/puna-export/tests/encoders/minilm.txt";
const VECTORS: &str = "runtime/puna-export/tests/encoders/minilm.f16";
const WIDTH: usize = 384;

/// A 16-bit float that is finite.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = if exponent == 0 {
        fraction * 2_f64.powi(-24)
    } else {
        (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15)
    };
    if bits >> 15 == 1 { -size } else { size }
}

fn wanted() -> Vec<Vec<f64>> {
    let bytes = fs::read(root().join(VECTORS)).expect("the golden");
    let numbers: Vec<f64> =
        bytes.as_chunks::<2>().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect();
    numbers.chunks(WIDTH).map(<[f64]>::to_vec).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The least cosine of what a command embeds to what sentence-transformers does.
fn least(puna: &Puna, model: &[&str]) -> f64 {
    let out = puna.ok(&[&["embed", "--json", "--file", TEXTS, "--lines", "--long", "error"], model].concat());
    let wanted = wanted();
    let found: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((found.len(), wanted.len()), (200, 200));
    let cosines = found.iter().zip(&wanted).zip(read(TEXTS).lines().map(str::to_owned).collect::<Vec<_>>());
    cosines
        .map(|((found, wanted), text)| {
            assert_eq!(found["text"], text);
            let vector: Vec<f64> = serde_json::from_value(found["vector"].clone()).expect("numbers");
            cosine(&vector, wanted)
        })
        .fold(1.0, f64::min)
}

#[test]
fn the_default_model_embeds_as_sentence_transformers_does() {
    let puna = Puna::new();
    let found = least(&puna, &[]);
    println!("fp32: least cosine {found}");
    assert!(found >= 0.9999, "{found}");
    let places = Places::from_environment().expect("places");
    let checkpoint = default_checkpoint(&places, &|_| ()).expect("a checkpoint");
    let out = puna.path("int8");
    let out = out.to_str().expect("a path");
    puna.ok(&["model", "export", checkpoint.to_str().expect("a path"), "--out", out, "--weights", "int8"]);
    let found = least(&puna, &["--model", out]);
    println!("int8: least cosine {found}");
    assert!(found >= 0.99, "{found}");
    let shown = puna.ok(&["model", "inspect", out]);
    assert!(shown.contains("256 tokens") && shown.contains("mean of the tokens, scaled"), "{shown}");
}

#[test]
fn texts_are_ranked_and_classified() {
    let puna = Puna::new();
    let export = |case: &str| {
        let (from, out) = (format!("runtime/puna-export/tests/encoders/{case}"), puna.path(case));
        let out = out.to_str().expect("a path").to_owned();
        puna.ok(&["model", "export", &from, "--out", &out]);
        out
    };
    let ranked = puna.ok(&["rerank", &export("bert-ranker"), "w1 w2", "w3 w4", "w20", "--json"]);
    let ranked: Vec<Value> = ranked.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(ranked[0]["score"].as_f64() >= ranked[1]["score"].as_f64(), "{ranked:?}");
    let classes = puna.ok(&["classify", &export("bert-classes"), "w1 w2"]);
    assert!(classes.contains("LABEL_2") && classes.trim_end().ends_with("w1 w2"), "{classes}");
    let refused = puna.run(&["classify", &puna.path("none").display().to_string(), "w1"]);
    assert!(refused.code != 0 && refused.stderr.contains("model.onnx"), "{refused:?}");
}
