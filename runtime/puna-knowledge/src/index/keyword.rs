//! Words: which rows have each term, ranked by BM25.

use std::collections::HashMap;

use super::{Row, RowSet};

/// How soon more of the same term counts no more, and how much long texts are held back: the usual values of BM25.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// A row that has a term, and how often.
pub(crate) type Posting = (Row, u32);

/// An inverted index.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeywordIndex {
    terms: HashMap<Box<str>, u32>,
    /// Of each term the rows that have it, in order, and how often.
    postings: Vec<Vec<Posting>>,
    /// Of each row its terms.
    lengths: Vec<u32>,
}

impl KeywordIndex {
    /// Adds the next row.
    pub(crate) fn add(&mut self, terms: &[String]) {
        let row = self.lengths.len() as Row;
        self.lengths.push(u32::try_from(terms.len()).unwrap_or(u32::MAX));
        for term in terms {
            let number = match self.terms.get(term.as_str()) {
                Some(number) => *number,
                None => {
                    let number = self.postings.len() as u32;
                    self.terms.insert(term.as_str().into(), number);
                    self.postings.push(Vec::new());
                    number
                }
            };
            match self.postings[number as usize].last_mut() {
                Some((last, times)) if *last == row => *times += 1,
                _ => self.postings[number as usize].push((row, 1)),
            }
        }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// The best rows, best first, by Okapi's BM25 as Lucene has it: for each term of the question
    /// `ln(1 + (N - n + 0.5) / (n + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))`.
    /// `alive` are the rows that there are, `allowed` those that may be found.
    pub(crate) fn search(
        &self,
        terms: &[String],
        k: usize,
        alive: &RowSet,
        allowed: Option<&RowSet>,
    ) -> Vec<(Row, f32)> {
        let rows = alive.len();
        if rows == 0 || k == 0 {
            return Vec::new();
        }
        let total: u64 = alive.iter().map(|row| u64::from(self.lengths[row as usize])).sum();
        let mean = (total as f32 / rows as f32).max(1.0);
        let mut scores: HashMap<Row, f32> = HashMap::new();
        // In their order, so that sums are the same each time.
        let mut wanted: Vec<(u32, f32)> = Vec::new();
        for term in terms {
            let Some(number) = self.terms.get(term.as_str()) else { continue };
            match wanted.iter_mut().find(|(known, _)| known == number) {
                Some((_, times)) => *times += 1.0,
                None => wanted.push((*number, 1.0)),
            }
        }
        for (number, times) in wanted {
            let postings = &self.postings[number as usize];
            let found = postings.iter().filter(|(row, _)| alive.has(*row)).count() as f32;
            let weight = times * (1.0 + (rows as f32 - found + 0.5) / (found + 0.5)).ln();
            for (row, frequency) in postings {
                if !alive.has(*row) || allowed.is_some_and(|allowed| !allowed.has(*row)) {
                    continue;
                }
                let frequency = *frequency as f32;
                let length = self.lengths[*row as usize] as f32;
                let part = frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / mean));
                *scores.entry(*row).or_default() += weight * part;
            }
        }
        super::vector::best(scores.into_iter(), k)
    }

    /// Takes rows out: `kept` are those that stay, in their new order, which is the old one.
    pub(crate) fn pack(&mut self, kept: &[Row]) {
        let mut new = vec![Row::MAX; self.lengths.len()];
        for (to, from) in kept.iter().enumerate() {
            new[*from as usize] = to as Row;
        }
        self.lengths = kept.iter().map(|row| self.lengths[*row as usize]).collect();
        for postings in &mut self.postings {
            postings.retain_mut(|(row, _)| {
                *row = new[*row as usize];
                *row != Row::MAX
            });
            postings.shrink_to_fit();
        }
        // Words that nobody has any more are forgotten too.
        let mut numbers = vec![u32::MAX; self.postings.len()];
        let mut postings = Vec::new();
        for (number, list) in std::mem::take(&mut self.postings).into_iter().enumerate() {
            if !list.is_empty() {
                numbers[number] = postings.len() as u32;
                postings.push(list);
            }
        }
        self.postings = postings;
        self.terms.retain(|_, number| {
            *number = numbers[*number as usize];
            *number != u32::MAX
        });
        self.terms.shrink_to_fit();
    }

    /// Terms with their postings, as they are kept.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&str, &[Posting])> {
        self.terms.iter().map(|(term, number)| (&**term, self.postings[*number as usize].as_slice()))
    }

    /// Each row's terms, as they are kept.
    pub(crate) fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// From what [`terms`](Self::terms) and [`lengths`](Self::lengths) gave.
    pub(crate) fn from_parts(terms: Vec<(Box<str>, Vec<Posting>)>, lengths: Vec<u32>) -> Self {
        let mut index = Self { lengths, ..Self::default() };
        for (term, postings) in terms {
            index.terms.insert(term, index.postings.len() as u32);
            index.postings.push(postings);
        }
        index
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let postings: usize = self.postings.iter().map(|list| list.capacity() * 8 + 24).sum();
        let terms: usize = self.terms.keys().map(|term| term.len() + 40).sum();
        postings + terms + self.lengths.len() * 4
    }
}
