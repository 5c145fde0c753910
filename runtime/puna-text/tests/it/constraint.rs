//! What may come next.

use puna_core::{Constraint, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, Compiled, ConstraintCompiler, Dialect};
use serde_json::json;
use std::sync::Arc;

use crate::tokenizer;

/// The bundled model's tokens that end a turn.
const EOS: [u32; 3] = [3048, 3051, 3052];

pub fn compiler() -> ConstraintCompiler {
    ConstraintCompiler::new(&tokenizer(), &EOS).expect("the bundled tokenizer")
}

fn tools() -> Vec<ToolSchema> {
    let tool = |name: &str, parameters| ToolSchema {
        name: name.into(),
        description: String::new(),
        parameters,
        output: None,
    };
    vec![
        tool(
            "weather",
            json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city"]}),
        ),
        tool("now", json!({"type": "object", "properties": {}})),
    ]
}

/// Whether a text is accepted whole.
fn accepts(compiled: &Compiled, text: &str) -> bool {
    let tokens = tokenizer().encode_text(text).expect("text");
    let mut matcher = compiled.matcher();
    matcher.validate(&tokens).expect("validated") == tokens.len()
        && tokens.iter().all(|token| matcher.commit(*token).is_ok())
        && matcher.is_accepting()
}

#[test]
fn a_required_call_is_forced_up_to_a_choice() {
    let tools = tools();
    let form = AnswerForm {
        dialect: Dialect::Hermes,
        tools: &tools,
        choice: &ToolChoice::Required,
        parallel: true,
        answer: None,
    };
    let compiled: Arc<Compiled> = compiler().compile(&form).expect("tools");
    let mut matcher = compiled.matcher();
    let forced = matcher.forced();
    assert_eq!(tokenizer().decode(&forced).expect("tokens"), "<tool_call>\n{\"name\": \"");
    assert_eq!(matcher.mask().expect("a mask").only(), forced.first().copied());
    assert!(accepts(
        &compiled,
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 7}}\n</tool_call>"
    ));
    assert!(!accepts(&compiled, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>"));
}

#[test]
fn an_answer_of_a_schema() {
    let answer = Constraint::JsonSchema(
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}),
    );
    let form = AnswerForm {
        dialect: Dialect::LlamaJson,
        tools: &[],
        choice: &ToolChoice::Auto,
        parallel: true,
        answer: Some(&answer),
    };
    let compiled = compiler().compile(&form).expect("a schema");
    for (text, wanted) in [("{\"a\": 1}", true), ("{\"a\":1}", true), ("{\"a\": true}", false), ("{}", false)]
    {
        assert_eq!(accepts(&compiled, text), wanted, "{text}");
    }
}
