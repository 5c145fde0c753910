//! The store on disk.

mod damage;
mod export;
mod kill;
mod model;
mod refusals;

use std::path::Path;

use puna_core::Error;
use puna_store::{Batch, SledStore, Store, StoreOptions};

const SPACE: &str = "test";

fn open(path: &Path) -> Result<SledStore, Error> {
    SledStore::open(path, &StoreOptions::default())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A batch that writes `value` under each of `keys`.
fn put(keys: &[String], value: &[u8]) -> Batch {
    keys.iter().fold(Batch::new(), |batch, key| batch.put(SPACE, key.as_bytes(), value.to_vec()))
}

/// Everything in the namespace.
async fn all(store: &SledStore) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
    store.scan(SPACE, &[], &[], usize::MAX).await
}
