//! Workbooks of Excel: sheets of cells, with their values as they are shown.

use std::{collections::HashMap, rc::Rc, vec};

use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_office::{Node, Package, Relationship, Xml};

use crate::{
    format::{Format, Formats},
    row::{MAX_COLUMNS, MAX_ROW_BYTES, Row, Rows},
};

/// Longest parts, unpacked: of a workbook's own, of the texts that cells share, and of a sheet, which is read as it comes.
const MAX_WORKBOOK_BYTES: u64 = 16 << 20;
const MAX_SHARED_BYTES: u64 = 512 << 20;
const MAX_SHEET_BYTES: u64 = 4 << 30;

/// Most text that cells share, and most pieces of it: held while the workbook is read.
const MAX_TEXT_BYTES: usize = 64 << 20;
const MAX_TEXTS: usize = 4 << 20;

/// Most sheets.
const MAX_SHEETS: usize = 10_000;

/// Most cells that are merged into one below another, in a sheet.
const MAX_MERGES: usize = 100_000;

/// Most text that is given of a sheet: cells that share a text can hold far more than the file.
const MAX_GIVEN_BYTES: u64 = 1 << 30;

/// A workbook: the sheets one after the other.
pub struct Workbook {
    package: Package,
    common: Rc<Common>,
    sheets: vec::IntoIter<(String, String, bool)>,
}

/// What the sheets share.
struct Common {
    uri: String,
    texts: Texts,
    formats: Vec<Format>,
    /// Whether days are counted from 1904.
    from_1904: bool,
}

/// The texts that cells share, in one.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Workbook {
    pub fn open(source: Source, wanted: Option<&[String]>) -> Result<Self, Error> {
        let uri = source.uri.clone();
        let mut package = Package::open(source)?;
        let main = package.main()?;
        let related = package.relationships(&main)?;
        let mut xml = package.xml(&main, MAX_WORKBOOK_BYTES)?;
        let (mut sheets, mut from_1904) = (Vec::new(), false);
        loop {
            match xml.node()? {
                Node::Done => break,
                Node::Start(element) if element.name() == "workbookPr" => {
                    from_1904 = element.attribute("date1904").is_some_and(|it| matches!(&*it, "1" | "true"));
                }
                Node::Start(element) if element.name() == "sheet" => {
                    let name = element.attribute("name").unwrap_or_default();
                    let part = element.attribute("id").and_then(|id| related.get(&id));
                    let hidden = element.attribute("state").is_some_and(|state| state != "visible");
                    let is_asked = wanted.is_none_or(|wanted| wanted.contains(&name));
                    if let Some(part) = part.filter(|part| part.kind == "worksheet" && is_asked) {
                        sheets.push((name, part.target.clone(), hidden));
                    }
                    if sheets.len() > MAX_SHEETS {
                        let message = format!("`{uri}` has more than {MAX_SHEETS} sheets");
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                }
                _ => {}
            }
        }
        for (index, name) in wanted.into_iter().flatten().enumerate() {
            if !sheets.iter().any(|(sheet, ..)| sheet == name) {
                let message = format!("`{uri}` has no sheet `{name}`");
                return Err(Error::invalid_input(message).at(format!("/sheets/{index}")));
            }
        }
        let texts = shared_texts(&mut package, &related)?;
        let formats = formats(&mut package, &related)?;
        let common = Rc::new(Common { uri, texts, formats, from_1904 });
        Ok(Self { package, common, sheets: sheets.into_iter() })
    }

    fn sheet(&mut self, (name, part, hidden): (String, String, bool)) -> Result<Sheet, Error> {
        // What is merged stands after the cells, so a sheet is read twice.
        let merges = merges(self.package.xml(&part, MAX_SHEET_BYTES)?)?;
        let xml = self.package.xml(&part, MAX_SHEET_BYTES)?;
        let common = Rc::clone(&self.common);
        Ok(Sheet { name, hidden, common, xml, merges, reaching: HashMap::new(), number: 0, given: 0 })
    }
}

impl Iterator for Workbook {
    type Item = Result<Sheet, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let sheet = self.sheets.next()?;
        let sheet = self.sheet(sheet);
        if sheet.is_err() {
            self.sheets = Vec::new().into_iter();
        }
        Some(sheet)
    }
}

/// The rows of a sheet.
pub struct Sheet {
    name: String,
    hidden: bool,
    common: Rc<Common>,
    xml: Xml,
    /// Of merged cells, by row and column of the first: the last row.
    merges: HashMap<(u64, usize), u64>,
    /// By column, what a merged cell above says, and down to which row.
    reaching: HashMap<usize, (u64, String)>,
    number: u64,
    given: u64,
}

