//! A durable, ordered key-value store with conditional atomic batches.
//!
//! [`Store`] is the seam; [`SledStore`] keeps it on this machine's disk. Keys live in namespaces, and a
//! namespace is a key prefix: no scan crosses it.
//!
//! Invariants: the only crate that names sled. [`Store::commit`] returns after the batch is on the disk:
//! flushed by sled and then synced, because sled's flush alone does not survive a power cut. A batch
//! is all or none. Every value carries a checksum, and a mark beside the log tells when its end is lost. One
//! process at a time holds a folder. A folder has one generation of the data, whatever happens while
//! [`SledStore::compact`] writes the next.
//!
//! Absent: a checksum over everything. Where a file is damaged in the middle of what was written since it was
//! last opened, sled skips that part, and keys in it can have older values or none.

mod batch;
mod compact;
mod export;
mod files;
mod flush;
mod generation;
mod lock;
mod mark;
mod migrate;
mod seal;
mod sled_store;
mod store;
mod writer;

pub use batch::Batch;
pub use compact::{CompactProgress, CompactStage, Compacted};
pub use export::{Check, Imported};
pub use migrate::SCHEMA_VERSION;
pub use sled_store::{SledStore, StoreOptions};
pub use store::{Entry, NamespaceStats, Stats, Store};

/// Longest key, namespace included: names are short, and sled keeps keys in memory.
pub const MAX_KEY_BYTES: usize = 1 << 10;

/// Longest namespace: the rest of a key is its owner's.
pub const MAX_NAMESPACE_BYTES: usize = 256;

/// Longest value. sled moves larger ones to files of their own, which are not synced with the log;
/// whoever has more splits it.
pub const MAX_VALUE_BYTES: usize = 32 << 10;

/// Most operations in one batch: bounds the memory of a transaction. Removals of more keys go piece by piece, see
/// [`Store::remove_prefix`].
pub const MAX_BATCH_OPERATIONS: usize = 100_000;

/// Most bytes of keys and values in one batch: bounds the memory of a transaction, of which there are copies in the
/// queue, in sled's cache and in its log.
pub const MAX_BATCH_BYTES: usize = 128 << 20;
