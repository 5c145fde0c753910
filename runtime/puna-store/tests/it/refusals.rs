//! What the store refuses, and how.

use puna_core::ErrorKind;
use puna_store::{Batch, MAX_BATCH_OPERATIONS, MAX_KEY_BYTES, MAX_VALUE_BYTES, Store};

use crate::{SPACE, open, runtime};

#[test]
fn sizes_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        let longest = MAX_KEY_BYTES - SPACE.len() - 1;
        let largest = Batch::new().put(SPACE, &vec![b'k'; longest], vec![7; MAX_VALUE_BYTES]);
        store.commit(largest).await.expect("the largest that is allowed");
        assert_eq!(
            store.get(SPACE, &vec![b'k'; longest]).await.expect("a read"),
            Some(vec![7; MAX_VALUE_BYTES])
        );
        let many = (0..=MAX_BATCH_OPERATIONS).fold(Batch::new(), |batch, _| batch.remove(SPACE, b"x"));
        for (batch, told) in [
            (Batch::new().put(SPACE, &vec![b'k'; longest + 1], vec![]), MAX_KEY_BYTES),
            (Batch::new().put(SPACE, b"k", vec![0; MAX_VALUE_BYTES + 1]), MAX_VALUE_BYTES),
            (many, MAX_BATCH_OPERATIONS),
        ] {
            let error = store.commit(batch).await.expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            assert!(error.to_string().contains(&told.to_string()), "the limit is named: {error}");
        }
        // A refused batch leaves the store as it was.
        store.commit(Batch::new().put(SPACE, b"k", vec![1])).await.expect("a batch");
    });
}

#[test]
fn a_newer_form_of_the_data_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("a store"));
    {
        // What a later version would write.
        let db = sled::open(folder.path()).expect("the raw store");
        let (key, _) =
            db.iter().filter_map(Result::ok).find(|(key, _)| key.starts_with(b"meta")).expect("the version");
        let version = 9u32.to_be_bytes();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&(key.len() as u64).to_be_bytes());
        hasher.update(&key);
        hasher.update(&version);
        let sealed = [hasher.finalize().to_be_bytes(), version].concat();
        db.insert(&key, sealed).expect("a write");
        db.flush().expect("a flush");
    }
    let error = open(folder.path()).expect_err("a newer form");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for part in ["9", "1", "newer Puna"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn places_that_are_no_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "a file").expect("a file");
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).expect_err("no folder");
        assert!(error.to_string().contains("file"), "the message names it: {error}");
    }
}
