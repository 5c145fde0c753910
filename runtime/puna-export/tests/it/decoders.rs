//! What exported graphs compute.

use puna_export::{ExportOptions, Weights};

use crate::{CASES, Golden, answer, distance, export, load};

/// Exports, and checks every logit against transformers': of whole sequences, and step by step with a cache.
async fn check(case: &str, options: &ExportOptions, limit: f64) {
    let (_folder, out, _) = export(case, options);
    let model = load(&out);
    let golden = Golden::of(case);
    let found = distance(&model, &golden).await;
    println!("{case} {}: {found:?}", options.weights);
    assert!(found.worst <= limit, "{case}: {found:?}");
    for (sequence, prompt) in &golden.answers {
        let tokens = &golden.sequences[*sequence];
        let scores = answer(&model, &tokens[..*prompt], tokens.len() - prompt).await;
        let answered: Vec<u32> = scores.iter().map(|score| score.token).collect();
        assert_eq!(answered, tokens[*prompt..], "{case}");
        for (score, wanted) in scores.iter().zip(&golden.logprobs[*sequence][prompt - 1..]) {
            for (token, logprob) in &score.top {
                let error = (logprob - wanted[*token as usize]).abs();
                assert!(error <= limit, "{case}: `{token}` is off by {error} in an answer");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floats_give_what_transformers_gives() {
    for case in CASES {
        check(case, &ExportOptions { weights: Weights::Fp32, ..ExportOptions::default() }, 1e-3).await;
    }
}

/// What is in 16-bit floats in the checkpoint is so in the file, and computed in 32 bits.
#[tokio::test(flavor = "multi_thread")]
async fn bf16_loses_nothing_of_a_bf16_checkpoint() {
    for case in ["llama3", "mistral", "qwen2", "gemma2"] {
        check(case, &ExportOptions { weights: Weights::Bf16, ..ExportOptions::default() }, 1e-3).await;
    }
}

/// Without operators of ONNX Runtime's own, in every architecture.
#[tokio::test(flavor = "multi_thread")]
async fn standard_operators_give_what_transformers_gives() {
    for case in CASES {
        let options =
            ExportOptions { weights: Weights::Fp32, standard_ops: true, ..ExportOptions::default() };
        check(case, &options, 1e-3).await;
    }
}

/// Activations in 16 bits have a thousandth of a value's precision, which sums over layers.
#[tokio::test(flavor = "multi_thread")]
async fn fp16_is_near() {
    for case in CASES {
        for standard_ops in [false, true] {
            let options = ExportOptions { weights: Weights::Fp16, standard_ops, ..ExportOptions::default() };
            let (_folder, out, _) = export(case, &options);
            let found = distance(&load(&out), &Golden::of(case)).await;
            println!("{case} fp16 {standard_ops}: {found:?}");
            assert!(found.mean <= 0.03 && found.agreement >= 0.95, "{case}: {found:?}");
        }
    }
}

/// A turned model computes what the model computes.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_changes_nothing() {
    for case in CASES.into_iter().filter(|case| *case != "gemma2") {
        for standard_ops in [false, true] {
            let options = ExportOptions {
                weights: Weights::Fp32,
                rotate: true,
                standard_ops,
                ..ExportOptions::default()
            };
            check(case, &options, 1e-3).await;
        }
    }
}
