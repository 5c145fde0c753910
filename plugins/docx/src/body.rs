//! The text of a document, read once from top to bottom.

use std::collections::HashMap;

use puna_plugin::{Error, ErrorKind};
use puna_plugin_markdown::Writer;
use puna_plugin_office::{Element, Node, Package, Relationship, Xml};

use crate::styles::{Lists, Properties, Styles};

/// Longest text of a document, and of its notes.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// Longest parts, unpacked: of the text itself, and of what it needs.
const MAX_BODY_BYTES: u64 = 512 << 20;
const MAX_HELP_BYTES: u64 = 32 << 20;

/// Longest title, and longest instruction of a field.
const MAX_TITLE_BYTES: usize = 1 << 10;

/// Most columns that a cell takes.
const MAX_SPAN: usize = 100;

/// Most lists whose numbers go on after something else.
const MAX_COUNTED: usize = 10_000;

/// The text of a document.
#[derive(Default)]
pub struct Body {
    pub text: String,
    /// The first heading of the first level.
    pub title: Option<String>,
}

/// Reads the document that a package is about.
pub fn read(package: &mut Package) -> Result<Body, Error> {
    let main = package.main()?;
    let related = package.relationships(&main)?;
    let mut part = |kind: &str| -> Result<Option<(String, Xml)>, Error> {
        let Some(name) = related.values().find(|part| part.kind == kind).map(|part| &part.target) else {
            return Ok(None);
        };
        Ok(package.part(name, MAX_HELP_BYTES)?.map(|part| (name.clone(), Xml::new(part))))
    };
    let styles = part("styles")?.map(|(_, xml)| Styles::read(xml)).transpose()?.unwrap_or_default();
    let lists = part("numbering")?.map(|(_, xml)| Lists::read(xml)).transpose()?.unwrap_or_default();
    let notes = [part("footnotes")?, part("endnotes")?];
    let mut reader = Reader { styles, lists, ..Reader::default() };
    reader.related.clone_from(&related);
    reader.read(package.xml(&main, MAX_BODY_BYTES)?)?;
    reader.close_lists();
    for (kind, notes) in ["footnote", "endnote"].into_iter().zip(notes) {
        if let Some((name, xml)) = notes {
            reader.related = package.relationships(&name)?;
            reader.within = Some(kind);
            reader.read(xml)?;
        }
    }
    Ok(Body { text: reader.writer.finish(), title: reader.title })
}

#[derive(Default)]
struct Reader {
    styles: Styles,
    lists: Lists,
    related: HashMap<String, Relationship>,
    writer: Writer,
    title: Option<String>,
    /// Where the text of a heading that may be the title began.
    heading: Option<usize>,
    /// The open levels of lists: the list of each.
    open: Vec<String>,
    /// The next number of a level of a list.
    next: HashMap<(String, usize), u64>,
    /// Of each open table, whether it has several columns; only the outermost is written as one.
    tables: Vec<bool>,
    /// Columns of the table that began last, and empty cells that stand for the width of the last cell.
    columns: usize,
    widening: usize,
    /// Where a link began, and where it leads.
    link: Option<(usize, String)>,
    /// The instructions of the fields that are open.
    fields: Vec<String>,
    hidden: bool,
    /// The notes that were referred to, by kind and identifier.
    notes: HashMap<(String, String), usize>,
    /// The kind of notes that are read, where not the document is.
    within: Option<&'static str>,
}

