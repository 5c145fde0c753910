//! The memory as tools of a model.

use std::sync::Arc;

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Speaker, Tool, ToolContext, ToolError, ToolErrorKind, ToolSchema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LongTermMemory, MAX_FACT_BYTES, MAX_SUBJECT_BYTES, NewFact, Remembered, Source};

/// Facts that the tool `recall` gives.
const RECALLED: usize = 10;

#[derive(Clone, Copy)]
enum What {
    Remember,
    Recall,
    Forget,
}

struct MemoryTool {
    memory: LongTermMemory,
    agent: String,
    what: What,
    schema: ToolSchema,
}

pub(crate) fn tools(memory: &LongTermMemory, agent: &str) -> Vec<Arc<dyn Tool>> {
    let tool = |what, name: &str, description: &str, properties: Value, required: &[&str]| -> Arc<dyn Tool> {
        let parameters = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        let (name, description) = (name.to_owned(), description.to_owned());
        let schema = ToolSchema { name, description, parameters, output: None };
        Arc::new(MemoryTool { memory: memory.clone(), agent: agent.to_owned(), what, schema })
    };
    vec![
        tool(
            What::Remember,
            "remember",
            "Keep a fact for later conversations.",
            json!({
                "subject": { "description": "What it is about", "type": "string", "minLength": 1, "maxLength": MAX_SUBJECT_BYTES },
                "text": { "description": "The fact, one sentence", "type": "string", "minLength": 1, "maxLength": MAX_FACT_BYTES },
                "kind": { "description": "profile, preference, event, instruction", "type": "string", "maxLength": MAX_SUBJECT_BYTES },
                "replaces": { "description": "The identifier of a fact that is no longer true", "type": "string" },
            }),
            &["subject", "text"],
        ),
        tool(
            What::Recall,
            "recall",
            "Find what is remembered from earlier conversations.",
            json!({ "query": { "description": "What to look for", "type": "string", "minLength": 1 } }),
            &["query"],
        ),
        tool(
            What::Forget,
            "forget",
            "Forget a fact for good.",
            json!({ "id": { "description": "The fact's identifier, as recall gives it", "type": "string" } }),
            &["id"],
        ),
    ]
}

#[derive(Deserialize)]
struct Remember {
    subject: String,
    text: String,
    #[serde(default)]
    kind: String,
    replaces: Option<String>,
}

#[derive(Deserialize)]
struct Recall {
    query: String,
}

#[derive(Deserialize)]
struct Forget {
    id: String,
}

#[async_trait]
impl Tool for MemoryTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let scope = self.memory.scope(&Speaker { user: context.user.clone(), agent: self.agent.clone() });
        let facts = &self.memory.facts;
        match self.what {
            What::Remember => {
                let Remember { subject, text, kind, replaces } = read(arguments)?;
                let (session, turn) = (context.session.clone(), context.turn.clone());
                let new = NewFact {
                    subject,
                    text,
                    kind,
                    replaces,
                    expires_ms: self.memory.expires_ms(),
                    source: Some(Source { session, turn }),
                };
                let remembered = facts.remember(&scope, new).await.map_err(failed)?;
                let outcome = match &remembered {
                    Remembered::Added(_) => "added",
                    Remembered::Known(_) => "known",
                    Remembered::Replaced { .. } => "replaced",
                };
                Ok(json!({ "id": remembered.fact().id, "outcome": outcome }))
            }
            What::Recall => {
                let Recall { query } = read(arguments)?;
                let found = facts.search(&scope, &query, RECALLED).await.map_err(failed)?;
                let ids: Vec<String> = found.iter().map(|(fact, _)| fact.id.clone()).collect();
                facts.mark_used(&scope, &ids).await.map_err(failed)?;
                Ok(json!({ "facts": found.iter().map(|(fact, _)| fact.shown()).collect::<Vec<_>>() }))
            }
            What::Forget => {
                let Forget { id } = read(arguments)?;
                let forgotten = facts.forget(&scope, &id).await.map_err(failed)?;
                Ok(json!({ "forgotten": forgotten.len() }))
            }
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(arguments: Value) -> Result<T, ToolError> {
    serde_json::from_value(arguments)
        .map_err(|error| ToolError::new(ToolErrorKind::InvalidInput, error.to_string()))
}

fn failed(error: Error) -> ToolError {
    let kind = match error.kind() {
        ErrorKind::InvalidInput => ToolErrorKind::InvalidInput,
        ErrorKind::NotFound => ToolErrorKind::NotFound,
        ErrorKind::ResourceExhausted => ToolErrorKind::TooLarge,
        ErrorKind::Unavailable | ErrorKind::Conflict => ToolErrorKind::Unavailable,
        _ => ToolErrorKind::Internal,
    };
    ToolError::new(kind, error.report())
}
