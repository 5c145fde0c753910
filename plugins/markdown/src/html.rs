//! HTML as Markdown, in two passes over its tokens: no tree, so neither depth nor width of a page costs memory.
//!
//! Headings, paragraphs, lists, tables, quotes, code and links are kept; scripts, styles, navigation and what is hidden
//! are not. Where a page marks its main part (`main`, or a single `article`), only that is given. A table that only
//! arranges the page, because it holds tables or headings or is one column wide, is read as the parts that it arranges.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use iri_string::types::{IriReferenceStr, IriString};

use crate::Writer;

/// Longest title, description or name of a language.
const MAX_TITLE_CHARS: usize = 300;

/// Longest address of a link that is shown: longer ones carry data, not places.
const MAX_LINK_BYTES: usize = 1_000;

/// Most links that are listed.
const MAX_LINKS: usize = 1_000;

/// Most tables that are told apart: those beyond are read as arranging the page.
const MAX_TABLES: usize = 100_000;

/// Widest cell that is counted as so many columns.
const MAX_SPAN: usize = 100;

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
#[derive(Debug, Default)]
pub struct Page {
    /// The text of `title`.
    pub title: Option<String>,
    /// What the page says of itself.
    pub description: Option<String>,
    /// The language that it says it is in, as `ko`.
    pub language: Option<String>,
    /// The whole addresses that the text leads to, each once.
    pub links: Vec<String>,
    /// The Markdown.
    pub text: String,
    /// Whether the page was longer than what is given.
    pub cut: bool,
}

/// The page at an address, to which its links are relative, as at most `most` bytes of Markdown and a piece of the page.
pub fn read(html: &str, url: &str, most: usize) -> Page {
    let survey = Survey::of(html);
    let page = Reader::new(&survey, url, true).read(html, most);
    // A `nav` that never ends would hide the page.
    if page.text.is_empty() { Reader::new(&survey, url, false).read(html, most) } else { page }
}

fn tokens(html: &str) -> impl Iterator<Item = Token> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, emitter).map_while(Result::ok)
}

/// What is known of a page before it is read.
#[derive(Default)]
struct Survey {
    /// Whether each table, in the order of their beginnings, holds data.
    tables: Vec<bool>,
    /// The element that is the main part.
    main: Option<&'static str>,
}

impl Survey {
    fn of(html: &str) -> Self {
        struct Open {
            index: usize,
            arranges: bool,
            cells: usize,
            columns: usize,
        }
        let (mut survey, mut open): (Self, Vec<Open>) = Default::default();
        let (mut mains, mut articles) = (0, 0);
        let close = |survey: &mut Self, table: Open| {
            let columns = table.columns.max(table.cells);
            survey.tables[table.index] = columns > 1 && !table.arranges;
        };
        for token in tokens(html) {
            match token {
                Token::StartTag(tag) => match (&**tag.name, open.last_mut()) {
                    (b"main", _) => mains += 1,
                    (b"article", _) => articles += 1,
                    (b"table", around) => {
                        if let Some(around) = around {
                            around.arranges = true;
                        }
                        if survey.tables.len() < MAX_TABLES {
                            let arranges = attribute(&tag, "role").is_some_and(|role| role == "presentation");
                            open.push(Open { index: survey.tables.len(), arranges, cells: 0, columns: 0 });
                            survey.tables.push(false);
                        }
                    }
                    (b"h1" | b"h2" | b"h3" | b"h4" | b"pre" | b"form", Some(table)) => table.arranges = true,
                    (b"tr", Some(table)) => {
                        table.columns = table.columns.max(table.cells);
                        table.cells = 0;
                    }
                    (b"td" | b"th", Some(table)) => table.cells += span(&tag, "colspan"),
                    _ => {}
                },
                Token::EndTag(tag) if &**tag.name == b"table" => {
                    if let Some(table) = open.pop() {
                        close(&mut survey, table);
                    }
                }
                _ => {}
            }
        }
        while let Some(table) = open.pop() {
            close(&mut survey, table);
        }
        survey.main = if mains > 0 { Some("main") } else { (articles == 1).then_some("article") };
        survey
    }
}

