//! What JSON Schemas generate satisfies them.

use jsonschema::{Draft, Validator};
use proptest::prelude::*;
use puna_core::{ErrorKind, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, Compiled, Dialect};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{COMPILER, EOS, TOKENIZER, accepts, schema, tool, walk};

/// A case of the JSON-Schema-Test-Suite.
#[derive(Deserialize)]
struct Case {
    case: String,
    schema: Value,
    /// Whether a value satisfies the schema, and the value.
    values: Vec<(bool, Value)>,
}

fn suite() -> Vec<Case> {
    serde_json::from_str(include_str!("../../constraint/json_schema_test_suite.json")).expect("the extract")
}

pub(super) fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

/// What is wrong with what a schema generates, by seeds; how many walks came to an end.
fn check(name: &str, written: &Value, compiled: &Compiled, seeds: u64) -> usize {
    let validator = validator(written);
    let mut finished = 0;
    for seed in 0..seeds {
        let Some(tokens) = walk(&mut compiled.matcher(), seed) else { continue };
        let text = TOKENIZER.decode(&tokens).expect("text");
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        if compiled.unconstrained().is_empty() {
            assert!(validator.is_valid(&value), "{name}: {text} is not of {written}");
            finished += 1;
        }
    }
    finished
}

/// The suite's own values too: what a schema forbids is refused where the whole schema is held.
#[test]
fn the_test_suite_of_json_schema() {
    let (mut finished, mut held, mut allowed) = (0, 0, 0);
    for Case { case, schema: written, values } in suite() {
        let compiled = match schema(&written) {
            Ok(compiled) => compiled,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{case}: {error}");
                let elsewhere = error.to_string().contains("nothing is fetched");
                assert!(elsewhere || values.iter().all(|(valid, _)| !valid), "{case}: {error}");
                continue;
            }
        };
        finished += check(&case, &written, &compiled, 8);
        if compiled.unconstrained().is_empty() {
            held += 1;
            for (valid, value) in values {
                let accepted = accepts(&compiled, &value.to_string());
                assert!(valid || !accepted, "{case}: {value} is not of {written}");
                allowed += usize::from(valid && accepted);
            }
        }
    }
    assert!(finished > 1_000, "only {finished} pairs of schema and seed came to an end");
    assert!(
        held > 150 && allowed > 300,
        "{held} schemas are held, which accept {allowed} of the suite's values"
    );
}

/// Tools as hosts declare them.
pub(super) fn tools() -> Vec<ToolSchema> {
    let tools: Vec<Value> =
        serde_json::from_str(include_str!("../../constraint/tools.json")).expect("the tools");
    tools
        .into_iter()
        .map(|entry| tool(entry["name"].as_str().expect("a name"), entry["parameters"].clone()))
        .collect()
}

#[test]
fn tools_as_hosts_declare_them() {
    let mut finished = 0;
    for tool in tools() {
        let compiled = schema(&tool.parameters).unwrap_or_else(|error| panic!("{}: {error}", tool.name));
        assert_eq!(compiled.unconstrained(), [""; 0], "{}", tool.name);
        finished += check(&tool.name, &tool.parameters, &compiled, 40);
    }
    assert!(finished > 400, "only {finished} walks came to an end");
}

/// The calls in a finished turn of JSON.
fn calls(dialect: Dialect, text: &str) -> Vec<Value> {
    let read = |text: &str| -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    match dialect {
        Dialect::Mistral => {
            let array = read(text.strip_prefix("[TOOL_CALLS]").expect("its mark"));
            array.as_array().expect("an array").clone()
        }
        Dialect::Hermes => {
            let call = |part: &str| read(part.trim_end().strip_suffix("</tool_call>").expect("its end"));
            text.split("<tool_call>").skip(1).map(call).collect()
        }
        _ => {
            let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            let first = stream.next().expect("a call").unwrap_or_else(|error| panic!("{error}: {text}"));
            let rest = text[stream.byte_offset()..].strip_prefix("; ");
            let mut all = vec![first];
            all.extend(rest.map(|rest| calls(dialect, rest)).unwrap_or_default());
            all
        }
    }
}

#[test]
fn turns_of_all_tools_at_once() {
    let tools = tools();
    let mut finished = 0;
    for dialect in [Dialect::LlamaJson, Dialect::Hermes, Dialect::Mistral] {
        let key = if dialect == Dialect::LlamaJson { "parameters" } else { "arguments" };
        let form = AnswerForm {
            dialect,
            tools: &tools,
            choice: &ToolChoice::Required,
            parallel: true,
            answer: None,
        };
        let compiled = COMPILER.compile(&form).expect("the tools");
        for seed in 0..120 {
            let Some(tokens) = walk(&mut compiled.matcher(), seed) else { continue };
            let text = TOKENIZER.decode(&tokens).expect("text");
            for call in calls(dialect, &text) {
                let tool =
                    tools.iter().find(|tool| call["name"] == *tool.name).expect("a tool that there is");
                assert!(validator(&tool.parameters).is_valid(&call[key]), "{dialect}: {text}");
            }
            finished += 1;
        }
    }
    assert!(finished > 200, "only {finished} turns came to an end");
}

