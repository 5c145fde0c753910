//! Tool calls in a model's text.

mod hermes;
mod llama;
mod mistral;
mod pythonic;
mod tools;

use std::collections::HashSet;

use proptest::prelude::*;
use puna_core::{Content, ToolCall};
use puna_text::{Dialect, ParsedEvent, StreamDecoder, ToolCallParser};
use serde_json::{Map, Value, json};

use crate::{characters, pieces, tokenizer};

/// Texts, and their parts in [`short`].
type Table = &'static [(&'static str, &'static [&'static str])];

/// Every dialect, its table, and what its texts are made of.
const DIALECTS: [(Dialect, Table, &[&str]); 4] = [
    (
        Dialect::LlamaJson,
        llama::TABLE,
        &[
            "<|python_tag|>",
            "<|",
            ";",
            "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
            "\"parameters\"",
            "t.call(a=",
        ],
    ),
    (
        Dialect::Pythonic,
        pythonic::TABLE,
        &[
            "<|python_start|>",
            "<|python_end|>",
            "<|python_tag|>",
            "[f(",
            "a=",
            "(",
            ")",
            "'",
            "'''",
            "\\x4",
            "\\ud83e",
            "True",
            "-1.5e",
            "[f(a=1, b={'c': [None]}), g()]",
        ],
    ),
    (
        Dialect::Hermes,
        hermes::TABLE,
        &[
            "<tool_call>",
            "</tool_call>",
            "<tool_",
            "\"arguments\"",
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
        ],
    ),
    (
        Dialect::Mistral,
        mistral::TABLE,
        &[
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "[TOOL",
            "f[ARGS]{",
            "\"arguments\"",
            "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
            "[TOOL_CALLS]f[ARGS]{\"a\": 1}",
        ],
    ),
];

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

/// Adds an event, joined to the last one where both are of one kind.
fn join(events: &mut Vec<ParsedEvent>, event: ParsedEvent) {
    match (events.last_mut(), &event) {
        (Some(ParsedEvent::Text(text)), ParsedEvent::Text(more)) => text.push_str(more),
        (
            Some(ParsedEvent::ArgumentsDelta { index, text }),
            ParsedEvent::ArgumentsDelta { index: same, text: more },
        ) if index == same => text.push_str(more),
        _ => events.push(event),
    }
}

/// What pieces of a text give.
#[track_caller]
fn parse(dialect: Dialect, pieces: &[&str]) -> (Vec<Content>, Vec<ParsedEvent>) {
    read(ToolCallParser::new(dialect, "call_"), pieces)
}

/// What a parser makes of pieces of a text. Panics where the events and the parts do not tell the same.
#[track_caller]
fn read(mut parser: ToolCallParser, pieces: &[&str]) -> (Vec<Content>, Vec<ParsedEvent>) {
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece).events.into_iter().for_each(|event| join(&mut events, event));
    }
    let (rest, parts) = parser.finish();
    rest.events.into_iter().for_each(|event| join(&mut events, event));
    check_told(&parts, &events);
    (parts, events)
}

/// Events are the parts as they came: texts, and for every call its start, its arguments and its end.
#[track_caller]
fn check_told(parts: &[Content], events: &[ParsedEvent]) {
    let mut events = events.iter();
    let mut index = 0;
    for part in parts {
        match part {
            Content::Text { text } => assert_eq!(events.next(), Some(&ParsedEvent::Text(text.clone()))),
            Content::ToolCall(ToolCall { id, name, arguments }) => {
                let started = ParsedEvent::CallStarted { index, id: id.clone(), name: name.clone() };
                assert_eq!(events.next(), Some(&started));
                let Some(ParsedEvent::ArgumentsDelta { text, .. }) = events.next() else {
                    panic!("no arguments")
                };
                let told: Value = serde_json::from_str(text).expect("arguments in JSON");
                assert_eq!((&told, told.is_object()), (arguments, true));
                assert_eq!(events.next(), Some(&ParsedEvent::CallFinished { index }));
                index += 1;
            }
            Content::InvalidToolCall(call) => {
                assert!(!call.reason.is_empty() && !call.text.is_empty(), "{call:?}");
                let end = ParsedEvent::CallInvalid { index };
                let mut event = events.next();
                if let Some(ParsedEvent::CallStarted { id, name, .. }) = event {
                    assert_eq!((id, Some(name)), (&call.id, call.name.as_ref()));
                    event = events.next();
                }
                if matches!(event, Some(ParsedEvent::ArgumentsDelta { .. })) {
                    event = events.next();
                }
                assert_eq!(event, Some(&end));
                index += 1;
            }
            other => panic!("a parser gives no {other:?}"),
        }
    }
    assert_eq!(events.next(), None);
}

