//! Which passages a word stands in. A word has a head with its latest postings and the beginnings of its blocks, which
//! hold the earlier ones: to add a posting changes the head alone, and no value grows with the index.

use puna_plugin::{Error, ErrorKind};

use crate::batch::Batch;

/// Postings in a block: some kilobyte, where the store takes 32 a value.
const BLOCK_POSTINGS: usize = 256;

/// Most blocks of a word, whose beginnings stand in its head.
const MAX_BLOCKS: usize = 4_000;

/// A passage with a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posting {
    /// The passage's number; they ascend.
    pub passage: u64,
    /// How often the word stands in it.
    pub count: u64,
    /// How many words the passage has.
    pub length: u64,
}

/// What is known of a word.
#[derive(Debug, Default, PartialEq)]
pub struct Head {
    /// In how many passages it stands.
    pub passages: u64,
    /// The first passage of each block, as it was when the block was made.
    blocks: Vec<u64>,
    tail: Vec<Posting>,
}

impl Head {
    /// The heads of words, in their order; empty ones of words that are new.
    pub fn of(batch: &Batch, words: &[String]) -> Result<Vec<Self>, Error> {
        let keys: Vec<String> = words.iter().map(|word| head_key(word)).collect();
        let values = batch.get(&keys)?.into_iter().zip(words);
        values
            .map(|(value, word)| match value {
                Some(value) => Self::read(&value).ok_or_else(|| broken(word)),
                None => Ok(Self::default()),
            })
            .collect()
    }

    /// Adds postings that come after all others.
    pub fn append(mut self, batch: &mut Batch, word: &str, postings: &[Posting]) -> Result<(), Error> {
        self.passages += postings.len() as u64;
        self.tail.extend(postings);
        while self.tail.len() >= BLOCK_POSTINGS {
            let rest = self.tail.split_off(BLOCK_POSTINGS);
            let block = std::mem::replace(&mut self.tail, rest);
            if self.blocks.len() == MAX_BLOCKS {
                let message = format!("the index is full: `{word}` stands in {} passages", self.passages);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            self.blocks.push(block[0].passage);
            batch.put(block_key(word, block[0].passage), Some(written(&block)));
        }
        batch.put(head_key(word), Some(self.write()));
        Ok(())
    }

    /// Takes the postings of passages out.
    pub fn remove(mut self, batch: &mut Batch, word: &str, passages: &[u64]) -> Result<(), Error> {
        let mut affected: Vec<u64> = Vec::new();
        for passage in passages {
            let after = self.blocks.partition_point(|first| first <= passage);
            if let Some(at) = after.checked_sub(1)
                && !affected.contains(&self.blocks[at])
            {
                affected.push(self.blocks[at]);
            }
        }
        let mut removed = take_out(&mut self.tail, passages);
        for (first, mut block) in read_blocks(batch, word, &affected)? {
            removed += take_out(&mut block, passages);
            if block.is_empty() {
                self.blocks.retain(|known| *known != first);
            }
            batch.put(block_key(word, first), (!block.is_empty()).then(|| written(&block)));
        }
        self.passages = self.passages.saturating_sub(removed);
        batch.put(head_key(word), (self.passages > 0).then(|| self.write()));
        Ok(())
    }

    /// All postings.
    pub fn postings(&self, batch: &Batch, word: &str) -> Result<Vec<Posting>, Error> {
        let blocks = read_blocks(batch, word, &self.blocks)?;
        Ok(blocks.into_iter().flat_map(|(_, block)| block).chain(self.tail.iter().copied()).collect())
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_number(&mut bytes, self.passages);
        write_number(&mut bytes, self.blocks.len() as u64);
        let mut former = 0;
        for first in &self.blocks {
            write_number(&mut bytes, first - former);
            former = *first;
        }
        bytes.extend(written(&self.tail));
        bytes
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let passages = read_number(bytes)?;
        let (mut blocks, mut former) = (Vec::new(), 0_u64);
        for _ in 0..read_number(bytes)? {
            former = former.checked_add(read_number(bytes)?)?;
            blocks.push(former);
        }
        Some(Self { passages, blocks, tail: read_postings(bytes)? })
    }
}

/// Takes the postings of passages out, and counts them.
fn take_out(postings: &mut Vec<Posting>, passages: &[u64]) -> u64 {
    let before = postings.len();
    // Passages ascend.
    postings.retain(|posting| passages.binary_search(&posting.passage).is_err());
    (before - postings.len()) as u64
}

fn read_blocks(batch: &Batch, word: &str, firsts: &[u64]) -> Result<Vec<(u64, Vec<Posting>)>, Error> {
    let keys: Vec<String> = firsts.iter().map(|first| block_key(word, *first)).collect();
    let values = batch.get(&keys)?.into_iter().zip(firsts);
    values
        .map(|(value, first)| {
            let block = value.and_then(|value| read_postings(&mut &value[..]));
            Ok((*first, block.ok_or_else(|| broken(word))?))
        })
        .collect()
}

fn head_key(word: &str) -> String {
    format!("word/{word}")
}

fn block_key(word: &str, first: u64) -> String {
    format!("block/{word}/{first:x}")
}

fn broken(word: &str) -> Error {
    Error::internal(format!("the index of `{word}` is broken; index the documents anew"))
}

fn written(postings: &[Posting]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut former = 0;
    for posting in postings {
        write_number(&mut bytes, posting.passage - former);
        write_number(&mut bytes, posting.count);
        write_number(&mut bytes, posting.length);
        former = posting.passage;
    }
    bytes
}

fn read_postings(bytes: &mut &[u8]) -> Option<Vec<Posting>> {
    let (mut postings, mut former) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        former = former.checked_add(read_number(bytes)?)?;
        let (count, length) = (read_number(bytes)?, read_number(bytes)?);
        postings.push(Posting { passage: former, count, length });
    }
    Some(postings)
}

/// Seven bits a byte, the lowest first (LEB128).
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
