//! The files of one generation: sled's, and the mark.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use puna_core::{Error, ErrorKind, Result};

use crate::mark::MARK_FILE;

/// sled's log.
pub(crate) const LOG_FILE: &str = "db";

/// sled's own files and folders, besides snapshots.
const SLED_FILES: [&str; 3] = [LOG_FILE, "conf", "blobs"];

/// How sled's snapshots of its log are called, before their position.
const SNAPSHOT_PREFIX: &str = "snap.";

/// Bytes read at a time before a store is opened.
const READ_BYTES: usize = 1 << 20;

/// How long opening waits for a folder that is held: a process that is being started shares its parent's locks for
/// an instant, so the folder of a process that has just ended can still seem held.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_millis(250);

/// How long closing waits until sled has let go of its file: far longer than a process takes to start or a disk to
/// write, and bounded, since nothing is lost without it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How often a held folder is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// sled in a folder. Closing it writes, and sled panics where that fails: what was acknowledged is on the disk by then,
/// so that it is only told.
///
/// Once it is closed, its folder is free. sled lets go of its lock with the last descriptor of its file, which a thread of
/// its own may hold for longer, and a process that is being started; so closing waits for them.
#[derive(Debug)]
pub(crate) struct Db {
    /// Until it is dropped.
    open: Option<sled::Db>,
    log: PathBuf,
}

impl std::ops::Deref for Db {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.open.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let db = self.open.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!("the store could not write while it was closed; what was acknowledged is safe");
        }
        if let Err(error) = patiently(CLOSE_PATIENCE, || check_free(&self.log)) {
            tracing::warn!(%error, "the store is closed");
        }
    }
}

/// # Errors
/// [`Conflict`](ErrorKind::Conflict) while somebody holds the lock of sled's log.
fn check_free(log: &Path) -> Result<()> {
    // A compaction may have removed it.
    let Ok(file) = File::open(log) else { return Ok(()) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Conflict, format!("`{}` is still held", log.display())))
        }
        // Not by closing it: a process that is being started would keep it.
        Ok(()) => file.unlock().map_err(|error| Error::from_io("unlock", log, error)),
        Err(TryLockError::Error(error)) => Err(Error::from_io("lock", log, error)),
    }
}

/// Opens sled in a folder.
///
/// sled takes what it cannot read while it opens for writes that were cut short, and overwrites it: a disk that fails once
/// would cost the data for good. So everything is read before.
pub(crate) fn open(folder: &Path, cache_bytes: u64) -> Result<Db> {
    read_all(folder)?;
    patiently(LOCK_PATIENCE, || {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            // The writer flushes before it acknowledges; a timer would only add writes.
            .flush_every_ms(None);
        // sled panics on some damaged files; nothing of the attempt is used afterwards.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .unwrap_or(Err(sled::Error::Corruption { at: None, bt: () }));
        opened.map(|db| Db { open: Some(db), log: folder.join(LOG_FILE) }).map_err(|error| {
            sled_error(error).context(format!("cannot open the store in `{}`", folder.display()))
        })
    })
}

/// Reads every file once, for the errors alone.
fn read_all(folder: &Path) -> Result<()> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::from_io("read", path, error)
    };
    let mut buffer = vec![0; READ_BYTES];
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            continue;
        }
        let mut file = File::open(&path).map_err(unreadable(&path))?;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(unreadable(&path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A second descriptor of sled's log, to sync it: sled's flush hands pages to the disk without waiting for it.
pub(crate) fn log(folder: &Path) -> Result<File> {
    let path = folder.join(LOG_FILE);
    File::open(&path).map_err(|error| Error::from_io("open", &path, error))
}

/// Makes a folder for its owner alone, and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Error::from_io("make the data folder", folder, error))
}

/// Brings a folder's files to the disk, and their names.
pub(crate) fn sync_all(folder: &Path) -> Result<()> {
    let failed = |error| Error::from_io("sync", folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(failed)?;
        }
    }
    sync_folder(folder)
}

/// Brings the names in a folder to the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // Other systems have no such thing as an open folder, and write names through.
    if cfg!(unix) {
        let sync = File::open(folder).and_then(|file| file.sync_all());
        sync.map_err(|error| Error::from_io("sync", folder, error))?;
    }
    Ok(())
}

/// Removes a generation's files from a folder that has others too, the log first: without it there is no data.
pub(crate) fn remove_data(folder: &Path) -> Result<()> {
    let failed = |error| Error::from_io("clear", folder, error);
    let mut doomed: Vec<_> = SLED_FILES.iter().chain([&MARK_FILE]).map(|name| folder.join(name)).collect();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(SNAPSHOT_PREFIX)) {
            doomed.push(entry.path());
        }
    }
    for path in doomed {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Tries again while somebody holds what is to be taken.
pub(crate) fn patiently<T>(patience: Duration, mut take: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match take() {
            Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < until => {
                thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the store's file is damaged; restore the data folder from a copy")
}

pub(crate) fn sled_error(error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            Error::new(ErrorKind::Conflict, "the store is in use by another process").with_source(error)
        }
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged().with_source(error)
        }
        // sled copies errors as their debug text; where the kind says it all, its own words are better.
        sled::Error::Io(error) => Error::from_io(
            "read or write the store's file",
            LOG_FILE,
            match error.kind() {
                io::ErrorKind::Other => error,
                kind => kind.into(),
            },
        ),
        sled::Error::Corruption { .. } => damaged().with_source(error),
        sled::Error::Unsupported(_) => {
            Error::new(ErrorKind::Corrupt, "the store's file has a form that this version cannot read")
                .with_source(error)
        }
        error => Error::internal("the store broke").with_source(error),
    }
}