/// Each text of a table, whole, by character and by token, gives the same parts.
#[track_caller]
fn check_table(dialect: Dialect, table: Table, parser: impl Fn() -> ToolCallParser) {
    let tokenizer = tokenizer();
    for (text, wanted) in table {
        let whole = read(parser(), &[text]);
        assert_eq!(short(&whole.0), *wanted, "{dialect}: {text}");
        assert_eq!(read(parser(), &characters(text)), whole, "{dialect}: {text}");
        let mut decoder = StreamDecoder::new(tokenizer.clone());
        let mut tokens = Vec::new();
        for id in tokenizer.encode_text(text).expect("tokens") {
            tokens.extend(decoder.push(id).expect("text"));
        }
        tokens.extend(decoder.finish().expect("text"));
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        assert_eq!(read(parser(), &tokens), whole, "{dialect}: {tokens:?}");
    }
}

#[test]
fn tables_whole_by_token_and_by_character() {
    for (dialect, table, _) in DIALECTS {
        assert!(table.len() >= 30, "{dialect}: {} cases", table.len());
        check_table(dialect, table, || ToolCallParser::new(dialect, "call_"));
    }
}

#[test]
fn what_names_no_tool_is_no_call_in_the_midst_of_text() {
    for (dialect, table) in [
        (Dialect::LlamaJson, tools::LLAMA),
        (Dialect::Pythonic, tools::PYTHONIC),
        (Dialect::Hermes, tools::HERMES),
        (Dialect::Mistral, tools::MISTRAL),
    ] {
        check_table(dialect, table, || ToolCallParser::with_tools(dialect, "call_", ["f", "g"]));
    }
}

