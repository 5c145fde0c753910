//! A knowledge base with so many chunks that they are linked: searches go on while that is done.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::stream;
use puna_knowledge::{
    BaseOptions, IngestOptions, Input, KnowledgeBase, Precision, Scan, SearchMode, SearchOptions,
    SplitOptions, Unit,
};
use serde_json::json;

use crate::support::{HashEmbedder, Place, check_sound, input, runtime};

const DOCUMENTS: usize = 28;

/// With 20,000 rows there is a graph.
const CHUNKS: usize = 1_000;

/// Words of a chunk.
const WORDS: usize = 6;

/// What a chunk says: numbers, others in each, so that no two are the same and some are near.
fn chunk(number: usize) -> String {
    let word = |word: usize| ((number * WORDS + word) * 7919 % 99_991).to_string();
    (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
}

fn document(number: usize) -> Input {
    let text: Vec<String> = (number * CHUNKS..(number + 1) * CHUNKS).map(chunk).collect();
    input(&number.to_string(), &text.join("\n\n"), json!({}))
}

async fn open(place: &Place) -> KnowledgeBase {
    let split = SplitOptions { unit: Unit::Words, size: WORDS, overlap: 0, ..SplitOptions::default() };
    let options = BaseOptions { split: Some(split), precision: Precision::F16, ..BaseOptions::default() };
    let embedder = Arc::new(HashEmbedder { dimension: 64, seed: 3 });
    place.open().open("tests", "many", &options, embedder).await.expect("a base")
}

/// The documents that are found for the first chunk of one.
async fn asked(base: &KnowledgeBase, number: usize, scan: Scan) -> Vec<String> {
    let options = SearchOptions { mode: SearchMode::Vector, scan, ..SearchOptions::default() };
    let hits = base.search(&chunk(number * CHUNKS), 3, &options, None).await.expect("hits");
    hits.into_iter().map(|hit| hit.document).collect()
}

#[test]
fn searches_go_on_while_rows_are_linked() {
    let runtime = runtime();
    runtime.block_on(async {
        let place = Place::new();
        let base = open(&place).await;
        let (searches, written, over) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let searching = {
            let (base, searches, written, over) =
                (base.clone(), Arc::clone(&searches), Arc::clone(&written), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    // What is acknowledged is found, whether it is linked or not.
                    let there = written.load(Ordering::SeqCst);
                    if there > 0 {
                        let last = there - 1;
                        let found = asked(&base, last, Scan::Auto).await;
                        assert!(found.contains(&last.to_string()), "{last}: {found:?}");
                    }
                    searches.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        };
        // How many searches there were when the last document was written.
        let before = AtomicUsize::new(0);
        let documents = stream::iter((0..DOCUMENTS).map(|number| Ok(document(number))));
        let report = base
            .ingest(documents, &IngestOptions::default(), &|progress| {
                written.store(progress.documents, Ordering::SeqCst);
                before.store(searches.load(Ordering::SeqCst), Ordering::SeqCst);
            })
            .await
            .expect("an ingestion");
        assert_eq!(report.chunks, DOCUMENTS * CHUNKS);
        let during = searches.load(Ordering::SeqCst) - before.load(Ordering::SeqCst);
        over.store(true, Ordering::SeqCst);
        searching.await.expect("no search failed");
        // A search that waits for the graph would be one or two.
        assert!(during > 10, "{during} searches while rows were linked");

        for number in 0..DOCUMENTS {
            assert!(asked(&base, number, Scan::Graph).await.contains(&number.to_string()));
        }
        // What is removed is found no more, before it is taken out of the graph and after.
        for number in 0..6 {
            base.remove(&number.to_string()).await.expect("removed");
            assert!(!asked(&base, number, Scan::Auto).await.contains(&number.to_string()));
        }
        base.snapshot(true).await.expect("a snapshot");
        check_sound(&base).await;
        drop(base);
        let base = open(&place).await;
        check_sound(&base).await;
        for number in 6..DOCUMENTS {
            assert!(asked(&base, number, Scan::Graph).await.contains(&number.to_string()));
        }
    });
}
