//! Calls in every dialect, under every choice.

use std::sync::Arc;

use puna_core::{Constraint, ErrorKind, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, Compiled, Dialect};
use serde_json::json;

use super::{COMPILER, TOKENIZER, accepts, tool};

const DIALECTS: [Dialect; 4] = [Dialect::LlamaJson, Dialect::Pythonic, Dialect::Hermes, Dialect::Mistral];

fn tools() -> Vec<ToolSchema> {
    let weather = json!({
        "type": "object",
        "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 1, "maximum": 7 } },
        "required": ["city"],
    });
    let light = json!({
        "type": "object",
        "properties": { "on": { "type": "boolean" }, "rooms": { "type": "array", "items": { "enum": ["hall", null] } } },
        "required": ["on"],
    });
    vec![tool("weather", weather), tool("set_light", light), tool("now", json!({}))]
}

fn compile(
    dialect: Dialect,
    choice: &ToolChoice,
    parallel: bool,
    answer: Option<&Constraint>,
) -> Arc<Compiled> {
    let tools = tools();
    let form = AnswerForm { dialect, tools: &tools, choice, parallel, answer };
    let compiled = COMPILER.compile(&form).unwrap_or_else(|error| panic!("{dialect}: {error}"));
    assert!(compiled.unconstrained().is_empty(), "{dialect}: {:?}", compiled.unconstrained());
    compiled
}

/// A call: the tool's name, its arguments as JSON, and as Python.
type Call = (&'static str, &'static str, &'static str);

/// Calls in a dialect's form.
fn turn(dialect: Dialect, calls: &[Call]) -> String {
    let json = |key: &'static str| {
        calls
            .iter()
            .map(move |(name, arguments, _)| format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}"))
    };
    let joined = |calls: Vec<String>, between: &str| calls.join(between);
    match dialect {
        Dialect::LlamaJson => joined(json("parameters").collect(), "; "),
        Dialect::Pythonic => {
            let calls = calls.iter().map(|(name, _, arguments)| format!("{name}({arguments})"));
            format!("[{}]", joined(calls.collect(), ", "))
        }
        Dialect::Hermes => {
            joined(json("arguments").map(|call| format!("<tool_call>\n{call}\n</tool_call>")).collect(), "\n")
        }
        Dialect::Mistral => format!("[TOOL_CALLS][{}]", joined(json("arguments").collect(), ", ")),
        other => panic!("{other} is not in the table"),
    }
}

