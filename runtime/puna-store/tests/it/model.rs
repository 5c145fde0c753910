//! Any sequence of batches, scans and reopenings gives what an ordered map gives.

use std::collections::BTreeMap;

use proptest::prelude::*;
use puna_core::ErrorKind;
use puna_store::{Batch, SledStore, Store};

use crate::{SPACE, open, runtime};

type Key = Vec<u8>;

#[derive(Clone, Debug)]
enum Step {
    /// Conditions that hold or not, then writes; a value of none removes.
    Commit(Vec<(Key, bool)>, Vec<(Key, Option<Vec<u8>>)>),
    Get(Key),
    Scan(Key, Key, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 97, 98, 254, 255]), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let conditions = prop::collection::vec((key(), prop::bool::weighted(0.9)), 0..2);
    prop_oneof![
        6 => (conditions, prop::collection::vec((key(), value), 0..6))
            .prop_map(|(conditions, writes)| Step::Commit(conditions, writes)),
        3 => key().prop_map(Step::Get),
        3 => (key(), key(), 0usize..8).prop_map(|(prefix, from, limit)| Step::Scan(prefix, from, limit)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_ordered_map(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        runtime().block_on(async {
            let mut store = open(folder.path()).expect("a store");
            // A neighbour whose name begins alike must never be seen.
            let neighbour = Batch::new().put("test2", b"a", vec![1]).put("tes", b"t\0a", vec![2]);
            store.commit(neighbour).await.expect("a batch");
            for step in steps {
                match step {
                    Step::Commit(conditions, writes) => {
                        let mut batch = Batch::new();
                        let mut holds = true;
                        for (key, right) in &conditions {
                            let found = model.get(key).cloned();
                            let expected = if *right { found } else { Some(b"something else entirely".repeat(3)) };
                            holds &= right;
                            batch = batch.expect(SPACE, key, expected.as_deref());
                        }
                        for (key, value) in &writes {
                            batch = match value {
                                Some(value) => batch.put(SPACE, key, value.clone()),
                                None => batch.remove(SPACE, key),
                            };
                        }
                        match store.commit(batch).await {
                            Ok(()) => {
                                assert!(holds, "a batch was performed whose condition does not hold");
                                for (key, value) in writes {
                                    match value {
                                        Some(value) => model.insert(key, value),
                                        None => model.remove(&key),
                                    };
                                }
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Conflict);
                                assert!(!holds, "a batch was refused whose conditions hold");
                            }
                        }
                    }
                    Step::Get(key) => {
                        assert_eq!(store.get(SPACE, &key).await.expect("a read"), model.get(&key).cloned());
                    }
                    Step::Scan(prefix, from, limit) => {
                        let wanted: Vec<_> = model
                            .iter()
                            .filter(|(key, _)| key.starts_with(&prefix) && **key >= from)
                            .take(limit)
                            .map(|(key, value)| (key.clone(), value.clone()))
                            .collect();
                        assert_eq!(store.scan(SPACE, &prefix, &from, limit).await.expect("a scan"), wanted);
                    }
                    Step::Reopen => {
                        drop(store);
                        store = open(folder.path()).expect("the store again");
                    }
                }
            }
            drop(store);
            let store = open(folder.path()).expect("the store again");
            let wanted: Vec<_> = model.into_iter().collect();
            assert_eq!(crate::all(&store).await.expect("a scan"), wanted);
        });
    }
}

/// Adds one to a shared counter, however often somebody else is faster.
async fn add_one(store: &SledStore, own: &str) {
    loop {
        let found = store.get(SPACE, b"counter").await.expect("a read");
        let count =
            found.as_deref().map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("a counter")));
        let batch = Batch::new()
            .expect(SPACE, b"counter", found.as_deref())
            .put(SPACE, b"counter", (count + 1).to_be_bytes().to_vec())
            .put(SPACE, own.as_bytes(), count.to_be_bytes().to_vec());
        match store.commit(batch).await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
}

#[test]
fn many_tasks_write_at_once() {
    const TASKS: u64 = 16;
    const EACH: u64 = 10;
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..EACH {
                        let own = format!("own-{task:02}-{number}");
                        store
                            .commit(crate::put(std::slice::from_ref(&own), own.as_bytes()))
                            .await
                            .expect("a batch");
                        add_one(&store, &format!("sum-{task:02}-{number}")).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
        drop(store);
        let store = open(folder.path()).expect("the store again");
        let own = store.scan(SPACE, b"own-", &[], usize::MAX).await.expect("a scan");
        assert_eq!(own.len() as u64, TASKS * EACH);
        assert!(own.iter().all(|(key, value)| key == value), "each has its own value");
        let sums = store.scan(SPACE, b"sum-", &[], usize::MAX).await.expect("a scan");
        let mut counts: Vec<u64> = sums
            .iter()
            .map(|(_, value)| u64::from_be_bytes(value[..].try_into().expect("a counter")))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, (0..TASKS * EACH).collect::<Vec<_>>(), "no count was taken twice, none is lost");
        let counter = store.get(SPACE, b"counter").await.expect("a read");
        assert_eq!(counter, Some((TASKS * EACH).to_be_bytes().to_vec()));
        assert!(store.stats().await.expect("figures").disk_bytes > 0);
    });
}
