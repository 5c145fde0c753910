use super::border::{BLOCK, Border, HEADING, LINE, SENTENCE, WITHIN_BLOCK, with_sentences};

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
    for tag in Tags::new(text) {
        if let Some(rank) = rank(tag.name) {
            // A closing tag belongs to what it closes.
            let at = if tag.closes { tag.end } else { tag.start };
            let rank = if tag.closes { rank.max(BLOCK) } else { rank };
            borders.push(Border { at, rank });
        } else if tag.name.eq_ignore_ascii_case("br") {
            borders.push(Border { at: tag.end, rank: LINE });
        }
        tags.push(tag.start..tag.end);
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

fn rank(name: &str) -> Option<u8> {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    match name.as_bytes() {
        [b'h' | b'H', depth @ b'1'..=b'6'] => Some(HEADING + depth - b'1'),
        _ if BLOCKS.iter().any(is) => Some(BLOCK),
        _ if PARTS.iter().any(is) => Some(WITHIN_BLOCK),
        _ => None,
    }
}

pub(crate) struct Tag<'a> {
    /// Empty for a comment.
    pub(crate) name: &'a str,
    pub(crate) closes: bool,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The tags and comments of a text, in order. What is not closed is none.
pub(crate) struct Tags<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tags<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let start = self.at + self.text[self.at..].find('<')?;
            let rest = &self.text[start + 1..];
            if rest.starts_with("!--") {
                let Some(length) = rest.find("-->") else {
                    self.at = self.text.len();
                    return None;
                };
                self.at = start + 1 + length + 3;
                return Some(Tag { name: "", closes: false, start, end: self.at });
            }
            let closes = rest.starts_with('/');
            let named = &rest[usize::from(closes)..];
            let length = named.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let end = if length > 0 || rest.starts_with('!') { end_of(rest) } else { None };
            let Some(end) = end else {
                self.at = start + 1;
                continue;
            };
            self.at = start + 1 + end;
            return Some(Tag { name: &named[..length], closes, start, end: self.at });
        }
    }
}

/// Longest tag looked for, in bytes: a `<` that nothing closes would have the rest of the text read for each.
const MAX_TAG_BYTES: usize = 16 << 10;

/// Where a tag ends, one past its `>`; quoted values may hold one.
fn end_of(rest: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in rest.bytes().take(MAX_TAG_BYTES).enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at + 1),
            (None, b'<') => return None,
            _ => {}
        }
    }
    None
}
