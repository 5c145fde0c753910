use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Result};

use crate::{
    Batch, Entry, NamespaceStats, SCHEMA_VERSION, Stats, Store,
    batch::{OWN_NAMESPACE, full_key, split_key},
    files::{self, sled_error},
    generation::Generation,
    lock::FolderLock,
    mark::{MARK_FILE, Mark},
    migrate,
    seal::{CHECKSUM_BYTES, unseal},
    writer::{self, SharedDb, Target, Writer},
};

/// sled's page cache. Its real use of memory is near ten times this figure, and its default is 1 GiB.
const DEFAULT_CACHE_BYTES: u64 = 8 << 20;

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
    db: SharedDb,
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
    /// Opens the store in a folder, and makes both where they are missing. The folder is for its owner alone. Data of
    /// an earlier schema version is brought to this one, and what an interrupted compaction left is cleared away.
    /// Blocks, for a quarter of a second where the folder is held.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when another process holds the folder, [`Corrupt`](ErrorKind::Corrupt)
    /// when its files are damaged, [`InvalidInput`](ErrorKind::InvalidInput) when a newer version wrote them.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self> {
        files::make_folder(path)?;
        let lock = files::patiently(files::LOCK_PATIENCE, || FolderLock::take(path))?;
        let generation = Generation::current(path)?;
        generation.discard_others(path)?;
        let folder = generation.folder(path);
        let is_new = !folder.join(files::LOG_FILE).exists();
        let db = files::open(&folder, options.cache_bytes)?;
        let log = files::log(&folder)?;
        if let Some(version) = migrate::version(&db)? {
            migrate::check_version(version, &format!("the data in `{}`", path.display()))?;
        }
        let count = migrate::number(&db, writer::COUNT_KEY)?.map_or(0, u64::from_be_bytes);
        let (mark, acknowledged) = Mark::open(&folder)?;
        if acknowledged.is_some_and(|acknowledged| acknowledged > count) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the store in `{}` is damaged and has lost its latest data; restore the folder from a copy, or delete its file `{MARK_FILE}` to go on with what is left",
                    folder.display()
                ),
            ));
        }
        migrate::migrate(&db, &log)?;
        if is_new {
            files::sync_folder(&folder)?;
            // The folder itself may be new too.
            files::sync_folder(
                path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
            )?;
        }
        let db = Arc::new(RwLock::new(Arc::new(db)));
        let writer = Writer::start(Target {
            store: path.to_owned(),
            generation,
            db: Arc::clone(&db),
            log,
            mark,
            count,
            cache_bytes: options.cache_bytes,
            copying: None,
        })?;
        Ok(Self { inner: Arc::new(Inner { writer, db, path: path.to_owned(), _lock: lock }) })
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// At most `limit` entries of any namespace, full keys from `from` on, each with its value or why it has none.
    pub(crate) async fn page(&self, from: Vec<u8>, limit: usize) -> Result<Vec<(Vec<u8>, Result<Vec<u8>>)>> {
        self.blocking(move |db| {
            let read = |item: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, value) = item.map_err(sled_error)?;
                Ok((key.to_vec(), unseal(&key, &value).map(<[u8]>::to_vec)))
            };
            db.range(from..).take(limit).map(read).collect()
        })
        .await
    }

    /// What `take` makes of each key and sealed value that [`Store::scan`] would give.
    async fn collect<T: Send + 'static>(
        &self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        take: fn(usize, &[u8], &[u8]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let start = full_key(namespace, from.max(prefix))?;
        let prefix = full_key(namespace, prefix)?;
        let skip = namespace.len() + 1;
        self.blocking(move |db| {
            let mut found = Vec::new();
            for item in db.range(start..).take(limit) {
                let (key, sealed) = item.map_err(sled_error)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                found.push(take(skip, &key, &sealed)?);
            }
            Ok(found)
        })
        .await
    }

    /// Runs a read off the async threads: sled waits for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&sled::Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || read(&writer::current(&inner.db)))
            .await
            .map_err(|error| Error::internal("a read of the store broke").with_source(error))?
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let key = full_key(namespace, key)?;
        self.blocking(move |db| match db.get(&key).map_err(sled_error)? {
            Some(sealed) => unseal(&key, &sealed).map(|value| Some(value.to_vec())),
            None => Ok(None),
        })
        .await
    }

    async fn scan(&self, namespace: &str, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let take = |skip: usize, key: &[u8], sealed: &[u8]| {
            Ok((key[skip..].to_vec(), unseal(key, sealed)?.to_vec()))
        };
        self.collect(namespace, prefix, from, limit, take).await
    }

    async fn keys(&self, namespace: &str, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let take = |skip: usize, key: &[u8], _: &[u8]| Ok(key[skip..].to_vec());
        self.collect(namespace, prefix, from, limit, take).await
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

    async fn namespaces(&self) -> Result<Vec<NamespaceStats>> {
        self.blocking(|db| {
            let mut found: Vec<NamespaceStats> = Vec::new();
            for item in db.iter() {
                let (full, sealed) = item.map_err(sled_error)?;
                let (namespace, key) = split_key(&full)?;
                if namespace == OWN_NAMESPACE {
                    continue;
                }
                if found.last().is_none_or(|last| last.namespace != namespace) {
                    found.push(NamespaceStats { namespace: namespace.to_owned(), entries: 0, bytes: 0 });
                }
                // Keys come in order, so that the last namespace is this one.
                if let Some(last) = found.last_mut() {
                    last.entries += 1;
                    last.bytes += (key.len() + sealed.len().saturating_sub(CHECKSUM_BYTES)) as u64;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn health(&self) -> Result<()> {
        self.inner.writer.health()
    }
}
