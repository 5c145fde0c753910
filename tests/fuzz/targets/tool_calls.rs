//! Any text as a model's answer, whole and in pieces: the same parts.
#![no_main]

use puna_text::ToolCallParser;

fn parse<'a>(pieces: impl Iterator<Item = &'a str>) -> (String, Vec<puna_core::Content>) {
    let mut parser = ToolCallParser::new("call_");
    let mut shown: String = pieces.map(|piece| parser.push(piece).text).collect();
    let (rest, parts) = parser.finish();
    shown.push_str(&rest.text);
    (shown, parts)
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let characters: Vec<String> = text.chars().map(String::from).collect();
    assert_eq!(parse(characters.iter().map(String::as_str)), parse(std::iter::once(text)));
});
