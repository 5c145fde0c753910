//! A loader of documents of Word: their text as Markdown, with headings, lists, tables, links and notes.
//!
//! Invariant: memory is bounded by the constants here and in the crates of plugins; the text is read as it comes.

mod body;
mod styles;

use puna_plugin::{Document, Documents, Error, Source};
use puna_plugin_office::{Node, Package, Xml};
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest part that tells of a document, unpacked.
const MAX_PROPERTIES_BYTES: u64 = 1 << 20;

/// Longest value of a property that is given.
const MAX_VALUE_BYTES: usize = 1 << 10;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Docx {}

fn docx(source: Source, _: Docx) -> Result<Documents, Error> {
    let stem = source.stem().to_owned();
    let mut package = Package::open(source)?;
    let body = body::read(&mut package)?;
    let mut document = Document::new("text", body.text);
    let mut title = None;
    for (name, value) in properties(&mut package)? {
        if name == "title" {
            title = Some(value);
        } else {
            document = document.with(name, value);
        }
    }
    let title = title.or(body.title).unwrap_or(stem);
    Ok(Box::new(std::iter::once(Ok(if title.is_empty() { document } else { document.with("title", title) }))))
}

/// What the document says of itself.
fn properties(package: &mut Package) -> Result<Vec<(&'static str, String)>, Error> {
    const NAMES: [(&str, &str); 7] = [
        ("title", "title"),
        ("creator", "author"),
        ("subject", "subject"),
        ("keywords", "keywords"),
        ("language", "language"),
        ("created", "created"),
        ("modified", "modified"),
    ];
    let part = package.relationships("")?.into_values().find(|part| part.kind == "core-properties");
    let Some(part) = part.map(|part| package.part(&part.target, MAX_PROPERTIES_BYTES)) else {
        return Ok(Vec::new());
    };
    let Some(mut xml) = part?.map(Xml::new) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    loop {
        match xml.node()? {
            Node::Done => return Ok(found),
            Node::Start(element) => {
                if let Some((_, name)) = NAMES.iter().find(|(name, _)| *name == element.name()) {
                    let value = xml.text()?;
                    let value = value.trim();
                    if !value.is_empty() && !found.iter().any(|(known, _)| known == name) {
                        found.push((*name, value[..value.floor_char_boundary(MAX_VALUE_BYTES)].to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
}

puna_plugin::loaders! {
    "docx": docx => {
        description: "Documents of Word as Markdown.",
        media_types: ["application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
        extensions: ["docx", "docm"],
    },
}
