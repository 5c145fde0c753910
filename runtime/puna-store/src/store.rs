use async_trait::async_trait;
use puna_core::Result;
use serde::Serialize;

use crate::{Batch, batch::after};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Keys that one batch of [`Store::remove_prefix`] removes: it holds up others' batches for milliseconds, and a kill
/// undoes no more than this.
const REMOVAL_PIECE: usize = 4_096;

/// Ordered keys in namespaces, scans, and atomic durable batches.
///
/// A namespace is 1 to [`MAX_NAMESPACE_BYTES`](crate::MAX_NAMESPACE_BYTES) bytes without NUL and not `meta`, which is the
/// store's own; every call refuses another as [`InvalidInput`](puna_core::ErrorKind::InvalidInput).
#[async_trait]
pub trait Store: Send + Sync {
    /// A key's value.
    ///
    /// # Errors
    /// [`Corrupt`](puna_core::ErrorKind::Corrupt) when it does not read back as it was written.
    async fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` entries in key order: keys that begin with `prefix` and are not below `from`.
    ///
    /// # Errors
    /// [`Corrupt`](puna_core::ErrorKind::Corrupt) when a value does not read back as it was written.
    async fn scan(&self, namespace: &str, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>>;

    /// The keys that [`scan`](Self::scan) would give, also those whose values do not read back.
    async fn keys(&self, namespace: &str, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let entries = self.scan(namespace, prefix, from, limit).await?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    /// Performs a batch, all or none, and returns when it is on the disk.
    ///
    /// # Errors
    /// [`Conflict`](puna_core::ErrorKind::Conflict) when a condition does not hold: nothing was written.
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) when a part of it is over a limit of this crate, or
    /// the disk is full; after a failed write the store writes no more until it is opened anew, and reads can fail
    /// likewise.
    async fn commit(&self, batch: Batch) -> Result<()>;

    /// Removes every key that begins with `prefix`, piece by piece, each on the disk before the next: after a kill the
    /// same call goes on. For as many keys as there are; few keys fit into one [`Batch`]. Gives how many there were.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit); the pieces before are removed.
    async fn remove_prefix(&self, namespace: &str, prefix: &[u8]) -> Result<u64> {
        let (mut from, mut removed) = (prefix.to_vec(), 0);
        loop {
            let keys = self.keys(namespace, prefix, &from, REMOVAL_PIECE).await?;
            let Some(last) = keys.last() else { return Ok(removed) };
            from = after(last);
            removed += keys.len() as u64;
            let batch = keys.iter().fold(Batch::new(), |batch, key| batch.remove(namespace, key));
            self.commit(batch).await?;
        }
    }

    /// How much the store holds, without reading it.
    async fn stats(&self) -> Result<Stats>;

    /// Every namespace that has entries, by name. Reads the whole store once, in memory that does not grow with it.
    async fn namespaces(&self) -> Result<Vec<NamespaceStats>>;

    /// Whether the store still takes writes.
    ///
    /// # Errors
    /// What [`commit`](Self::commit) would fail with, whatever the batch: an earlier write failed.
    async fn health(&self) -> Result<()>;
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// The schema version of the data.
    pub schema_version: u32,
}

/// What is in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamespaceStats {
    /// Its name.
    pub namespace: String,
    /// How many keys it has.
    pub entries: u64,
    /// Bytes of its keys, without the namespace, and of their values.
    pub bytes: u64,
}
