//! What the store refuses, and how.

use puna_core::ErrorKind;
use puna_store::{
    Batch, MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_VALUE_BYTES, Store,
};

use crate::{SPACE, open, put, runtime};

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
        let large = (0..=MAX_BATCH_BYTES / MAX_VALUE_BYTES)
            .fold(Batch::new(), |batch, _| batch.put(SPACE, b"x", vec![0; MAX_VALUE_BYTES]));
        for (batch, told) in [
            (Batch::new().put(SPACE, &vec![b'k'; longest + 1], vec![]), MAX_KEY_BYTES),
            (Batch::new().put(SPACE, b"k", vec![0; MAX_VALUE_BYTES + 1]), MAX_VALUE_BYTES),
            (many, MAX_BATCH_OPERATIONS),
            (large, MAX_BATCH_BYTES),
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
fn namespaces_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        let (longest, long) = ("n".repeat(MAX_NAMESPACE_BYTES), "n".repeat(MAX_NAMESPACE_BYTES + 1));
        store.commit(Batch::new().put(&longest, b"k", vec![])).await.expect("the longest that is allowed");
        for (namespace, told) in [
            ("", "is empty"),
            ("meta", "`meta` is the store's own"),
            ("te\0st", "`te\\0st` holds a NUL"),
            (&*long, "has 257 bytes, at most 256 are allowed"),
        ] {
            let batches = [
                Batch::new().put(namespace, b"k", vec![1]),
                Batch::new().put(SPACE, b"k", vec![1]).remove(namespace, b"k"),
                Batch::new().expect(namespace, b"k", None).put(SPACE, b"k", vec![1]),
            ];
            let mut errors = Vec::new();
            for batch in batches {
                errors.push(store.commit(batch).await.expect_err(told));
            }
            errors.push(store.get(namespace, b"k").await.expect_err(told));
            errors.push(store.scan(namespace, b"", b"", 1).await.expect_err(told));
            errors.push(store.keys(namespace, b"", b"", 1).await.expect_err(told));
            errors.push(store.remove_prefix(namespace, b"").await.expect_err(told));
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains(told), "{error}");
            }
        }
        // Nothing of a refused batch was written, and the store is well.
        assert_eq!(store.get(SPACE, b"k").await.expect("a read"), None);
        store.health().await.expect("it is well");
    });
}

/// Writes the store's own record of its form, with a right checksum.
fn claim_form(folder: &std::path::Path, form: &[u8]) {
    let db = sled::open(folder).expect("the raw store");
    let key = b"meta\0schema-version";
    assert!(db.contains_key(key).expect("a read"), "the form is told under this key");
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(form);
    db.insert(key, [&hasher.finalize().to_be_bytes(), form].concat()).expect("a write");
    db.flush().expect("a flush");
}

#[test]
fn another_form_of_the_data_is_refused() {
    let cases = [
        (2u32.to_be_bytes().to_vec(), ErrorKind::InvalidInput, "has schema version 2,"),
        (u32::MAX.to_be_bytes().to_vec(), ErrorKind::InvalidInput, "has schema version 4294967295,"),
        (b"1".to_vec(), ErrorKind::Corrupt, "schema-version"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        open(folder.path()).expect("a store").commit(put(&["a".to_owned()], b"kept")).await.expect("a batch");
        for (form, kind, told) in cases {
            claim_form(folder.path(), &form);
            let error = open(folder.path()).expect_err(told);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(told), "{error}");
            if kind == ErrorKind::InvalidInput {
                assert!(error.to_string().contains("reads up to 1; use a newer Puna"), "{error}");
            }
        }
        claim_form(folder.path(), &1u32.to_be_bytes());
        let store = open(folder.path()).expect("its own form");
        assert_eq!(
            store.get(SPACE, b"a").await.expect("a read"),
            Some(b"kept".to_vec()),
            "nothing was touched"
        );
    });
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