const ROME: Call = ("weather", r#"{"city": "Rome", "days": 3}"#, r#"city="Rome", days=3"#);
const NOW: Call = ("now", "{}", "");

/// Calls, and whether they satisfy the tools' schemas.
const CALLS: &[(&[Call], bool)] = &[
    (&[ROME], true),
    (&[NOW], true),
    (&[("weather", r#"{"city": "Rome"}"#, r#"city="Rome""#)], true),
    (&[("weather", r#"{"city": "a \"b\" \\ \n ü 🦙"}"#, r#"city="a \"b\" \\ \n ü 🦙""#)], true),
    (&[("set_light", r#"{"on": true}"#, "on=True")], true),
    (&[("set_light", r#"{"on": false, "rooms": []}"#, "on=False, rooms=[]")], true),
    (&[("set_light", r#"{"on": true, "rooms": ["hall", null]}"#, r#"on=True, rooms=["hall", None]"#)], true),
    // Not what the schemas ask for.
    (&[("weather", "{}", "")], false),
    (&[("weather", r#"{"days": 3}"#, "days=3")], false),
    (&[("weather", r#"{"city": 7}"#, "city=7")], false),
    (&[("weather", r#"{"city": "Rome", "days": 8}"#, r#"city="Rome", days=8"#)], false),
    (&[("weather", r#"{"city": "Rome", "hours": 3}"#, r#"city="Rome", hours=3"#)], false),
    (&[("weather", r#"{"city": "Rome", }"#, r#"city="Rome", "#)], false),
    (&[("now", r#"{"city": "Rome"}"#, r#"city="Rome""#)], false),
    (&[("set_light", r#"{"on": "true"}"#, r#"on="True""#)], false),
    (&[("set_light", r#"{"on": True}"#, "on=true")], false),
    (&[("set_light", r#"{"on": true, "rooms": ["bath"]}"#, r#"on=True, rooms=["bath"]"#)], false),
    // No such tool.
    (&[("wether", r#"{"city": "Rome"}"#, r#"city="Rome""#)], false),
    (&[("weathe", r#"{"city": "Rome"}"#, r#"city="Rome""#)], false),
];

#[test]
fn calls_satisfy_their_schemas_in_every_dialect() {
    for dialect in DIALECTS {
        let required = compile(dialect, &ToolChoice::Required, true, None);
        let auto = compile(dialect, &ToolChoice::Auto, true, None);
        let single = compile(dialect, &ToolChoice::Required, false, None);
        let named = compile(dialect, &ToolChoice::Named("weather".into()), true, None);
        let none = compile(dialect, &ToolChoice::None, true, None);
        for (calls, valid) in CALLS {
            let text = turn(dialect, calls);
            assert_eq!(accepts(&required, &text), *valid, "{dialect}, required: {text}");
            assert_eq!(accepts(&single, &text), *valid, "{dialect}, one: {text}");
            assert_eq!(accepts(&auto, &text), *valid, "{dialect}, auto: {text}");
            assert_eq!(accepts(&named, &text), *valid && calls[0].0 == "weather", "{dialect}, named: {text}");
            assert!(!accepts(&none, &text), "{dialect}, none: {text}");
            let text = turn(dialect, &[&[NOW], *calls].concat());
            assert_eq!(accepts(&required, &text), *valid, "{dialect}, several: {text}");
            assert_eq!(accepts(&auto, &text), *valid, "{dialect}, auto, several: {text}");
            assert!(!accepts(&single, &text), "{dialect}, one of several: {text}");
        }
        for text in ["", "Hello", "{\"a\": 1}", "[1]"] {
            assert!(!accepts(&required, text) && !accepts(&named, text), "{dialect}, required: {text}");
            assert!(accepts(&none, text) && accepts(&auto, text), "{dialect}, auto: {text}");
        }
    }
}

/// Free text that is no call, and texts with calls that are not right.
#[test]
fn text_is_free_until_a_call_begins() {
    let weather = r#"{"name": "weather", "parameters": {"city": "Rome"}}"#;
    let hermes = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let table: &[(Dialect, &str, bool)] = &[
        (Dialect::LlamaJson, "It rains; {\"name\": \"weather\"} would tell.\n", true),
        (Dialect::LlamaJson, "{\"city\": \"Rome\"}", true),
        (Dialect::LlamaJson, "```json\n{\"name\": \"Ada\", \"age\": 36}\n```", true),
        (Dialect::LlamaJson, "{", true),
        (Dialect::LlamaJson, "{\"name\"", false),
        (Dialect::LlamaJson, " \n{ \"name\" : 7}", false),
        (Dialect::LlamaJson, "{\"name\": \"Ada\", \"age\": 36}", false),
        (Dialect::LlamaJson, "Look:\n{\"name\": \"weather\"}", false),
        (Dialect::LlamaJson, "Look:\n  {\"name\":\"weather\"", false),
        (Dialect::LlamaJson, "{\"type\": \"circle\"}", true),
        (Dialect::LlamaJson, "Look:\n{\"name\": \"Ada\", \"age\": 36}", true),
        // What is no call of a tool is none before one either.
        (Dialect::LlamaJson, &format!("{{\"name\": \"Ada\", \"parameters\": {{}}}} so\n{weather}"), false),
        (Dialect::LlamaJson, &format!("So\n{{\"parameters\": {{}}}}\n{weather}"), false),
        (Dialect::LlamaJson, &format!("So {{\"parameters\": {{}}}}\n{weather}"), true),
        (Dialect::LlamaJson, "{\"type\": \"function\"", false),
        (Dialect::LlamaJson, "Look:\n{\"parameters\": {}}", false),
        (Dialect::LlamaJson, "\u{a0}\u{3000}{\"name\"", false),
        (Dialect::LlamaJson, "a <|python_tag|>", false),
        (Dialect::LlamaJson, &format!("Let me see.\n{weather}"), true),
        (Dialect::LlamaJson, &format!("Let me see.\n\n{weather}; {weather}"), true),
        (Dialect::LlamaJson, &format!("{weather} Done."), false),
        (Dialect::LlamaJson, &format!("{weather}\n{weather}"), false),
        (Dialect::Pythonic, "[1] says so.", true),
        (Dialect::Pythonic, "I call [now()].", true),
        (Dialect::Pythonic, "[now]", true),
        (Dialect::Pythonic, "[now(", false),
        (Dialect::Pythonic, " [later()]", false),
        (Dialect::Pythonic, "[now()] Done.", false),
        (Dialect::Pythonic, "[now](https://example.com)", true),
        (Dialect::Pythonic, "Let me see.\n[now()]", true),
        (Dialect::Pythonic, "Let me see.\n[now(), weather(city=\"Rome\")]", true),
        (Dialect::Pythonic, "Let me see.\n[ later()]", false),
        (Dialect::Pythonic, "[later()] so\n[now()]", false),
        (Dialect::Hermes, "a <tool> b </tool_call> c <tool_call", true),
        (Dialect::Hermes, "{\"name\": \"weather\"}", true),
        (Dialect::Hermes, &format!("Let me see.\n{hermes}"), true),
        (Dialect::Hermes, &format!("Let me see.{hermes}\n{hermes}"), true),
        (Dialect::Hermes, "Let me see.\n<tool_call>", false),
        (Dialect::Hermes, &format!("{hermes}{hermes}"), false),
        (Dialect::Hermes, &format!("{hermes}\nDone."), false),
        (Dialect::Mistral, "[TOOL_CALLS", true),
        (Dialect::Mistral, "See [TOOL_CALLS]", false),
        (Dialect::Mistral, "See [TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}]", true),
        (Dialect::Mistral, "[TOOL_CALLS][]", false),
    ];
    for (dialect, text, wanted) in table {
        let compiled = compile(*dialect, &ToolChoice::Auto, true, None);
        assert_eq!(accepts(&compiled, text), *wanted, "{dialect}: {text}");
    }
}

/// Either calls or an answer of a form.
#[test]
fn an_answer_beside_calls_has_its_form() {
    let answer = Constraint::JsonSchema(json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "parameters": { "type": "integer" } },
        "required": ["name"],
    }));
    for dialect in DIALECTS {
        let compiled = compile(dialect, &ToolChoice::Auto, true, Some(&answer));
        for (calls, valid) in CALLS {
            let text = turn(dialect, calls);
            assert_eq!(accepts(&compiled, &text), *valid, "{dialect}: {text}");
        }
        let texts = [
            ("{\"name\": \"Ada\"}", true),
            ("{\"name\": \"weather\", \"parameters\": 7}", true),
            ("{\"name\":\"weather\"}", true),
            ("{\"name\": \"weather\", \"parameters\": true}", false),
            ("{\"age\": 7}", false),
            ("Hello", false),
            ("", false),
        ];
        for (text, wanted) in texts {
            assert_eq!(accepts(&compiled, text), wanted, "{dialect}: {text}");
        }
        let only = compile(dialect, &ToolChoice::None, true, Some(&answer));
        assert!(accepts(&only, texts[0].0) && !accepts(&only, &turn(dialect, &[NOW])));
    }
}

#[test]
fn a_special_token_may_stand_before_a_call_of_llama() {
    let tag = TOKENIZER.token_to_id("<|python_tag|>").expect("the bundled tokenizer has it");
    for choice in [ToolChoice::Auto, ToolChoice::Required] {
        let mut matcher = compile(Dialect::LlamaJson, &choice, true, None).matcher();
        assert!(matcher.mask().expect("a mask").allows(tag));
        matcher.commit(tag).expect("allowed");
        let forced = matcher.forced();
        assert_eq!(TOKENIZER.decode(&forced).expect("text"), "{\"name\": \"");
    }
    let mut matcher = compile(Dialect::LlamaJson, &ToolChoice::None, true, None).matcher();
    assert!(!matcher.mask().expect("a mask").allows(tag));
}

#[test]
fn a_turn_ends_behind_its_calls() {
    for dialect in DIALECTS {
        let mut matcher = compile(dialect, &ToolChoice::Named("now".into()), false, None).matcher();
        let mut text = Vec::new();
        while !matcher.is_finished() {
            // Nothing is left to choose but whether the tag of Llama comes.
            let mut forced = matcher.forced();
            if forced.is_empty() {
                forced = vec![matcher.mask().expect("a mask").tokens().next().expect("at least one")];
            }
            for token in forced {
                matcher.commit(token).expect("forced");
                text.push(token);
            }
        }
        assert_eq!(TOKENIZER.decode(&text).expect("text"), turn(dialect, &[NOW]));
        assert!(matcher.is_accepting() && matcher.forced().is_empty());
        let mask = matcher.mask().expect("a mask");
        assert_eq!(mask.tokens().collect::<Vec<_>>(), super::EOS);
    }
}

#[test]
fn a_choice_that_cannot_be_made_is_refused() {
    let check = |tools: &[ToolSchema], choice: ToolChoice, kind: ErrorKind, message: &str| {
        let form =
            AnswerForm { dialect: Dialect::Hermes, tools, choice: &choice, parallel: true, answer: None };
        let error = COMPILER.compile(&form).expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    };
    check(
        &tools(),
        ToolChoice::Named("wether".into()),
        ErrorKind::NotFound,
        "a call of `wether` is required; the tools given: `weather`, `set_light`, `now`",
    );
    check(
        &[],
        ToolChoice::Required,
        ErrorKind::InvalidInput,
        "a call is required and there is no tool; give one, or choose `auto`",
    );
}
