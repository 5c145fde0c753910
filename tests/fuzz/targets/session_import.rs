//! Any bytes as an exported session: an import that exports the same entries, or an error that adds nothing.
#![no_main]

use std::{
    io::Cursor,
    sync::{Arc, LazyLock},
};

use puna_memory::Conversations;
use puna_store::{SledStore, StoreOptions};
use tokio::runtime::{Builder, Runtime};

static PLACE: LazyLock<(tempfile::TempDir, Runtime, Conversations)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let store = SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
    (folder, runtime, Conversations::new(Arc::new(store)))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (_, runtime, conversations) = &*PLACE;
    runtime.block_on(async {
        use puna_core::Journal;
        if let Ok(session) = conversations.import(&mut Cursor::new(data), None).await {
            let entries = conversations.read(&session, 0).await.expect("what was imported reads back");
            let mut out = Vec::new();
            if !entries.is_empty() {
                conversations.export(&session, &mut out).await.expect("what was imported exports");
            }
            conversations.delete(&session).await.expect("it is there");
        }
        assert!(conversations.sessions().await.expect("a list").is_empty(), "a failed import added a session");
    });
});