impl Rows for Sheet {
    fn next_row(&mut self) -> Result<Option<Row>, Error> {
        loop {
            match self.xml.node()? {
                Node::Done => return Ok(None),
                Node::Start(element) if element.name() == "row" => {
                    let told = element.attribute("r").and_then(|number| number.parse().ok());
                    self.number = told.unwrap_or(self.number.saturating_add(1));
                    let row = self.row()?;
                    self.given += row.len() as u64;
                    if self.given > MAX_GIVEN_BYTES {
                        let message = format!(
                            "the cells of sheet `{}` of `{}` hold more than {MAX_GIVEN_BYTES} bytes",
                            self.name, self.common.uri
                        );
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                    if row.count() > 0 {
                        return Ok(Some(row));
                    }
                }
                _ => {}
            }
        }
    }

    fn describe(&self, document: Document) -> Document {
        let document = document.with("sheet", &*self.name);
        if self.hidden { document.with("hidden", true) } else { document }
    }

    fn prefix(&self) -> String {
        format!("{} ", self.name)
    }
}

impl Sheet {
    fn row(&mut self) -> Result<Row, Error> {
        let (mut cells, mut next, mut bytes) = (Vec::new(), 0, 0);
        loop {
            match self.xml.node()? {
                Node::End(name) if name == "row" => break,
                Node::Start(element) if element.name() == "c" => {
                    let place = element.attribute("r").and_then(|place| column(&place));
                    let column = place.unwrap_or(next);
                    let kind = element.attribute("t").unwrap_or_default();
                    let style = element.attribute("s").and_then(|style| style.parse::<usize>().ok());
                    let cell = self.cell(&kind, style.unwrap_or(0))?;
                    next = column + 1;
                    bytes += cell.len();
                    if column >= MAX_COLUMNS || cells.len() >= MAX_COLUMNS || bytes > MAX_ROW_BYTES {
                        let message = format!(
                            "row {} of sheet `{}` of `{}` has more than {MAX_COLUMNS} cells or {MAX_ROW_BYTES} bytes",
                            self.number, self.name, self.common.uri
                        );
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                    cells.push((column, cell));
                }
                _ => {}
            }
        }
        let number = self.number;
        for (column, cell) in &cells {
            if let Some(last) = self.merges.remove(&(number, *column)).filter(|_| !cell.is_empty()) {
                self.reaching.insert(*column, (last, cell.clone()));
            }
        }
        // A cell that was merged with the one above says the same, so that each row stands by itself.
        self.reaching.retain(|_, (last, _)| *last >= number);
        cells.retain(|(column, cell)| !cell.is_empty() || !self.reaching.contains_key(column));
        let here: Vec<usize> = cells.iter().map(|(column, _)| *column).collect();
        cells.extend(
            self.reaching
                .iter()
                .filter(|(column, _)| !here.contains(column))
                .map(|(column, (_, cell))| (*column, cell.clone())),
        );
        cells.sort_by_key(|(column, _)| *column);
        cells.dedup_by_key(|(column, _)| *column);
        let mut row = Row::new(number);
        for (column, cell) in cells {
            row.push(column, &cell);
        }
        Ok(row)
    }

    /// The cell that began, as it is shown.
    fn cell(&mut self, kind: &str, style: usize) -> Result<String, Error> {
        let mut value = String::new();
        loop {
            match self.xml.node()? {
                Node::End(name) if name == "c" => break,
                Node::Start(element) => match element.name() {
                    "v" => value = self.xml.text()?,
                    "is" => value = rich_text(&mut self.xml, "is")?,
                    _ => self.xml.skip()?,
                },
                _ => {}
            }
        }
        let common = &self.common;
        Ok(match kind {
            "s" => {
                let index = value.trim().parse::<usize>().ok();
                let text = index.and_then(|index| common.texts.get(index));
                let missing = || {
                    let (uri, row) = (&common.uri, self.number);
                    Error::invalid_input(format!(
                        "row {row} of `{uri}` holds a text that is not there: {value}"
                    ))
                };
                text.ok_or_else(missing)?.to_owned()
            }
            "b" => (if value.trim() == "1" { "TRUE" } else { "FALSE" }).to_owned(),
            "str" | "inlineStr" | "e" | "d" => unescaped(&value),
            _ => match value.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => {
                    common.formats.get(style).unwrap_or(&Format::General).show(number, common.from_1904)
                }
                _ => value,
            },
        })
    }
}

impl Texts {
    fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }
}

