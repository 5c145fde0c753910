use std::{sync::Arc, time::Duration};

use puna_agent::{Agent, AgentOptions, Limits};
use puna_core::{ErrorKind, Tool, ToolContext, ToolError, ToolSchema};
use serde_json::{Value, json};

use crate::support::{MemoryJournal, ScriptedModel};

struct Named(ToolSchema);

#[async_trait::async_trait]
impl Tool for Named {
    fn schema(&self) -> &ToolSchema {
        &self.0
    }

    async fn call(&self, arguments: Value, _: &ToolContext) -> Result<Value, ToolError> {
        Ok(arguments)
    }
}

fn tool(name: &str, parameters: Value) -> Arc<dyn Tool> {
    let (name, description) = (name.to_owned(), String::new());
    Arc::new(Named(ToolSchema { name, description, parameters, output: None }))
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut AgentOptions), message: &str) {
    let (model, journal) = (Arc::new(ScriptedModel::new(&[])), Arc::new(MemoryJournal::default()));
    let mut options = AgentOptions::new("tester", model, journal);
    change(&mut options);
    let error = Agent::new(options).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, message.to_owned()));
}

#[test]
fn names_must_be_names() {
    check_refused(|options| options.name.clear(), "an agent needs a name; it is empty");
    let long = "x".repeat(65);
    for name in ["", "a b", "käse", "a.b", &long] {
        let message = format!("`{name}` cannot name a tool; use 1 to 64 letters, digits, `_` and `-`");
        check_refused(|options| options.tools = vec![tool(name, json!({"type": "object"}))], &message);
    }
    let twins = || vec![tool("a", json!({"type": "object"})), tool("a", json!({"type": "object"}))];
    check_refused(|options| options.tools = twins(), "two tools are named `a`; rename one");
}

#[test]
fn schemas_must_be_schemas() {
    let not_object = "the parameters of tool `a` are not of type `object`; wrap them in one";
    for parameters in [json!(null), json!({"type": "string"}), json!({})] {
        check_refused(|options| options.tools = vec![tool("a", parameters)], not_object);
    }
    let broken = json!({"type": "object", "properties": {"b": {"type": "text"}}});
    let message = "the parameters schema of tool `a` is not valid at `/properties/b/type`: \
                   \"text\" is not valid under any of the schemas listed in the 'anyOf' keyword";
    check_refused(|options| options.tools = vec![tool("a", broken)], message);
}

#[test]
fn limits_must_allow_something() {
    let limits = [
        ("steps", Limits { steps: 0, ..Limits::default() }),
        ("tokens", Limits { tokens: 0, ..Limits::default() }),
        ("turn_time", Limits { turn_time: Duration::ZERO, ..Limits::default() }),
        ("call_time", Limits { call_time: Duration::ZERO, ..Limits::default() }),
        ("parallel_calls", Limits { parallel_calls: 0, ..Limits::default() }),
        ("calls_per_step", Limits { calls_per_step: 0, ..Limits::default() }),
        ("result_bytes", Limits { result_bytes: 0, ..Limits::default() }),
    ];
    for (name, limits) in limits {
        let message = format!("limit `{name}` is 0; it must be at least 1");
        check_refused(|options| options.limits = limits, &message);
    }
}