#[test]
fn calls_are_numbered_and_reasons_told() {
    for (dialect, text, reason) in [
        (
            Dialect::LlamaJson,
            r#"{"name": "f", "parameters": {}} {"name": "g", "parameters": 7}"#,
            "must be an object; got 7",
        ),
        (Dialect::Pythonic, "[f(), g(7)]", "needs its name, as in `key=value`; got `7`"),
        (Dialect::Hermes, r#"<tool_call>{"name": "f"}{"name": "g", "arguments": {7}}"#, "is not JSON"),
        (Dialect::Mistral, "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{7}", "is not JSON"),
    ] {
        let (parts, _) = parse(dialect, &[text]);
        let [Content::ToolCall(first), Content::InvalidToolCall(second)] = &parts[..] else {
            panic!("{dialect}: {parts:?}")
        };
        assert_eq!((first.id.as_str(), second.id.as_str()), ("call_0", "call_1"), "{dialect}");
        assert!(second.reason.contains(reason), "{dialect}: {}", second.reason);
        if !text.contains("{7}}") {
            assert_eq!(second.name.as_deref(), Some("g"), "{dialect}");
        }
    }
}

/// Names and arguments are told while they are written, and text at once.
#[test]
fn calls_are_told_as_they_come() {
    let delta = |text: &str| ParsedEvent::ArgumentsDelta { index: 0, text: text.to_owned() };
    let start = ParsedEvent::CallStarted { index: 0, id: "0".to_owned(), name: "f".to_owned() };
    let end = ParsedEvent::CallFinished { index: 0 };
    let text = |text: &str| ParsedEvent::Text(text.to_owned());
    for (dialect, steps) in [
        (
            Dialect::LlamaJson,
            vec![
                ("Hel", vec![text("Hel")]),
                ("lo\n", vec![text("lo")]),
                ("{\"name\": \"f\"", vec![]),
                (", \"parameters\": ", vec![]),
                ("{\"a\": \"x", vec![start.clone(), delta("{\"a\": \"x")]),
                ("y\"}", vec![delta("y\"}")]),
                ("}", vec![end.clone()]),
            ],
        ),
        (
            Dialect::Pythonic,
            vec![
                ("[f", vec![]),
                ("(", vec![start.clone()]),
                ("a='x", vec![delta("{\"a\": \"x")]),
                ("\"y", vec![delta("\\\"y")]),
                ("', b=1", vec![delta("\", \"b\": ")]),
                (")", vec![delta("1}"), end.clone()]),
                ("]", vec![]),
            ],
        ),
        (
            Dialect::Hermes,
            vec![
                ("Hi <tool", vec![text("Hi ")]),
                ("_call>{\"name\": \"f\", \"arguments\": {\"a", vec![start.clone(), delta("{\"a")]),
                ("\": 1}", vec![delta("\": 1}")]),
                ("}</tool_call>", vec![end.clone()]),
            ],
        ),
        (
            Dialect::Mistral,
            vec![
                ("[TOOL_CALLS]f[ARGS]", vec![]),
                ("{\"a\": ", vec![start.clone(), delta("{\"a\": ")]),
                ("1}", vec![delta("1}"), end.clone()]),
            ],
        ),
        // The name comes last: everything comes with it.
        (
            Dialect::Mistral,
            vec![
                ("[TOOL_CALLS][{\"arguments\": {\"a\": 1}, \"name\": \"f\"", vec![]),
                ("}", vec![start.clone(), delta("{\"a\": 1}"), end.clone()]),
            ],
        ),
        // Code, to the text's end.
        (
            Dialect::LlamaJson,
            vec![(
                "<|python_tag|>a\n",
                vec![
                    ParsedEvent::CallStarted {
                        index: 0,
                        id: "0".to_owned(),
                        name: "code_interpreter".to_owned(),
                    },
                    delta("{\"code\": \"a\\n"),
                ],
            )],
        ),
    ] {
        let mut parser = ToolCallParser::new(dialect, "");
        for (piece, wanted) in steps {
            assert_eq!(parser.push(piece).events, wanted, "{dialect}: {piece}");
        }
    }
}

/// Calls that do not end, or nest without end, take bounded memory and stack, and no text is lost.
#[test]
fn calls_without_an_end_are_bounded() {
    const LONG: usize = 5 << 18;
    for (dialect, start, filler) in [
        (Dialect::LlamaJson, "{\"name\": \"", "x"),
        (Dialect::LlamaJson, "{\"name\": \"f\", \"parameters\": {\"a\": ", "["),
        (Dialect::LlamaJson, "<|python_tag|>", "x"),
        (Dialect::LlamaJson, "<|python_tag|>f.call(a='", "x"),
        (Dialect::LlamaJson, "<|python_tag|>f.call(1", "x"),
        (Dialect::Pythonic, "[f(a='", "x"),
        (Dialect::Pythonic, "[f(a=", "["),
        (Dialect::Pythonic, "[f(a=", "{'a':"),
        (Dialect::Pythonic, "[f(", "a"),
        (Dialect::Pythonic, "[f(a=", "1"),
        (Dialect::Pythonic, "[", "f"),
        (Dialect::Pythonic, "[", " "),
        (Dialect::Pythonic, "[f(), ", "f"),
        (Dialect::Pythonic, "[f(), ", " "),
        (Dialect::Hermes, "<tool_call>{\"name\": \"", "x"),
        (Dialect::Hermes, "<tool_call>", "x"),
        (Dialect::Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": ", "{\"a\":"),
        (Dialect::Mistral, "[TOOL_CALLS]", "f"),
        (Dialect::Mistral, "[TOOL_CALLS]f[ARGS]{\"a\": ", "["),
        (Dialect::Mistral, "[TOOL_CALLS]f[CALL_ID]", "a"),
        (Dialect::Mistral, "[TOOL_CALLS][{\"name\": \"", "x"),
        (Dialect::Mistral, "[TOOL_CALLS]$", "x"),
    ] {
        let text = start.to_owned() + &filler.repeat(LONG / filler.len());
        let (parts, _) = parse(dialect, &[&text]);
        let mut kept = 0;
        for part in &parts {
            kept += match part {
                Content::Text { text } => text.len(),
                Content::InvalidToolCall(call) => {
                    assert!(call.text.len() <= (1 << 20) + 300, "{dialect} {start}: {}", call.text.len());
                    assert!(call.reason.len() < 400, "{}", call.reason.len());
                    call.text.len()
                }
                _ => 0,
            };
        }
        // A list's blanks are no text.
        if filler != " " {
            assert!(kept + start.len() >= text.len() - filler.len(), "{dialect} {start}: {kept} are kept");
        }
    }
}

/// Texts that keep beginning what is no call: four times the text gives four times the output and no more, in time that a
/// parser which looked back would take hours for.
#[test]
fn beginnings_without_end_take_linear_work() {
    const SHORT: usize = 1 << 18;
    for (dialect, filler) in [
        (Dialect::LlamaJson, "{\"name"),
        (Dialect::LlamaJson, "{\"type\": \n"),
        (Dialect::LlamaJson, "<|python_tag"),
        (Dialect::LlamaJson, "\n \t"),
        (Dialect::LlamaJson, "{\"name\": \"f\"};"),
        (Dialect::Pythonic, "[f"),
        (Dialect::Pythonic, "\n[f(a="),
        (Dialect::Pythonic, "[f(a=1), "),
        (Dialect::Pythonic, "<|python_start|>["),
        (Dialect::Hermes, "<tool_"),
        (Dialect::Hermes, "<tool_call>{"),
        (Dialect::Hermes, "<tool_call>\n{\"name\": \"f\"}"),
        (Dialect::Mistral, "[TOOL_"),
        (Dialect::Mistral, "[TOOL_CALLS]"),
        (Dialect::Mistral, "[TOOL_CALLS][{\"name\": \"f\"}"),
    ] {
        let output = |bytes: usize| {
            let text = filler.repeat(bytes / filler.len());
            let mut parser = ToolCallParser::new(dialect, "call_");
            let (mut events, mut told) = (0, 0);
            let mut note = |event: ParsedEvent| {
                events += 1;
                told += match event {
                    ParsedEvent::Text(text) | ParsedEvent::ArgumentsDelta { text, .. } => text.len(),
                    _ => 0,
                };
            };
            for character in text.chars() {
                parser.push(character.encode_utf8(&mut [0; 4])).events.into_iter().for_each(&mut note);
            }
            let (rest, parts) = parser.finish();
            rest.events.into_iter().for_each(note);
            let held: usize = parts
                .iter()
                .map(|part| match part {
                    Content::InvalidToolCall(call) => call.text.len(),
                    _ => 0,
                })
                .sum();
            assert!(events <= 2 * text.len() + 8 && told + held <= 4 * text.len(), "{dialect}: {filler}");
            (events, told + held)
        };
        let (short, long) = (output(SHORT), output(4 * SHORT));
        assert!(
            long.0 <= 4 * short.0 + 64 && long.1 <= 4 * short.1 + 64,
            "{dialect} {filler}: {short:?} {long:?}"
        );
    }
}

/// Texts that are nearly calls of a dialect.
fn nearly() -> impl Strategy<Value = (Dialect, String)> {
    const COMMON: [&str; 19] = [
        "{", "}", "\"name\"", ": ", "\"f\"", ", ", "{}", "\"", "\\", "[", "]", "\n", " ", "x", "ü", "7",
        "true", "f", "<",
    ];
    prop::sample::select(DIALECTS.to_vec()).prop_flat_map(|(dialect, _, own)| {
        let part = prop_oneof![prop::sample::select(COMMON.to_vec()), prop::sample::select(own.to_vec())];
        (Just(dialect), prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat()))
    })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(DIALECTS.map(|(dialect, ..)| dialect).to_vec())
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let item =
                |(key, value): (&String, &Value)| format!("{}: {}", python(&json!(key)), python(value));
            format!("{{{}}}", map.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => {
            let mut out = "'".to_owned();
            for c in text.chars() {
                match c {
                    '\'' | '\\' => out.extend(['\\', c]),
                    '\n' => out.push_str("\\n"),
                    c if c < ' ' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c => out.push(c),
                }
            }
            out + "'"
        }
        number => puna_text::python_json(number),
    }
}

