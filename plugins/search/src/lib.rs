//! A retriever that asks a search service over http. Its configuration says where and how: an address with `{query}` and
//! `{k}` in it, and JSON Pointers to what the service answers.

mod address;

use puna_plugin::{
    Error, ErrorKind, Hit, Hits, Query, config,
    http::{self, Request},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use address::filled;

/// Most hits of one page.
const MAX_HITS: usize = 100;

/// Longest question.
const MAX_QUERY_BYTES: usize = 2_000;

/// Longest passage: what is longer is cut.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// Longest metadata of a hit, as JSON: what is longer is left out.
const MAX_METADATA_BYTES: usize = 2 << 10;

/// Most bytes of texts and metadata of one page: the host bounds a result.
const MAX_PAGE_BYTES: usize = 160 << 10;

/// Longest token of a page.
const MAX_PAGE_TOKEN_BYTES: usize = 1_000;

/// The plugin's configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The service's address, with {query}, {k} and, for a service with pages, {page} in it.
    url: String,
    /// Headers of every request.
    #[serde(default)]
    headers: Map<String, Value>,
    /// The header that carries a secret.
    secret: Option<Secret>,
    /// JSON Pointer to the list of hits in the answer.
    #[serde(default)]
    hits: String,
    /// JSON Pointer to a hit's text.
    #[serde(default = "text_pointer")]
    text: String,
    /// JSON Pointer to what identifies a hit's document.
    #[serde(default = "id_pointer")]
    id: String,
    /// JSON Pointer to a hit's score; without one the order counts.
    score: Option<String>,
    /// JSON Pointer to an object with what else is known of a hit.
    metadata: Option<String>,
    /// JSON Pointer to what stands for {page} in the request for the next page.
    next: Option<String>,
    /// What stands for {page} at first.
    #[serde(default)]
    first_page: String,
}

fn text_pointer() -> String {
    "/text".to_owned()
}

fn id_pointer() -> String {
    "/id".to_owned()
}

/// A secret and the header that carries it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secret {
    /// The name it is granted by.
    name: String,
    /// The header.
    header: String,
    /// What comes before it, for example `Bearer `.
    #[serde(default)]
    prefix: String,
}

puna_plugin::config!(Config);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {}

fn search(query: Query, _: Options) -> Result<Hits, Error> {
    let config: Option<Config> = config::get()?;
    let config = config.ok_or_else(|| {
        Error::invalid_input("the plugin `search` is not configured; its `config` needs `url`, at least")
    })?;
    if query.text.trim().is_empty() {
        return Ok(Hits::default());
    }
    if query.text.len() > MAX_QUERY_BYTES {
        let message = format!("the question takes {} bytes; the most is {MAX_QUERY_BYTES}", query.text.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let k = query.k.min(MAX_HITS);
    let response = http::send(request(&config, &query, k)?)?.checked()?;
    let answer: Value = serde_json::from_slice(&response.body)
        .map_err(|error| strange(&response.url, &format!("no JSON: {error}")))?;
    let found = at(&answer, &config.hits)
        .and_then(Value::as_array)
        .ok_or_else(|| strange(&response.url, &format!("no list at `{}`", config.hits)))?;
    let (mut hits, mut bytes) = (Vec::new(), 0);
    for (rank, value) in found.iter().take(k).enumerate() {
        let hit = hit(&config, value, rank).map_err(|why| strange(&response.url, &why))?;
        bytes += hit.text.len() + hit.document.len() + length(&hit.metadata);
        if bytes > MAX_PAGE_BYTES {
            break;
        }
        hits.push(hit);
    }
    // A service may rank by what its score is not.
    if config.score.is_some() {
        hits.sort_by(|one, other| other.score.total_cmp(&one.score));
    }
    let next = config.next.as_ref().and_then(|pointer| at(&answer, pointer)).and_then(scalar);
    let next = next.filter(|next| !next.is_empty() && next.len() <= MAX_PAGE_TOKEN_BYTES && !hits.is_empty());
    Ok(Hits { hits, next })
}

fn request(config: &Config, query: &Query, k: usize) -> Result<Request, Error> {
    let page = query.page.as_deref().unwrap_or(&config.first_page);
    let k = k.to_string();
    let url = filled(&config.url, &[("query", query.text.trim()), ("k", &k), ("page", page)])?;
    let mut request = Request::get(url).header("accept", "application/json");
    for (name, value) in &config.headers {
        let value = scalar(value)
            .ok_or_else(|| Error::invalid_input(format!("the header `{name}` in `config` is no text")))?;
        request = request.header(name, value);
    }
    if let Some(secret) = &config.secret {
        // The host puts the secret in the place of its name.
        let value = format!("{}{{{{secret:{}}}}}", secret.prefix, secret.name);
        request = request.header(&secret.header, value);
    }
    Ok(request)
}

fn hit(config: &Config, value: &Value, rank: usize) -> Result<Hit, String> {
    let mut text = at(value, &config.text)
        .and_then(scalar)
        .ok_or_else(|| format!("no text at `{}` of hit {rank}", config.text))?;
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    let document = at(value, &config.id)
        .and_then(scalar)
        .ok_or_else(|| format!("no identifier at `{}` of hit {rank}", config.id))?;
    let score = match &config.score {
        // As ranks are fused: what is first counts most.
        None => 1.0 / (rank + 1) as f64,
        Some(pointer) => at(value, pointer)
            .and_then(|score| score.as_f64().or_else(|| score.as_str()?.trim().parse().ok()))
            .filter(|score| score.is_finite())
            .ok_or_else(|| format!("no number at `{pointer}` of hit {rank}"))?,
    };
    let metadata = config.metadata.as_ref().and_then(|pointer| at(value, pointer)).and_then(Value::as_object);
    let metadata = metadata.filter(|metadata| length(metadata) <= MAX_METADATA_BYTES).cloned();
    Ok(Hit { document, text, span: None, score, metadata: metadata.unwrap_or_default() })
}

fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    value.pointer(pointer)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn length(metadata: &Map<String, Value>) -> usize {
    serde_json::to_string(metadata).map_or(usize::MAX, |json| json.len())
}

/// The service answered what the configuration does not describe.
fn strange(url: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("`{url}` answered {why}; compare the plugin's `config`"))
}

puna_plugin::retrievers! {
    "search": search => "Finds passages with a search service.",
}