struct Reader<'a> {
    survey: &'a Survey,
    base: Option<IriString>,
    without_navigation: bool,
    writer: Writer,
    page: Page,
    in_title: bool,
    /// Titles so far: only the first counts, and none is text.
    titles: usize,
    /// The element whose content is passed over, and how many of its name are open.
    skipped: Option<(String, usize)>,
    /// Where a link began, and where it leads.
    link: Option<(usize, String)>,
    /// Where links ended, and where they lead.
    links: Vec<(usize, String)>,
    /// Tables begun so far, and of each that is open whether it holds data.
    tables: usize,
    open_tables: Vec<bool>,
    /// Of each column that a cell above reaches down into: how many rows more.
    reaching: Vec<usize>,
    column: usize,
    /// Empty cells that stand for the width of the last.
    widening: usize,
    /// Where the main part begins and ends.
    main: Option<(usize, Option<usize>)>,
}

impl<'a> Reader<'a> {
    fn new(survey: &'a Survey, url: &str, without_navigation: bool) -> Self {
        Self {
            survey,
            base: IriString::try_from(url).ok(),
            without_navigation,
            writer: Writer::default(),
            page: Page::default(),
            in_title: false,
            titles: 0,
            skipped: None,
            link: None,
            links: Vec::new(),
            tables: 0,
            open_tables: Vec::new(),
            reaching: Vec::new(),
            column: 0,
            widening: 0,
            main: None,
        }
    }