/// Calls as a model of the dialect writes them.
fn written(dialect: Dialect, calls: &[(String, Value)]) -> String {
    let json = |key: &str| {
        let object = move |(name, arguments): &(String, Value)| {
            puna_text::python_json(&json!({ "name": name, key: arguments }))
        };
        calls.iter().map(object).collect::<Vec<_>>()
    };
    match dialect {
        Dialect::LlamaJson => json("parameters").join("; "),
        Dialect::Pythonic => {
            let call = |(name, arguments): &(String, Value)| {
                let argument = |(name, value): (&String, &Value)| format!("{name}={}", python(value));
                let arguments = arguments.as_object().expect("an object").iter().map(argument);
                format!("{name}({})", arguments.collect::<Vec<_>>().join(", "))
            };
            format!("[{}]", calls.iter().map(call).collect::<Vec<_>>().join(", "))
        }
        Dialect::Hermes => {
            let tagged = |call| format!("<tool_call>\n{call}\n</tool_call>");
            json("arguments").into_iter().map(tagged).collect::<Vec<_>>().join("\n")
        }
        Dialect::Mistral => format!("[TOOL_CALLS][{}]", json("arguments").join(", ")),
        other => panic!("no form for {other}"),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["</tool_call>", "[TOOL_CALLS]", "<|python_end|>", "')]}", "\"}}"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|items| Value::Object(items.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn tables_in_pieces(row in any::<prop::sample::Index>(), dialect in 0..4usize, cuts in prop::collection::vec(0usize..16, 0..12)) {
        let (dialect, table, _) = DIALECTS[dialect];
        let (text, wanted) = table[row.index(table.len())];
        prop_assert_eq!(short(&parse(dialect, &pieces(text, &cuts)).0), wanted, "{}", text);
    }

    #[test]
    fn any_text_is_taken(
        dialect in dialect(),
        start in prop::sample::select(vec!["", "{", "{\"name\": \"", "\n<|", "[f(", "<tool_call>", "[TOOL_CALLS]", "[f(a='", "<|python_tag|>"]),
        text in any::<String>(),
    ) {
        let text = start.to_owned() + &text;
        prop_assert_eq!(parse(dialect, &characters(&text)), parse(dialect, &[&text]));
        let known = || ToolCallParser::with_tools(dialect, "call_", ["f"]);
        prop_assert_eq!(read(known(), &characters(&text)), read(known(), &[&text]));
    }

    #[test]
    fn any_pieces_give_what_the_whole_gives((dialect, text) in nearly(), cuts in prop::collection::vec(0usize..16, 0..12)) {
        let whole = parse(dialect, &[&text]);
        prop_assert_eq!(&parse(dialect, &pieces(&text, &cuts)), &whole);
        let known = || ToolCallParser::with_tools(dialect, "call_", ["g"]);
        prop_assert_eq!(read(known(), &pieces(&text, &cuts)), read(known(), &[&text]));
        let ids: HashSet<&str> = whole.0.iter().filter_map(|part| match part {
            Content::ToolCall(call) => Some(call.id.as_str()),
            Content::InvalidToolCall(call) => Some(call.id.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(ids.len(), whole.0.iter().filter(|part| part.as_text().is_none()).count());
    }

    #[test]
    fn text_without_calls_is_shown_as_it_is(dialect in dialect(), text in "[^{\\[<]{0,60}") {
        let (parts, _) = parse(dialect, &[&text]);
        let shown: String = parts.iter().filter_map(Content::as_text).collect();
        prop_assert_eq!((shown, parts.iter().all(|part| part.as_text().is_some())), (text, true));
    }

    /// Whatever calls hold, it comes back.
    #[test]
    fn calls_are_read_back(
        dialect in dialect(),
        calls in prop::collection::vec(("[a-z_]{1,12}", prop::collection::vec(("[a-z_]{1,8}", value()), 0..4)), 1..4),
    ) {
        let object = |items: Vec<(String, Value)>| Value::Object(items.into_iter().collect::<Map<_, _>>());
        let calls: Vec<(String, Value)> = calls.into_iter().map(|(name, items)| (name, object(items))).collect();
        let text = written(dialect, &calls);
        let (parts, _) = parse(dialect, &[&text]);
        let read: Vec<(String, Value)> = parts.iter().map(|part| match part {
            Content::ToolCall(call) => (call.name.clone(), call.arguments.clone()),
            other => panic!("{text}: {other:?}"),
        }).collect();
        prop_assert_eq!(read, calls, "{}", text);
    }
}
