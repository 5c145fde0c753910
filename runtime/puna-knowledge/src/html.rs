//! The text of an HTML page, its headings and lists as Markdown writes them.

use crate::split::Tags;

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) title: Option<String>,
    pub(crate) text: String,
}

/// Elements whose content is not for readers.
const HIDDEN: [&str; 6] = ["script", "style", "template", "noscript", "svg", "iframe"];

/// Reads a page in one pass. What is no tag is text.
pub(crate) fn text(html: &str) -> Page {
    let mut out = Writer::default();
    let mut title = String::new();
    let mut hidden: Option<String> = None;
    let (mut in_title, mut kept) = (false, 0_usize);
    let mut at = 0;
    for tag in Tags::new(html) {
        let name = tag.name.to_ascii_lowercase();
        let before = &html[at..tag.start];
        at = tag.end;
        match &hidden {
            Some(open) if tag.closes && *open == name => hidden = None,
            Some(_) => {}
            None if in_title => title.push_str(&entities(before)),
            None => out.say(&entities(before), kept > 0),
        }
        if hidden.is_some() {
            continue;
        }
        match (name.as_str(), tag.closes) {
            ("title", closes) => in_title = !closes,
            ("pre", false) => {
                out.gap(2);
                kept += 1;
            }
            ("pre", true) => {
                kept = kept.saturating_sub(1);
                out.gap(2);
            }
            ("br", _) => out.gap(1),
            ("li", false) => {
                out.gap(1);
                out.mark("- ");
            }
            ("tr" | "dt" | "dd", _) => out.gap(1),
            ("td" | "th", true) => out.mark(" "),
            (name, false) if HIDDEN.contains(&name) && !html[tag.start..tag.end].ends_with("/>") => {
                hidden = Some(name.to_owned());
            }
            (name, closes) if crate::split::is_block(name) => {
                out.gap(2);
                if !closes && let [b'h', depth @ b'1'..=b'6'] = name.as_bytes() {
                    out.mark(&format!("{} ", "#".repeat(usize::from(depth - b'0'))));
                }
            }
            _ => {}
        }
    }
    if hidden.is_none() && !in_title {
        out.say(&entities(&html[at..]), kept > 0);
    }
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    Page { title: Some(title).filter(|title| !title.is_empty()), text: out.text.trim_end().to_owned() }
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

/// Longest name of a character, `&CounterClockwiseContourIntegral;`, with room.
const MAX_ENTITY_BYTES: usize = 40;

/// Puts characters in the place of their names and numbers; of names, those that texts use most.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(MAX_ENTITY_BYTES).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    const NAMES: [(&str, char); 24] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("ndash", '–'),
        ("mdash", '—'),
        ("hellip", '…'),
        ("lsquo", '‘'),
        ("rsquo", '’'),
        ("ldquo", '“'),
        ("rdquo", '”'),
        ("laquo", '«'),
        ("raquo", '»'),
        ("copy", '©'),
        ("reg", '®'),
        ("trade", '™'),
        ("deg", '°'),
        ("middot", '·'),
        ("bull", '•'),
        ("times", '×'),
        ("euro", '€'),
        ("sect", '§'),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, character)| *character)
}
