//! Giving space back, which sled never does: the data is written anew, as the next generation.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::{
    SledStore,
    files::{self, Db, sled_error},
    flush::flush,
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
    /// or replaced is given back, and nothing of it is left in the folder's files, unless it was removed while this went on.
    /// Reads and batches go on meanwhile; batches wait while what they changed is brought over in the end.
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

/// Keys that were written or removed while a copy is made: what the copy has of them is not relied on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed(Arc<Mutex<BTreeSet<Vec<u8>>>>);

impl Changed {
    /// Takes the keys of a batch, before it is applied.
    pub(crate) fn note<'a>(&self, keys: impl Iterator<Item = &'a Vec<u8>>) {
        self.lock().extend(keys.cloned());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn has(&self, key: &[u8]) -> bool {
        self.lock().contains(key)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next generation of a store's data, on the disk but for what has changed meanwhile, and not yet the current one.
pub(crate) struct Copied {
    pub(crate) db: Db,
    pub(crate) entries: u64,
}

/// Writes the next generation into its folder while others write to this one. On an error nothing of it is left.
pub(crate) fn copy(
    folder: &Path,
    from: &sled::Db,
    cache_bytes: u64,
    changed: &Changed,
    progress: &mut OnProgress,
) -> Result<Copied> {
    remove(folder)?;
    let written = write(folder, from, cache_bytes, changed, progress);
    if written.is_err() {
        // The error tells more; the next open clears it away too.
        let _ = remove(folder);
    }
    written
}

fn write(
    folder: &Path,
    from: &sled::Db,
    cache_bytes: u64,
    changed: &Changed,
    progress: &mut OnProgress,
) -> Result<Copied> {
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
            flush(&to)?;
            bytes = 0;
        }
        if entries.is_multiple_of(PROGRESS_ENTRIES) {
            progress(CompactProgress { stage: CompactStage::Writing, entries });
        }
    }
    to.apply_batch(batch).map_err(sled_error)?;
    flush(&to)?;
    drop(to);
    files::sync_all(folder)?;
    // As the next process will find it.
    let db = files::open(folder, cache_bytes)?;
    verify(from, &db, changed, progress)?;
    Ok(Copied { db, entries })
}

impl Copied {
    /// Brings what has changed since the copy began into it, and all of it to the disk. Nobody writes meanwhile.
    pub(crate) fn catch_up(
        &self,
        folder: &Path,
        from: &sled::Db,
        changed: &Changed,
        count: u64,
    ) -> Result<()> {
        let keys = changed.lock();
        let mut batch = sled::Batch::default();
        for key in keys.iter() {
            match from.get(key).map_err(sled_error)? {
                Some(sealed) => batch.insert(key.as_slice(), sealed),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(sled_error)?;
        flush(&self.db)?;
        for key in keys.iter() {
            if self.db.get(key).map_err(sled_error)? != from.get(key).map_err(sled_error)? {
                return Err(differ(key));
            }
        }
        Mark::open(folder)?
            .0
            .set(count)
            .map_err(|error| Error::from_io("write", folder.join(crate::mark::MARK_FILE), error))?;
        files::sync_all(folder)
    }
}

/// Whether two have the same entries, but for what changes.
fn verify(from: &sled::Db, to: &sled::Db, changed: &Changed, progress: &mut OnProgress) -> Result<()> {
    let (mut wanted, mut found, mut entries) = (from.iter(), to.iter(), 0_u64);
    let next = |iter: &mut sled::Iter| iter.next().transpose().map_err(sled_error);
    let mut pair = (next(&mut wanted)?, next(&mut found)?);
    loop {
        // The key that is looked at: where they differ, the lesser of the two.
        let (of_wanted, of_found) = match &pair {
            (None, None) => return Ok(()),
            (Some(one), Some(other)) if one == other => (true, true),
            (Some((one, _)), Some((other, _))) => (one <= other, other <= one),
            (one, other) => (one.is_some(), other.is_some()),
        };
        let same = pair.0 == pair.1;
        let looked_at = if of_wanted { &pair.0 } else { &pair.1 };
        if let Some((key, _)) = looked_at
            && !same
            && !changed.has(key)
        {
            return Err(differ(key));
        }
        if of_wanted {
            pair.0 = next(&mut wanted)?;
        }
        if of_found {
            pair.1 = next(&mut found)?;
        }
        entries += 1;
        if entries.is_multiple_of(PROGRESS_ENTRIES) {
            progress(CompactProgress { stage: CompactStage::Verifying, entries });
        }
    }
}

fn differ(key: &[u8]) -> Error {
    let key = key.escape_ascii();
    Error::new(ErrorKind::Corrupt, format!("the value of key `{key}` is not what was written anew"))
}

/// Removes what a copy has left.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from_io("remove", folder, error))
        }
        _ => Ok(()),
    }
}
