//! What a constraint lets through, a parser of calls reads: each call is of a tool that there is, and satisfies its
//! schema.

use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use puna_core::{Content, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, Dialect, ToolCallParser};
use serde_json::json;

use super::{COMPILER, TOKENIZER, tool, walk};

const DIALECTS: [Dialect; 4] = [Dialect::LlamaJson, Dialect::Pythonic, Dialect::Hermes, Dialect::Mistral];

static TOOLS: LazyLock<Vec<(ToolSchema, Validator)>> = LazyLock::new(|| {
    let declared = super::schemas::tools().into_iter().filter(|tool| tool.name != "update_order");
    let own = [tool("f", json!({ "type": "object", "properties": { "a": { "type": "boolean" } } }))];
    own.into_iter()
        .chain(declared)
        .map(|tool| {
            let validator = super::schemas::validator(&tool.parameters);
            (tool, validator)
        })
        .collect()
});

/// The calls in a text; the text is whole, so all of them are right.
#[track_caller]
fn check(dialect: Dialect, text: &str) -> usize {
    let mut parser = ToolCallParser::new(dialect, "");
    parser.push(text);
    let (_, parts) = parser.finish();
    let mut count = 0;
    for part in parts {
        match part {
            Content::ToolCall(call) => {
                let (_, validator) = TOOLS
                    .iter()
                    .find(|(tool, _)| tool.name == call.name)
                    .unwrap_or_else(|| panic!("{dialect}: no {}: {text:?}", call.name));
                assert!(validator.is_valid(&call.arguments), "{dialect}: {} in {text:?}", call.arguments);
                count += 1;
            }
            // Braces that are no object may stand in a text, and an object may be cut short.
            Content::InvalidToolCall(call) => {
                let named = TOOLS.iter().any(|(tool, _)| call.name.as_deref() == Some(&tool.name));
                assert!(
                    !named || call.reason.contains("ends before"),
                    "{dialect}: {}: {text:?}",
                    call.reason
                );
            }
            _ => {}
        }
    }
    count
}

fn tools() -> Vec<ToolSchema> {
    TOOLS.iter().map(|(tool, _)| tool.clone()).collect()
}

#[test]
fn turns_of_calls_are_read() {
    let tools = tools();
    for dialect in DIALECTS {
        let form = AnswerForm {
            dialect,
            tools: &tools,
            choice: &ToolChoice::Required,
            parallel: true,
            answer: None,
        };
        let compiled = COMPILER.compile(&form).expect("tools");
        let mut calls = 0;
        for seed in 0..200 {
            if let Some(tokens) = walk(&mut compiled.matcher(), seed) {
                let read = check(dialect, &TOKENIZER.decode(&tokens).expect("text"));
                assert!(read > 0, "{dialect}: a call is required");
                calls += read;
            }
        }
        assert!(calls > 100, "{dialect}: only {calls} calls");
    }
}

/// Texts that are nearly calls: pieces are put to each other where they may stand.
fn nearly() -> impl Strategy<Value = Vec<&'static str>> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"name\"",
        "\"n",
        "name",
        "\"",
        ": ",
        ":",
        ", ",
        ",",
        "; ",
        "\n",
        " ",
        "\t",
        "\u{a0}",
        "\"f\"",
        "f",
        "f(",
        "g",
        "\"g\"",
        "\"parameters\"",
        "\"arguments\"",
        "\"type\"",
        "\"function\"",
        "{}",
        "{\"a\": true}",
        "{\"a\": 1}",
        "a=",
        "True",
        "true",
        "7",
        "<tool_call>",
        "<tool_call>\n",
        "</tool_call>",
        "\n</tool_call>",
        "[TOOL_CALLS]",
        "[TOOL_CALLS][",
        "[ARGS]",
        "<|python_tag|>",
        "<|python_start|>",
        "<|python_end|>",
        "{\"name\": \"f\"",
        "{\"name\": \"f\", \"parameters\": ",
        "{\"name\": \"f\", \"arguments\": ",
        "[f(",
        "[f(a=True)]",
        "x",
        "Look:",
        "```",
    ]);
    prop::collection::vec(piece, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// However a text came about: what is free holds no call that is not right.
    #[test]
    fn text_holds_no_other_calls(pieces in nearly(), dialect in prop::sample::select(DIALECTS.to_vec()), auto: bool) {
        let tools = &tools()[..1];
        let choice = if auto { ToolChoice::Auto } else { ToolChoice::None };
        let form = AnswerForm { dialect, tools, choice: &choice, parallel: true, answer: None };
        let mut matcher = COMPILER.compile(&form).expect("a tool").matcher();
        let mut text = String::new();
        for piece in pieces {
            let tokens = TOKENIZER.encode_text(piece).expect("tokens");
            if matcher.validate(&tokens).expect("in the vocabulary") == tokens.len() {
                tokens.iter().for_each(|token| matcher.commit(*token).expect("valid"));
                text.push_str(piece);
            }
        }
        if matcher.is_accepting() {
            let calls = check(dialect, &text);
            prop_assert!(auto || calls == 0, "{}: {:?}", dialect, text);
        }
    }
}
