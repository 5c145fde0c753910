//! Rows of tables.

use puna_plugin::{Document, Error};

/// Most columns: Excel's own limit.
pub const MAX_COLUMNS: usize = 16_384;

/// Longest row. Most are a thousandth of it.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// A row: its cells that hold something, one after the other in one text.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Counted from 1.
    pub number: u64,
    text: String,
    /// The column of each cell, in order, and where its text ends.
    ends: Vec<(usize, usize)>,
}

impl Row {
    pub fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Makes room for so many more cells, of so many bytes in all.
    pub fn reserve(&mut self, cells: usize, bytes: usize) {
        self.ends.reserve(cells);
        self.text.reserve(bytes);
    }

    /// Adds a cell after the others. One without text is left out.
    pub fn push(&mut self, column: usize, cell: &str) {
        let cell = cell.trim();
        if !cell.is_empty() {
            self.text.push_str(cell);
            self.ends.push((column, self.text.len()));
        }
    }

    /// The cells with their columns.
    pub fn cells(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |(column, end)| {
            let cell = &self.text[start..*end];
            start = *end;
            (*column, cell)
        })
    }

    /// Bytes of its cells.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// How many cells hold something.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The column after the last.
    pub fn width(&self) -> usize {
        self.ends.last().map_or(0, |(column, _)| column + 1)
    }
}

/// Where rows come from.
pub trait Rows {
    /// The next row that holds something; none at the end.
    fn next_row(&mut self) -> Result<Option<Row>, Error>;

    /// A document of these rows, with what is known of all.
    fn describe(&self, document: Document) -> Document;

    /// What comes before the numbers of rows in an identifier.
    fn prefix(&self) -> String;
}
