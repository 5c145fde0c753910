//! A store as JSON Lines: a header, an entry a line in key order, and a last line that counts them, so that a file
//! which was cut short is noticed.

use std::io::{BufRead, Read, Write};

use puna_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Batch, MAX_KEY_BYTES, MAX_VALUE_BYTES, SCHEMA_VERSION, SledStore, Store,
    batch::{OWN_NAMESPACE, after, check_namespace, split_key},
    migrate::{check_version, migrate_entry},
};

/// Entries read at a time: bounds memory to 32 MiB where every value is as large as it may be.
const PAGE_ENTRIES: usize = 1_000;

/// Bytes of values in one batch of an import: a flush each costs little, and a kill undoes no more than this.
const PIECE_BYTES: usize = 4 << 20;

/// What an entry costs in a batch beside its bytes: with it, small entries do not make batches over the limit.
const ENTRY_OVERHEAD: usize = 256;

/// The longest line: key and value in hexadecimal, and room for the names around them.
const MAX_LINE_BYTES: u64 = 2 * (MAX_KEY_BYTES + MAX_VALUE_BYTES) as u64 + 256;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first.
    Store { schema_version: u32 },
    /// Key and value in hexadecimal.
    Entry { namespace: String, key: String, value: String },
    /// The last.
    End { entries: u64 },
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Entries written.
    pub added: u64,
    /// Entries that were there already, as after an import that was interrupted.
    pub kept: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Entries that read back as they were written.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Entries that do not, with their namespaces.
    pub damaged: u64,
}

impl SledStore {
    /// Writes every entry as JSON Lines and tells `progress` how many are written so far. What others commit
    /// meanwhile may be in it or not. Returns the number of entries.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when a value does not read back as it was written, and the writer's own.
    pub async fn export(
        &self,
        mut out: impl Write + Send,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64> {
        write_line(&mut out, &Line::Store { schema_version: SCHEMA_VERSION })?;
        let (mut from, mut entries) = (Vec::new(), 0);
        loop {
            let page = self.page(from, PAGE_ENTRIES).await?;
            let Some((last, _)) = page.last() else { break };
            from = after(last);
            for (key, value) in page {
                let value = value?;
                let (namespace, key) = split_key(&key)?;
                if namespace != OWN_NAMESPACE {
                    let (namespace, key, value) = (namespace.to_owned(), hex(key), hex(&value));
                    write_line(&mut out, &Line::Entry { namespace, key, value })?;
                    entries += 1;
                }
            }
            progress(entries);
        }
        write_line(&mut out, &Line::End { entries })?;
        out.flush().map_err(cannot_write)?;
        Ok(entries)
    }

    /// Adds what [`export`](Self::export) wrote and tells `progress` how many entries are on the disk so far.
    /// Piece by piece: after a kill, the same import goes on where it stopped.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the store has another value under a key of the file,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a line that is no part of an export and for a file that was
    /// cut short. The pieces before are in the store.
    pub async fn import(
        &self,
        mut source: impl BufRead + Send,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Imported> {
        let mut imported = Imported::default();
        let (mut batch, mut bytes) = (Batch::new(), 0);
        let (mut number, mut version, mut read) = (0_u64, SCHEMA_VERSION, 0_u64);
        loop {
            number += 1;
            let line = read_line(&mut source, number)?;
            match (number, line) {
                (1, Some(Line::Store { schema_version })) => {
                    check_version(schema_version, "the export")?;
                    version = schema_version;
                }
                (1, _) => return Err(Error::invalid_input("line 1 is no header of an export of a store")),
                (_, Some(Line::Entry { namespace, key, value })) => {
                    let refuse = || Error::invalid_input(format!("line {number} is no entry of a store"));
                    check_namespace(&namespace).map_err(|error| refuse().with_source(error))?;
                    let key = unhex(&key).ok_or_else(refuse)?;
                    let value = unhex(&value).ok_or_else(refuse)?;
                    read += 1;
                    for (namespace, key, value) in migrate_entry(version, &namespace, &key, &value)? {
                        match self.get(&namespace, &key).await? {
                            Some(found) if found == value => imported.kept += 1,
                            Some(_) => return Err(another_value(number)),
                            None => {
                                bytes += key.len() + value.len() + ENTRY_OVERHEAD;
                                batch = batch.expect(&namespace, &key, None).put(&namespace, &key, value);
                                imported.added += 1;
                            }
                        }
                    }
                    if bytes >= PIECE_BYTES {
                        self.commit(std::mem::take(&mut batch)).await?;
                        bytes = 0;
                        progress(imported.added + imported.kept);
                    }
                }
                (_, Some(Line::End { entries })) if entries == read => break,
                (_, Some(Line::End { entries })) => {
                    return Err(Error::invalid_input(format!(
                        "the export says that it has {entries} entries, and {read} were read"
                    )));
                }
                (_, Some(Line::Store { .. })) => {
                    return Err(Error::invalid_input(format!("line {number} is a second header")));
                }
                (_, None) => {
                    return Err(Error::invalid_input("the export was cut short: its last line is missing"));
                }
            }
        }
        self.commit(batch).await?;
        progress(imported.added + imported.kept);
        Ok(imported)
    }

    /// Reads everything, and tells `progress` how many entries are read so far.
    ///
    /// # Errors
    /// Those of reading the disk; damaged entries are counted instead.
    pub async fn check(&self, mut progress: impl FnMut(u64) + Send) -> Result<Check> {
        let (mut from, mut found) = (Vec::new(), Check::default());
        loop {
            let page = self.page(from, PAGE_ENTRIES).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = after(last);
            for (key, value) in page {
                match value {
                    Ok(value) => {
                        found.entries += 1;
                        found.bytes += (key.len() + value.len()) as u64;
                    }
                    Err(_) => found.damaged += 1,
                }
            }
            progress(found.entries + found.damaged);
        }
    }
}

fn another_value(line: u64) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the store has another value under the key of line {line}; import into an empty folder"),
    )
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *out, line).map_err(|error| cannot_write(error.into()))?;
    out.write_all(b"\n").map_err(cannot_write)
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::from_io("write", "the export", error)
}

/// The next line; none at the end.
fn read_line(source: &mut impl BufRead, number: u64) -> Result<Option<Line>> {
    let mut line = Vec::new();
    source
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(|error| Error::from_io("read", "the export", error))?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        Error::invalid_input(format!("line {number} is no line of an export of a store")).with_source(error)
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|four| u8::try_from(four).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
