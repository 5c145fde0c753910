//! From an answer to text.

use encoding_rs::{Encoding, UTF_8};
use puna_plugin::{Error, ErrorKind, http::Response};
use puna_plugin_markdown::html;
use serde_json::Value;

/// Most bytes of a page that are read: a longer one is cut.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// Most bytes of Markdown made of one page.
const MAX_MARKDOWN_BYTES: usize = 2 << 20;

/// Where a page's own word on its encoding is looked for: HTML asks authors to put it there.
const DECLARATION_BYTES: usize = 1_024;

/// What a page says.
pub struct Page {
    pub title: Option<String>,
    pub text: String,
    /// Whether the end of the page was not read.
    pub cut: bool,
}

/// The text of an answer.
///
/// # Errors
/// Invalid-input for what is no text.
pub fn read(response: &Response) -> Result<Page, Error> {
    let declared = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let (media_type, parameters) = declared.split_once(';').unwrap_or((&declared, ""));
    let media_type = media_type.trim();
    let body = &response.body[..response.body.len().min(MAX_PAGE_BYTES)];
    let mut cut = body.len() < response.body.len();
    let start = String::from_utf8_lossy(&body[..body.len().min(DECLARATION_BYTES)]).to_ascii_lowercase();
    let is_html = match media_type {
        "text/html" | "application/xhtml+xml" => true,
        "" | "application/octet-stream" => {
            let start = start.trim_start_matches('\u{feff}').trim_start();
            start.starts_with("<!doctype html") || start.starts_with("<html")
        }
        _ => false,
    };
    if !is_html && !is_text(media_type, body) {
        let kind = if media_type.is_empty() { "of an unknown kind" } else { media_type };
        let message = format!("`{}` is {kind} of {} bytes, and no text", response.url, response.body.len());
        return Err(Error::new(ErrorKind::InvalidInput, message).with_code("no_text"));
    }
    let charset = charset(parameters).or_else(|| if is_html { charset(&start) } else { None });
    let text = charset.unwrap_or(UTF_8).decode(body).0;
    if is_html {
        let read = html::read(&text, &response.url, MAX_MARKDOWN_BYTES);
        cut |= read.cut;
        return Ok(Page { title: read.title, text: read.text, cut });
    }
    let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
    let indented = if is_json && !cut {
        serde_json::from_str::<Value>(&text).ok().and_then(|value| serde_json::to_string_pretty(&value).ok())
    } else {
        None
    };
    Ok(Page { title: None, text: indented.unwrap_or_else(|| text.into_owned()), cut })
}

fn is_text(media_type: &str, body: &[u8]) -> bool {
    const TEXTS: [&str; 8] = ["json", "xml", "javascript", "ecmascript", "yaml", "toml", "sql", "x-sh"];
    match media_type.split_once('/') {
        Some(("text", _)) => true,
        Some(("application", kind)) if TEXTS.iter().any(|text| kind.ends_with(text)) => true,
        // Unsaid, or said by a server that does not know.
        None | Some(("application", "octet-stream")) => {
            !body.contains(&0) && std::str::from_utf8(body).is_ok_and(|text| !text.trim().is_empty())
        }
        _ => false,
    }
}

/// The encoding that a header or a `meta` names.
fn charset(text: &str) -> Option<&'static Encoding> {
    let (_, after) = text.split_once("charset=")?;
    let after = after.trim_start_matches(['"', '\'']);
    let label =
        after.split(|c: char| matches!(c, '"' | '\'' | ';' | '>' | '/') || c.is_whitespace()).next()?;
    Encoding::for_label(label.as_bytes())
}