/// A value of Python's literals as JSON.
fn python(text: &str) -> Value {
    let mut json = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let literal = [("True", "true"), ("False", "false"), ("None", "null")]
            .into_iter()
            .find(|(python, _)| rest.starts_with(python));
        if let Some((python, literal)) = literal {
            json.push_str(literal);
            rest = &rest[python.len()..];
        } else if next == '"' {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            strings.next().expect("a string").unwrap_or_else(|error| panic!("{error}: {text}"));
            let length = strings.byte_offset();
            json.push_str(&rest[..length]);
            rest = &rest[length..];
        } else {
            json.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[test]
fn arguments_as_python_writes_them() {
    let mut finished = 0;
    for tool in tools() {
        let tools = [tool];
        let [tool] = &tools;
        let form = AnswerForm {
            dialect: Dialect::Pythonic,
            tools: &tools,
            choice: &ToolChoice::Required,
            parallel: false,
            answer: None,
        };
        let compiled = COMPILER.compile(&form).unwrap_or_else(|error| panic!("{}: {error}", tool.name));
        // Schemas that are combined are not written as Python.
        let held = compiled.unconstrained().is_empty();
        assert_eq!(held, tool.name != "update_order", "{}: {:?}", tool.name, compiled.unconstrained());
        for seed in 0..30 {
            let Some(tokens) = walk(&mut compiled.matcher(), seed) else { continue };
            let text = TOKENIZER.decode(&tokens).expect("text");
            let arguments = text
                .strip_prefix(&format!("[{}(", tool.name))
                .and_then(|text| text.strip_suffix(")]"))
                .unwrap_or_else(|| panic!("not a call: {text}"));
            // Keyword arguments are a dictionary whose keys are names.
            let names: Vec<&String> =
                tool.parameters["properties"].as_object().expect("properties").keys().collect();
            let mut dictionary = format!("{{{arguments}}}");
            for name in names {
                for before in ["{", ", "] {
                    dictionary =
                        dictionary.replacen(&format!("{before}{name}="), &format!("{before}\"{name}\": "), 1);
                }
            }
            let value = python(&dictionary);
            assert!(!held || validator(&tool.parameters).is_valid(&value), "{}: {text}", tool.name);
            finished += 1;
        }
    }
    assert!(finished > 250, "only {finished} walks came to an end");
}

/// What is left out is told, by its place.
#[test]
fn what_is_not_held_is_told() {
    let table = [
        (json!({ "type": "array", "uniqueItems": true }), vec!["answer#/uniqueItems"]),
        (
            json!({ "properties": { "a/b": { "not": { "type": "null" } } } }),
            vec!["answer#/properties/a~1b/not"],
        ),
        (
            json!({ "if": { "type": "string" }, "then": { "minLength": 1 } }),
            vec!["answer#/if", "answer#/then"],
        ),
        (json!({ "type": "string", "format": "klingon" }), vec!["answer#/format"]),
        (json!({ "type": "string", "pattern": "(?<!a)b" }), vec!["answer#/pattern"]),
        (json!({ "oneOf": [{ "minimum": 3 }, { "maximum": 7 }] }), vec!["answer#/oneOf"]),
        (json!({ "oneOf": [{ "type": "string" }, { "type": "null" }] }), vec![]),
        (json!({ "type": "object", "minProperties": 2 }), vec!["answer#/minProperties"]),
        (json!({ "uniqueItems": false, "title": "a", "default": 7, "x-own": true }), vec![]),
        (json!({ "$defs": { "a": { "not": {} } } }), vec![]),
    ];
    for (written, told) in table {
        let compiled = schema(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(compiled.unconstrained(), told, "{written}");
    }
}

/// Texts that a schema takes and refuses.
#[test]
fn a_table_of_texts() {
    let closed = json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "string" } }, "required": ["a"] });
    let open =
        json!({ "type": "object", "properties": { "a": true }, "additionalProperties": { "type": "null" } });
    let any = json!({});
    let number = json!({ "type": "number" });
    let table: &[(&Value, &str, bool)] = &[
        (&closed, r#"{"a": 1}"#, true),
        (&closed, r#"{"a":1,"b":"x"}"#, true),
        (&closed, r#"{"a": 1, "b": "\"\\\n"}"#, true),
        (&closed, r#"{"b": "x", "a": 1}"#, false),
        (&closed, r#"{"a": 1, "c": 1}"#, false),
        (&closed, r#"{"a": 1, "a": 1}"#, false),
        (&closed, r#"{"a":  1}"#, false),
        (&closed, " {\"a\": 1}", false),
        (&closed, "{\"a\": 1}\n", false),
        (&closed, "{\n\"a\": 1}", false),
        (&closed, r#"{"a": 1.0}"#, false),
        (&closed, r#"{"a": 01}"#, false),
        (&closed, r#"{"a": 9007199254740992}"#, false),
        (&closed, r#"{"a": -9007199254740991}"#, true),
        (&closed, r#"{"a": 1"#, false),
        (&closed, "", false),
        (&open, r#"{"a": [{}], "b": null}"#, true),
        (&open, r#"{"b": null, "c": null}"#, true),
        (&open, r#"{"b": 1}"#, false),
        // The same name in another spelling.
        (&open, r#"{"a": 1, "\u0061": null}"#, false),
        (&any, r#"{"a": [1, true, {"b": null}], "c": "d"}"#, true),
        (&any, "7", true),
        (&any, "nul", false),
        (&any, "'a'", false),
        (&any, "[1,]", false),
        (&any, "\"a\u{1}\"", false),
        (&number, "-0.25", true),
        (&number, "1e5", false),
        (&number, "1e999", false),
        (&number, "0x1", false),
        (&number, "NaN", false),
    ];
    for (written, text, wanted) in table {
        let compiled = schema(written).expect("a schema");
        assert_eq!(accepts(&compiled, text), *wanted, "{written}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Forced tokens are the only ones that the mask allows, in their order; what the mask allows is taken; and a matcher
    /// that went back says what it said before.
    #[test]
    fn a_matcher_keeps_its_word(which in 0_usize..16, dialect in 0_usize..4, seed: u64) {
        let dialect = [Dialect::LlamaJson, Dialect::Pythonic, Dialect::Hermes, Dialect::Mistral][dialect];
        let tools = &tools()[which..=which];
        let form = AnswerForm { dialect, tools, choice: &ToolChoice::Auto, parallel: true, answer: None };
        let compiled = COMPILER.compile(&form).expect("a tool");
        let mut matcher = compiled.matcher();
        // Into a call, which free text seldom begins.
        let start = match dialect {
            Dialect::LlamaJson => "{\"name\"".to_owned(),
            Dialect::Pythonic => format!("[{}(", tools[0].name),
            Dialect::Hermes => "<tool_call>".to_owned(),
            _ => "[TOOL_CALLS]".to_owned(),
        };
        for token in TOKENIZER.encode_text(&start).expect("tokens") {
            matcher.commit(token).expect("a call begins");
        }
        let mut random = super::Random(seed);
        for _ in 0..40 {
            let forced = matcher.forced();
            let mut ahead = matcher.clone();
            for token in &forced {
                prop_assert_eq!(ahead.mask().expect("a mask").only(), Some(*token));
                ahead.commit(*token).expect("forced");
            }
            prop_assert_eq!(matcher.validate(&forced).expect("valid"), forced.len());
            let mask = matcher.mask().expect("a mask").clone();
            let allowed: Vec<u32> = mask.tokens().filter(|token| !EOS.contains(token)).collect();
            prop_assert_eq!(mask.count() == 0, false);
            prop_assert_eq!(matcher.is_accepting(), EOS.iter().all(|token| mask.allows(*token)));
            prop_assert_eq!(matcher.is_accepting(), EOS.iter().any(|token| mask.allows(*token)));
            if allowed.is_empty() {
                prop_assert!(matcher.is_finished());
                break;
            }
            // There and back.
            matcher.commit(allowed[random.below(allowed.len())]).expect("allowed");
            matcher.rollback(1).expect("one token back");
            prop_assert_eq!(matcher.mask().expect("a mask"), &mask);
            matcher.commit(allowed[random.below(allowed.len())]).expect("allowed");
        }
    }

    #[test]
    fn logits_keep_what_the_mask_allows(seed: u64, more in 0_usize..70) {
        let compiled = schema(&json!({ "type": "string" })).expect("a schema");
        let mut matcher = compiled.matcher();
        let mask = matcher.mask().expect("a mask").clone();
        let count = TOKENIZER.vocabulary_size() + more;
        let mut random = super::Random(seed);
        let before: Vec<f32> = (0..count).map(|_| random.below(1_000) as f32).collect();
        let mut after = before.clone();
        mask.apply(&mut after);
        for (token, (before, after)) in (0_u32..).zip(before.iter().zip(&after)) {
            prop_assert_eq!(*after, if mask.allows(token) { *before } else { f32::NEG_INFINITY });
        }
    }
}

/// The README's lists of keywords.
#[test]
fn what_is_documented_is_so() {
    let (mut held, mut told) = (0, 0);
    let mut listed_as_held = true;
    for line in include_str!("../../../README.md").lines() {
        match line {
            "| held | example |" => listed_as_held = true,
            "| not held | example |" => listed_as_held = false,
            _ => {}
        }
        let [_, keyword, _, example, _] = line.split('`').collect::<Vec<_>>()[..] else { continue };
        let Ok(example) = serde_json::from_str::<Value>(example) else { continue };
        assert!(example.to_string().contains(&format!("\"{keyword}\":")), "{keyword}: {example}");
        let compiled = schema(&example).unwrap_or_else(|error| panic!("{error}: {example}"));
        if listed_as_held {
            assert_eq!(compiled.unconstrained(), Vec::<String>::new(), "{keyword}");
            held += 1;
        } else {
            let keyword = format!("/{keyword}");
            assert!(
                compiled.unconstrained().iter().any(|at| at.ends_with(&keyword)),
                "{keyword}: {compiled:?}"
            );
            told += 1;
        }
    }
    assert_eq!((held, told), (27, 12));
}
