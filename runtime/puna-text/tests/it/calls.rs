//! Tool calls in a model's text.

use proptest::prelude::*;
use puna_core::Content;
use puna_text::ToolCallParser;
use serde_json::json;

use crate::{characters, pieces};

/// A message's parts in short: text as it is, calls as `name(arguments)`, invalid ones as `!text`.
fn short(parts: &[Content]) -> Vec<String> {
    let short = |part: &Content| match part {
        Content::Text { text } => text.clone(),
        Content::ToolCall(call) => format!("{}({})", call.name, call.arguments),
        Content::InvalidToolCall(call) => format!("!{}", call.text),
        other => panic!("a parser gives no {other:?}"),
    };
    parts.iter().map(short).collect()
}

/// The parts, and the text that was shown on the way.
fn parse(pieces: &[&str]) -> (Vec<Content>, String) {
    let mut parser = ToolCallParser::new("call_");
    let mut shown: String = pieces.iter().map(|piece| parser.push(piece).text).collect();
    let (rest, parts) = parser.finish();
    shown.push_str(&rest.text);
    (parts, shown)
}

const TABLE: &[(&str, &[&str])] = &[
    // Calls in every form that Llama 3.1 and its kin write.
    (r#"{"name": "f", "parameters": {}}"#, &["f({})"]),
    (
        r#"{"name": "f", "parameters": {"a": 1, "b": [true, null], "c": {"d": "e"}}}"#,
        &[r#"f({"a":1,"b":[true,null],"c":{"d":"e"}})"#],
    ),
    (r#"{"name": "f", "arguments": {"a": 1}}"#, &[r#"f({"a":1})"#]),
    (r#"{"name": "f"}"#, &["f({})"]),
    (r#"{"name": "f", "parameters": null}"#, &["f({})"]),
    (r#"{"parameters": {"a": 1}, "name": "f"}"#, &[r#"f({"a":1})"#]),
    (r#"{"type": "function", "name": "f", "parameters": {}}"#, &["f({})"]),
    (r#"{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}"#, &[r#"f({"a":1})"#]),
    (r#"{"name": "f", "arguments": "{\"a\": 1}"}"#, &[r#"f({"a":1})"#]),
    ("  \n {\"name\": \"f\", \"parameters\": {}}", &["f({})"]),
    ("{\n  \"name\" : \"f\" ,\n  \"parameters\" : { }\n}\n", &["f({})"]),
    (r#"<|python_tag|>{"name": "f", "parameters": {}}"#, &["f({})"]),
    // Several.
    ("{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"g\", \"parameters\": {}}", &["f({})", "g({})"]),
    (r#"{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}"#, &["f({})", "g({})"]),
    (r#"{"name": "f", "parameters": {}},{"name": "f", "parameters": {}}"#, &["f({})", "f({})"]),
    (r#"{"name": "f", "parameters": {}}{"name": "g", "parameters": {}}"#, &["f({})", "g({})"]),
    // Strings that look like structure.
    (r#"{"name": "f", "parameters": {"a": "} { ] \" \\"}}"#, &[r#"f({"a":"} { ] \" \\"})"#]),
    (r#"{"name": "f", "parameters": {"a": "ü 🦙 \u00fc\n"}}"#, &[r#"f({"a":"ü 🦙 ü\n"})"#]),
    (r#"{"name": "f", "parameters": {"a": "{\"name\": \"g\"}"}}"#, &[r#"f({"a":"{\"name\": \"g\"}"})"#]),
    (
        r#"{"name": "f", "parameters": {"n": 1e3, "m": -0.5, "big": 12345678901234567890}}"#,
        &[r#"f({"n":1000.0,"m":-0.5,"big":12345678901234567890})"#],
    ),
    // Text around calls.
    ("Let me see.\n{\"name\": \"f\", \"parameters\": {}}", &["Let me see.", "f({})"]),
    ("{\"name\": \"f\", \"parameters\": {}}\nDone.", &["f({})", "\nDone."]),
    // Text.
    ("", &[]),
    ("Hello", &["Hello"]),
    ("7006652", &["7006652"]),
    ("   ", &["   "]),
    ("A set {1, 2} and {\"a\": 1}", &["A set {1, 2} and {\"a\": 1}"]),
    ("{1, 2}", &["{1, 2}"]),
    ("{}", &["{}"]),
    ("{ }", &["{ }"]),
    (r#"{"answer": 42}"#, &[r#"{"answer": 42}"#]),
    (r#"[{"name": "f"}]"#, &[r#"[{"name": "f"}]"#]),
    ("the call {\"name\": \"f\"} is within a line", &["the call {\"name\": \"f\"} is within a line"]),
    ("<|python", &["<|python"]),
    ("<|python_tags|>", &["<|python_tags|>"]),
    ("{\"parameters\": {\"a\": 1}}", &["{\"parameters\": {\"a\": 1}}"]),
    // Answers in JSON that have a name.
    (r#"{"name": "Ada", "age": 36}"#, &[r#"{"name": "Ada", "age": 36}"#]),
    (r#"{"age": 36, "name": "Ada"}"#, &[r#"{"age": 36, "name": "Ada"}"#]),
    (r#"{"name": {"first": "Ada"}, "age": 36}"#, &[r#"{"name": {"first": "Ada"}, "age": 36}"#]),
    (r#"{"type": "circle", "r": 1}"#, &[r#"{"type": "circle", "r": 1}"#]),
    (r#"{"type": "function", "id": "7", "name": "f"}"#, &["f({})"]),
    ("{\"type\": 1}\n{\"name\": \"f\"}", &["{\"type\": 1}", "f({})"]),
    // Broken ones are told, not swallowed.
    (r#"{"name": "f", "parameters": {"a": 1}"#, &[r#"!{"name": "f", "parameters": {"a": 1}"#]),
    (r#"{"name": "f", "parameters": "#, &[r#"!{"name": "f", "parameters": "#]),
    (r#"{"name": "f", "parameters": {a: 1}}"#, &[r#"!{"name": "f", "parameters": {a: 1}}"#]),
    (r#"{"name": "f", "parameters": {"a": 1,}}"#, &[r#"!{"name": "f", "parameters": {"a": 1,}}"#]),
    (r#"{"name": "f", "parameters": [1]}"#, &[r#"!{"name": "f", "parameters": [1]}"#]),
    (r#"{"name": "f", "parameters": "x"}"#, &[r#"!{"name": "f", "parameters": "x"}"#]),
    (r#"{"name": "", "parameters": {}}"#, &[r#"!{"name": "", "parameters": {}}"#]),
    (r#"{"name": 7, "parameters": {}}"#, &[r#"!{"name": 7, "parameters": {}}"#]),
    (r#"{"name": "f", "parameters": {}]"#, &[r#"!{"name": "f", "parameters": {}]"#]),
    (r#"{"name"#, &[r#"{"name"#]),
];

#[test]
fn a_table_whole_and_in_characters() {
    for (text, wanted) in TABLE {
        let (parts, shown) = parse(&[text]);
        assert_eq!(short(&parts), *wanted, "{text}");
        assert_eq!(parse(&characters(text)), (parts.clone(), shown.clone()), "{text}");
        let told: String = parts.iter().filter_map(Content::as_text).collect();
        assert_eq!(shown, told, "what is shown is the message's text: {text}");
    }
}

#[test]
fn calls_are_numbered_and_reasons_told() {
    let (parts, _) = parse(&[r#"{"name": "f", "parameters": {}} {"name": "g", "parameters": 7}"#]);
    let Content::ToolCall(first) = &parts[0] else { panic!("{parts:?}") };
    let Content::InvalidToolCall(second) = &parts[1] else { panic!("{parts:?}") };
    assert_eq!((first.id.as_str(), second.id.as_str()), ("call_0", "call_1"));
    assert_eq!(second.name.as_deref(), Some("g"));
    assert!(second.reason.contains("must be an object; got 7"), "{}", second.reason);
}

#[test]
fn text_is_shown_at_once_and_calls_never() {
    let mut parser = ToolCallParser::new("");
    assert_eq!(parser.push("Hel").text, "Hel");
    assert_eq!(parser.push("lo\n").text, "lo");
    assert_eq!(parser.push("{\"name\": \"f\",").text, "");
    let done = parser.push(" \"parameters\": {}}");
    assert!(done.call && done.text.is_empty(), "blanks before a call belong to nothing: {done:?}");
}

#[test]
fn a_call_without_an_end_is_bounded() {
    let (parts, shown) = parse(&[&format!("{{\"name\": \"{}", "x".repeat(3 << 20))]);
    let Content::InvalidToolCall(call) = &parts[0] else { panic!("{}", parts.len()) };
    assert!(call.text.len() <= (1 << 20) + 8, "{}", call.text.len());
    assert!(shown.len() + call.text.len() >= 3 << 20, "the rest is text");
}

/// Texts that are nearly calls.
fn nearly() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{",
        "}",
        "\"name\"",
        ": ",
        "\"f\"",
        ", ",
        "\"parameters\"",
        "{}",
        "\"",
        "\\",
        "[",
        "]",
        "\n",
        " ",
        "x",
        "ü",
        "<|python_tag|>",
        "<|",
        ";",
        "7",
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_table_in_pieces(row in 0..TABLE.len(), cuts in prop::collection::vec(0usize..16, 0..12)) {
        let (text, wanted) = TABLE[row];
        prop_assert_eq!(short(&parse(&pieces(text, &cuts)).0), wanted, "{}", text);
    }

    #[test]
    fn any_text_is_taken(text in any::<String>(), start in prop::sample::select(vec!["", "{", "{\"name\": \"", "\n<|"])) {
        let text = start.to_owned() + &text;
        prop_assert_eq!(parse(&characters(&text)), parse(&[&text]));
    }

    /// Every piece tells of the calls that it completes, and of no others.
    #[test]
    fn calls_are_told_when_they_are_complete(text in nearly()) {
        let mut parser = ToolCallParser::new("");
        let mut told = characters(&text).iter().filter(|piece| parser.push(piece).call).count();
        let (rest, parts) = parser.finish();
        told += usize::from(rest.call);
        prop_assert_eq!(told, parts.iter().filter(|part| part.as_text().is_none()).count());
    }

    #[test]
    fn any_pieces_give_what_the_whole_gives(text in nearly(), cuts in prop::collection::vec(0usize..16, 0..12)) {
        prop_assert_eq!(parse(&pieces(&text, &cuts)), parse(&[&text]));
    }

    #[test]
    fn text_without_objects_is_shown_as_it_is(text in "[^{]{0,60}") {
        prop_assume!(!text.contains("<|python_tag|>"));
        let (parts, shown) = parse(&[&text]);
        prop_assert_eq!(&shown, &text);
        prop_assert!(parts.iter().all(|part| part.as_text().is_some()));
    }

    /// Whatever a call holds, it comes back.
    #[test]
    fn calls_are_read_back(name in "[a-z_]{1,12}", key in "\\PC{0,8}", value in "\\PC{0,30}") {
        let call = json!({"name": name, "parameters": {&key: value}});
        for text in [call.to_string(), puna_text::python_json(&call), format!("{call:#}")] {
            let (parts, shown) = parse(&[&text]);
            prop_assert_eq!(shown, "");
            let [Content::ToolCall(read)] = &parts[..] else { panic!("{text}: {parts:?}") };
            prop_assert_eq!(&read.name, &name);
            prop_assert_eq!(&read.arguments[&key], &json!(value));
        }
    }
}
