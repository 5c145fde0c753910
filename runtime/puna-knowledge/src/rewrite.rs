use futures_util::StreamExt;
use puna_core::{
    CancellationToken, Constraint, Error, ErrorKind, GenerateOptions, GenerateRequest, Message, Model,
    ModelEvent, Result, StopReason, ToolChoice,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::MAX_QUERIES;

/// Most characters of a rewrite: a question of a few sentences.
const MAX_CHARS: usize = 300;

/// Most tokens of each.
const TOKENS_EACH: u32 = 96;

/// What the model is told.
pub const REWRITE_INSTRUCTIONS: &str = "You help to search documents. Put the question in other words, each time with \
     other terms that a document with the answer may use. Keep names and numbers. Write questions only, no answers.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    questions: Vec<String>,
}

fn schema(count: usize) -> Value {
    let question = json!({ "type": "string", "minLength": 1, "maxLength": MAX_CHARS });
    json!({
        "type": "object",
        "properties": {
            "questions": { "type": "array", "minItems": count, "maxItems": count, "items": question },
        },
        "required": ["questions"],
        "additionalProperties": false,
    })
}

/// A question in `count` other words, as a model puts them, for [`SearchOptions::queries`](crate::SearchOptions::queries).
/// A model that can be held to a schema is held to one. What is said twice comes once, so that there may be fewer.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for more than [`MAX_QUERIES`] with the question itself, and for an answer that
/// does not have its form; the model's own.
pub async fn rewrite_question(
    model: &dyn Model,
    question: &str,
    count: usize,
    cancel: CancellationToken,
) -> Result<Vec<String>> {
    if count == 0 || count >= MAX_QUERIES {
        return Err(Error::invalid_input(format!(
            "a question in {count} other words is asked for; 1 to {} are made",
            MAX_QUERIES - 1
        )));
    }
    let schema = schema(count);
    let mut instructions = format!("{REWRITE_INSTRUCTIONS} Write {count}.");
    if !model.info().constraints {
        instructions =
            format!("{instructions}\n\nAnswer with JSON of this schema and nothing else:\n{schema}");
    }
    let context = u32::try_from(model.info().context_length / 2).unwrap_or(u32::MAX).max(1);
    let most = TOKENS_EACH.saturating_mul(count as u32).min(context);
    let request = GenerateRequest {
        messages: vec![Message::system(instructions), Message::user(question)],
        tool_choice: ToolChoice::None,
        constraint: model.info().constraints.then(|| Constraint::JsonSchema(schema)),
        options: GenerateOptions {
            max_tokens: Some(most),
            temperature: Some(0.0),
            ..GenerateOptions::default()
        },
        cancel,
        ..GenerateRequest::default()
    };
    let mut stream = model.generate(request).await?;
    let completion = loop {
        match stream.next().await {
            Some(Ok(ModelEvent::Finished(completion))) => break completion,
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(Error::internal("the model ended without finishing its questions")),
        }
    };
    match completion.stop {
        StopReason::MaxTokens | StopReason::ContextFull => Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("the model's questions are longer than the {most} tokens that they may have"),
        )),
        StopReason::Cancelled | StopReason::Deadline => {
            Err(Error::new(ErrorKind::Cancelled, "the model was stopped while it wrote questions"))
        }
        _ => read(&completion.message.plain_text(), question, count),
    }
}

/// Reads the model's list, in a fence of Markdown or without.
fn read(answer: &str, question: &str, count: usize) -> Result<Vec<String>> {
    let text = answer.trim();
    let text = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).unwrap_or(text);
    let text = text.strip_suffix("```").unwrap_or(text).trim();
    let list: List = serde_json::from_str(text).map_err(|error| {
        Error::invalid_input("the model's list of questions does not have its form").with_source(error)
    })?;
    let mut questions: Vec<String> = Vec::new();
    for one in list.questions.into_iter().take(count) {
        let one: String = one.trim().chars().take(MAX_CHARS).collect();
        if !one.is_empty() && one != question && !questions.contains(&one) {
            questions.push(one);
        }
    }
    Ok(questions)
}
