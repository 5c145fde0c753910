//! Giving space back, which sled never does: the data is written anew, as the next generation.

use std::{fs, path::Path};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::{
    SledStore,
    files::{self, Db, sled_error},
    generation::Generation,
    mark::Mark,
    seal::unseal,
};

/// Bytes of entries that are written before they are handed to the disk: bounds what waits in memory.
const PIECE_BYTES: usize = 8 << 20;

/// Entries between two words on how far it is.
const PROGRESS_ENTRIES: u64 = 1_000;

/// How far a compaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactProgress {
    /// What is being done.
    pub stage: CompactStage,
    /// Entries that are through this stage.
    pub entries: u64,
}

/// What a compaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactStage {
    /// Entries are written anew.
    Writing,
    /// What was written is opened anew and read beside the original.
    Verifying,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Entries that were written anew, the store's own included.
    pub entries: u64,
    /// Bytes on the disk before.
    pub bytes_before: u64,
    /// Bytes on the disk now.
    pub bytes_after: u64,
}

/// Is told how far a compaction is.
pub(crate) type OnProgress = Box<dyn FnMut(CompactProgress) + Send>;

impl SledStore {
    /// Writes the data anew beside what is there, reads it back, and takes it in its place: space of what was removed
    /// or replaced is given back, and nothing of it is left in the folder's files. Reads go on meanwhile; batches wait.
    /// Needs room on the disk for the data as it is now. Goes on where the caller does not wait for it.
    ///
    /// A kill at any moment leaves the data as it was or as it is to be, and the next open clears the other away.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when an entry does not read back, [`ResourceExhausted`](ErrorKind::ResourceExhausted)
    /// and [`Io`](ErrorKind::Io) when the disk is full or broken: the data is as it was, and the store goes on with it.
    pub async fn compact(&self, progress: impl FnMut(CompactProgress) + Send + 'static) -> Result<Compacted> {
        self.writer().compact(Box::new(progress)).await
    }
}

/// The next generation of a store's data, whole and on the disk, though not yet the current one.
pub(crate) struct Rewritten {
    pub(crate) db: Db,
    pub(crate) generation: Generation,
    pub(crate) entries: u64,
}

/// Writes the next generation. On an error nothing of it is left.
pub(crate) fn rewrite(
    store: &Path,
    from: &sled::Db,
    generation: Generation,
    count: u64,
    cache_bytes: u64,
    progress: &mut OnProgress,
) -> Result<Rewritten> {
    let generation = generation.next();
    let folder = generation.folder(store);
    remove(&folder)?;
    let written = write(&folder, from, count, cache_bytes, progress);
    if written.is_err() {
        // The error tells more; the next open clears it away too.
        let _ = remove(&folder);
    }
    written.map(|(db, entries)| Rewritten { db, generation, entries })
}

fn write(
    folder: &Path,
    from: &sled::Db,
    count: u64,
    cache_bytes: u64,
    progress: &mut OnProgress,
) -> Result<(Db, u64)> {
    files::make_folder(folder)?;
    let to = files::open(folder, cache_bytes)?;
    let (mut batch, mut bytes, mut entries) = (sled::Batch::default(), 0, 0_u64);
    for item in from.iter() {
        let (key, sealed) = item.map_err(sled_error)?;
        // Damage is not copied: whoever has a copy of the folder can still mend it.
        unseal(&key, &sealed)?;
        bytes += key.len() + sealed.len();
        entries += 1;
        batch.insert(key, sealed);
        if bytes >= PIECE_BYTES {
            to.apply_batch(std::mem::take(&mut batch)).map_err(sled_error)?;
            to.flush().map_err(sled_error)?;
            bytes = 0;
        }
        if entries.is_multiple_of(PROGRESS_ENTRIES) {
            progress(CompactProgress { stage: CompactStage::Writing, entries });
        }
    }
    to.apply_batch(batch).map_err(sled_error)?;
    to.flush().map_err(sled_error)?;
    drop(to);
    Mark::open(folder)?
        .0
        .set(count)
        .map_err(|error| Error::from_io("write", folder.join(crate::mark::MARK_FILE), error))?;
    files::sync_all(folder)?;
    // As the next process will find it.
    let to = files::open(folder, cache_bytes)?;
    verify(from, &to, progress)?;
    files::sync_all(folder)?;
    Ok((to, entries))
}

/// Whether two have the same entries.
fn verify(from: &sled::Db, to: &sled::Db, progress: &mut OnProgress) -> Result<()> {
    let differ = |key: &[u8]| {
        let key = key.escape_ascii();
        Error::new(ErrorKind::Corrupt, format!("the value of key `{key}` is not what was written anew"))
    };
    let (mut wanted, mut found, mut entries) = (from.iter(), to.iter(), 0_u64);
    loop {
        let pair = (wanted.next().transpose(), found.next().transpose());
        match (pair.0.map_err(sled_error)?, pair.1.map_err(sled_error)?) {
            (None, None) => return Ok(()),
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some((key, _)), _) | (None, Some((key, _))) => return Err(differ(&key)),
        }
        entries += 1;
        if entries.is_multiple_of(PROGRESS_ENTRIES) {
            progress(CompactProgress { stage: CompactStage::Verifying, entries });
        }
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from_io("remove", folder, error))
        }
        _ => Ok(()),
    }
}
