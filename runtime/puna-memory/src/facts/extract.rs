//! What a model finds worth keeping of a turn, as JSON of a fixed schema.

use puna_core::{Ask, Error, Lesson, Model, RecalledFact, Result, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{MAX_FACT_BYTES, MAX_SUBJECT_BYTES};

/// Most facts of one turn: a person rarely says more of themselves at a time, and a model that goes on and on is bounded.
pub const MAX_FACTS_PER_TURN: usize = 8;

/// Most tokens of the model's list: so many facts of a long sentence each.
const MAX_TOKENS: u32 = 1_024;

/// What the model is told when it goes through a turn.
pub const EXTRACT_INSTRUCTIONS: &str = "You keep the memory of an assistant. From the conversation, write down what will \
     still matter in later conversations: who the user is, what they prefer, decided or asked to be remembered. One plain \
     sentence a fact, with its subject. Nothing that is only of this moment, nothing the assistant made up. Where a fact \
     makes a known one untrue, name the known one's identifier in `replaces`. If nothing is worth keeping, give no facts.";

/// A fact as the model writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Learnt {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) replaces: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    facts: Vec<Learnt>,
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "facts": {
                "type": "array",
                "maxItems": MAX_FACTS_PER_TURN,
                "items": {
                    "type": "object",
                    "properties": {
                        "subject": { "type": "string", "minLength": 1, "maxLength": MAX_SUBJECT_BYTES / 4 },
                        "text": { "type": "string", "minLength": 1, "maxLength": MAX_FACT_BYTES / 4 },
                        "kind": { "enum": ["profile", "preference", "event", "instruction", "other"] },
                        "replaces": { "type": ["string", "null"] },
                    },
                    "required": ["subject", "text", "kind"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["facts"],
        "additionalProperties": false,
    })
}

/// Asks the model.
///
/// # Errors
/// Those of [`Ask::of`]; invalid input for more than [`MAX_FACTS_PER_TURN`].
pub(crate) async fn extract(
    model: &dyn Model,
    lesson: &Lesson,
    known: &[RecalledFact],
) -> Result<Vec<Learnt>> {
    let ask = Ask {
        what: "list of facts",
        instructions: EXTRACT_INSTRUCTIONS.to_owned(),
        text: told(lesson, known),
        schema: schema(),
        max_tokens: MAX_TOKENS.min(quarter(model)),
        cancel: lesson.cancel.clone(),
        deadline: lesson.deadline,
    };
    let list: List = ask.of(model).await?;
    if list.facts.len() > MAX_FACTS_PER_TURN {
        return Err(Error::invalid_input(format!(
            "the model gives {} facts of one turn, at most {MAX_FACTS_PER_TURN} are taken",
            list.facts.len()
        )));
    }
    Ok(list.facts)
}

fn quarter(model: &dyn Model) -> u32 {
    u32::try_from(model.info().context_length / 4).unwrap_or(u32::MAX).max(1)
}

fn told(lesson: &Lesson, known: &[RecalledFact]) -> String {
    let mut text = String::new();
    if !known.is_empty() {
        let lines: Vec<String> = known.iter().map(ToString::to_string).collect();
        text = format!("Known facts:\n{}\n\n", lines.join("\n"));
    }
    text.push_str("Conversation:\n");
    for message in &lesson.messages {
        let who = match message.role {
            Role::User => "User",
            Role::Assistant => "Assistant",
            // What tools gave is not what the user said of themselves.
            _ => continue,
        };
        let said = message.plain_text();
        if !said.trim().is_empty() {
            text.push_str(&format!("{who}: {said}\n"));
        }
    }
    text
}
