use std::time::Instant;

use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    CancellationToken, Constraint, Error, ErrorKind, GenerateOptions, GenerateRequest, Message, Model,
    ModelEvent, Result, StopReason, ToolChoice,
};

/// What a part of the program, and no conversation, asks a model for: a JSON value of a fixed form.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the value is, for messages: `list of facts`.
    pub what: &'static str,
    /// What the model is told to do.
    pub instructions: String,
    /// What it is to do it with.
    pub text: String,
    /// The form of the value, a JSON Schema. A model that can be held to it is, others are told it.
    pub schema: Value,
    /// Most tokens of the value.
    pub max_tokens: u32,
    /// Stops the model within one step.
    pub cancel: CancellationToken,
    /// Stops the model within one step.
    pub deadline: Option<Instant>,
}

impl Ask {
    /// Asks a model, which gives the likeliest answer, whatever it samples with elsewhere. The value may stand in a fence of
    /// Markdown.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an answer that is no such value,
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) for one that is longer than it may be,
    /// [`Cancelled`](ErrorKind::Cancelled) when the model was stopped; the model's own.
    pub async fn of<T: DeserializeOwned>(self, model: &dyn Model) -> Result<T> {
        let Self { what, mut instructions, text, schema, max_tokens, cancel, deadline } = self;
        let constraint = if model.info().constraints {
            Some(Constraint::JsonSchema(schema))
        } else {
            instructions =
                format!("{instructions}\n\nAnswer with JSON of this schema and nothing else:\n{schema}");
            None
        };
        let request = GenerateRequest {
            messages: vec![Message::system(instructions), Message::user(text)],
            tool_choice: ToolChoice::None,
            constraint,
            options: GenerateOptions {
                max_tokens: Some(max_tokens),
                temperature: Some(0.0),
                ..GenerateOptions::default()
            },
            cancel,
            deadline,
            ..GenerateRequest::default()
        };
        let mut stream = model.generate(request).await?;
        let completion = loop {
            match stream.next().await {
                Some(Ok(ModelEvent::Finished(completion))) => break completion,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => {
                    return Err(Error::internal(format!("the model ended without finishing its {what}")));
                }
            }
        };
        match completion.stop {
            StopReason::MaxTokens | StopReason::ContextFull => Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("the model's {what} is longer than the {max_tokens} tokens that it may have"),
            )),
            StopReason::Cancelled | StopReason::Deadline => Err(Error::new(
                ErrorKind::Cancelled,
                format!("the model was stopped while it wrote its {what}"),
            )),
            _ => serde_json::from_str(unfenced(&completion.message.plain_text())).map_err(|error| {
                Error::invalid_input(format!("the model's {what} does not have its form")).with_source(error)
            }),
        }
    }
}

/// An answer without the fence of Markdown that it may stand in.
fn unfenced(answer: &str) -> &str {
    let text = answer.trim();
    let text = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).unwrap_or(text);
    text.strip_suffix("```").unwrap_or(text)
}
