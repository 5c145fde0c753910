//! Space that is given back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::ErrorKind;
use puna_store::{Batch, CompactProgress, CompactStage, NamespaceStats, SledStore, Store};

use crate::{SPACE, all, copy, files_holding, folder_bytes, open, put, runtime};

/// What stands in every value that is removed.
const SECRET: &[u8] = b"a word that must be gone";

/// Values of some 3 KB, then most of them removed.
async fn fill_and_remove(store: &SledStore) {
    for first in (0..2_000).step_by(100) {
        let keys: Vec<String> = (first..first + 100).map(|number| format!("old-{number:05}")).collect();
        store.commit(put(&keys, &SECRET.repeat(128))).await.expect("a batch");
    }
    let kept: Vec<String> = (0..50).map(|number| format!("new-{number:05}")).collect();
    store.commit(put(&kept, &[7; 1_000])).await.expect("a batch");
    assert_eq!(store.remove_prefix(SPACE, b"old-").await.expect("a removal"), 2_000);
}

#[test]
fn what_was_removed_leaves_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        fill_and_remove(&store).await;
        let before = all(&store).await.expect("a scan");
        assert_eq!(before.len(), 50);
        assert!(!files_holding(folder.path(), SECRET).is_empty(), "sled keeps what is removed");
        let (bytes, mut expected) = (folder_bytes(folder.path()), 0);
        // Each compaction makes a generation; the first one leaves the store's own folder.
        for round in 0..3_u8 {
            let compacted = store.compact(|_| {}).await.expect("a compaction");
            // The store's own two records are written anew too.
            assert_eq!(compacted.entries, 50 + expected + 2);
            assert!(compacted.bytes_after <= compacted.bytes_before, "{compacted:?}");
            assert_eq!(files_holding(folder.path(), SECRET), Vec::<PathBuf>::new());
            store.commit(put(&[format!("round-{round}")], b"x")).await.expect("it goes on");
            expected += 1;
        }
        assert!(folder_bytes(folder.path()) * 2 < bytes, "{} of {bytes}", folder_bytes(folder.path()));
        drop(store);
        let store = open(folder.path()).expect("the store");
        let after = all(&store).await.expect("a scan");
        assert!(before.iter().all(|entry| after.contains(entry)) && after.len() == 53);
        let check = store.check(|_| {}).await.expect("a check");
        assert_eq!((check.entries, check.damaged), (55, 0));
    });
}

#[test]
fn it_is_read_and_written_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        fill_and_remove(&store).await;
        let (told, stages) = std::sync::mpsc::channel();
        let compacting = tokio::spawn({
            let store = store.clone();
            let tell = move |progress: CompactProgress| told.send(progress.stage).expect("it is received");
            async move { store.compact(tell).await }
        });
        let writers = (0..4_u32).map(|lane| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..50_u32 {
                    let key = format!("lane-{lane}-{number:03}");
                    store.commit(put(std::slice::from_ref(&key), b"x")).await.expect("a batch");
                    assert_eq!(store.get(SPACE, key.as_bytes()).await.expect("a read"), Some(b"x".to_vec()));
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer");
        }
        compacting.await.expect("no panic").expect("a compaction");
        assert!(stages.iter().all(|stage| matches!(stage, CompactStage::Writing | CompactStage::Verifying)));
        drop(store);
        let store = open(folder.path()).expect("the store");
        assert_eq!(all(&store).await.expect("a scan").len(), 50 + 200);
    });
}

/// Batches are acknowledged while the data is copied: the copy goes on only once one of each kind is.
#[test]
fn batches_do_not_wait_for_a_compaction() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        fill_and_remove(&store).await;
        // Enough for a word on how far it is.
        for first in (0..3_000).step_by(500) {
            let keys: Vec<String> = (first..first + 500).map(|number| format!("more-{number:05}")).collect();
            store.commit(put(&keys, b"before")).await.expect("a batch");
        }
        let (told, stages) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let compacting = tokio::spawn({
            let store = store.clone();
            let mut waits = Some(waits);
            let tell = move |progress: CompactProgress| {
                let _ = told.send(progress.stage);
                if let Some(waits) = waits.take() {
                    waits.recv().expect("it is told to go on");
                }
            };
            async move { store.compact(tell).await }
        });
        let mut stages = stages;
        assert_eq!(stages.recv().await, Some(CompactStage::Writing));
        // Keys that are copied already and keys that are not: changed, removed, and new ones.
        for key in ["more-00000", "more-02999", "new-00000", "zz"] {
            store.commit(put(&[key.to_owned()], b"meanwhile")).await.expect("a batch");
        }
        assert_eq!(store.remove_prefix(SPACE, b"more-001").await.expect("a removal"), 100);
        assert_eq!(store.remove_prefix(SPACE, b"more-028").await.expect("a removal"), 100);
        go_on.send(()).expect("it waits");
        compacting.await.expect("no panic").expect("a compaction");
        let after = all(&store).await.expect("a scan");
        assert_eq!(after.len(), 50 + 3_000 - 200 + 1);
        for key in ["more-00000", "more-02999", "new-00000", "zz"] {
            assert!(after.contains(&(key.as_bytes().to_vec(), b"meanwhile".to_vec())), "{key}");
        }
        drop(store);
        let store = open(folder.path()).expect("the store");
        assert_eq!(all(&store).await.expect("a scan"), after);
        assert_eq!(store.check(|_| {}).await.expect("a check").damaged, 0);
    });
}

