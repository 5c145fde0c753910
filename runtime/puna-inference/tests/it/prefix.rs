//! Computed beginnings of prompts, kept on the disk.

use std::{fs, path::PathBuf};

use puna_core::{ErrorKind, GenerateRequest, Message, ToolSchema};
use serde_json::json;

use crate::{answer, ask_with, bundled, load, load_with, toy::Toy};

fn tools() -> Vec<ToolSchema> {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    vec![ToolSchema {
        name: "weather".to_owned(),
        description: "Tell the weather of a city".to_owned(),
        parameters,
        output: None,
    }]
}

fn instructions() -> String {
    (0..120).map(|rule| format!("rule{rule}")).collect::<Vec<_>>().join(" ")
}

fn question(text: &str) -> GenerateRequest {
    let mut request = ask_with(text, |options| options.max_tokens = Some(30));
    request.messages.insert(0, Message::system(instructions()));
    request.tools = tools();
    request
}

/// The one file of a folder.
fn only(folder: &tempfile::TempDir) -> PathBuf {
    let files: Vec<_> =
        fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("a file").path()).collect();
    let [file] = &files[..] else { panic!("one file, not {files:?}") };
    file.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_process_starts_warm() {
    let folder = tempfile::tempdir().expect("a folder");
    let cold = load(&bundled()).expect("the model");
    let prefix = cold.prefix(&instructions(), &tools()).expect("a prefix");
    let (expected, first) = answer(&cold, question("Hello")).await;
    assert_eq!(first.usage.cached_tokens, 0);
    assert!(prefix.len() > 300 && first.usage.prompt_tokens < prefix.len() as u64 + 20, "{}", prefix.len());
    assert!(!cold.warm_start(&prefix, None, folder.path()).await.expect("a file"), "it is written");
    let bytes = fs::metadata(only(&folder)).expect("the file").len();
    assert!(bytes < prefix.len() as u64 * (cold.details().cache_bytes_per_token as u64 + 4) + 200);

    let warm = load(&bundled()).expect("the model");
    assert!(warm.warm_start(&prefix, None, folder.path()).await.expect("a file"), "it is read");
    for _ in 0..2 {
        let (text, completion) = answer(&warm, question("Hello")).await;
        assert_eq!(text, expected);
        assert!(completion.usage.cached_tokens >= prefix.len() as u64 - 1, "{:?}", completion.usage);
    }
    assert!(
        warm.warm_start(&prefix, None, folder.path()).await.expect("a file"),
        "what is there is not read again"
    );
    // Other instructions, another file.
    let other = warm.prefix("Be brief.", &[]).expect("a prefix");
    assert!(!warm.warm_start(&other, None, folder.path()).await.expect("a file"));
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
}

/// Of a graph that takes a new cache in every step, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_grows_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let toy = Toy::default();
    let graph = toy.folder(2048, None);
    let request = ask_with(&"one two three ".repeat(50), |options| options.max_tokens = Some(40));
    for (turn, found) in [(0, false), (1, true)] {
        let model = load(graph.path()).expect("the model");
        assert!(!model.details().cache_in_place);
        let prompt = model.prompt(&request).expect("a prompt");
        let prefix = &prompt[..prompt.len() - 5];
        assert_eq!(model.warm_start(prefix, None, folder.path()).await.expect("a file"), found);
        let expected = toy.expected(&model, &request, 40);
        let (text, completion) = answer(&model, request.clone()).await;
        assert_eq!(text, expected, "turn {turn}");
        assert_eq!(completion.usage.cached_tokens, prefix.len() as u64, "turn {turn}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_computed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = load(&bundled()).expect("the model");
    let prefix = model.prefix(&instructions(), &[]).expect("a prefix");
    assert!(!model.warm_start(&prefix, None, folder.path()).await.expect("a file"));
    let file = only(&folder);
    let good = fs::read(&file).expect("the file");
    let flipped = |place: usize| {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        bytes
    };
    let longer = [&good[..], &[0]].concat();
    let cases = [
        Vec::new(),
        good[..20].to_vec(),
        good[..good.len() - 1].to_vec(),
        longer,
        flipped(0),
        flipped(9),
        // The count of tokens, a token, a value, the digest.
        flipped(40),
        flipped(43),
        flipped(50),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
    ];
    for (number, bytes) in cases.into_iter().enumerate() {
        fs::write(&file, bytes).expect("the file");
        let fresh = load(&bundled()).expect("the model");
        assert!(!fresh.warm_start(&prefix, None, folder.path()).await.expect("a file"), "case {number}");
        assert_eq!(fs::read(&file).expect("the file").len(), good.len(), "case {number}: it is mended");
        assert!(fresh.warm_start(&prefix, None, folder.path()).await.expect("a file"), "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = load_with(&bundled(), |options| options.context_limit = Some(64)).expect("the model");
    for tokens in [vec![], vec![1; 65]] {
        let error = model.warm_start(&tokens, None, folder.path()).await.expect_err("no prefix");
        assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    }
    let file = folder.path().join("a file");
    fs::write(&file, "").expect("the file");
    let error = model.warm_start(&[1, 2, 3], None, &file).await.expect_err("no folder");
    assert!(error.to_string().contains("a file"), "{error}");
    assert_eq!(
        answer(&model, ask_with("Hello", |options| options.max_tokens = Some(5))).await.1.usage.cached_tokens,
        0
    );
}
