use std::ops::Range;

use puna_core::Result;
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Chunk, Measure,
    border::{ALWAYS, BLOCK, Border, SENTENCE, WORD},
};

/// Fills chunks from the borders of a text.
pub(super) struct Packer<'a> {
    text: &'a str,
    borders: &'a [Border],
    measure: &'a dyn Measure,
    /// Where the units of the whole text end, where the measure tells.
    ends: Option<Vec<usize>>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(text: &'a str, borders: &'a [Border], measure: &'a dyn Measure) -> Result<Self> {
        Ok(Self { text, borders, measure, ends: measure.ends(text)? })
    }

    /// The chunks of a range.
    pub(super) fn pack(&self, range: Range<usize>, size: usize, overlap: usize) -> Result<Vec<Chunk>> {
        let mut chunks: Vec<Chunk> = Vec::new();
        // Where the next chunk begins, and what of it is new.
        let mut start = self.skip_blank(range.start, range.end);
        let mut fresh = start;
        while fresh < range.end {
            let (mut end, mut length) = self.chunk(start, range.end, size)?;
            if end <= fresh {
                // What is repeated leaves no room for anything new.
                start = fresh;
                (end, length) = self.chunk(start, range.end, size)?;
            }
            let span = start..start + self.text[start..end].trim_end().len();
            chunks.push(Chunk { parent: span.clone(), span, length });
            fresh = self.skip_blank(end, range.end);
            start = if overlap > 0 && fresh < range.end && !self.ends_for_good(end) {
                self.repeated(start, end, overlap)?.unwrap_or(fresh)
            } else {
                fresh
            };
        }
        Ok(chunks)
    }

    /// Where the chunk ends that begins at `start`, and its length measured alone.
    fn chunk(&self, start: usize, last: usize, size: usize) -> Result<(usize, usize)> {
        let mut room = size;
        loop {
            let end = self.cut(start, last, room)?;
            let length = self.measure.length(self.text[start..end].trim_end())?;
            if length <= size || room == 0 {
                return Ok((end, length));
            }
            // Alone it has more units than within the text: less is taken.
            room = room.saturating_sub((length - size).max(1));
        }
    }

    /// The best place to end within `size` units from `start`.
    fn cut(&self, start: usize, last: usize, size: usize) -> Result<usize> {
        let from = self.borders.partition_point(|border| border.at <= start);
        let window = &self.borders[from..];
        let window = &window[..window.partition_point(|border| border.at < last)];
        // Gallop, then halve: a measure that only tells lengths sees no text of more than twice the size.
        let fits = |end: usize| -> Result<bool> { Ok(self.length(start, end)? <= size) };
        let mut step = 1;
        while step <= window.len() && fits(window[step - 1].at)? {
            step *= 2;
        }
        let (mut low, mut high) = (step / 2, step.min(window.len() + 1));
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fits(window[middle - 1].at)? { low = middle } else { high = middle }
        }
        let fitting = &window[..low];
        if let Some(border) = fitting.iter().find(|border| border.rank == ALWAYS) {
            return Ok(border.at);
        }
        if low == window.len() && fits(last)? {
            return Ok(last);
        }
        if fitting.is_empty() {
            let next = window.first().map_or(last, |border| border.at);
            return self.within_word(start, next, size);
        }
        // A chunk is at least a quarter full, unless a heading or a block ends before.
        let full = self.text[start..fitting[low - 1].at].len() / 4;
        let late = |border: &&Border| border.at - start >= full || border.rank < BLOCK;
        let best = fitting.iter().filter(late).map(|border| border.rank).min().unwrap_or(WORD);
        let end = fitting.iter().rev().find(|border| border.rank == best && late(border));
        Ok(end.or(fitting.last()).map_or(last, |border| border.at))
    }

    /// A cut between characters as readers see them, for what has no border; one of them is taken in any case, or its
    /// first scalar value where even that is too long.
    fn within_word(&self, start: usize, next: usize, size: usize) -> Result<usize> {
        let mut end = start;
        for (at, grapheme) in self.text[start..next].grapheme_indices(true) {
            let after = start + at + grapheme.len();
            if self.length(start, after)? > size {
                break;
            }
            end = after;
        }
        if end > start {
            return Ok(end);
        }
        for (at, c) in self.text[start..next].char_indices() {
            let after = start + at + c.len_utf8();
            if self.length(start, after)? > size {
                break;
            }
            end = after;
        }
        let first = self.text[start..].chars().next().map_or(1, char::len_utf8);
        Ok(end.max(start + first))
    }

    /// Where the last `overlap` units of a chunk begin: at a sentence if one does, else at a word.
    fn repeated(&self, start: usize, end: usize, overlap: usize) -> Result<Option<usize>> {
        let from = self.borders.partition_point(|border| border.at <= start);
        let to = self.borders.partition_point(|border| border.at < end);
        let mut found = None;
        for border in self.borders[from..to].iter().rev() {
            if self.length(border.at, end)? > overlap {
                break;
            }
            let begins = self.text[border.at..end].starts_with(|c: char| !c.is_whitespace());
            if begins && border.rank <= SENTENCE {
                found = Some((border.at, true));
            } else if begins && !matches!(found, Some((_, true))) {
                found = Some((border.at, false));
            }
        }
        Ok(found.map(|(at, _)| at))
    }

    /// Whether nothing is repeated over this border.
    fn ends_for_good(&self, at: usize) -> bool {
        let found = self.borders.binary_search_by_key(&at, |border| border.at);
        found.is_ok_and(|index| self.borders[index].rank < BLOCK)
    }

    fn length(&self, start: usize, end: usize) -> Result<usize> {
        match &self.ends {
            Some(ends) => {
                let until = |at: usize| ends.partition_point(|end| *end <= at);
                Ok(until(end) - until(start))
            }
            None => self.measure.length(&self.text[start..end]),
        }
    }

    fn skip_blank(&self, from: usize, to: usize) -> usize {
        to - self.text[from..to].trim_start().len()
    }
}
