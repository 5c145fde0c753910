use std::{any::Any, collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use puna_core::{
    Error, Result, Tool, ToolCall, ToolContext, ToolError, ToolErrorKind, ToolOutcome, ToolResult, ToolSchema,
};
use serde_json::Value;

use crate::{
    Limits,
    schema::{Mistake, Schema},
};

/// Longest name of a tool: what the wire protocols that carry tool calls accept.
pub const MAX_TOOL_NAME: usize = 64;

/// The agent's tools by name, with their schemas compiled.
pub(crate) struct Toolbox {
    tools: BTreeMap<String, Entry>,
    schemas: Vec<ToolSchema>,
}

struct Entry {
    tool: Arc<dyn Tool>,
    parameters: Schema,
    output: Option<Schema>,
}

impl Toolbox {
    pub(crate) fn new(tools: Vec<Arc<dyn Tool>>) -> Result<Self> {
        let mut toolbox = Self { tools: BTreeMap::new(), schemas: Vec::new() };
        for tool in tools {
            let schema = tool.schema().clone();
            check_name(&schema.name)?;
            if schema.parameters.get("type").and_then(Value::as_str) != Some("object") {
                return Err(Error::invalid_input(format!(
                    "the parameters of tool `{}` are not of type `object`; wrap them in one",
                    schema.name
                )));
            }
            let parameters = compile(&schema.name, "parameters", &schema.parameters)?;
            let output =
                schema.output.as_ref().map(|output| compile(&schema.name, "output", output)).transpose()?;
            let entry = Entry { tool, parameters, output };
            if toolbox.tools.insert(schema.name.clone(), entry).is_some() {
                return Err(Error::invalid_input(format!(
                    "two tools are named `{}`; rename one",
                    schema.name
                )));
            }
            toolbox.schemas.push(schema);
        }
        Ok(toolbox)
    }

    pub(crate) fn schemas(&self) -> &[ToolSchema] {
        &self.schemas
    }

    /// Performs a call and gives its result, whatever happens: an unknown tool, invalid arguments, the
    /// tool's failure, a panic, a passed deadline and a result too large are failures for the model to read.
    pub(crate) async fn perform(&self, call: &ToolCall, context: ToolContext, limits: &Limits) -> ToolResult {
        let checked = AssertUnwindSafe(self.checked_call(call, &context));
        let limited = tokio::time::timeout(limits.call_time, checked.catch_unwind());
        let outcome = match limited.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let message = panic_message(panic.as_ref());
                tracing::error!(tool = call.name, call = call.id, message, "a tool panicked");
                let message = format!("tool `{}` broke: {message}", call.name);
                Err(ToolError::new(ToolErrorKind::Internal, message))
            }
            Err(_) => {
                context.cancel.cancel();
                let message = format!("tool `{}` took longer than {:?}", call.name, limits.call_time);
                Err(ToolError::new(ToolErrorKind::Timeout, message))
            }
        };
        let outcome = match within_size(outcome, &call.name, limits.result_bytes) {
            Ok(value) => ToolOutcome::Success { value },
            Err(error) => ToolOutcome::Failure { error },
        };
        ToolResult { call_id: call.id.clone(), name: call.name.clone(), outcome }
    }

    async fn checked_call(&self, call: &ToolCall, context: &ToolContext) -> Result<Value, ToolError> {
        let entry = self.tools.get(&call.name).ok_or_else(|| self.unknown(&call.name))?;
        if let Some(Mistake { path, text }) = mistake(&entry.parameters, &call.arguments) {
            let message = format!("the arguments of `{}` are not valid: {text}", call.name);
            return Err(ToolError::new(ToolErrorKind::InvalidInput, message).at(path));
        }
        let value = entry.tool.call(call.arguments.clone(), context).await?;
        if let Some(Mistake { path, text }) = entry.output.as_ref().and_then(|output| mistake(output, &value))
        {
            let message = format!("the result of `{}` does not satisfy its schema: {text}", call.name);
            return Err(ToolError::new(ToolErrorKind::InvalidOutput, message).at(path));
        }
        Ok(value)
    }

    fn unknown(&self, name: &str) -> ToolError {
        let known: Vec<String> = self.tools.keys().map(|name| format!("`{name}`")).collect();
        let message = match known.as_slice() {
            [] => format!("no tool `{name}`; there are no tools, answer without"),
            known => format!("no tool `{name}`; the tools are {}", known.join(", ")),
        };
        ToolError::new(ToolErrorKind::NotFound, message)
    }
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !name.is_empty() && name.len() <= MAX_TOOL_NAME && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{name}` cannot name a tool; use 1 to {MAX_TOOL_NAME} letters, digits, `_` and `-`"
    )))
}

fn compile(tool: &str, what: &str, schema: &Value) -> Result<Schema> {
    Schema::new(&format!("{what} schema of tool `{tool}`"), schema, false)
}

/// The first mistake of a value; one that cannot be found out in time is one.
fn mistake(schema: &Schema, value: &Value) -> Option<Mistake> {
    match schema.mistakes(value, 1) {
        Ok(mistakes) => mistakes.into_iter().next(),
        Err(error) => Some(Mistake { path: String::new(), text: error.to_string() }),
    }
}

/// Replaces a result that is larger than the model is shown.
fn within_size(outcome: Result<Value, ToolError>, tool: &str, limit: usize) -> Result<Value, ToolError> {
    let (what, size) = match &outcome {
        Ok(value) => ("result", value.to_string().len()),
        Err(error) => ("failure message", error.message.len()),
    };
    if size <= limit {
        return outcome;
    }
    let message = format!("the {what} of `{tool}` has {size} bytes, at most {limit} are shown; ask for less");
    Err(ToolError::new(ToolErrorKind::TooLarge, message))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}
