//! Any bytes as a record, a vector or a count of facts in the store: they are read, or told to be damaged, and nothing else.
#![no_main]

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use puna_core::{Embedder, ErrorKind};
use puna_memory::{FactScope, Facts, NewFact};
use puna_store::{Batch, SledStore, Store, StoreOptions};
use tokio::runtime::{Builder, Runtime};

/// What the facts are kept under.
const NAMESPACES: [&str; 3] = ["fact", "fact-vector", "fact-count"];

struct Length;

#[async_trait]
impl Embedder for Length {
    fn dimension(&self) -> usize {
        2
    }

    async fn embed(&self, texts: &[String]) -> puna_core::Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect())
    }

    fn fingerprint(&self) -> String {
        "length".to_owned()
    }
}

struct Place {
    _folder: tempfile::TempDir,
    runtime: Runtime,
    store: SledStore,
    facts: Facts,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let store = SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
    let facts = Facts::new(Arc::new(store.clone())).with_embedder(Arc::new(Length)).expect("short vectors");
    Place { _folder: folder, runtime, store, facts }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, value)) = data.split_first() else { return };
    let Place { runtime, store, facts, .. } = &*PLACE;
    runtime.block_on(async {
        let scope = FactScope::of_user("ada");
        let fact = NewFact { subject: "Ada".to_owned(), text: "takes the train".to_owned(), ..NewFact::default() };
        facts.remember(&scope, fact.clone()).await.expect("a fact");
        let namespace = NAMESPACES[usize::from(*first) % NAMESPACES.len()];
        let keys = store.keys(namespace, &[], &[], usize::MAX).await.expect("keys");
        for key in &keys {
            store.commit(Batch::new().put(namespace, key, value.to_vec())).await.expect("a change");
        }
        let told = |result: puna_core::Result<()>| {
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
        };
        told(facts.list(&scope, true).await.map(|_| ()));
        told(facts.search(&scope, "Who takes the train?", 5).await.map(|_| ()));
        told(facts.remember(&scope, fact).await.map(|_| ()));
        for namespace in NAMESPACES {
            for key in store.keys(namespace, &[], &[], usize::MAX).await.expect("keys") {
                store.commit(Batch::new().remove(namespace, &key)).await.expect("a change");
            }
        }
    });
});
