//! Loaders of plain text, Markdown, JSON and JSON Lines, in any encoding.
//!
//! Invariant: memory is bounded by the constants here, however long the source; text and JSON are read as they come.

mod front_matter;
mod json;
mod markdown;
mod plain;

use puna_plugin::{Document, Documents, Error, Source};
use puna_plugin_decoding::Decoded;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    /// Encoding such as `euc-kr`, where a guess is wrong
    encoding: Option<String>,
}

fn text(source: Source, options: Text) -> Result<Documents, Error> {
    let title = source.stem().to_owned();
    let decoded = Decoded::new(source, options.encoding.as_deref())?;
    Ok(Box::new(plain::Parts::new(decoded, title)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Markdown {
    /// Encoding such as `euc-kr`, where a guess is wrong
    encoding: Option<String>,
}

fn markdown(source: Source, options: Markdown) -> Result<Documents, Error> {
    let stem = source.stem().to_owned();
    let text = Decoded::new(source, options.encoding.as_deref())?.read_to_end(markdown::MAX_BYTES)?;
    Ok(Box::new(std::iter::once(Ok(markdown::document(&text, &stem)))))
}

/// How documents are taken from JSON values.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Json {
    /// JSON pointer to each document's text, as `/body`; without it the whole value is the text
    text: Option<String>,
    /// JSON pointer to each document's id; without it values are counted
    id: Option<String>,
    /// JSON pointers to what goes into each document's metadata
    #[serde(default)]
    metadata: Vec<String>,
    /// Whether each line is a value, so that an array is one document; known from the ending `jsonl` or `ndjson`
    lines: Option<bool>,
    /// Encoding such as `utf-16le`, where a guess is wrong
    encoding: Option<String>,
}

fn json(source: Source, options: Json) -> Result<Documents, Error> {
    Ok(Box::new(json::Values::new(source, options)?))
}

fn titled(document: Document, title: &str) -> Document {
    if title.is_empty() { document } else { document.with("title", title) }
}

puna_plugin::loaders! {
    "text": text => {
        description: "Plain text in any encoding.",
        media_types: ["text/plain"],
        extensions: ["txt", "text", "log"],
    },
    "markdown": markdown => {
        description: "Markdown, with its front matter as metadata.",
        media_types: ["text/markdown"],
        extensions: ["md", "markdown"],
    },
    "json": json => {
        description: "JSON and JSON Lines, one document a value.",
        media_types: ["application/json", "application/jsonl", "application/x-ndjson"],
        extensions: ["json", "jsonl", "ndjson"],
    },
}
