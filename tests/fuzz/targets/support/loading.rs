//! What all targets of loaders ask of one.

use puna_plugin::{Documents, Error, Source};

/// Documents that come before the reading is stopped: a file may hold far more than is held.
const MOST: usize = 10_000;

/// Any bytes end in documents with identifiers, or in a typed error that can be shown.
pub fn check(open: fn(&str, Source, &str) -> Result<Documents, Error>, loader: &str, uri: &str, bytes: &[u8]) {
    let failed = |error: Error| assert!((1..20_000).contains(&error.message.len()), "{error}");
    match open(loader, Source::of_bytes(uri, bytes), "{}") {
        Ok(documents) => {
            for document in documents.take(MOST) {
                match document {
                    Ok(document) => assert!(!document.id.is_empty()),
                    Err(error) => failed(error),
                }
            }
        }
        Err(error) => failed(error),
    }
}
