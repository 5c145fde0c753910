//! Another embedding model: the old index answers until the new one is ready.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use puna_core::{Embedder, Error, ErrorKind, Result};
use puna_knowledge::{Input, SearchMode, SearchOptions};
use serde_json::json;

use crate::support::{HashEmbedder, Place, add, base, block_on, check_sound, counts, found, input, small};

/// Another model, which is slow, and can fail after some texts.
struct Slow {
    inner: HashEmbedder,
    texts: AtomicUsize,
    fails_after: usize,
}

fn slow(fails_after: usize) -> Arc<Slow> {
    Arc::new(Slow { inner: HashEmbedder { dimension: 48, seed: 9 }, texts: AtomicUsize::new(0), fails_after })
}

#[async_trait]
impl Embedder for Slow {
    fn dimension(&self) -> usize {
        self.inner.dimension
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let before = self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        if before > self.fails_after {
            return Err(Error::new(ErrorKind::Unavailable, "the model went away"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        self.inner.embed(texts).await
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }
}

fn documents(from: usize, to: usize) -> Vec<Input> {
    (from..to)
        .map(|n| input(&format!("d{n}"), &format!("Llama number {n} has the name x{n}."), json!({})))
        .collect()
}

#[test]
fn the_old_model_answers_until_the_new_one_is_ready() {
    block_on(async {
        let place = Place::new();
        let knowledge = place.open();
        let base = base(&knowledge, "llamas").await;
        add(&base, documents(0, 80)).await;
        let old = base.embedding();
        let new = slow(usize::MAX);
        let embedding = {
            let (base, new) = (base.clone(), Arc::clone(&new));
            tokio::spawn(async move { base.reembed(new, &|_| ()).await })
        };
        let by_vector = SearchOptions { mode: SearchMode::Vector, ..SearchOptions::default() };
        let mut during = 0;
        while !embedding.is_finished() {
            assert_eq!(found(&base, "Llama number 7 has the name x7.", &by_vector).await[0], "d7");
            if during == 2 {
                // What comes meanwhile is embedded by both.
                assert_eq!(counts(&add(&base, documents(80, 90)).await), [10, 0, 0, 0, 0]);
                base.remove("d3").await.expect("removed");
            }
            during += usize::from(base.embedding() == old);
        }
        assert!(during > 3, "searches were answered meanwhile: {during}");
        let embedded = embedding.await.expect("it ends").expect("embedded");
        assert!((80..=90).contains(&embedded), "each chunk once: {embedded}");
        assert_eq!(base.embedding().dimension, 48);
        assert_eq!(found(&base, "Llama number 85 has the name x85.", &by_vector).await[0], "d85");
        assert_eq!(base.documents().len(), 89);
        check_sound(&base).await;
        drop(base);
        // The next process needs the new model.
        let old =
            knowledge.open_existing("tests", "llamas", &small(), Arc::new(HashEmbedder::default())).await;
        let base = old.expect("it opens");
        let error = base.search("x7", 3, &by_vector, None).await.expect_err("another model");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let by_words = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        assert_eq!(found(&base, "x7", &by_words).await, ["d7"], "words need no model");
    });
}

#[test]
fn what_was_interrupted_goes_on() {
    block_on(async {
        let place = Place::new();
        {
            let base = base(&place.open(), "llamas").await;
            add(&base, documents(0, 40)).await;
            let error = base.reembed(slow(15), &|_| ()).await.expect_err("it fails");
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            // The old one is as it was.
            assert_eq!(
                found(&base, "Llama number 7 has the name x7.", &SearchOptions::default()).await[0],
                "d7"
            );
            base.remove("d2").await.expect("removed");
        }
        let knowledge = place.open();
        let new = slow(usize::MAX);
        let base = knowledge
            .open_existing("tests", "llamas", &small(), Arc::clone(&new) as _)
            .await
            .expect("a base");
        let embedded = base.reembed(new, &|_| ()).await.expect("embedded");
        assert!((10..30).contains(&embedded), "{embedded}");
        assert_eq!(found(&base, "Llama number 7 has the name x7.", &SearchOptions::default()).await[0], "d7");
        check_sound(&base).await;
    });
}
