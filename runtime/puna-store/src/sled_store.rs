use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Result};

use crate::{
    Batch, Entry, Stats, Store,
    batch::full_key,
    lock::FolderLock,
    mark::{MARK_FILE, Mark},
    writer::Writer,
};

/// The form of the data that this version writes; it reads this one.
const SCHEMA_VERSION: u32 = 1;

/// sled's page cache. Its real use of memory is near ten times this figure, and its default is 1 GiB.
const DEFAULT_CACHE_BYTES: u64 = 8 << 20;

/// How long opening waits for a folder that is held: a process that is being started shares its parent's locks for
/// an instant, so a folder just closed can still seem held.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);

/// How often a held folder is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where the form of the data is told.
const VERSION_KEY: &[u8] = b"meta\0schema-version";

/// Where the log counts its groups of batches, for the [`Mark`].
pub(crate) const COUNT_KEY: &[u8] = b"meta\0synced-groups";

/// Bytes of the checksum in front of every value.
const CHECKSUM_BYTES: usize = 4;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: DEFAULT_CACHE_BYTES }
    }
}

/// A [`Store`] in a folder of this machine. Clones share it.
#[derive(Clone)]
pub struct SledStore {
    inner: Arc<Inner>,
}

/// Dropped in this order: the writer finishes, sled closes, and only then another process may open.
struct Inner {
    writer: Writer,
    db: sled::Db,
    path: PathBuf,
    _lock: FolderLock,
}

/// Shows the folder alone: what is in it is nobody's business.
impl std::fmt::Debug for SledStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SledStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in a folder, and makes both where they are missing. The folder is for its owner alone.
    /// Blocks, for a quarter of a second where the folder is held.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when another process holds the folder, [`Corrupt`](ErrorKind::Corrupt)
    /// when its files are damaged, [`InvalidInput`](ErrorKind::InvalidInput) when a newer version wrote them.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| Error::from_io("make the data folder", path, error))?;
        let patience = Instant::now() + LOCK_PATIENCE;
        let lock = patiently(patience, || FolderLock::take(path))?;
        let db = patiently(patience, || {
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(options.cache_bytes)
                // The writer flushes before it acknowledges; a timer would only add writes.
                .flush_every_ms(None);
            // sled panics on some damaged files; nothing of the attempt is used afterwards.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .unwrap_or(Err(sled::Error::Corruption { at: None, bt: () }));
            opened.map_err(|error| {
                sled_error(error).context(format!("cannot open the store in `{}`", path.display()))
            })
        })?;
        let version = number(&db, VERSION_KEY)?.map(u32::from_be_bytes);
        // The place for migrations: from each older version to the next.
        if let Some(version) = version
            && version != SCHEMA_VERSION
        {
            return Err(Error::invalid_input(format!(
                "the data in `{}` has schema version {version}, and this version of Puna reads {SCHEMA_VERSION}; use a newer Puna, or another folder",
                path.display()
            )));
        }
        let count = number(&db, COUNT_KEY)?.map_or(0, u64::from_be_bytes);
        let (mark, acknowledged) = Mark::open(path)?;
        if acknowledged.is_some_and(|acknowledged| acknowledged > count) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the store in `{}` is damaged and has lost its latest data; restore the folder from a copy, or delete its file `{MARK_FILE}` to go on with what is left",
                    path.display()
                ),
            ));
        }
        if version.is_none() {
            db.insert(VERSION_KEY, seal(VERSION_KEY, &SCHEMA_VERSION.to_be_bytes())).map_err(sled_error)?;
            db.flush().map_err(sled_error)?;
        }
        let writer = Writer::start(db.clone(), path, mark, count)?;
        Ok(Self { inner: Arc::new(Inner { writer, db, path: path.to_owned(), _lock: lock }) })
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// At most `limit` entries of any namespace, full keys from `from` on, each with its value or why it has none.
    pub(crate) async fn page(&self, from: Vec<u8>, limit: usize) -> Result<Vec<(Vec<u8>, Result<Vec<u8>>)>> {
        self.blocking(move |db| {
            let read = |item: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, value) = item.map_err(sled_error)?;
                Ok((key.to_vec(), unseal(&key, &value)))
            };
            db.range(from..).take(limit).map(read).collect()
        })
        .await
    }

    /// Runs a read off the async threads: sled waits for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&sled::Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || read(&inner.db))
            .await
            .map_err(|error| Error::internal("a read of the store broke").with_source(error))?
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let key = full_key(namespace, key);
        self.blocking(move |db| match db.get(&key).map_err(sled_error)? {
            Some(value) => unseal(&key, &value).map(Some),
            None => Ok(None),
        })
        .await
    }

    async fn scan(&self, namespace: &str, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let start = full_key(namespace, from.max(prefix));
        let prefix = full_key(namespace, prefix);
        let skip = namespace.len() + 1;
        self.blocking(move |db| {
            let mut entries = Vec::new();
            for item in db.range(start..).take(limit) {
                let (key, value) = item.map_err(sled_error)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                entries.push((key[skip..].to_vec(), unseal(&key, &value)?));
            }
            Ok(entries)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        batch.check()?;
        self.inner.writer.commit(batch).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.blocking(|db| {
            let disk_bytes = db.size_on_disk().map_err(sled_error)?;
            Ok(Stats { disk_bytes, schema_version: SCHEMA_VERSION })
        })
        .await
    }
}

/// Tries again while somebody holds what is to be taken.
fn patiently<T>(until: Instant, mut take: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match take() {
            Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < until => {
                thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// A value with the checksum of key and value in front: a value that lands under a wrong key is found too.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    sealed.extend_from_slice(&checksum(key, value).to_be_bytes());
    sealed.extend_from_slice(value);
    sealed
}

fn unseal(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let (sum, value) = sealed.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| corrupt(key))?;
    if u32::from_be_bytes(*sum) != checksum(key, value) {
        return Err(corrupt(key));
    }
    Ok(value.to_vec())
}

/// A number that the store itself keeps.
fn number<const N: usize>(db: &sled::Db, key: &[u8]) -> Result<Option<[u8; N]>> {
    let Some(sealed) = db.get(key).map_err(sled_error)? else { return Ok(None) };
    unseal(key, &sealed)?.try_into().map(Some).map_err(|_| corrupt(key))
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

fn corrupt(key: &[u8]) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the value of key `{}` does not read back as it was written; restore the data folder from a copy",
            key.escape_ascii()
        ),
    )
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the store's file is damaged; restore the data folder from a copy")
}

pub(crate) fn sled_error(error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            Error::new(ErrorKind::Conflict, "the store is in use by another process").with_source(error)
        }
        sled::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            damaged().with_source(error)
        }
        // sled copies errors as their debug text; where the kind says it all, its own words are better.
        sled::Error::Io(error) => Error::from_io(
            "read or write the store's file",
            "db",
            match error.kind() {
                std::io::ErrorKind::Other => error,
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
