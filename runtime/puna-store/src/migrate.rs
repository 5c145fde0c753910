//! Data of earlier schema versions becomes that of this one.

use std::fs::File;

use puna_core::{Error, ErrorKind, Result};

use crate::{
    batch::{OWN_NAMESPACE, after, full_key, split_key},
    files::sled_error,
    seal::{corrupt, seal, unseal},
};

/// The form of the data that this version writes; it reads every earlier one.
pub const SCHEMA_VERSION: u32 = 1 + STEPS.len() as u32;

/// The steps from each version to the next, the first from version 1. A step stays for good, and so does what it does.
const STEPS: &[Step] = &[];

/// Where the form of the data is told.
pub(crate) const VERSION_KEY: &[u8] = b"meta\0schema-version";

/// How far a migration is: the version it makes (4), then the last key that it is done with.
const CURSOR_KEY: &[u8] = b"meta\0migration";

/// Bytes of values that one piece of a migration reads: each piece is a flush, and a kill undoes no more than this.
const PIECE_BYTES: usize = 4 << 20;

/// Entries that one piece of a migration reads.
const PIECE_ENTRIES: usize = 10_000;

/// What becomes of one entry, given namespace, key and value. It sees every entry once, in key order; one that it puts
/// under a later key, which it would come to see too, it must know again and keep.
pub(crate) type Step = fn(&str, &[u8], &[u8]) -> Result<Change>;

/// Namespace, key and value of an entry.
pub(crate) type Placed = (String, Vec<u8>, Vec<u8>);

/// What becomes of an entry.
#[derive(Debug)]
pub(crate) enum Change {
    /// It stays as it is.
    #[cfg_attr(not(test), expect(dead_code, reason = "no step so far"))]
    Keep,
    /// These take its place, or none.
    #[cfg_attr(not(test), expect(dead_code, reason = "no step so far"))]
    Replace(Vec<Placed>),
}

/// The version of the data; none of a store that is new.
pub(crate) fn version(db: &sled::Db) -> Result<Option<u32>> {
    number(db, VERSION_KEY).map(|version| version.map(u32::from_be_bytes))
}

/// A number that the store itself keeps.
pub(crate) fn number<const N: usize>(db: &sled::Db, key: &[u8]) -> Result<Option<[u8; N]>> {
    let Some(sealed) = db.get(key).map_err(sled_error)? else { return Ok(None) };
    unseal(key, &sealed)?.try_into().map(Some).map_err(|_| corrupt(key))
}

/// Brings a store to this version, or tells why it cannot be.
pub(crate) fn migrate(db: &sled::Db, log: &File) -> Result<()> {
    run(db, log, STEPS)
}

/// An entry of an export of version `from`, in this version.
pub(crate) fn migrate_entry(from: u32, namespace: &str, key: &[u8], value: &[u8]) -> Result<Vec<Placed>> {
    let mut entries = vec![(namespace.to_owned(), key.to_vec(), value.to_vec())];
    for step in STEPS.iter().skip(from.saturating_sub(1) as usize) {
        let mut after = Vec::new();
        for (namespace, key, value) in entries {
            match step(&namespace, &key, &value)? {
                Change::Keep => after.push((namespace, key, value)),
                Change::Replace(others) => after.extend(others),
            }
        }
        entries = after;
    }
    Ok(entries)
}

/// Whether data of a version can be read by this one.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) when it cannot.
pub(crate) fn check_version(version: u32, what: &str) -> Result<()> {
    newest(version, SCHEMA_VERSION, what)
}

fn newest(version: u32, here: u32, what: &str) -> Result<()> {
    if (1..=here).contains(&version) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "{what} has schema version {version}, and this version of Puna reads up to {here}; use a newer Puna"
    )))
}

fn run(db: &sled::Db, log: &File, steps: &[Step]) -> Result<()> {
    let here = 1 + steps.len() as u32;
    let Some(mut version) = version(db)? else {
        db.insert(VERSION_KEY, seal(VERSION_KEY, &here.to_be_bytes())).map_err(sled_error)?;
        return sync(db, log);
    };
    newest(version, here, "the data")?;
    while let Some(step) = steps.get(version as usize - 1) {
        version += 1;
        tracing::info!(version, "the store's data is brought to a newer schema version");
        while take_piece(db, version, *step)? {
            sync(db, log)?;
        }
        sync(db, log)?;
    }
    Ok(())
}

/// Changes the next entries, all of them or none with how far that is; whether there are more.
fn take_piece(db: &sled::Db, version: u32, step: Step) -> Result<bool> {
    let mut batch = sled::Batch::default();
    let (mut bytes, mut last) = (0, None);
    let unread = db.range(cursor(db, version)?..);
    for item in unread.take(PIECE_ENTRIES) {
        let (full, sealed) = item.map_err(sled_error)?;
        bytes += full.len() + sealed.len();
        let (namespace, key) = split_key(&full)?;
        if namespace != OWN_NAMESPACE
            && let Change::Replace(others) = step(namespace, key, unseal(&full, &sealed)?)?
        {
            batch.remove(&full);
            for (namespace, key, value) in others {
                let full = full_key(&namespace, &key)?;
                let sealed = seal(&full, &value);
                batch.insert(full, sealed);
            }
        }
        last = Some(full);
        if bytes >= PIECE_BYTES {
            break;
        }
    }
    let more = last.is_some();
    match last {
        Some(last) => {
            let cursor = [&version.to_be_bytes(), &*last].concat();
            batch.insert(CURSOR_KEY, seal(CURSOR_KEY, &cursor));
        }
        None => {
            batch.insert(VERSION_KEY, seal(VERSION_KEY, &version.to_be_bytes()));
            batch.remove(CURSOR_KEY);
        }
    }
    db.apply_batch(batch).map_err(sled_error)?;
    Ok(more)
}

/// The first key that a migration to a version has not seen.
fn cursor(db: &sled::Db, version: u32) -> Result<Vec<u8>> {
    let Some(sealed) = db.get(CURSOR_KEY).map_err(sled_error)? else { return Ok(Vec::new()) };
    let cursor = unseal(CURSOR_KEY, &sealed)?;
    match cursor.split_first_chunk::<4>() {
        Some((to, last)) if u32::from_be_bytes(*to) == version => Ok(after(last)),
        _ => Err(Error::new(ErrorKind::Corrupt, "the store's note of an unfinished migration is damaged")),
    }
}

fn sync(db: &sled::Db, log: &File) -> Result<()> {
    crate::flush::flush(db)?;
    log.sync_data().map_err(|error| Error::new(ErrorKind::Io, "cannot sync the store").with_source(error))
}

/// Steps are private to the crate, and so far there is none: these are of a store that never was.
#[cfg(test)]
mod tests;
