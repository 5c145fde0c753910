//! Markdown, written piece by piece.

/// Most cells of a row of a table: a wider one goes on in its last cell.
const MAX_CELLS: usize = 1_000;

/// Deepest list or quote that is indented: deeper ones stay at this depth.
const MAX_INDENTED: usize = 8;

/// Most lists open at a time: those that are opened beyond are not kept in mind.
const MAX_LISTS: usize = 1_000;

/// Text with what is to come before the next piece: spaces and ends of lines are written only once something follows.
#[derive(Default)]
pub struct Writer {
    out: String,
    /// Ends of lines before the next piece.
    breaks: usize,
    /// Whether a space comes before the next piece.
    space: bool,
    /// What begins the next line: the mark of a heading or an item.
    beginning: Option<String>,
    quotes: usize,
    /// The open lists: the number of the next item, or none for points.
    lists: Vec<Option<u64>>,
    in_code: bool,
    /// Whether a mark is open.
    marked: bool,
    /// Cells of the row that is open, and of the first row of the table: none before it.
    cells: usize,
    columns: usize,
}

impl Writer {
    /// Bytes written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written from `start`, a former [`len`](Self::len).
    pub fn since(&self, start: usize) -> &str {
        self.out.get(start..).unwrap_or_default()
    }

    /// Begins a line.
    pub fn line(&mut self) {
        if self.in_code {
            self.out.push('\n');
        } else if self.cells > 0 {
            self.space = true;
        } else {
            self.breaks = self.breaks.max(1);
        }
    }

    /// Begins a paragraph.
    pub fn block(&mut self) {
        if self.cells > 0 {
            self.space = true;
            return;
        }
        // Paragraphs within a list stand close.
        let breaks = if self.lists.is_empty() { 2 } else { 1 };
        self.breaks = self.breaks.max(breaks);
    }

    /// Begins the coming line with a mark.
    pub fn begin(&mut self, mark: &str) {
        if self.cells == 0 {
            self.beginning = Some(format!("{mark} "));
        }
    }

    /// Begins a heading of the level 1 to 6.
    pub fn begin_heading(&mut self, level: usize) {
        self.block();
        self.begin(&"######"[..level.clamp(1, 6)]);
    }

    /// Ends a heading.
    pub fn end_heading(&mut self) {
        self.end_beginning();
        self.block();
    }

    /// Begins or ends a table. Its first row heads it.
    pub fn table(&mut self) {
        self.end_row();
        self.columns = 0;
        self.block();
    }

    /// Begins a cell, with its row if none is open. What stands in a cell stands in one line.
    pub fn cell(&mut self) {
        if self.in_code || self.cells == MAX_CELLS {
            self.space = true;
            return;
        }
        if self.cells == 0 {
            // What is not set off from a paragraph is no table.
            if self.columns == 0 {
                self.block()
            } else {
                self.line()
            }
            self.text_start();
            self.out.push('|');
        } else {
            self.out.push_str(" |");
        }
        self.cells += 1;
        self.marked = false;
        self.space = true;
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        if self.cells == 0 {
            return;
        }
        self.out.push_str(" |");
        if self.columns == 0 {
            self.columns = self.cells;
            self.breaks = 1;
            self.cells = 0;
            self.text_start();
            self.out.push('|');
            self.out.push_str(&" --- |".repeat(self.columns));
        }
        self.cells = 0;
        self.space = false;
        self.line();
    }

    /// Forgets the mark of a line that stayed empty.
    pub fn end_beginning(&mut self) {
        self.beginning = None;
    }

    /// Opens or closes a quote.
    pub fn quote(&mut self, by: i8) {
        self.block();
        self.quotes = self.quotes.saturating_add_signed(by.into());
    }

    /// Opens a list, of numbers that begin at one, or of points.
    pub fn begin_list(&mut self, first: Option<u64>) {
        self.block();
        if self.lists.len() < MAX_LISTS {
            self.lists.push(first);
        }
    }

    /// Closes a list.
    pub fn end_list(&mut self) {
        self.lists.pop();
        self.block();
    }

    /// Begins an item.
    pub fn begin_item(&mut self) {
        self.line();
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                let mark = format!("{number}.");
                *number = number.saturating_add(1);
                mark
            }
            _ => "-".to_owned(),
        };
        self.begin(&mark);
    }

    /// Begins a block of code.
    pub fn begin_code(&mut self) {
        if self.cells > 0 {
            return;
        }
        self.block();
        self.raw("```\n");
        self.in_code = true;
    }

    /// Ends a block of code.
    pub fn end_code(&mut self) {
        if !self.in_code {
            return;
        }
        self.in_code = false;
        self.out.truncate(self.out.trim_end().len());
        self.out.push_str("\n```");
        self.block();
    }

    /// A mark that stands close to the text, outside a block of code.
    pub fn mark(&mut self, mark: &str) {
        if !self.in_code {
            // A mark that closes stands close to what is before it, so a space waits.
            if !self.marked {
                self.text_start();
            }
            self.marked = !self.marked;
            self.out.push_str(mark);
        }
    }

    /// Text as HTML has it: any white space is one space.
    pub fn text(&mut self, text: &str) {
        if self.in_code {
            self.out.push_str(text);
            return;
        }
        if text.starts_with(is_space) {
            self.space = true;
        }
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            self.text_start();
            if self.cells > 0 && word.contains('|') {
                self.out.push_str(&word.replace('|', "\\|"));
            } else {
                self.out.push_str(word);
            }
            self.space = true;
        }
        self.space &= text.ends_with(is_space) || text.is_empty();
    }

    /// Writes what comes before a piece.
    pub fn text_start(&mut self) {
        if self.breaks > 0 || self.out.is_empty() {
            if !self.out.is_empty() {
                self.out.extend(std::iter::repeat_n('\n', self.breaks));
            }
            self.out.push_str(&"> ".repeat(self.quotes.min(MAX_INDENTED)));
            let depth = self.lists.len().min(MAX_INDENTED);
            let within = usize::from(self.beginning.is_some());
            self.out.push_str(&"  ".repeat(depth.saturating_sub(within)));
            self.out.push_str(&self.beginning.take().unwrap_or_default());
        } else if self.space && !self.out.ends_with(['[', ' ', '\n']) {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
    }

    /// Markdown as it is.
    pub fn raw(&mut self, text: &str) {
        self.text_start();
        self.out.push_str(text);
    }

    /// Whether a link can stand here.
    pub fn links_here(&self) -> bool {
        !self.in_code
    }

    /// Makes what was written from `start` the text of a link, and tells whether it could.
    pub fn link(&mut self, start: usize, target: &str) -> bool {
        let text = &self.out[start..];
        if self.in_code || text.trim().is_empty() || text.contains('\n') {
            return false;
        }
        self.out.insert(start, '[');
        self.out.push_str("](");
        self.out.push_str(&if self.cells > 0 { target.replace('|', "%7C") } else { target.to_owned() });
        self.out.push(')');
        true
    }

    /// The whole text.
    pub fn finish(&mut self) -> String {
        self.end_code();
        self.end_row();
        let text = std::mem::take(&mut self.out);
        text.trim().to_owned()
    }
}

/// White space in HTML; a no-break space is none.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}
