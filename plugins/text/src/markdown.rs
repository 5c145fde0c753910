//! Markdown: its text as it is written, with what its front matter and headings tell.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use puna_plugin::Document;
use serde_json::Value;

use crate::{front_matter, titled};

/// Longest text: some thousand pages, and a tenth of the memory that a loader has, for the parser beside it.
pub const MAX_BYTES: usize = 8 << 20;

/// Longest title that is taken from a heading, in bytes.
const MAX_TITLE_BYTES: usize = 1 << 10;

/// Longest start that is looked at for a heading: bounds the parser's time and memory.
const HEADING_BYTES: usize = 64 << 10;

/// The document of a whole text. Its title is the front matter's, else the first heading's, else the file's name.
pub fn document(text: &str, stem: &str) -> Document {
    let (metadata, body) = front_matter::split(text);
    let title = match metadata.get("title") {
        Some(Value::String(title)) => title.clone(),
        _ => heading(body).unwrap_or_else(|| stem.to_owned()),
    };
    let mut document = Document::new("text", body);
    document.metadata = metadata;
    titled(document, &title)
}

/// The first heading of the first level, else the first at all.
fn heading(body: &str) -> Option<String> {
    let start = &body[..body.floor_char_boundary(HEADING_BYTES)];
    let (mut first, mut open) = (None, None);
    for event in Parser::new_ext(start, Options::empty()) {
        match (event, &mut open) {
            (Event::Start(Tag::Heading { level, .. }), _) => open = Some((level, String::new())),
            (Event::End(TagEnd::Heading(_)), _) => {
                let (level, title) = open.take()?;
                let title = title.trim();
                if !title.is_empty() {
                    let title = title[..title.floor_char_boundary(MAX_TITLE_BYTES)].to_owned();
                    if level == HeadingLevel::H1 {
                        return Some(title);
                    }
                    first.get_or_insert(title);
                }
            }
            (Event::Text(text) | Event::Code(text), Some((_, title))) => title.push_str(&text),
            (Event::SoftBreak | Event::HardBreak, Some((_, title))) => title.push(' '),
            _ => {}
        }
    }
    first
}
