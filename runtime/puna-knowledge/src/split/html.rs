use html5gum::Token;

use super::border::{BLOCK, Border, HEADING, LINE, SENTENCE, WITHIN_BLOCK, with_sentences};
use crate::html::tokens;

/// Elements that stand for themselves.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "details",
    "div",
    "dl",
    "fieldset",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "script",
    "section",
    "style",
    "summary",
    "table",
    "ul",
    "head",
];

/// Parts of them.
const PARTS: [&str; 8] = ["li", "tr", "dt", "dd", "caption", "thead", "tbody", "option"];

/// Headings by their depth, blocks and their parts; inside of tags and comments nothing is cut that fits.
pub(super) fn borders(text: &str) -> Vec<Border> {
    let mut borders = Vec::new();
    let mut tags = Vec::new();
    for (token, span) in tokens(text) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if let Some(rank) = rank(&name) {
                    borders.push(Border { at: span.start, rank });
                } else if name == "br" {
                    borders.push(Border { at: span.end, rank: LINE });
                }
            }
            // A closing tag belongs to what it closes.
            Token::EndTag(tag) => borders.extend(
                rank(&String::from_utf8_lossy(&tag.name))
                    .map(|rank| Border { at: span.end, rank: rank.max(BLOCK) }),
            ),
            Token::String(_) => continue,
            _ => {}
        }
        tags.push(span);
    }
    let mut all = with_sentences(text, borders);
    let mut tags = tags.iter().peekable();
    all.retain(|border| {
        while tags.next_if(|tag| tag.end <= border.at).is_some() {}
        let inside = tags.peek().is_some_and(|tag| tag.start < border.at);
        border.rank < SENTENCE || !inside
    });
    all.retain(|border| border.at > 0 && border.at < text.len());
    all
}

/// Whether an element stands for itself: a heading or another block.
pub(crate) fn is_block(name: &str) -> bool {
    rank(name).is_some_and(|rank| rank <= BLOCK)
}

/// Of an element by its name in lower case.
fn rank(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', depth @ b'1'..=b'6'] => Some(HEADING + depth - b'1'),
        _ if BLOCKS.contains(&name) => Some(BLOCK),
        _ if PARTS.contains(&name) => Some(WITHIN_BLOCK),
        _ => None,
    }
}
