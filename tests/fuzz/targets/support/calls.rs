//! What holds for any text in any dialect.

use puna_core::Content;
use puna_text::{Dialect, Parsed, ParsedEvent, ToolCallParser};

/// What pieces of a text give: the text shown, the arguments told of every call, and the parts.
fn parse<'a>(
    mut parser: ToolCallParser,
    pieces: impl Iterator<Item = &'a str>,
) -> (String, Vec<String>, Vec<Content>) {
    let (mut shown, mut told) = (String::new(), Vec::new());
    let mut take = |parsed: Parsed| {
        for event in parsed.events {
            match event {
                ParsedEvent::Text(text) => shown.push_str(&text),
                ParsedEvent::ArgumentsDelta { index, text } => {
                    told.resize(index + 1, String::new());
                    told[index].push_str(&text);
                }
                _ => {}
            }
        }
    };
    pieces.for_each(|piece| take(parser.push(piece)));
    let (rest, parts) = parser.finish();
    take(rest);
    (shown, told, parts)
}

/// Whole and by characters the same; what was told on the way is what the parts hold. So for any tools and for these.
pub fn check(dialect: Dialect, text: &str) {
    check_with(|| ToolCallParser::new(dialect, "call_"), text);
    check_with(|| ToolCallParser::with_tools(dialect, "call_", ["f", "get"]), text);
}

fn check_with(parser: impl Fn() -> ToolCallParser, text: &str) {
    let characters: Vec<String> = text.chars().map(String::from).collect();
    let whole = parse(parser(), std::iter::once(text));
    assert_eq!(parse(parser(), characters.iter().map(String::as_str)), whole);
    let (shown, told, parts) = whole;
    assert_eq!(shown, parts.iter().filter_map(Content::as_text).collect::<String>());
    let calls = parts.iter().filter(|part| part.as_text().is_none());
    for (index, call) in calls.enumerate() {
        match call {
            Content::ToolCall(call) => assert_eq!(told[index], told_of(&told[index], &call.arguments)),
            Content::InvalidToolCall(call) => assert!(!call.reason.is_empty()),
            other => panic!("a parser gives no {other:?}"),
        }
    }
}

/// The text, where it is these arguments; else what they are.
fn told_of(text: &str, arguments: &serde_json::Value) -> String {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(told) if told == *arguments => text.to_owned(),
        _ => arguments.to_string(),
    }
}
