use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

use puna_core::{Error, Result};

/// The mark's name in the data folder.
pub(crate) const MARK_FILE: &str = "mark";

/// How many synced groups of batches were acknowledged, in a file beside sled's. sled takes damage in its log for
/// a write that a crash cut short and quietly drops what follows; a log that counts fewer groups than the mark
/// has lost acknowledged data.
///
/// Written after the sync and itself not synced: a mark that falls behind notices less, and is never ahead.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    /// The mark and its count; none where it is missing or unreadable, as in folders from before it.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Option<u64>)> {
        let path = folder.join(MARK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::from_io("open", &path, error))?;
        let mut bytes = [0; 12];
        // A new file is too short.
        let count = file.read_exact(&mut bytes).ok().and_then(|()| decode(bytes));
        Ok((Self(file), count))
    }

    /// Moves the mark.
    pub(crate) fn set(&mut self, count: u64) -> std::io::Result<()> {
        self.0.rewind()?;
        self.0.write_all(&encode(count))
    }
}

fn encode(count: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (number, sum) = bytes.split_at_mut(8);
    number.copy_from_slice(&count.to_be_bytes());
    sum.copy_from_slice(&crc32fast::hash(number).to_be_bytes());
    bytes
}

fn decode(bytes: [u8; 12]) -> Option<u64> {
    let count = u64::from_be_bytes(*bytes.first_chunk()?);
    (encode(count) == bytes).then_some(count)
}
