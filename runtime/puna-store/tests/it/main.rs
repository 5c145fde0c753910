//! The store on disk.

mod compact;
mod damage;
mod export;
mod faults;
mod fixture;
mod kill;
mod model;
mod refusals;

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// A copy of a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files below a folder that hold some bytes.
fn files_holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let holds =
        |path: &PathBuf| fs::read(path).expect("a file").windows(bytes.len()).any(|window| window == bytes);
    files_below(folder).into_iter().filter(holds).collect()
}

/// What the files below a folder take up.
fn folder_bytes(folder: &Path) -> u64 {
    files_below(folder).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
}
