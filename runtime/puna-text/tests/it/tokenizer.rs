//! Text to tokens.

use std::{fs, path::Path};

use proptest::prelude::*;
use puna_core::{
    Content, ErrorKind, Message, Role, ToolCall, ToolError, ToolErrorKind, ToolOutcome, ToolResult,
    ToolSchema,
};
use puna_text::{ChatTemplate, RenderOptions, Tokenizer};
use serde_json::json;

use crate::{bundled, tokenizer};

/// How many special tokens a prompt has.
fn special(ids: &[u32], tokenizer: &Tokenizer) -> usize {
    let special: Vec<u32> =
        tokenizer.special_tokens().iter().filter_map(|token| tokenizer.token_to_id(token)).collect();
    ids.iter().filter(|id| special.contains(id)).count()
}

/// A text as everything that somebody may say: messages, a tool, a call of it and what came back.
fn prompt(text: &str) -> Vec<u32> {
    let tokenizer = tokenizer();
    let template = ChatTemplate::from_folder(&bundled(), &tokenizer).expect("the bundled template");
    let tool: ToolSchema = serde_json::from_value(json!({
        "name": text, "description": text, "parameters": { "type": "object", "properties": { text: { "enum": [text] } } },
    }))
    .expect("a tool");
    let call = ToolCall { id: "c".to_owned(), name: text.to_owned(), arguments: json!({ text: [text] }) };
    let result =
        |outcome| Message::tool(ToolResult { call_id: "c".to_owned(), name: text.to_owned(), outcome });
    let messages = [
        Message::system(text),
        Message::user(text),
        Message::text(Role::Assistant, text),
        Message { role: Role::Assistant, content: vec![Content::ToolCall(call)] },
        result(ToolOutcome::Success { value: json!({ text: text }) }),
        result(ToolOutcome::Failure { error: ToolError::new(ToolErrorKind::NotFound, text.to_owned()) }),
    ];
    let prompt = template
        .render(&messages, &RenderOptions { tools: &[tool], ..RenderOptions::default() })
        .expect("messages");
    assert!(prompt.text().contains(text.trim()), "what is said is in the prompt as it was said");
    tokenizer.encode_prompt(&prompt).expect("a prompt")
}

/// The start of the text, three of each message, two where the assistant begins to speak.
const TEMPLATE_S: usize = 1 + 6 * 3 + 2;

#[test]
fn the_template_s_special_tokens_are_special() {
    assert_eq!(special(&prompt("Hello"), &tokenizer()), TEMPLATE_S);
}

#[test]
fn what_is_said_never_becomes_a_special_token() {
    let tokenizer = tokenizer();
    for token in tokenizer.special_tokens() {
        for text in [token.clone(), format!("a{token}b"), format!("{token}{token}"), format!("<{token}>")] {
            assert_eq!(special(&prompt(&text), &tokenizer), TEMPLATE_S, "`{text}`");
            assert_eq!(special(&tokenizer.encode_text(&text).expect("text"), &tokenizer), 0, "`{text}`");
            assert_eq!(tokenizer.decode(&tokenizer.encode_text(&text).expect("text")).expect("tokens"), text);
        }
    }
}

proptest! {
    #[test]
    fn no_mixture_becomes_a_special_token(
        parts in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["<|eot_id|>", "<|start_header_id|>", "<|", "|>", "eot_id", "<", "\u{F0000}", "\u{F0001}"]).prop_map(str::to_owned),
            "\\PC{0,4}",
        ], 0..8),
    ) {
        let text = parts.concat();
        let tokenizer = tokenizer();
        prop_assert_eq!(special(&tokenizer.encode_text(&text).expect("text"), &tokenizer), 0);
        prop_assume!(!text.trim().is_empty());
        prop_assert_eq!(special(&prompt(&text), &tokenizer), TEMPLATE_S);
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode_text(&text).expect("text")).expect("tokens"), text);
    }
}

/// Private-use characters mark where a name is cut, so one is needed that was not said. With a search that
/// reads the text once per character this takes minutes.
#[test]
fn all_private_characters_but_one_may_be_said() {
    let tokenizer = tokenizer();
    let text: String = ('\u{F0000}'..'\u{FFFFD}').chain("<|eot_id|>".chars()).collect();
    let ids = tokenizer.encode_text(&text).expect("text");
    assert_eq!(special(&ids, &tokenizer), 0);
    assert_eq!(tokenizer.decode(&ids).expect("tokens"), text);
}

#[test]
fn files_that_are_no_tokenizers() {
    let whole = fs::read_to_string(bundled().join("tokenizer.json")).expect("the bundled tokenizer");
    let folder = tempfile::tempdir().expect("a folder");
    let read = |text: Option<&[u8]>| {
        let path = folder.path().join("tokenizer.json");
        match text {
            Some(text) => fs::write(&path, text).expect("a file"),
            None => fs::remove_file(&path).unwrap_or_default(),
        }
        let error = Tokenizer::from_folder(folder.path()).expect_err("no tokenizer");
        assert!(error.to_string().contains("tokenizer.json"), "the message names the file: {error}");
        error.kind()
    };
    assert_eq!(read(None), ErrorKind::NotFound);
    for text in [
        &b""[..],
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff\xfe{\0}\0",
        &whole.as_bytes()[..whole.len() / 2],
        whole.replace("\"vocab\"", "\"words\"").as_bytes(),
        whole.replace("\"BPE\"", "\"Magic\"").as_bytes(),
    ] {
        assert_eq!(
            read(Some(text)),
            ErrorKind::InvalidInput,
            "{:?}",
            String::from_utf8_lossy(&text[..text.len().min(40)])
        );
    }
    assert_eq!(
        Tokenizer::from_folder(Path::new("/nowhere")).expect_err("no folder").kind(),
        ErrorKind::NotFound
    );
}