    fn read(mut self, html: &str, most: usize) -> Page {
        for token in tokens(html) {
            match token {
                Token::StartTag(tag) => self.start(&tag),
                Token::EndTag(tag) => self.end(&String::from_utf8_lossy(&tag.name)),
                Token::String(text) => self.text(&String::from_utf8_lossy(&text)),
                _ => {}
            }
            if self.writer.len() > most {
                self.page.cut = true;
                break;
            }
        }
        self.end_link();
        let whole = self.writer.finish();
        let within = self.main.map(|(start, end)| {
            let end = whole.floor_char_boundary(end.unwrap_or(whole.len()));
            whole.floor_char_boundary(start.min(end))..end
        });
        let within = within.filter(|range| !whole[range.clone()].trim().is_empty()).unwrap_or(0..whole.len());
        let Self { mut page, links, .. } = self;
        for (end, target) in links {
            // What closes the main part closes its links.
            if (within.start..=within.end).contains(&end) && !page.links.contains(&target) {
                page.links.push(target);
            }
        }
        page.text = whole[within].trim().to_owned();
        page.title = page.title.and_then(|title| brief(&title));
        page
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name = String::from_utf8_lossy(&tag.name);
        let name = &*name;
        if let Some((skipped, open)) = &mut self.skipped {
            *open += usize::from(skipped == name && !tag.self_closing);
            return;
        }
        let around = self.without_navigation
            && (AROUND.contains(&name) || attribute(tag, "role").is_some_and(|role| role == "navigation"));
        let ends = !VOID.contains(&name) && !tag.self_closing;
        if ends && (UNSEEN.contains(&name) || around || is_hidden(tag)) {
            self.skipped = Some((name.to_owned(), 1));
            return;
        }
        if self.survey.main == Some(name) {
            self.writer.block();
            self.main.get_or_insert((self.writer.len(), None));
        }
        match name {
            "html" => {
                let language = attribute(tag, "lang").or_else(|| attribute(tag, "xml:lang"));
                self.page.language = self.page.language.take().or(language.and_then(|it| brief(&it)));
            }
            "base" => {
                let target = attribute(tag, "href").and_then(|href| self.resolved(href.trim()));
                self.base = target.and_then(|target| IriString::try_from(target).ok()).or(self.base.take());
            }
            "meta" => {
                if attribute(tag, "name").is_some_and(|name| name.eq_ignore_ascii_case("description")) {
                    self.page.description = attribute(tag, "content").and_then(|it| brief(&it));
                }
            }
            "title" => {
                self.in_title = true;
                self.titles += 1;
            }
            "br" => self.writer.line(),
            "hr" if self.in_data() => self.writer.line(),
            "hr" => {
                self.writer.block();
                self.writer.raw("---");
                self.writer.block();
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.writer.begin_heading(usize::from(name.as_bytes()[1] - b'0'));
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
            "table" => {
                self.end_link();
                self.open_tables.push(self.survey.tables.get(self.tables).is_some_and(|data| *data));
                self.tables += 1;
                self.reaching.clear();
                (self.column, self.widening) = (0, 0);
                self.writer.table();
            }
            "tr" => self.end_row(),
            "td" | "th" => self.begin_cell(tag),
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
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.writer.end_heading(),
            "pre" => self.writer.end_code(),
            "code" | "kbd" | "samp" => self.writer.mark("`"),
            "blockquote" => self.writer.quote(-1),
            "ul" | "ol" => self.writer.end_list(),
            "li" => {
                self.writer.end_beginning();
                self.writer.line();
            }
            "a" => self.end_link(),
            "tr" => self.end_row(),
            "table" => {
                self.end_row();
                self.open_tables.pop();
                self.writer.table();
            }
            _ => self.separate(name),
        }
        if self.survey.main == Some(name) {
            self.end_link();
            self.writer.end_code();
            if let Some((_, end @ None)) = &mut self.main {
                *end = Some(self.writer.len());
            }
            self.writer.block();
        }
    }

    fn separate(&mut self, name: &str) {
        if LINES.contains(&name) {
            self.writer.line();
        } else if BLOCKS.contains(&name) {
            self.writer.block();
        }
    }

    /// Whether what comes is within a table of data.
    fn in_data(&self) -> bool {
        self.open_tables.last().is_some_and(|data| *data)
    }

    fn begin_cell(&mut self, tag: &StartTag<()>) {
        self.end_link();
        if !self.in_data() {
            self.writer.block();
            return;
        }
        self.widen();
        // Where a cell above reaches down, there is an empty one.
        while let Some(rows @ 1..) = self.reaching.get_mut(self.column) {
            *rows -= 1;
            self.column += 1;
            self.writer.cell();
        }
        self.writer.cell();
        let (columns, rows) = (span(tag, "colspan"), span(tag, "rowspan"));
        if self.column + columns <= MAX_SPAN {
            self.reaching.resize(self.reaching.len().max(self.column + columns), 0);
            self.reaching[self.column..self.column + columns].fill(rows - 1);
        }
        self.column += columns;
        self.widening = columns - 1;
    }

    fn widen(&mut self) {
        for _ in 0..std::mem::take(&mut self.widening) {
            self.writer.cell();
        }
    }

    fn end_row(&mut self) {
        self.end_link();
        self.widen();
        self.writer.end_row();
        self.writer.line();
        for rows in self.reaching.iter_mut().skip(self.column) {
            *rows = rows.saturating_sub(1);
        }
        self.column = 0;
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            let title = self.page.title.get_or_insert_default();
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
        if let Some((start, target)) = self.link.take()
            && self.writer.link(start, &target)
            && self.links.len() < MAX_LINKS
        {
            self.links.push((self.writer.len(), target));
        }
    }

    /// An absolute address over http or https.
    fn resolved(&self, href: &str) -> Option<String> {
        if href.is_empty() || href.starts_with('#') || href.len() > MAX_LINK_BYTES {
            return None;
        }
        let reference = IriReferenceStr::new(href).ok()?;
        let address = match &self.base {
            Some(base) => reference.resolve_against(base.to_absolute()).to_string(),
            None => href.to_owned(),
        };
        (address.starts_with("https://") || address.starts_with("http://")).then_some(address)
    }
}

/// In one line of bounded length.
fn brief(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(MAX_TITLE_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

/// How many columns or rows a cell takes.
fn span(tag: &StartTag<()>, name: &str) -> usize {
    let span = attribute(tag, name).and_then(|span| span.trim().parse().ok());
    span.unwrap_or(1).clamp(1, MAX_SPAN)
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
