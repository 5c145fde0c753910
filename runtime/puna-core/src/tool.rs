use std::{fmt, sync::Arc, time::Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CancellationToken, Error, ErrorKind, Media};

/// How a tool presents itself to a model: its name, what it does, and the JSON Schema of its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSchema {
    /// The name a model calls it by: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, in a sentence for the model.
    pub description: String,
    /// JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    /// JSON Schema of the result, where the tool declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl ToolSchema {
    /// A schema whose parameters come from a Rust type.
    ///
    /// ```
    /// #[derive(schemars::JsonSchema)]
    /// struct Arguments { city: String }
    /// let schema = puna_core::ToolSchema::of::<Arguments>("weather", "Tell the weather in a city.");
    /// assert_eq!(schema.parameters["required"], serde_json::json!(["city"]));
    /// ```
    pub fn of<Arguments: JsonSchema>(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            parameters: schema_of::<Arguments>(),
            output: None,
        }
    }
}

/// The JSON Schema of a Rust type in the short form that goes into prompts: without `$schema`, the
/// title and the width of numbers, which cost tokens and tell a model nothing.
pub(crate) fn short_schema_of<T: JsonSchema>() -> Value {
    let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    if let Value::Object(root) = &mut schema {
        root.shift_remove("$schema");
        root.shift_remove("title");
    }
    shorten(&mut schema);
    schema
}

/// The same for arguments, which templates expect to have `properties`.
fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = short_schema_of::<T>();
    if let Value::Object(root) = &mut schema {
        root.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    schema
}

/// Takes the width of numbers out, and puts descriptions first: models read them before the type.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let numeric = matches!(map.get("type").and_then(Value::as_str), Some("number" | "integer"));
            if numeric && map.get("format").is_some_and(Value::is_string) {
                map.shift_remove("format");
            }
            if map.get("description").is_some_and(Value::is_string)
                && let Some(description) = map.shift_remove("description")
            {
                map.shift_insert(0, "description".to_owned(), description);
            }
            map.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// What a tool may know about the call it serves.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The call's id.
    pub call_id: String,
    /// The session's name.
    pub session: String,
    /// The turn's identifier within the session; empty outside a turn.
    pub turn: String,
    /// Who speaks, where the host says so.
    pub user: Option<String>,
    /// When the call must have ended; the caller enforces it too.
    pub deadline: Option<Instant>,
    /// Cancelled when nobody waits for the result any more.
    pub cancel: CancellationToken,
    /// Where the tool tells how far it is, and leaves what is not for the model's eyes.
    pub reports: ToolReports,
}

impl ToolContext {
    /// A call by itself: no deadline, nobody to report to.
    pub fn new(call_id: impl Into<String>, session: impl Into<String>) -> Self {
        Self {
            call_id: call_id.into(),
            session: session.into(),
            turn: String::new(),
            user: None,
            deadline: None,
            cancel: CancellationToken::new(),
            reports: ToolReports::default(),
        }
    }
}

/// What a tool says while it works.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolReport {
    /// How far it is.
    Progress {
        /// A share from 0 to 1, where it is known.
        done: Option<f32>,
        /// In words for the user.
        message: String,
    },
    /// Bytes for the user or the host: a picture, a file. The result names them to the model.
    Attachment {
        /// A file's name.
        name: String,
        /// The bytes, in line.
        media: Media,
    },
}

/// Whoever hears a tool's reports; by default nobody.
#[derive(Clone, Default)]
pub struct ToolReports(Option<Arc<dyn Fn(ToolReport) + Send + Sync>>);

impl ToolReports {
    /// Reports go to `hear`, which must not block.
    pub fn to(hear: impl Fn(ToolReport) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// Reports.
    pub fn send(&self, report: ToolReport) {
        if let Some(hear) = &self.0 {
            hear(report);
        }
    }
}

impl fmt::Debug for ToolReports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ToolReports").field(&self.0.is_some()).finish()
    }
}

/// Something a model can call.
#[async_trait]
pub trait Tool: Send + Sync {
    /// How the tool presents itself; the same for the tool's whole life.
    fn schema(&self) -> &ToolSchema;

    /// Performs a call. `arguments` is valid against the schema's parameters.
    ///
    /// # Errors
    /// A [`ToolError`] is told to the model and does not end the turn.
    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError>;
}

/// Why a call failed: the closed list that native tools and plugins share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolErrorKind {
    /// The arguments are not valid; `path` points at the one.
    InvalidInput,
    /// What the arguments name does not exist.
    NotFound,
    /// A grant is missing.
    Denied,
    /// Credentials are missing.
    AuthRequired,
    /// Too many calls; `retry_after_ms` may say when to come back.
    RateLimited,
    /// A service behind the tool cannot be reached.
    Unavailable,
    /// The call took longer than it may.
    Timeout,
    /// The arguments or the result are larger than allowed, or the tool wanted more memory than allowed.
    TooLarge,
    /// The tool's result does not satisfy its own schema.
    InvalidOutput,
    /// The caller cancelled.
    Cancelled,
    /// The tool broke.
    Internal,
}

impl ToolErrorKind {
    /// The kind in lower-case words joined by `_`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::AuthRequired => "auth_required",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::InvalidOutput => "invalid_output",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolError {
    /// Why, to act on.
    pub kind: ToolErrorKind,
    /// Why, in words for the model and the user.
    pub message: String,
    /// The tool's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// JSON pointer to the offending argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long to wait before trying again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ToolError {
    /// An error with a kind and a message alone.
    pub fn new(kind: ToolErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, path: None, retry_after_ms: None }
    }

    /// The same error pointing at an argument.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// For callers that are no model: the kind that says the same.
impl From<ToolError> for Error {
    fn from(error: ToolError) -> Self {
        let kind = match error.kind {
            ToolErrorKind::InvalidInput => ErrorKind::InvalidInput,
            ToolErrorKind::NotFound => ErrorKind::NotFound,
            ToolErrorKind::Denied | ToolErrorKind::AuthRequired => ErrorKind::Denied,
            ToolErrorKind::RateLimited | ToolErrorKind::TooLarge => ErrorKind::ResourceExhausted,
            ToolErrorKind::Unavailable => ErrorKind::Unavailable,
            ToolErrorKind::Timeout => ErrorKind::Timeout,
            ToolErrorKind::Cancelled => ErrorKind::Cancelled,
            ToolErrorKind::InvalidOutput | ToolErrorKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

/// For functions of plugins that are no tools: what the guest said, where it said it, else the kind that says the same.
impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        let source = std::error::Error::source(&error);
        if let Some(said) = source.and_then(|source| source.downcast_ref::<Self>()) {
            return said.clone();
        }
        let kind = match error.kind() {
            ErrorKind::InvalidInput => ToolErrorKind::InvalidInput,
            ErrorKind::NotFound => ToolErrorKind::NotFound,
            ErrorKind::Denied => ToolErrorKind::Denied,
            ErrorKind::ContextOverflow | ErrorKind::ResourceExhausted => ToolErrorKind::TooLarge,
            ErrorKind::Timeout => ToolErrorKind::Timeout,
            ErrorKind::Cancelled => ToolErrorKind::Cancelled,
            ErrorKind::Unavailable | ErrorKind::Conflict => ToolErrorKind::Unavailable,
            ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Internal => ToolErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.as_str(), self.message)?;
        match &self.path {
            Some(path) if !path.is_empty() => write!(formatter, " (at `{path}`)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ToolError {}
