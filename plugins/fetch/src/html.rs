//! HTML as Markdown, in one pass over its tokens: no tree, so neither depth nor width of a page costs memory.
//!
//! Headings, paragraphs, lists, tables, quotes, code and links are kept; scripts, styles, navigation and what is hidden
//! are not. Where a page marks its main part (`main`), only that is given.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use iri_string::types::{IriReferenceStr, IriStr};

use crate::html::writer::Writer;

mod writer;

/// Longest title.
const MAX_TITLE_CHARS: usize = 300;

/// Most bytes of Markdown made of one page.
const MAX_MARKDOWN_BYTES: usize = 2 << 20;

/// Longest address of a link that is shown: longer ones carry data, not places.
const MAX_LINK_BYTES: usize = 1_000;

/// What no reader sees.
const UNSEEN: [&str; 12] = [
    "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "audio", "video",
    "select", "textarea",
];

/// What leads elsewhere.
const AROUND: [&str; 2] = ["nav", "dialog"];

/// Elements without content, which have no end.
const VOID: [&str; 13] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// Elements that begin a line.
const LINES: [&str; 9] = ["div", "dt", "dd", "tr", "option", "summary", "figcaption", "legend", "caption"];

/// Elements with an empty line around them.
const BLOCKS: [&str; 17] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "details",
    "dl",
    "fieldset",
    "figure",
    "footer",
    "form",
    "header",
    "main",
    "p",
    "section",
    "table",
    "ul",
    "ol",
];

/// A page in Markdown.
#[derive(Debug)]
pub struct Markdown {
    pub title: Option<String>,
    pub text: String,
    /// Whether the page was longer than what is given.
    pub cut: bool,
}

/// The page at an address, to which its links are relative.
pub fn to_markdown(html: &str, url: &str) -> Markdown {
    let read = Reader::new(url, true).read(html);
    // A `nav` that never ends would hide the page.
    if read.text.is_empty() { Reader::new(url, false).read(html) } else { read }
}

struct Reader<'a> {
    base: Option<&'a IriStr>,
    without_navigation: bool,
    writer: Writer,
    title: Option<String>,
    in_title: bool,
    /// Titles so far: only the first counts, and none is text.
    titles: usize,
    /// The element whose content is passed over, and how many of its name are open.
    skipped: Option<(String, usize)>,
    /// Where a link began, and where it leads.
    link: Option<(usize, String)>,
    /// Cells so far in the row of a table, and whether all are headings.
    cells: usize,
    headings: bool,
    main: Option<(usize, Option<usize>)>,
}

impl<'a> Reader<'a> {
    fn new(url: &'a str, without_navigation: bool) -> Self {
        Self {
            base: IriStr::new(url).ok(),
            without_navigation,
            writer: Writer::default(),
            title: None,
            in_title: false,
            titles: 0,
            skipped: None,
            link: None,
            cells: 0,
            headings: false,
            main: None,
        }
    }

