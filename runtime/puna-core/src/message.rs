use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ToolError;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The agent's instructions.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The results of tool calls.
    Tool,
}

/// One message of a conversation: typed parts in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Content>,
}

impl Message {
    /// A message of one text part.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Content::Text { text: text.into() }] }
    }

    /// A system message of one text part.
    pub fn system(text: impl Into<String>) -> Self {
        Self::text(Role::System, text)
    }

    /// A user message of one text part.
    pub fn user(text: impl Into<String>) -> Self {
        Self::text(Role::User, text)
    }

    /// An assistant message of one text part.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::text(Role::Assistant, text)
    }

    /// The result of one tool call as a message.
    pub fn tool(result: ToolResult) -> Self {
        Self { role: Role::Tool, content: vec![Content::ToolResult(result)] }
    }

    /// The text parts joined; other parts are left out.
    pub fn plain_text(&self) -> String {
        self.content.iter().filter_map(Content::as_text).collect()
    }

    /// The tool calls in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image(Media),
    /// Sound.
    Audio(Media),
    /// A call that the model asks for.
    ToolCall(ToolCall),
    /// What looked like a call but cannot be read as one.
    InvalidToolCall(InvalidToolCall),
    /// What a call gave.
    ToolResult(ToolResult),
    /// The source of what was said before it.
    Citation(Citation),
}

impl Content {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            _ => None,
        }
    }
}

/// Bytes of a named kind, in line or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The media type, for example `image/png`.
    pub media_type: String,
    /// `data:` for bytes in line (base64), else where they are.
    pub url: String,
}

/// A call that the model asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique within the session; the result carries it back.
    pub id: String,
    /// The tool's name as its schema gives it.
    pub name: String,
    /// The arguments: a JSON object.
    pub arguments: Value,
}

/// Text in the place of a tool call that does not parse as one: it goes back to the model as a
/// failed call, so that nothing is swallowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidToolCall {
    /// Unique within the session; the failure carries it back.
    pub id: String,
    /// The tool's name where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text as the model wrote it.
    pub text: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call's id.
    pub call_id: String,
    /// The tool's name.
    pub name: String,
    /// The value or the failure.
    pub outcome: ToolOutcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ToolOutcome {
    /// It gave a value.
    Success {
        /// The value, valid against the tool's output schema where there is one.
        value: Value,
    },
    /// It failed; the model is told.
    Failure {
        /// Why.
        error: ToolError,
    },
}

/// The source of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The document's identifier.
    pub source: String,
    /// The part of the document, in bytes of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<crate::Span>,
    /// The words quoted.
    pub quote: String,
}