impl Reader {
    fn read(&mut self, mut xml: Xml) -> Result<(), Error> {
        loop {
            match xml.node()? {
                Node::Done => return Ok(()),
                Node::Start(element) => self.start(&element, &mut xml)?,
                Node::End(name) => self.end(&name),
                Node::Text(_) => {}
            }
            if self.writer.len() > MAX_TEXT_BYTES {
                let message =
                    format!("the document takes more than {MAX_TEXT_BYTES} bytes as Markdown; split it");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
    }

    fn start(&mut self, element: &Element, xml: &mut Xml) -> Result<(), Error> {
        match element.name() {
            // What was taken out, stands elsewhere, or is there a second time for old programs.
            "del" | "moveFrom" | "Fallback" | "sectPr" | "tblPr" | "trPr" => xml.skip()?,
            "p" => self.writer.block(),
            "pPr" => self.begin_paragraph(xml)?,
            "rPr" => self.hidden = is_hidden(xml)?,
            "t" => {
                let text = xml.text()?;
                if !self.hidden {
                    self.writer.text(&text);
                }
            }
            "tab" | "ptab" => self.writer.text(" "),
            // Those of pages and columns part no lines.
            "br" | "cr" if element.attribute("type").is_none_or(|kind| kind == "textWrapping") => {
                self.writer.line();
            }
            "noBreakHyphen" => self.writer.text("-"),
            "sym" => {
                let code = element.attribute("char").and_then(|code| u32::from_str_radix(&code, 16).ok());
                // Characters for private use mean something in their font alone.
                let character = code.filter(|code| !(0xe000..0xf900).contains(code)).and_then(char::from_u32);
                if let Some(character) = character {
                    self.writer.text(character.encode_utf8(&mut [0; 4]));
                }
            }
            "docPr" => {
                if let Some(alt) = element.attribute("descr").filter(|alt| !alt.trim().is_empty()) {
                    self.writer.text(&format!("[image: {}]", alt.trim()));
                }
            }
            "hyperlink" => {
                let target = element.attribute("id").and_then(|id| self.related.get(&id));
                let target = target.filter(|it| it.kind == "hyperlink").map(|it| it.target.clone());
                self.begin_link(target);
            }
            "fldSimple" => {
                let target = element.attribute("instr").and_then(|instruction| address(&instruction));
                self.begin_link(target);
            }
            "fldChar" => self.field(element),
            "instrText" => {
                let text = xml.text()?;
                if let Some(field) = self.fields.last_mut().filter(|it| it.len() < MAX_TITLE_BYTES) {
                    field.push_str(&text);
                }
            }
            "footnoteReference" => self.refer("footnote", element),
            "endnoteReference" => self.refer("endnote", element),
            "footnote" | "endnote" => self.begin_note(element, xml)?,
            "tbl" => {
                self.close_lists();
                self.tables.push(false);
            }
            "gridCol" => {
                if let Some(is_table) = self.tables.last_mut() {
                    // The first makes none.
                    self.columns += 1;
                    *is_table = self.columns > 1;
                }
            }
            "tblGrid" => self.columns = 0,
            "tc" => {
                if self.in_table() {
                    self.end_link();
                    self.writer.cell();
                } else {
                    self.writer.block();
                }
            }
            "gridSpan" => {
                let span = element.attribute("val").and_then(|span| span.parse::<usize>().ok());
                self.widening = span.unwrap_or(1).clamp(1, MAX_SPAN) - 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        match name {
            "p" => {
                self.end_link();
                if let Some(start) = self.heading.take() {
                    self.title = self.title.take().or_else(|| title(self.writer.since(start)));
                }
                self.writer.end_heading();
            }
            "r" => self.hidden = false,
            "hyperlink" | "fldSimple" => self.end_link(),
            "tblGrid" if self.in_table() => self.writer.table(),
            "tc" if self.in_table() => {
                self.end_link();
                for _ in 0..std::mem::take(&mut self.widening) {
                    self.writer.cell();
                }
            }
            "tr" if self.in_table() => self.writer.end_row(),
            "tbl" => {
                if self.in_table() {
                    self.writer.table();
                }
                self.tables.pop();
            }
            _ => {}
        }
    }

    /// Whether what comes is of a table that is written as one.
    fn in_table(&self) -> bool {
        matches!(self.tables[..], [true])
    }

    fn begin_paragraph(&mut self, xml: &mut Xml) -> Result<(), Error> {
        let mut own = Properties::default();
        loop {
            match xml.node()? {
                Node::Start(element) if matches!(element.name(), "rPr" | "sectPr" | "pPrChange") => {
                    xml.skip()?
                }
                Node::Start(element) => own.take(&element),
                Node::End(name) if name == "pPr" => break,
                _ => {}
            }
        }
        let is = self.styles.resolve(own);
        if let Some(level) = is.heading {
            self.close_lists();
            self.writer.begin_heading(level);
            self.heading = (level == 1 && self.title.is_none()).then(|| self.writer.len());
        } else if let Some(list) = is.list.filter(|list| list != "0") {
            self.begin_item(list, is.level.unwrap_or(0));
        } else {
            self.close_lists();
            self.writer.block();
        }
        Ok(())
    }

    fn begin_item(&mut self, list: String, level: usize) {
        while self.open.len() > level + 1
            || self.open.last().is_some_and(|open| self.open.len() > level && *open != list)
        {
            self.writer.end_list();
            self.open.pop();
        }
        while self.open.len() <= level {
            let depth = self.open.len();
            let first = self.lists.first(&list, depth);
            let next = self.next.get(&(list.clone(), depth)).copied();
            self.writer.begin_list(first.map(|first| next.unwrap_or(first)));
            self.open.push(list.clone());
        }
        if let Some(first) = self.lists.first(&list, level)
            && self.next.len() < MAX_COUNTED
        {
            let next = self.next.entry((list.clone(), level)).or_insert(first);
            *next = next.saturating_add(1);
            for deeper in level + 1..9 {
                self.next.remove(&(list.clone(), deeper));
            }
        }
        self.writer.begin_item();
    }

    fn close_lists(&mut self) {
        for _ in 0..std::mem::take(&mut self.open).len() {
            self.writer.end_list();
        }
    }

    fn field(&mut self, element: &Element) {
        match element.attribute("fldCharType").as_deref() {
            Some("begin") if self.fields.len() < MAX_SPAN => self.fields.push(String::new()),
            Some("separate") => {
                let target = self.fields.last().and_then(|instruction| address(instruction));
                if target.is_some() {
                    self.begin_link(target);
                }
            }
            Some("end") if self.fields.pop().is_some_and(|instruction| address(&instruction).is_some()) => {
                self.end_link();
            }
            _ => {}
        }
    }

    fn begin_link(&mut self, target: Option<String>) {
        self.end_link();
        if let Some(target) = target.filter(|it| it.contains(':') && !it.contains([' ', '\n', '(', ')'])) {
            self.writer.text_start();
            self.link = Some((self.writer.len(), target));
        }
    }

    fn end_link(&mut self) {
        if let Some((start, target)) = self.link.take() {
            self.writer.link(start, &target);
        }
    }

    fn refer(&mut self, kind: &str, element: &Element) {
        let id = element.attribute("id").unwrap_or_default();
        let number = self.notes.len() + 1;
        let number = *self.notes.entry((kind.to_owned(), id)).or_insert(number);
        self.writer.raw(&format!("[^{number}]"));
    }

    /// A note, if it was referred to; there are others, which draw the line above notes.
    fn begin_note(&mut self, element: &Element, xml: &mut Xml) -> Result<(), Error> {
        let id = element.attribute("id").unwrap_or_default();
        let number = self.within.and_then(|kind| self.notes.get(&(kind.to_owned(), id)));
        let Some(number) = number else { return xml.skip() };
        let mark = format!("[^{number}]:");
        self.close_lists();
        self.writer.block();
        self.writer.begin(&mark);
        Ok(())
    }
}

/// A heading without its mark, in bounded length.
fn title(heading: &str) -> Option<String> {
    let title = heading.trim().trim_start_matches('#').trim();
    (!title.is_empty()).then(|| title[..title.floor_char_boundary(MAX_TITLE_BYTES)].to_owned())
}

/// Where a field leads, as `HYPERLINK "https://example.com"`.
fn address(instruction: &str) -> Option<String> {
    let rest = instruction.trim_start().strip_prefix("HYPERLINK")?;
    let (_, rest) = rest.split_once('"')?;
    let (address, _) = rest.split_once('"')?;
    address.contains(':').then(|| address.to_owned())
}

/// Whether a run's properties hide it.
fn is_hidden(xml: &mut Xml) -> Result<bool, Error> {
    let mut hidden = false;
    loop {
        match xml.node()? {
            Node::Start(element) if element.name() == "vanish" => {
                hidden = !element.attribute("val").is_some_and(|value| matches!(&*value, "0" | "false"));
            }
            Node::Start(element) if element.name() == "rPrChange" => xml.skip()?,
            Node::End(name) if name == "rPr" => return Ok(hidden),
            Node::Done => return Ok(hidden),
            _ => {}
        }
    }
}
