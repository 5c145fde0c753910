//! A loader of HTML: the main text of a page as Markdown, with what the page says of itself.

use std::io::Read as _;

use puna_plugin::{Document, Documents, Error, ErrorKind, Source};
use puna_plugin_decoding::{Decoded, named};
use puna_plugin_markdown::html;
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest page: some thousand pages of paper, and a tenth of the memory that a loader has.
const MAX_BYTES: usize = 8 << 20;

/// Most Markdown made of a page: whole addresses make it longer than the page.
const MAX_MARKDOWN_BYTES: usize = 16 << 20;

/// Where a page's own word on its encoding is looked for: HTML asks authors to put it there.
const DECLARATION_BYTES: u64 = 1_024;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Html {
    /// Encoding such as `euc-kr`, where the page does not tell it or tells it wrongly
    encoding: Option<String>,
    /// The address that the page was at, as `https://example.com/docs/`, to which its links are relative
    base: Option<String>,
}

fn html(mut source: Source, options: Html) -> Result<Documents, Error> {
    let (uri, stem) = (source.uri.clone(), source.stem().to_owned());
    let encoding = match options.encoding {
        None => declared(&mut source)?,
        encoding => encoding,
    };
    let mut decoded = Decoded::new(source, encoding.as_deref())?;
    let page = decoded.read_to_end(MAX_BYTES)?;
    let page = html::read(&page, options.base.as_deref().unwrap_or(&uri), MAX_MARKDOWN_BYTES);
    if page.cut {
        let message = format!("`{uri}` takes more than {MAX_MARKDOWN_BYTES} bytes as Markdown; split it");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let title = page.title.unwrap_or(stem);
    let mut document = Document::new("text", page.text).with("encoding", decoded.encoding());
    if decoded.replaced() {
        document = document.with("invalid characters", true);
    }
    let said = [("title", Some(title)), ("description", page.description), ("language", page.language)];
    for (key, value) in said {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            document = document.with(key, value);
        }
    }
    if !page.links.is_empty() {
        document = document.with("links", page.links);
    }
    Ok(Box::new(std::iter::once(Ok(document))))
}

/// The encoding that a page names itself, in a `meta` or in the declaration of XML, if it is one.
fn declared(source: &mut Source) -> Result<Option<String>, Error> {
    let Some(blob) = &mut source.content else { return Ok(None) };
    let mut start = Vec::new();
    blob.by_ref().take(DECLARATION_BYTES).read_to_end(&mut start)?;
    let start = String::from_utf8_lossy(&start).to_ascii_lowercase();
    let label = ["charset=", "encoding="].iter().find_map(|key| {
        let (_, after) = start.split_once(key)?;
        let after = after.trim_start_matches(['"', '\'']);
        let end =
            after.find(|c: char| matches!(c, '"' | '\'' | ';' | '>' | '/' | '?') || c.is_whitespace())?;
        Some(after[..end].to_owned())
    });
    // What can be read as far as here is not UTF-16, whatever it says.
    Ok(label.filter(|label| !label.starts_with("utf-16") && named(label).is_ok()))
}

puna_plugin::loaders! {
    "html": html => {
        description: "A page of HTML as Markdown, with its title, language and links.",
        media_types: ["text/html", "application/xhtml+xml"],
        extensions: ["html", "htm", "xhtml"],
    },
}