fn part<'a>(related: &'a HashMap<String, Relationship>, kind: &str) -> Option<&'a str> {
    related.values().find(|part| part.kind == kind).map(|part| &*part.target)
}

fn shared_texts(package: &mut Package, related: &HashMap<String, Relationship>) -> Result<Texts, Error> {
    let mut texts = Texts::default();
    let Some(name) = part(related, "sharedStrings") else { return Ok(texts) };
    let Some(part) = package.part(name, MAX_SHARED_BYTES)? else { return Ok(texts) };
    let mut xml = Xml::new(part);
    loop {
        match xml.node()? {
            Node::Done => return Ok(texts),
            Node::Start(element) if element.name() == "si" => {
                texts.text.push_str(&rich_text(&mut xml, "si")?);
                texts.ends.push(texts.text.len());
            }
            _ => {}
        }
        if texts.text.len() > MAX_TEXT_BYTES || texts.ends.len() > MAX_TEXTS {
            let message =
                format!("its cells share more than {MAX_TEXT_BYTES} bytes or {MAX_TEXTS} pieces of text");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
    }
}

/// The text of an element's runs, without what tells how to pronounce it.
fn rich_text(xml: &mut Xml, end: &str) -> Result<String, Error> {
    let mut text = String::new();
    loop {
        match xml.node()? {
            Node::End(name) if name == end => return Ok(unescaped(&text)),
            Node::Done => return Ok(unescaped(&text)),
            Node::Start(element) => match element.name() {
                "t" => text.push_str(&xml.text()?),
                "rPh" | "phoneticPr" => xml.skip()?,
                _ => {}
            },
            _ => {}
        }
    }
}

/// Text with the characters that XML cannot hold, written `_x000D_`.
fn unescaped(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(at) = rest.find("_x") {
        let code = rest.get(at + 2..at + 6).filter(|_| rest.as_bytes().get(at + 6) == Some(&b'_'));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        out.push_str(&rest[..at]);
        let length = match code {
            Some(character) => {
                out.push(character);
                7
            }
            None => {
                out.push_str("_x");
                2
            }
        };
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

fn formats(package: &mut Package, related: &HashMap<String, Relationship>) -> Result<Vec<Format>, Error> {
    let mut formats = Formats::default();
    let Some(name) = part(related, "styles") else { return Ok(formats.of_cells) };
    let Some(part) = package.part(name, MAX_WORKBOOK_BYTES)? else { return Ok(formats.of_cells) };
    let mut xml = Xml::new(part);
    let mut in_cells = false;
    loop {
        match xml.node()? {
            Node::Done => return Ok(formats.of_cells),
            Node::Start(element) => match element.name() {
                "numFmt" => {
                    let id = element.attribute("numFmtId").and_then(|id| id.parse().ok());
                    if let (Some(id), Some(code)) = (id, element.attribute("formatCode")) {
                        formats.define(id, &code);
                    }
                }
                "cellXfs" => in_cells = true,
                "xf" if in_cells => {
                    let id = element.attribute("numFmtId").and_then(|id| id.parse().ok());
                    formats.add(id.unwrap_or(0));
                }
                _ => {}
            },
            Node::End(name) if name == "cellXfs" => in_cells = false,
            _ => {}
        }
    }
}

/// The merged cells of more than a row.
fn merges(mut xml: Xml) -> Result<HashMap<(u64, usize), u64>, Error> {
    let mut merges = HashMap::new();
    loop {
        match xml.node()? {
            Node::Done => return Ok(merges),
            Node::Start(element) if element.name() == "mergeCell" => {
                let place = element.attribute("ref").unwrap_or_default();
                let Some((first, last)) = place.split_once(':') else { continue };
                if let (Some(column), Some(first), Some(last)) = (column(first), row_of(first), row_of(last))
                    && last > first
                    && merges.len() < MAX_MERGES
                {
                    merges.insert((first, column), last);
                }
            }
            _ => {}
        }
    }
}

/// The column of a place such as `AB12`, from 0.
fn column(place: &str) -> Option<usize> {
    let letters = place.bytes().take_while(u8::is_ascii_alphabetic);
    let number = letters.fold(0_usize, |number, letter| {
        let digit = usize::from(letter.to_ascii_uppercase() - b'A') + 1;
        number.saturating_mul(26).saturating_add(digit)
    });
    number.checked_sub(1)
}

fn row_of(place: &str) -> Option<u64> {
    place.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok()
}
