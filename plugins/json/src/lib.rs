//! A plugin that finds values in a JSON document by JSONPath (RFC 9535) or JSON Pointer (RFC 6901).
//!
//! The document is given in the call or is a file in a granted folder. What a query may cost is estimated from its form
//! and the document's before it runs: a query of a few bytes can ask for more than a machine has.

mod cost;
mod shown;

use puna_plugin::{Error, ErrorKind, files};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use shown::{MAX_RESULT_BYTES, length_of, summary};

/// Matches given where the caller does not say, and the most.
const DEFAULT_MATCHES: usize = 50;
const MAX_MATCHES: usize = 500;

/// Largest file. A document takes several times its length in memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Longest query.
const MAX_QUERY_BYTES: usize = 1_000;

#[derive(Deserialize, JsonSchema)]
struct QueryJson {
    /// A JSONPath like $.items[?@.price < 10].name, or a JSON Pointer like /items/0/name.
    query: String,
    /// The document, as JSON.
    document: Option<String>,
    /// Or the path of a JSON file.
    file: Option<String>,
    #[schemars(range(min = 1, max = 500))]
    max_matches: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    matches: Vec<Match>,
    /// How many values match.
    count: usize,
    /// Whether some are not shown.
    more: bool,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    /// Where the value stands.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// What the value is, where it is too long to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
}

fn query_json(arguments: QueryJson) -> Result<Found, Error> {
    let query = arguments.query.trim();
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("the query takes {} bytes; the most is {MAX_QUERY_BYTES}", query.len());
        return Err(Error::invalid_input(message).at("/query"));
    }
    let document = read(arguments.document, arguments.file)?;
    let most = arguments.max_matches.unwrap_or(DEFAULT_MATCHES).clamp(1, MAX_MATCHES);
    if query.is_empty() || query.starts_with('/') {
        let value = document.pointer(query).ok_or_else(|| {
            Error::not_found(format!("nothing stands at `{query}`; {}", deepest(&document, query)))
                .at("/query")
        })?;
        return Ok(found(std::iter::once((query.to_owned(), value)), 1, most));
    }
    cost::check_nesting(query).map_err(|error| error.at("/query"))?;
    let path = JsonPath::parse(query).map_err(|error| {
        let message =
            format!("`{query}` is no JSONPath: {error}; it begins with `$`, a JSON Pointer with `/`");
        Error::invalid_input(message).at("/query")
    })?;
    cost::check(query, &document).map_err(|error| error.at("/query"))?;
    let located = path.query_located(&document);
    let count = located.len();
    Ok(found(located.iter().map(|node| (node.location().to_string(), node.node())), count, most))
}

fn read(document: Option<String>, file: Option<String>) -> Result<Value, Error> {
    let (text, at) = match (document, file) {
        (Some(text), None) => (text.into_bytes(), "/document"),
        (None, Some(path)) => {
            (files::read(&path, MAX_FILE_BYTES).map_err(|error| error.at("/file"))?, "/file")
        }
        _ => return Err(Error::invalid_input("give either `document` or `file`").at("/document")),
    };
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("the document is no JSON: {error}")).at(at)
    })
}

/// What stands where the way of a pointer ends.
fn deepest(document: &Value, pointer: &str) -> String {
    let mut ends: Vec<usize> = pointer.match_indices('/').map(|(at, _)| at).collect();
    while let Some(end) = ends.pop() {
        if let Some(value) = document.pointer(&pointer[..end]) {
            return format!("at `{}` is {}", &pointer[..end], summary(value));
        }
    }
    format!("the document is {}", summary(document))
}

fn found<'a>(matches: impl Iterator<Item = (String, &'a Value)>, count: usize, most: usize) -> Found {
    let mut found = Found { matches: Vec::new(), count, more: false };
    let mut left = MAX_RESULT_BYTES;
    for (path, value) in matches.take(most) {
        let Some(rest) = left.checked_sub(path.len()) else { break };
        left = rest;
        let (value, summary) = match length_of(value, left) {
            Some(length) => {
                left -= length;
                (Some(value.clone()), None)
            }
            None => (None, Some(summary(value))),
        };
        found.matches.push(Match { path, value, summary });
    }
    found.more = found.matches.len() < count;
    found
}

puna_plugin::tools! {
    "query_json": query_json => "Find values in a JSON document by JSONPath or JSON Pointer.",
}
