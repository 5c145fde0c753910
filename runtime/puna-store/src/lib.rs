//! A durable, ordered key-value store with conditional atomic batches.
//!
//! [`Store`] is the seam; [`SledStore`] keeps it on this machine's disk. Keys live in namespaces, and a
//! namespace is a key prefix: no scan crosses it.
//!
//! Invariants: the only crate that names sled. [`Store::commit`] returns after the batch is on the disk:
//! flushed by sled and then synced, because sled's flush alone does not survive a power cut. A batch
//! is all or none. Every value carries a checksum, and a mark beside the log tells when its end is lost. One
//! process at a time holds a folder.
//!
//! Absent: a checksum over everything. Where a file is damaged in the middle of what was written since it was
//! last opened, sled skips that part, and keys in it can have older values or none.

mod batch;
mod export;
mod lock;
mod mark;
mod sled_store;
mod writer;

use async_trait::async_trait;
use puna_core::Result;
use serde::Serialize;

pub use batch::Batch;
pub use export::{Check, Imported};
pub use sled_store::{SledStore, StoreOptions};

/// Longest key, namespace included: names are short, and sled keeps keys in memory.
pub const MAX_KEY_BYTES: usize = 1 << 10;

/// Longest value. sled moves larger ones to files of their own, which are not synced with the log;
/// whoever has more splits it.
pub const MAX_VALUE_BYTES: usize = 32 << 10;

/// Most operations in one batch: bounds the memory of a transaction.
pub const MAX_BATCH_OPERATIONS: usize = 100_000;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Ordered keys in namespaces, scans, and atomic durable batches.
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

    /// Performs a batch, all or none, and returns when it is on the disk.
    ///
    /// # Errors
    /// [`Conflict`](puna_core::ErrorKind::Conflict) when a condition does not hold: nothing was written.
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) when the disk is full;
    /// after a failed write the store writes no more until it is opened anew, and reads can fail likewise.
    async fn commit(&self, batch: Batch) -> Result<()>;

    /// How much the store holds.
    async fn stats(&self) -> Result<Stats>;
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// The schema version of the data.
    pub schema_version: u32,
}
