use std::collections::HashMap;

/// A chunk's place in the indexes.
pub(crate) type Row = u32;

/// Which chunk each row is. Rows of removed documents stay empty until the indexes are packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// The document's number and the chunk's within it.
    chunks: Vec<(u64, u32)>,
    /// Each document's first row and how many follow.
    documents: HashMap<u64, (Row, u32)>,
    alive: RowSet,
}

impl Rows {
    /// Rows for a document's chunks.
    pub(crate) fn add(&mut self, document: u64, chunks: u32) -> std::ops::Range<Row> {
        let first = self.chunks.len() as Row;
        self.chunks.extend((0..chunks).map(|chunk| (document, chunk)));
        self.documents.insert(document, (first, chunks));
        self.alive.grow(self.chunks.len());
        (first..first + chunks).for_each(|row| self.alive.set(row, true));
        first..first + chunks
    }

    pub(crate) fn remove(&mut self, document: u64) {
        if let Some((first, chunks)) = self.documents.remove(&document) {
            (first..first + chunks).for_each(|row| self.alive.set(row, false));
        }
    }

    /// The document's number and the chunk's within it.
    pub(crate) fn chunk(&self, row: Row) -> (u64, u32) {
        self.chunks[row as usize]
    }

    pub(crate) fn of(&self, document: u64) -> std::ops::Range<Row> {
        self.documents.get(&document).map_or(0..0, |(first, chunks)| *first..first + chunks)
    }

    pub(crate) fn documents(&self) -> impl Iterator<Item = (u64, u32)> {
        self.documents.iter().map(|(document, (_, chunks))| (*document, *chunks))
    }

    pub(crate) fn alive(&self) -> &RowSet {
        &self.alive
    }

    /// Empty ones included.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Takes empty rows out. Gives the rows that stay, in their new order.
    pub(crate) fn pack(&mut self) -> Vec<Row> {
        let kept: Vec<Row> = self.alive.iter().collect();
        self.chunks = kept.iter().map(|row| self.chunks[*row as usize]).collect();
        self.documents.clear();
        for (row, (document, _)) in self.chunks.iter().enumerate() {
            self.documents.entry(*document).or_insert((row as Row, 0)).1 += 1;
        }
        self.alive = RowSet::full(self.chunks.len());
        kept
    }

    /// As it is kept: only what is alive, so rows must be packed.
    pub(crate) fn chunks(&self) -> &[(u64, u32)] {
        &self.chunks
    }

    /// From what [`chunks`](Self::chunks) gave; none where it is not by documents, each whole.
    pub(crate) fn from_chunks(chunks: Vec<(u64, u32)>) -> Option<Self> {
        let mut documents: HashMap<u64, (Row, u32)> = HashMap::new();
        for (row, (document, chunk)) in chunks.iter().enumerate() {
            let (first, count) = documents.entry(*document).or_insert((row as Row, 0));
            if *count != *chunk || *first + *count != row as Row {
                return None;
            }
            *count += 1;
        }
        let alive = RowSet::full(chunks.len());
        Some(Self { chunks, documents, alive })
    }
}

/// Some rows, a bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    words: Vec<u64>,
    count: usize,
}

impl RowSet {
    pub(crate) fn empty(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], count: 0 }
    }

    pub(crate) fn full(rows: usize) -> Self {
        let mut set = Self::empty(rows);
        (0..rows as Row).for_each(|row| set.set(row, true));
        set
    }

    pub(super) fn grow(&mut self, rows: usize) {
        self.words.resize(rows.div_ceil(64), 0);
    }

    pub(crate) fn set(&mut self, row: Row, to: bool) {
        let (word, bit) = (&mut self.words[row as usize / 64], 1 << (row % 64));
        if (*word & bit != 0) != to {
            *word ^= bit;
            if to { self.count += 1 } else { self.count -= 1 }
        }
    }

    pub(crate) fn has(&self, row: Row) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(index as Row * 64 + bit)
            })
        })
    }
}