    fn read(mut self, html: &str) -> Markdown {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut cut = false;
        for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
            match token {
                Token::StartTag(tag) => self.start(&tag),
                Token::EndTag(tag) => self.end(&String::from_utf8_lossy(&tag.name)),
                Token::String(text) => self.text(&String::from_utf8_lossy(&text)),
                _ => {}
            }
            if self.writer.len() > MAX_MARKDOWN_BYTES {
                cut = true;
                break;
            }
        }
        self.end_link();
        let text = self.writer.finish();
        let main =
            self.main.map(|(start, end)| text[start.min(text.len())..end.unwrap_or(text.len())].trim());
        let text = match main {
            Some(main) if !main.is_empty() => main.to_owned(),
            _ => text,
        };
        let title = self.title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" "));
        let title = title.map(|title| title.chars().take(MAX_TITLE_CHARS).collect::<String>());
        Markdown { title: title.filter(|title| !title.is_empty()), text, cut }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name = String::from_utf8_lossy(&tag.name);
        let name = &*name;
        if let Some((skipped, open)) = &mut self.skipped {
            *open += usize::from(skipped == name && !tag.self_closing);
            return;
        }
        let around = self.without_navigation && AROUND.contains(&name);
        let ends = !VOID.contains(&name) && !tag.self_closing;
        if ends && (UNSEEN.contains(&name) || around || is_hidden(tag)) {
            self.skipped = Some((name.to_owned(), 1));
            return;
        }
        match name {
            "title" => {
                self.in_title = true;
                self.titles += 1;
            }
            "br" => self.writer.line(),
            "hr" => {
                self.writer.block();
                self.writer.raw("---");
                self.writer.block();
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.writer.block();
                self.writer.begin(&"######"[..usize::from(name.as_bytes()[1] - b'0')]);
            }
            "pre" => self.writer.begin_code(),
            "code" | "kbd" | "samp" => self.writer.mark("`"),
            "blockquote" => self.writer.quote(1),
            "ul" => self.writer.begin_list(None),
            "ol" => {
                let start = attribute(tag, "start").and_then(|start| start.trim().parse().ok());
                self.writer.begin_list(Some(start.unwrap_or(1)));
            }
            "li" => self.writer.begin_item(),
            "a" => self.begin_link(tag),
            "img" => {
                if let Some(alt) = attribute(tag, "alt").filter(|alt| !alt.trim().is_empty()) {
                    self.writer.text(&format!("[image: {}]", alt.trim()));
                }
            }
            "tr" => {
                self.writer.line();
                (self.cells, self.headings) = (0, true);
            }
            "td" | "th" => {
                if self.cells > 0 {
                    self.writer.text(" | ");
                }
                self.cells += 1;
                self.headings &= name == "th";
            }
            "main" => {
                self.writer.block();
                self.main.get_or_insert((self.writer.len(), None));
            }
            _ => self.separate(name),
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((skipped, open)) = &mut self.skipped {
            *open -= usize::from(skipped == name);
            if *open == 0 {
                self.skipped = None;
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.writer.end_beginning();
                self.writer.block();
            }
            "pre" => self.writer.end_code(),
            "code" | "kbd" | "samp" => self.writer.mark("`"),
            "blockquote" => self.writer.quote(-1),
            "ul" | "ol" => self.writer.end_list(),
            "li" => {
                self.writer.end_beginning();
                self.writer.line();
            }
            "a" => self.end_link(),
            "tr" => {
                if self.headings && self.cells > 1 {
                    self.writer.line();
                    self.writer.raw(&vec!["---"; self.cells.min(100)].join(" | "));
                }
                self.writer.line();
                self.headings = false;
            }
            "main" => {
                if let Some((_, end @ None)) = &mut self.main {
                    *end = Some(self.writer.len());
                }
                self.writer.block();
            }
            _ => self.separate(name),
        }
    }

    fn separate(&mut self, name: &str) {
        if LINES.contains(&name) {
            self.writer.line();
        } else if BLOCKS.contains(&name) {
            self.writer.block();
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            let title = self.title.get_or_insert_default();
            if self.titles == 1 && title.len() < MAX_TITLE_CHARS * 4 {
                title.push_str(text);
            }
        } else if self.skipped.is_none() {
            self.writer.text(text);
        }
    }

    fn begin_link(&mut self, tag: &StartTag<()>) {
        self.end_link();
        let target = attribute(tag, "href").and_then(|href| self.resolved(href.trim()));
        if let Some(target) = target
            && self.writer.links_here()
        {
            self.writer.text_start();
            self.link = Some((self.writer.len(), target));
        }
    }

    fn end_link(&mut self) {
        if let Some((start, target)) = self.link.take() {
            self.writer.link(start, &target);
        }
    }

    /// An absolute address over http or https.
    fn resolved(&self, href: &str) -> Option<String> {
        if href.is_empty() || href.starts_with('#') || href.len() > MAX_LINK_BYTES {
            return None;
        }
        let reference = IriReferenceStr::new(href).ok()?;
        let address = match self.base {
            Some(base) => reference.resolve_against(base.to_absolute()).to_string(),
            None => href.to_owned(),
        };
        (address.starts_with("https://") || address.starts_with("http://")).then_some(address)
    }
}

fn attribute(tag: &StartTag<()>, name: &str) -> Option<String> {
    let value = tag.attributes.get(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn is_hidden(tag: &StartTag<()>) -> bool {
    let style = attribute(tag, "style").unwrap_or_default().to_ascii_lowercase().replace(' ', "");
    tag.attributes.contains_key(&b"hidden"[..])
        || attribute(tag, "aria-hidden").is_some_and(|value| value == "true")
        || style.contains("display:none")
        || style.contains("visibility:hidden")
}
