//! The loaders of tables through their public interface, as the host calls them.

mod csv;
mod xlsx;

use puna_plugin::{Document, Error, Source};
use puna_plugin_tables::open;
use serde_json::Value;

/// The documents of a source, up to the first error.
pub fn load(loader: &str, uri: &str, bytes: &[u8], options: &Value) -> Result<Vec<Document>, Error> {
    open(loader, Source::of_bytes(uri, bytes), &options.to_string())?.collect()
}

/// The lines of a table, without those between the names and the rest.
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    assert!(lines.remove(1).starts_with("| --- |"), "{text}");
    lines
}
