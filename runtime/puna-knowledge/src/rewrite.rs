use puna_core::{Ask, CancellationToken, Error, Model, Result};
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
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for more than [`MAX_QUERIES`] with the question itself; those of
/// [`Ask::of`].
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
    let context = u32::try_from(model.info().context_length / 2).unwrap_or(u32::MAX).max(1);
    let ask = Ask {
        what: "list of questions",
        instructions: format!("{REWRITE_INSTRUCTIONS} Write {count}."),
        text: question.to_owned(),
        schema: schema(count),
        max_tokens: TOKENS_EACH.saturating_mul(count as u32).min(context),
        cancel,
        deadline: None,
    };
    let list: List = ask.of(model).await?;
    let mut questions: Vec<String> = Vec::new();
    for one in list.questions.into_iter().take(count) {
        let one: String = one.trim().chars().take(MAX_CHARS).collect();
        if !one.is_empty() && one != question && !questions.contains(&one) {
            questions.push(one);
        }
    }
    Ok(questions)
}
