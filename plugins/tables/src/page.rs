//! Rows to documents.

use std::{collections::VecDeque, fmt::Write as _};

use puna_plugin::{Document, Error};

use crate::row::{Row, Rows};

/// Rows of a document where the user does not say.
const ROWS: usize = 100;

/// Bytes of cells after which a document ends: some pages of text.
const DOCUMENT_BYTES: usize = 16 << 10;

/// Rows that a guess at a header is made from.
const SAMPLE_ROWS: usize = 20;

/// Longest name of a column: what is longer is text, not a name.
const MAX_NAME_BYTES: usize = 200;

/// Most columns whose names are given with each document.
const MAX_LISTED: usize = 200;

/// What is told of a table.
#[derive(Clone)]
pub struct Shape {
    /// The title of all its documents.
    pub title: String,
    /// Whether the first row names the columns; guessed without a word on it.
    pub header: Option<bool>,
    /// Most rows of a document.
    pub rows: Option<usize>,
}

/// The documents of a table.
pub struct Pages<R> {
    rows: R,
    shape: Shape,
    /// Rows that were looked at and not given.
    sample: VecDeque<Row>,
    header: Option<Row>,
    begun: bool,
    done: bool,
}

impl<R: Rows> Pages<R> {
    pub fn new(rows: R, shape: Shape) -> Self {
        Self { rows, shape, sample: VecDeque::new(), header: None, begun: false, done: false }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.begun = true;
        while self.sample.len() < SAMPLE_ROWS
            && let Some(row) = self.rows.next_row()?
        {
            self.sample.push_back(row);
        }
        if self.shape.header.unwrap_or_else(|| is_header(&self.sample)) {
            self.header = self.sample.pop_front();
        }
        Ok(())
    }

    fn row(&mut self) -> Result<Option<Row>, Error> {
        match self.sample.pop_front() {
            Some(row) => Ok(Some(row)),
            None => self.rows.next_row(),
        }
    }

    fn page(&mut self) -> Result<Option<Document>, Error> {
        if !self.begun {
            self.begin()?;
        }
        let most = self.shape.rows.unwrap_or(ROWS).clamp(1, 1_000);
        let named = self.header.as_ref().map_or(0, Row::count);
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < most && bytes < DOCUMENT_BYTES {
            let Some(row) = self.row()? else { break };
            // With what stands between cells, so that many empty ones end a document as well.
            bytes += row.len() + 3 * row.count().max(named);
            page.push(row);
        }
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(None) };
        let id = format!("{}rows {}-{}", self.rows.prefix(), first.number, last.number);
        let mut document = Document::new(id, table(self.header.as_ref(), &page));
        if !self.shape.title.is_empty() {
            document = document.with("title", &*self.shape.title);
        }
        document = document.with("first row", first.number).with("last row", last.number);
        if let Some(header) = self.header.as_ref().filter(|header| header.count() <= MAX_LISTED) {
            let names: Vec<&str> = header.cells().map(|(_, name)| name).collect();
            document = document.with("columns", names);
        }
        Ok(Some(self.rows.describe(document)))
    }
}

impl<R: Rows> Iterator for Pages<R> {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let page = self.page();
        self.done = !matches!(page, Ok(Some(_)));
        page.transpose()
    }
}

/// Whether the first row names the columns: short names, none twice and none a number or a date, of all columns.
fn is_header(sample: &VecDeque<Row>) -> bool {
    let Some(first) = sample.front().filter(|_| sample.len() > 1) else { return false };
    let names: Vec<&str> = first.cells().map(|(_, name)| name).collect();
    let is_name = |name: &&str| name.len() <= MAX_NAME_BYTES && name.chars().any(char::is_alphabetic);
    let starts_as_value = |name: &&str| {
        let digits = name.chars().filter(char::is_ascii_digit).count();
        name.starts_with(|c: char| c.is_ascii_digit()) && 2 * digits > name.len()
    };
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let widest = sample.iter().skip(1).map(Row::width).max().unwrap_or(0);
    names.iter().all(|name| is_name(name) && !starts_as_value(name))
        && sorted.len() == names.len()
        && names.len() == first.width()
        && names.len() >= widest
}

/// A table in Markdown of the columns in which there is something. Without a header they have a spreadsheet's letters.
fn table(header: Option<&Row>, rows: &[Row]) -> String {
    let width = header.iter().copied().chain(rows).map(Row::width).max().unwrap_or(0);
    let mut used = vec![false; width];
    for (column, _) in header.iter().copied().chain(rows).flat_map(Row::cells) {
        used[column] = true;
    }
    let bytes: usize = rows.iter().map(|row| row.len() + 4 * row.count()).sum();
    let mut text = String::with_capacity(bytes + bytes / 8);
    match header {
        Some(header) => {
            line(&mut text, header, &used);
            text.push('\n');
        }
        None => {
            for column in (0..width).filter(|column| used[*column]) {
                let _ = write!(text, "| {} ", letters(column));
            }
            text.push_str("|\n");
        }
    }
    text.push_str(&"| --- ".repeat(used.iter().filter(|used| **used).count()));
    text.push('|');
    for row in rows {
        text.push('\n');
        line(&mut text, row, &used);
    }
    text
}

fn line(text: &mut String, row: &Row, used: &[bool]) {
    let mut cells = row.cells().peekable();
    for column in (0..used.len()).filter(|column| used[*column]) {
        text.push_str("| ");
        if let Some((_, cell)) = cells.next_if(|(at, _)| *at == column) {
            escape(text, cell);
            text.push(' ');
        }
    }
    text.push('|');
}

/// A cell within its line.
fn escape(text: &mut String, cell: &str) {
    if !cell.bytes().any(|byte| matches!(byte, b'|' | b'\n' | b'\r')) {
        text.push_str(cell);
        return;
    }
    for (index, part) in cell.split(['\n', '\r']).filter(|part| !part.is_empty()).enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(&part.replace('|', "\\|"));
    }
}

/// The name of a column as spreadsheets have it: `A`, `Z`, `AA`.
fn letters(column: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = column + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'A' + u8::try_from(rest % 26).unwrap_or(0)));
        rest /= 26;
    }
    letters.iter().rev().collect()
}
