//! Where a knowledge base's documents come from: files, and pages of the web.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use puna_core::{Document, Error, ErrorKind, Result};
use puna_knowledge::{Failure, Input, Inputs, KnowledgeBase, Loaders, find_files, load_bytes, load_files};
use puna_plugins::{Headers, HttpBounds, HttpClient, HttpRequest, HttpResponse, HttpService};
use puna_spec::is_address;
use serde_json::Value;

/// Largest page read, in bytes: what is larger is a collection, and is downloaded first.
pub const MAX_PAGE_BYTES: u64 = 32 << 20;

/// Most redirects that are followed, as browsers do.
pub const MAX_REDIRECTS: usize = 10;

/// How long a page may take, redirects included.
const PAGE_TIME: Duration = Duration::from_secs(60);

/// What a page is asked for again with, by the name it has in a document's metadata: the header of an answer, and that of
/// the next request.
const VALIDATORS: [(&str, &str, &str); 2] =
    [("etag", "etag", "if-none-match"), ("last_modified", "last-modified", "if-modified-since")];

/// A source, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Files that a path, a folder or a pattern names.
    Files {
        /// The source as it was given.
        name: String,
        /// The files, in order of their names.
        files: Vec<PathBuf>,
    },
    /// A page by its address.
    Page(String),
}

impl Sources {
    /// What a source names: files, or a page where it begins with `http://` or `https://`.
    ///
    /// # Errors
    /// Those of [`find_files`]. Pages are asked for when they are read.
    pub fn find(source: &str) -> Result<Self> {
        let name = source.to_owned();
        if is_address(source) {
            return Ok(Self::Page(name));
        }
        Ok(Self::Files { files: find_files(source)?, name })
    }

    /// The source as it was given.
    pub fn name(&self) -> &str {
        match self {
            Self::Files { name, .. } | Self::Page(name) => name,
        }
    }
}

/// The documents of a source, read as the stream is polled. A page's document has its address as its id. What a page was
/// marked with when it was read last (`ETag`, `Last-Modified`, which its metadata keeps) is sent along, so that a page that
/// has not changed is not sent again. A page may only be at a public address, unless `private_addresses` says otherwise,
/// and holds [`MAX_PAGE_BYTES`] at most.
pub fn documents(source: Sources, base: &KnowledgeBase, loaders: Loaders, private_addresses: bool) -> Inputs {
    match source {
        Sources::Files { files, .. } => load_files(files, loaders),
        Sources::Page(address) => {
            let base = base.clone();
            futures_util::stream::once(async move {
                let read =
                    tokio::time::timeout(PAGE_TIME, page(&address, &base, loaders, private_addresses)).await;
                let read = read.unwrap_or_else(|_| {
                    let seconds = PAGE_TIME.as_secs();
                    Err(Error::new(ErrorKind::Timeout, format!("`{address}` takes more than {seconds} s")))
                });
                read.unwrap_or_else(|error| {
                    futures_util::stream::iter([Err(Failure { id: address, error })]).boxed()
                })
            })
            .flatten()
            .boxed()
        }
    }
}

async fn page(
    address: &str,
    base: &KnowledgeBase,
    loaders: Loaders,
    private_addresses: bool,
) -> Result<Inputs> {
    let known = base.document(address).await?;
    let mut headers: Headers = vec![("accept".to_owned(), "text/html, text/*;q=0.9, */*;q=0.5".to_owned())];
    for (key, _, header) in VALIDATORS {
        let value = known.as_ref().and_then(|known| known.metadata.get(key)).and_then(Value::as_str);
        headers.extend(value.map(|value| (header.to_owned(), value.to_owned())));
    }
    let response = get(address, headers, private_addresses).await?;
    if let (304, Some(known)) = (response.status, &known) {
        // The same document again, which is then found unchanged.
        let (text, format) = (base.text(address).await?, known.format);
        let document = Document { id: address.to_owned(), text, metadata: known.metadata.clone() };
        return Ok(futures_util::stream::iter([Ok(Input { document, format })]).boxed());
    }
    if response.status != 200 {
        let kind = match response.status {
            401 | 403 => ErrorKind::Denied,
            404 | 410 => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        return Err(Error::new(kind, format!("`{address}` answers with status {}", response.status)));
    }
    let marks: Vec<(&str, String)> = VALIDATORS
        .iter()
        .filter_map(|(key, header, _)| Some((*key, value_of(&response, header)?.to_owned())))
        .collect();
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let hint = match ending_of(value_of(&response, "content-type").unwrap_or_default()) {
        Some(ending) => format!("page.{ending}"),
        None => path.to_owned(),
    };
    let documents = load_bytes(address.to_owned(), hint, response.body, loaders);
    Ok(documents
        .map(move |input| {
            let mut input = input?;
            for (key, value) in &marks {
                input.document.metadata.insert((*key).to_owned(), value.clone().into());
            }
            Ok(input)
        })
        .boxed())
}

/// Asks for a page, and for where it has moved.
async fn get(address: &str, headers: Headers, private_addresses: bool) -> Result<HttpResponse> {
    let client = client();
    let mut url = address.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: url.clone(),
            headers: headers.clone(),
            body: Vec::new(),
        };
        let bounds = HttpBounds { private_addresses, body_bytes: MAX_PAGE_BYTES };
        let response = client.send(request, bounds).await.map_err(|error| {
            let message = format!("`{url}` cannot be read: {}", error.message);
            Error::new(Error::from(error).kind(), message)
        })?;
        match response.redirect(&url) {
            None => return Ok(response),
            Some(next) => url = next.map_err(|error| error.context(format!("`{url}` moves on")))?,
        }
    }
    Err(Error::new(ErrorKind::Unavailable, format!("`{address}` moves on more than {MAX_REDIRECTS} times")))
}

/// One for all: it keeps connections and the machine's certificates.
fn client() -> Arc<HttpClient> {
    static CLIENT: std::sync::LazyLock<Arc<HttpClient>> = std::sync::LazyLock::new(Arc::default);
    Arc::clone(&CLIENT)
}

fn value_of<'a>(response: &'a HttpResponse, header: &str) -> Option<&'a str> {
    response.headers.iter().find(|(name, _)| name == header).map(|(_, value)| value.as_str())
}

/// The ending of a file of a media type; none where the content and the address tell more.
fn ending_of(media_type: &str) -> Option<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" => Some("html"),
        "text/csv" => Some("csv"),
        "text/markdown" | "text/x-markdown" => Some("md"),
        "application/jsonl" | "application/x-ndjson" | "application/json-lines" => Some("jsonl"),
        _ => None,
    }
}
