//! A plugin that fetches a page of the web and gives it as text that a model can read: HTML as Markdown, JSON indented,
//! other text as it is.
//!
//! It reaches the sites that its grant `http` lists and no other.

mod page;

use puna_plugin::{
    Error,
    http::{self, Request},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters given where the caller does not say: some five thousand tokens. And the most.
const DEFAULT_CHARS: usize = 20_000;
const MAX_CHARS: usize = 50_000;

/// Longest address.
const MAX_URL_BYTES: usize = 4 << 10;

#[derive(Deserialize, JsonSchema)]
struct FetchPage {
    /// The address, with https:// or http://.
    url: String,
    /// Most characters to give.
    #[schemars(range(min = 1, max = 50_000))]
    max_chars: Option<usize>,
    /// Where to go on: `next_char` of the call before.
    from_char: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
struct Fetched {
    /// Where the page is from, after redirects.
    url: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
    /// Whether there is more text.
    truncated: bool,
    /// Where it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_char: Option<usize>,
}

fn fetch_page(arguments: FetchPage) -> Result<Fetched, Error> {
    let url = address(&arguments.url)?;
    let request = Request::get(&url)
        .header("accept", "text/html, text/markdown, text/plain, application/json, text/*;q=0.8, */*;q=0.1");
    let response = http::send(request)?.checked()?;
    let page = page::read(&response)?;
    let from = arguments.from_char.unwrap_or(0);
    let most = arguments.max_chars.unwrap_or(DEFAULT_CHARS).clamp(1, MAX_CHARS);
    let mut rest = page.text.chars().skip(from);
    let text: String = rest.by_ref().take(most).collect();
    if text.is_empty() && from > 0 {
        let length = page.text.chars().count();
        return Err(
            Error::invalid_input(format!("the text of the page has {length} characters")).at("/from_char")
        );
    }
    let more = rest.next().is_some();
    Ok(Fetched {
        url: response.url,
        status: response.status,
        title: page.title,
        text,
        truncated: more || page.cut,
        next_char: more.then_some(from + most),
    })
}

/// The address with a scheme.
fn address(url: &str) -> Result<String, Error> {
    let url = url.trim();
    let shown: String = url.chars().take(200).collect();
    let wrong = |why: &str| {
        Error::invalid_input(format!("`{shown}` {why}; write it like `https://example.com/page`")).at("/url")
    };
    if url.is_empty() || url.len() > MAX_URL_BYTES {
        return Err(wrong("is empty or too long for an address"));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("holds spaces"));
    }
    match url.split_once("://") {
        Some((scheme, _)) if ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it)) => {
            Ok(url.to_owned())
        }
        Some(_) => Err(wrong("is neither http nor https")),
        None => Ok(format!("https://{url}")),
    }
}

puna_plugin::tools! {
    "fetch_page": fetch_page => "Fetch a page of the web and read its text.",
}
