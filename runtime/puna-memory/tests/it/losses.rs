//! A store that has lost or changed part of a session, or that others write to meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Journal};
use puna_memory::Conversations;
use puna_store::{Batch, NamespaceStats, SledStore, Stats, Store, StoreOptions};

use crate::{block_on, said, texts};

/// Where the crate keeps entries and summaries.
const ENTRIES: &str = "session-entry";
const SUMMARIES: &str = "session";

fn store(folder: &tempfile::TempDir) -> SledStore {
    SledStore::open(folder.path(), &StoreOptions::default()).expect("a store")
}

/// A change to what the store holds of the session `s`, given its entries in order.
type Change = fn(&[(Vec<u8>, Vec<u8>)]) -> Batch;

#[test]
fn losses_are_told() {
    let cases: [(&str, Change); 9] = [
        ("the first entry", |entries| Batch::new().remove(ENTRIES, &entries[0].0)),
        ("an entry between", |entries| Batch::new().remove(ENTRIES, &entries[2].0)),
        ("the last entry", |entries| Batch::new().remove(ENTRIES, &entries[4].0)),
        ("every entry", |entries| {
            entries.iter().fold(Batch::new(), |batch, (key, _)| batch.remove(ENTRIES, key))
        }),
        ("the summary", |_| Batch::new().remove(SUMMARIES, b"s")),
        ("an older summary", |_| {
            let older = br#"{"session":"s","records":4,"created_ms":1,"updated_ms":1}"#;
            Batch::new().put(SUMMARIES, b"s", older.to_vec())
        }),
        ("a summary that is none", |_| Batch::new().put(SUMMARIES, b"s", b"{}".to_vec())),
        ("half an entry", |entries| {
            let (key, value) = &entries[3];
            Batch::new().put(ENTRIES, key, value[..value.len() / 2].to_vec())
        }),
        ("an entry twice", |entries| Batch::new().put(ENTRIES, &entries[3].0, entries[2].1.clone())),
    ];
    for (loss, change) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let store = store(&folder);
            let journal = Conversations::new(Arc::new(store.clone()));
            let records = ["0", "1", "2", "3", "4"].map(said);
            journal.append("s", 0, &records).await.expect("entries");
            let entries = store.scan(ENTRIES, &[], &[], usize::MAX).await.expect("entries");
            assert_eq!(entries.len(), 5);
            journal.append("s2", 0, &records).await.expect("its neighbour");
            store.commit(change(&entries)).await.expect("a change");
            let error = journal.read("s", 0).await.expect_err(loss);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{loss}: {error}");
            assert!(error.to_string().contains("session `s` does not read back"), "{loss}: {error}");
            let mut out = Vec::new();
            let error = journal.export("s", &mut out).await.expect_err(loss);
            assert_eq!((error.kind(), out.len()), (ErrorKind::Corrupt, 0), "{loss}: nothing is exported");
            assert_eq!(journal.read("s2", 0).await.expect("its neighbour").len(), 5, "{loss}");
        });
    }
}

/// What somebody else does.
type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

type Act = fn(Conversations) -> Work;

/// A store in which, at a certain look, somebody else is faster.
struct Busy {
    store: SledStore,
    looks: AtomicUsize,
    /// At which look, and what happens just before it.
    at: usize,
    what: Act,
}

impl Busy {
    async fn look(&self) {
        if self.looks.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.what)(Conversations::new(Arc::new(self.store.clone()))).await;
        }
    }
}

#[async_trait]
impl Store for Busy {
    async fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.look().await;
        self.store.get(namespace, key).await
    }

    async fn scan(
        &self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<puna_store::Entry>, Error> {
        self.look().await;
        self.store.scan(namespace, prefix, from, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.look().await;
        self.store.commit(batch).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.store.stats().await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceStats>, Error> {
        self.store.namespaces().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.store.health().await
    }
}

fn appends(journal: Conversations) -> Work {
    Box::pin(async move {
        let next = journal.read("s", 0).await.expect("entries").len() as u64;
        journal.append("s", next, &[said("other"), said("other")]).await.expect("an append");
    })
}

fn deletes(journal: Conversations) -> Work {
    Box::pin(async move {
        journal.delete("s").await.expect("a deletion");
    })
}

/// What an answer may be while somebody else writes: as before it or as after it, never something between.
#[test]
fn others_may_write_at_any_moment() {
    let acts: [(&str, Act, &[&str]); 2] =
        [("appends", appends, &["mine", "mine", "other", "other"]), ("deletes", deletes, &[])];
    for (name, what, after) in acts {
        for at in 0..6 {
            let folder = tempfile::tempdir().expect("a folder");
            block_on(async {
                let store = store(&folder);
                let before = ["mine", "mine"];
                let plain = Conversations::new(Arc::new(store.clone()));
                // The busy journal, over a session as it was before.
                let busy = async || {
                    plain.delete("s").await.expect("a deletion");
                    plain.append("s", 0, &before.map(said)).await.expect("entries");
                    let busy = Busy { store: store.clone(), looks: AtomicUsize::new(0), at, what };
                    Conversations::new(Arc::new(busy))
                };
                let case = format!("somebody {name} before look {at}");

                let read = texts(&busy().await.read("s", 0).await.expect(&case));
                assert!(read == before || read == after, "{case}: {read:?}");

                let mut out = Vec::new();
                match busy().await.export("s", &mut out).await {
                    Ok(()) => {
                        plain.import(&mut &out[..], Some("copy")).await.expect(&case);
                        let copy = texts(&plain.read("copy", 0).await.expect("entries"));
                        assert!(copy == before || copy == after, "{case}: {copy:?}");
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{case}: {error}"),
                }

                match busy().await.append("s", 2, &[said("late")]).await {
                    Ok(next) => assert_eq!(next, 3, "{case}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}"),
                }
                plain.read("s", 0).await.expect(&case);

                match busy().await.delete("s").await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}"),
                }
                plain.read("s", 0).await.expect(&case);
            });
        }
    }
}
