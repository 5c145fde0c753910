//! Plain text, in parts where it is long.

use std::io::Read as _;

use puna_plugin::{Document, Error};
use puna_plugin_decoding::Decoded;

use crate::titled;

/// Longest part: a book. A longer text comes in several, so that a log of any length is read in bounded memory.
const PART_BYTES: usize = 1 << 20;

/// The parts of a text, cut after a line where there is one in the last half.
pub struct Parts {
    decoded: Decoded,
    title: String,
    /// What is read and not given yet. At most a part and a character.
    pending: Vec<u8>,
    given: u64,
    offset: u64,
    done: bool,
}

impl Parts {
    pub fn new(decoded: Decoded, title: String) -> Self {
        Self { decoded, title, pending: Vec::new(), given: 0, offset: 0, done: false }
    }

    fn part(&mut self) -> Result<Option<Document>, Error> {
        let missing = (PART_BYTES + 1).saturating_sub(self.pending.len()) as u64;
        (&mut self.decoded).take(missing).read_to_end(&mut self.pending)?;
        let whole = self.pending.len() <= PART_BYTES;
        let end = if whole { self.pending.len() } else { cut(&self.pending) };
        self.done = whole;
        if end == 0 && self.given > 0 {
            return Ok(None);
        }
        let rest = self.pending.split_off(end);
        let part = std::mem::replace(&mut self.pending, rest);
        let text = String::from_utf8(part).map_err(|error| Error::internal(error.to_string()))?;
        let length = text.len() as u64;
        self.given += 1;
        let mut document = titled(Document::new(format!("part {}", self.given), text), &self.title)
            .with("encoding", self.decoded.encoding());
        if !whole || self.given > 1 {
            document = document.with("part", self.given).with("offset", self.offset);
        }
        if self.decoded.replaced() {
            document = document.with("invalid characters", true);
        }
        self.offset += length;
        Ok(Some(document))
    }
}

impl Iterator for Parts {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let part = self.part();
        self.done |= part.is_err();
        part.transpose()
    }
}

/// Where a part ends: after a line, else before a character.
fn cut(bytes: &[u8]) -> usize {
    let half = PART_BYTES / 2;
    if let Some(line) = bytes[half..PART_BYTES].iter().rposition(|byte| *byte == b'\n') {
        return half + line + 1;
    }
    let is_start = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    (half..=PART_BYTES).rev().find(is_start).unwrap_or(PART_BYTES)
}
