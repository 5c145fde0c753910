//! The text of an HTML page, its headings and lists as Markdown writes them.

use std::ops::Range;

use html5gum::{DefaultEmitter, Token, Tokenizer};

use crate::split::is_block;

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) title: Option<String>,
    pub(crate) text: String,
}

/// Elements whose content is not for readers.
const HIDDEN: [&str; 6] = ["script", "style", "template", "noscript", "svg", "iframe"];

/// Reads a page in one pass, without a tree: neither depth nor width of a page costs memory.
pub(crate) fn text(html: &str) -> Page {
    let mut out = Writer::default();
    let mut title = String::new();
    let mut hidden: Option<String> = None;
    let (mut in_title, mut kept) = (false, 0_usize);
    for (token, _) in tokens(html) {
        match token {
            Token::String(_) if hidden.is_some() => {}
            Token::String(said) if in_title => title.push_str(&String::from_utf8_lossy(&said)),
            Token::String(said) => out.say(&String::from_utf8_lossy(&said), kept > 0),
            Token::StartTag(tag) if hidden.is_none() => match &*String::from_utf8_lossy(&tag.name) {
                "title" => in_title = true,
                "pre" => {
                    out.gap(2);
                    kept += 1;
                }
                "br" | "tr" | "dt" | "dd" => out.gap(1),
                "li" => {
                    out.gap(1);
                    out.mark("- ");
                }
                name if HIDDEN.contains(&name) => {
                    hidden = Some(name.to_owned()).filter(|_| !tag.self_closing);
                }
                name if is_block(name) => {
                    out.gap(2);
                    if let [b'h', depth @ b'1'..=b'6'] = name.as_bytes() {
                        out.mark(&format!("{} ", "#".repeat(usize::from(depth - b'0'))));
                    }
                }
                _ => {}
            },
            Token::EndTag(tag) => match &*String::from_utf8_lossy(&tag.name) {
                name if hidden.is_some() => hidden = hidden.filter(|hidden| hidden != name),
                "title" => in_title = false,
                "pre" => {
                    kept = kept.saturating_sub(1);
                    out.gap(2);
                }
                "tr" | "dt" | "dd" => out.gap(1),
                "td" | "th" => out.mark(" "),
                name if is_block(name) => out.gap(2),
                _ => {}
            },
            _ => {}
        }
    }
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    Page { title: Some(title).filter(|title| !title.is_empty()), text: out.text.trim_end().to_owned() }
}

/// The tags, comments and texts of a page as the HTML standard reads them, and where they stand.
pub(crate) fn tokens(html: &str) -> impl Iterator<Item = (Token<usize>, Range<usize>)> {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    // What stands in a script is no tag.
    emitter.naively_switch_states(true);
    // Reading a text cannot fail.
    Tokenizer::new_with_emitter(html, emitter).flatten().filter_map(|token| {
        let span = match &token {
            Token::StartTag(tag) => tag.span,
            Token::EndTag(tag) => tag.span,
            Token::String(text) => text.span,
            Token::Comment(comment) => comment.span,
            Token::Doctype(doctype) => doctype.span,
            Token::Error(_) => return None,
        };
        Some((token, span.start..span.end))
    })
}

#[derive(Default)]
struct Writer {
    text: String,
    /// A mark that waits for text.
    mark: String,
    /// Lines to end before the next text.
    lines: usize,
    blank: bool,
}

impl Writer {
    fn gap(&mut self, lines: usize) {
        self.lines = self.lines.max(lines);
        self.mark.clear();
    }

    fn mark(&mut self, mark: &str) {
        mark.clone_into(&mut self.mark);
    }

    fn say(&mut self, said: &str, as_it_is: bool) {
        if said.trim().is_empty() {
            self.blank |= !said.is_empty();
            return;
        }
        if self.lines > 0 && !self.text.is_empty() {
            self.text.push_str(&"\n".repeat(self.lines));
        } else if self.blank && !self.text.is_empty()
            || (said.starts_with(char::is_whitespace) && !self.text.is_empty())
        {
            self.text.push(' ');
        }
        (self.lines, self.blank) = (0, false);
        self.text.push_str(&std::mem::take(&mut self.mark));
        if as_it_is {
            self.text.push_str(said.trim_matches('\n'));
        } else {
            let words: Vec<&str> = said.split_whitespace().collect();
            self.text.push_str(&words.join(" "));
            self.blank = said.ends_with(char::is_whitespace);
        }
    }
}
