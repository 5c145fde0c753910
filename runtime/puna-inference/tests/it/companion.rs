//! A folder's second graph, which prompts go through.

use std::{fs, path::Path};

use puna_core::{ErrorKind, GenerateRequest};
use puna_inference::{CompanionUse, OnnxModel};

use crate::{
    answer, ask_with, load_with,
    toy::{FLOAT16, Toy},
};

const COMPANION: &str = "model_prefill.onnx";

/// A folder with a graph and a companion.
fn folder(graph: &Toy, companion: &Toy) -> tempfile::TempDir {
    let folder = graph.folder(2048, None);
    let other = companion.folder(2048, None);
    fs::copy(other.path().join("model.onnx"), folder.path().join(COMPANION)).expect("a copy");
    folder
}

fn load(folder: &Path, companion: Option<CompanionUse>) -> puna_core::Result<OnnxModel> {
    load_with(folder, |options| options.companion = companion)
}

fn question(words: usize) -> GenerateRequest {
    let words: Vec<String> = (0..words).map(|word| format!("w{word}")).collect();
    ask_with(&words.join(" "), |options| options.max_tokens = Some(20))
}

/// The companion here writes zeros, whatever it is told: what it computed shows.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_go_through_it_and_answers_as_told() {
    let graph = Toy::default();
    let folder = folder(&graph, &Toy { constant: true, ..Toy::default() });
    let plain = load(folder.path(), Some(CompanionUse::Never)).expect("the model");
    assert_eq!(plain.details().prefill_graph, None);
    for words in [3, 100] {
        let request = question(words);
        let expected = graph.expected(&plain, &request, 20);
        let (text, completion) = answer(&plain, request.clone()).await;
        assert_eq!((text.as_str(), completion.usage.companion_tokens), (expected.as_str(), 0));

        let model = load(folder.path(), Some(CompanionUse::Prefill)).expect("the model");
        assert_eq!(model.details().prefill_graph, Some(folder.path().join(COMPANION)));
        assert!(model.details().prefill_speedup.is_some_and(|speedup| speedup > 0.0));
        let (text, completion) = answer(&model, request.clone()).await;
        let (first, rest) = text.split_at(1);
        assert_eq!(first, "0", "the prompt's");
        assert!(rest.contains(|digit| digit != '0'), "the other graph's: {rest}");
        assert_eq!(completion.usage.companion_tokens, completion.usage.prompt_tokens);
        // What is likely is told by the graph that answers, before and after it was asked.
        let tokens = model.prompt(&request).expect("a prompt");
        let expected = plain.score(&tokens, 1, 1, None).await.expect("scores");
        for _ in 0..2 {
            assert_eq!(model.score(&tokens, 1, 1, None).await.expect("scores"), expected);
            assert!(answer(&model, request.clone()).await.0.starts_with('0'));
        }

        let model = load(folder.path(), Some(CompanionUse::Always)).expect("the model");
        assert_eq!(model.details().graph, folder.path().join(COMPANION));
        assert_eq!(answer(&model, request).await.0, "0".repeat(20));
    }
}

/// Left to itself a model takes the faster way, and both say the same.
#[tokio::test(flavor = "multi_thread")]
async fn by_itself() {
    let folder = folder(&Toy::default(), &Toy::default());
    let plain = load(folder.path(), Some(CompanionUse::Never)).expect("the model");
    let model = load(folder.path(), None).expect("the model");
    assert_eq!(model.details().prefill_graph.is_some(), model.details().prefill_speedup.is_some());
    assert_eq!(answer(&model, question(50)).await.0, answer(&plain, question(50)).await.0);
}

#[track_caller]
fn check_refused(folder: &Path, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = load(folder, Some(CompanionUse::Prefill)) else { panic!("it is not sound") };
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "no `{part}` in {error}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    check_refused(Toy::default().folder(64, None).path(), ErrorKind::NotFound, &["no companion graph"]);
    let other = folder(&Toy::default(), &Toy { element: FLOAT16, ..Toy::default() });
    check_refused(
        other.path(),
        ErrorKind::InvalidInput,
        &[COMPANION, "has other keys and values", "model.onnx"],
    );
    let cut = folder(&Toy::default(), &Toy::default());
    let file = cut.path().join(COMPANION);
    let bytes = fs::read(&file).expect("the file");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("the file");
    check_refused(cut.path(), ErrorKind::Corrupt, &["the companion graph", COMPANION]);
}
