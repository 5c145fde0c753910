use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Error, describe::schema_of_output};

/// Bytes for the user or the host, with their kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// A file's name.
    pub name: String,
    /// For example `image/png`.
    pub media_type: String,
    /// The bytes.
    pub content: Vec<u8>,
}

/// A part of a tool's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A JSON document.
    Json(String),
    /// Text for the model.
    Text(String),
    /// A picture for the user; the model is told its name.
    Image(Attachment),
    /// A file for the user; the model is told its name.
    File(Attachment),
}

/// A result of several parts. A tool that gives one has no output schema.
///
/// ```
/// use puna_plugin::{Attachment, Contents, Error};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Chart {}
/// fn chart(_: Chart) -> Result<Contents, Error> {
///     let content = b"<svg/>".to_vec();
///     let file = Attachment { name: "chart.svg".into(), media_type: "image/svg+xml".into(), content };
///     Ok(Contents::default().text("Sales by month.").image(file))
/// }
/// puna_plugin::tools! { "chart": chart => "Draw the sales." }
/// # fn main() {
/// assert!(call("chart", "{}").unwrap().contains("chart.svg"));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents(Vec<Content>);

impl Contents {
    /// Adds text for the model.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Content::Text(text.into()));
        self
    }

    /// Adds a picture for the user.
    #[must_use]
    pub fn image(mut self, image: Attachment) -> Self {
        self.0.push(Content::Image(image));
        self
    }

    /// Adds a file for the user.
    #[must_use]
    pub fn file(mut self, file: Attachment) -> Self {
        self.0.push(Content::File(file));
        self
    }
}

/// What a tool may give: anything that is `Serialize + JsonSchema`, as one JSON document, or [`Contents`].
pub trait Output {
    /// JSON Schema of the result, where there is one.
    fn schema() -> Option<Value>;

    /// The parts of the result.
    ///
    /// # Errors
    /// Internal when the value cannot be written as JSON.
    fn contents(self) -> Result<Vec<Content>, Error>;
}

impl<T: Serialize + JsonSchema> Output for T {
    fn schema() -> Option<Value> {
        Some(schema_of_output::<T>())
    }

    fn contents(self) -> Result<Vec<Content>, Error> {
        let json = serde_json::to_string(&self)
            .map_err(|error| Error::internal(format!("the result cannot be written as JSON: {error}")))?;
        Ok(vec![Content::Json(json)])
    }
}

impl Output for Contents {
    fn schema() -> Option<Value> {
        None
    }

    fn contents(self) -> Result<Vec<Content>, Error> {
        Ok(self.0)
    }
}

/// A result as a test sees it: one JSON document as it is, else a list of what the model is told.
pub fn shown(contents: Vec<Content>) -> String {
    let attachment = |kind: &str, attachment: Attachment| {
        json!({
            "type": kind,
            "name": attachment.name,
            "media_type": attachment.media_type,
            "bytes": attachment.content.len(),
        })
    };
    if let [Content::Json(json)] = &contents[..] {
        return json.clone();
    }
    let parts = contents.into_iter().map(|content| match content {
        Content::Json(text) => json!({"type": "json", "value": serde_json::from_str::<Value>(&text).ok()}),
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Image(image) => attachment("image", image),
        Content::File(file) => attachment("file", file),
    });
    Value::Array(parts.collect()).to_string()
}
