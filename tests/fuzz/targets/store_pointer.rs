//! Any bytes as the file that names the generation of a store's data: the data, or an error that says what is damaged.
#![no_main]

use std::{fs, sync::LazyLock};

use puna_core::ErrorKind;
use puna_store::{Batch, SledStore, Store, StoreOptions};
use tokio::runtime::{Builder, Runtime};

struct Place {
    folder: tempfile::TempDir,
    runtime: Runtime,
    sound: Vec<u8>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
    runtime.block_on(async {
        store.commit(Batch::new().put("fuzz", b"key", b"value".to_vec())).await.expect("written");
        store.compact(|_| ()).await.expect("compacted");
    });
    drop(store);
    let sound = fs::read(folder.path().join("current")).expect("the pointer");
    Place { folder, runtime, sound }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Place { folder, runtime, sound } = &*PLACE;
    fs::write(folder.path().join("current"), data).expect("written");
    match SledStore::open(folder.path(), &StoreOptions::default()) {
        Ok(store) => {
            assert_eq!(data, sound, "another pointer was taken");
            let value = runtime.block_on(store.get("fuzz", b"key")).expect("it reads");
            assert_eq!(value.as_deref(), Some(&b"value"[..]));
        }
        Err(error) => {
            assert_ne!(data, sound, "the pointer was not taken: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
});