/// What a compaction leaves when it is cut off between two of its steps, made by hand from the folders before and after.
#[test]
fn every_state_of_a_compaction_opens() {
    let (before, after) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    runtime().block_on(async {
        let store = open(before.path()).expect("a store");
        fill_and_remove(&store).await;
        drop(store);
        copy(before.path(), after.path());
        open(after.path()).expect("the store").compact(|_| {}).await.expect("a compaction");
    });
    type Cut = fn(&Path, &Path);
    let cases: [(&str, Cut); 6] = [
        ("an empty folder of the next", |folder, _| {
            fs::create_dir(folder.join("generation-1")).expect("a folder");
        }),
        ("half of the next", |folder, after| {
            copy(&after.join("generation-1"), &folder.join("generation-1"));
            let log = folder.join("generation-1/db");
            let bytes = fs::read(&log).expect("the log");
            fs::write(&log, &bytes[..bytes.len() / 3]).expect("the log");
        }),
        ("the next, and no pointer", |folder, after| {
            copy(&after.join("generation-1"), &folder.join("generation-1"));
        }),
        ("the next, and a pointer that is not renamed", |folder, after| {
            copy(&after.join("generation-1"), &folder.join("generation-1"));
            fs::copy(after.join("current"), folder.join("current.next")).expect("a copy");
        }),
        ("both and the pointer", |folder, after| copy(after, folder)),
        ("the next and half of the one before", |folder, after| {
            copy(after, folder);
            fs::remove_file(folder.join("db")).expect("the log");
        }),
    ];
    for (case, cut) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        copy(before.path(), folder.path());
        cut(folder.path(), after.path());
        runtime().block_on(async {
            for _ in 0..2 {
                let store = open(folder.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(all(&store).await.expect(case).len(), 50, "{case}");
                let one = folder.path().join("db").exists() ^ folder.path().join("generation-1").exists();
                assert!(one, "{case}: one generation is left");
            }
            let store = open(folder.path()).expect(case);
            store.compact(|_| {}).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(all(&store).await.expect(case).len(), 50, "{case}");
        });
    }
}

#[test]
fn a_damaged_pointer_is_told() {
    let whole = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(whole.path()).expect("a store");
        store.commit(put(&["a".to_owned()], b"x")).await.expect("a batch");
        store.compact(|_| {}).await.expect("a compaction");
    });
    let pointer = fs::read(whole.path().join("current")).expect("the pointer");
    let mut cases: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new()), Some(vec![b'1'; 1 << 20])];
    cases.extend((0..pointer.len()).map(|at| {
        let mut changed = pointer.clone();
        changed[at] ^= 1;
        Some(changed)
    }));
    for case in cases {
        let folder = tempfile::tempdir().expect("a folder");
        copy(whole.path(), folder.path());
        match &case {
            Some(bytes) => fs::write(folder.path().join("current"), bytes).expect("the pointer"),
            None => fs::remove_file(folder.path().join("current")).expect("the pointer"),
        }
        let error = open(folder.path()).expect_err("a damaged pointer");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("`current`"), "{error}");
        assert!(folder.path().join("generation-1/db").exists(), "the data is left alone");
    }
}

#[test]
fn damage_is_not_copied() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let keys = ["a", "b", "c"].map(str::to_owned);
        open(folder.path()).expect("a store").commit(put(&keys, b"value")).await.expect("a batch");
        let db = sled::open(folder.path()).expect("the raw store");
        db.insert(b"test\0b", b"damaged").expect("a write");
        drop(db);
        let store = open(folder.path()).expect("the store");
        let error = store.compact(|_| {}).await.expect_err("damage");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!folder.path().join("generation-1").exists());
        // It goes on with what it has.
        store.commit(put(&["d".to_owned()], b"x")).await.expect("a batch");
        assert_eq!(store.get(SPACE, b"a").await.expect("a read"), Some(b"value".to_vec()));
        // The damaged value can be removed, though it cannot be read.
        assert_eq!(store.remove_prefix(SPACE, b"b").await.expect("a removal"), 1);
        store.compact(|_| {}).await.expect("a compaction");
    });
}

#[test]
fn namespaces_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        assert_eq!(store.namespaces().await.expect("a list"), []);
        let batch =
            Batch::new().put("b", b"1", vec![0; 10]).put("b", b"22", vec![]).put("a", b"", vec![0; 5]);
        store.commit(batch).await.expect("a batch");
        let counted = |namespace: &str, entries, bytes| NamespaceStats {
            namespace: namespace.to_owned(),
            entries,
            bytes,
        };
        let wanted = [counted("a", 1, 5), counted("b", 2, 13)];
        assert_eq!(store.namespaces().await.expect("a list"), wanted);
        store.compact(|_| {}).await.expect("a compaction");
        assert_eq!(store.namespaces().await.expect("a list"), wanted);
    });
}

#[test]
fn more_keys_than_a_batch_are_removed() {
    const KEYS: u32 = 120_000;
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        for first in (0..KEYS).step_by(20_000) {
            let batch = (first..first + 20_000).fold(Batch::new(), |batch, number| {
                batch.put(SPACE, &[b"p", &number.to_be_bytes()[..]].concat(), vec![1])
            });
            store.commit(batch).await.expect("a batch");
        }
        let others =
            Batch::new().put(SPACE, b"o", vec![]).put(SPACE, b"q", vec![]).put("test2", b"p", vec![]);
        store.commit(others).await.expect("a batch");
        assert_eq!(store.remove_prefix(SPACE, b"p").await.expect("a removal"), u64::from(KEYS));
        assert_eq!(store.remove_prefix(SPACE, b"p").await.expect("a removal"), 0);
        let left: Vec<_> = all(&store).await.expect("a scan").into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, [b"o", b"q"]);
        assert_eq!(store.get("test2", b"p").await.expect("a read"), Some(vec![]), "its neighbour");
    });
}
