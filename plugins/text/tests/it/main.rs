//! The loaders of text through their public interface, as the host calls them.

mod json;
mod markdown;
mod plain;

use puna_plugin::{Document, Error, Source};
use puna_plugin_text::open;
use serde_json::Value;

/// The documents of a source, up to the first error.
pub fn load(loader: &str, uri: &str, bytes: &[u8], options: &Value) -> Result<Vec<Document>, Error> {
    open(loader, Source::of_bytes(uri, bytes), &options.to_string())?.collect()
}

/// Their ids and texts.
pub fn texts(documents: &[Document]) -> Vec<(&str, &str)> {
    documents.iter().map(|document| (document.id.as_str(), document.text.as_str())).collect()
}
