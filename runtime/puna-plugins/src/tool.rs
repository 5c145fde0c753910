use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jsonschema::Validator;
use puna_core::{Media, Result, Tool, ToolContext, ToolError, ToolErrorKind, ToolReport, ToolSchema};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{
    contract::bindings::exports::puna::plugin::tools::{Attachment, Content},
    guest::scrub,
    instance::Instance,
    plugin::Ready,
    schema,
};

/// Most parts of one result.
const MAX_PARTS: usize = 64;

/// Longest name or media type of an attachment.
const MAX_ATTACHMENT_NAME_BYTES: usize = 200;

/// A tool of a plugin.
pub struct PluginTool {
    ready: Arc<Ready>,
    function: Function,
}

/// A function with its compiled schemas.
pub struct Function {
    schema: ToolSchema,
    parameters: Validator,
    output: Option<Validator>,
}

impl Function {
    /// Compiles the schemas.
    ///
    /// # Errors
    /// Those of the schemas.
    pub fn new(schema: &ToolSchema) -> Result<Self> {
        Ok(Self {
            parameters: schema::compile(&schema.parameters)?,
            output: schema.output.as_ref().map(schema::compile).transpose()?,
            schema: schema.clone(),
        })
    }
}

impl PluginTool {
    pub fn new(ready: Arc<Ready>, function: Function) -> Self {
        Self { ready, function }
    }

    async fn perform(&self, arguments: &Value, context: &ToolContext) -> Result<Value, ToolError> {
        let (name, limits) = (&*self.function.schema.name, &self.ready.prepared.limits);
        let text = arguments.to_string();
        if text.len() > limits.argument_bytes {
            return Err(too_large("the arguments take", text.len(), limits.argument_bytes));
        }
        schema::check(&self.function.parameters, arguments, ToolErrorKind::InvalidInput)?;
        let started = Instant::now();
        let indices = self.ready.loaded.tools.as_ref();
        let indices =
            indices.ok_or_else(|| ToolError::new(ToolErrorKind::Internal, "the plugin has no tools"))?;
        let result = self.ready.call(name, context.reports.clone(), |mut running: Instance| async move {
            let answer = match indices.load(&mut running.store, &running.instance) {
                Ok(guest) => guest.call_call(&mut running.store, name, &text).await,
                Err(error) => Err(error),
            };
            (running, answer)
        });
        let result = result.await;
        tracing::debug!(elapsed_us = started.elapsed().as_micros(), failed = result.is_err(), "called");
        let contents = result?;
        let bytes = contents.iter().map(size).sum();
        if bytes > limits.result_bytes {
            return Err(too_large("the result takes", bytes, limits.result_bytes));
        }
        if contents.len() > MAX_PARTS {
            return Err(ToolError::new(
                ToolErrorKind::TooLarge,
                format!("the result has {} parts; the most is {MAX_PARTS}", contents.len()),
            ));
        }
        self.value_of(contents, context)
    }

    /// One JSON document or text is the value itself; more become a list of them. Bytes go to whoever hears the call's
    /// reports, and the value names them.
    fn value_of(&self, contents: Vec<Content>, context: &ToolContext) -> Result<Value, ToolError> {
        let single = contents.len() == 1;
        let mut parts = Vec::with_capacity(contents.len());
        for content in contents {
            let part = match content {
                Content::Json(text) => {
                    // The parser bounds the depth.
                    let value: Value = serde_json::from_str(&text).map_err(|error| {
                        let who = self.ready.who(&self.function.schema.name);
                        ToolError::new(ToolErrorKind::InvalidOutput, format!("{who} gave no JSON: {error}"))
                    })?;
                    if let Some(output) = &self.function.output {
                        schema::check(output, &value, ToolErrorKind::InvalidOutput)?;
                    }
                    if single { value } else { json!({"type": "json", "value": value}) }
                }
                Content::Text(text) if single => text.into(),
                Content::Text(text) => json!({"type": "text", "text": text}),
                Content::Image(attachment) => attach("image", attachment, context),
                Content::File(attachment) => attach("file", attachment, context),
            };
            parts.push(part);
        }
        Ok(match <[Value; 1]>::try_from(parts) {
            Ok([one]) => one,
            Err(parts) => Value::Array(parts),
        })
    }
}

fn attach(kind: &str, attachment: Attachment, context: &ToolContext) -> Value {
    let name = scrub(&attachment.name, MAX_ATTACHMENT_NAME_BYTES);
    let media_type = scrub(&attachment.media_type, MAX_ATTACHMENT_NAME_BYTES);
    let value = json!({
        "type": kind, "name": name, "media_type": media_type, "bytes": attachment.content.len()
    });
    let url = format!("data:{media_type};base64,{}", BASE64.encode(&attachment.content));
    context.reports.send(ToolReport::Attachment { name, media: Media { media_type, url } });
    value
}

fn size(content: &Content) -> usize {
    match content {
        Content::Json(text) | Content::Text(text) => text.len(),
        Content::Image(attachment) | Content::File(attachment) => {
            attachment.name.len() + attachment.media_type.len() + attachment.content.len()
        }
    }
}

#[async_trait]
impl Tool for PluginTool {
    fn schema(&self) -> &ToolSchema {
        &self.function.schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let plugin = &*self.ready.loaded.name;
        let span = tracing::debug_span!("plugin_call", plugin, tool = self.schema().name);
        let work = with_deadline(context.deadline, self.perform(&arguments, context)).instrument(span);
        match context.cancel.run_until_cancelled(work).await {
            Some(outcome) => outcome,
            None => Err(ToolError::new(ToolErrorKind::Cancelled, "the call was cancelled")),
        }
    }
}

async fn with_deadline<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    let Some(deadline) = deadline else { return work.await };
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .unwrap_or_else(|_| Err(ToolError::new(ToolErrorKind::Timeout, "the call's deadline has passed")))
}

fn too_large(what: &str, bytes: usize, limit: usize) -> ToolError {
    ToolError::new(ToolErrorKind::TooLarge, format!("{what} {bytes} bytes; the most is {limit}"))
}
