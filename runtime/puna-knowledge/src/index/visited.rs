//! Which rows a search has seen.

use std::sync::{Mutex, PoisonError};

use super::Row;

/// Marks of rows, kept for the next search: clearing them would take longer than some searches.
#[derive(Debug, Default)]
pub(super) struct Visited(Mutex<Vec<Marks>>);

#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: Vec<u8>,
    now: u8,
}

impl Visited {
    pub(super) fn take(&self, rows: usize) -> Marks {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        marks.marks.resize(rows, 0);
        if marks.now == u8::MAX {
            marks.marks.fill(0);
            marks.now = 0;
        }
        marks.now += 1;
        marks
    }

    pub(super) fn give_back(&self, marks: Marks) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(marks);
    }
}

impl Marks {
    /// Whether a row is seen for the first time.
    pub(super) fn first(&mut self, row: Row) -> bool {
        let mark = &mut self.marks[row as usize];
        let first = *mark != self.now;
        *mark = self.now;
        first
    }
}
