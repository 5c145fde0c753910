//! What goes in comes out, in this process and the next; what is removed is gone everywhere.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{Embedder, Error, ErrorKind, Result};
use puna_knowledge::{
    BaseOptions, Failure, IngestOptions, Input, MAX_DOCUMENT_BYTES, Metric, Precision, SearchMode,
    SearchOptions,
};
use puna_store::{SledStore, Store, StoreOptions};
use serde_json::json;

use crate::support::{
    HashEmbedder, Place, add, add_as, base, block_on, check_sound, counts, found, input, small,
};

fn texts() -> Vec<Input> {
    vec![
        input(
            "llama",
            "The llama hums. Llamas carry wool over the cold highland of the Andes.",
            json!({"kind": "animal"}),
        ),
        input("salar", "The salt flat of Uyuni is the largest of the world.", json!({"kind": "place"})),
        input("quinoa", "Quinoa is a grain that grows on the highland.", json!({"kind": "plant"})),
    ]
}

const KEYWORD: SearchMode = SearchMode::Keyword;

#[test]
fn documents_are_found_by_this_process_and_the_next() {
    block_on(async {
        let place = Place::new();
        for round in 0..3 {
            let knowledge = place.open();
            let base = base(&knowledge, "andes").await;
            let report = add(&base, texts()).await;
            let expected = if round == 0 { [3, 0, 0, 0, 0] } else { [0, 0, 3, 0, 0] };
            assert_eq!(counts(&report), expected);
            if round > 0 {
                assert_eq!(report.embedded, 0);
            }
            for mode in [SearchMode::Hybrid, SearchMode::Vector, KEYWORD] {
                let options = SearchOptions { mode, ..SearchOptions::default() };
                assert_eq!(found(&base, "salt flat", &options).await[0], "salar", "{mode:?}");
            }
            let hits = base.search("llama wool", 1, &SearchOptions::default(), None).await.expect("hits");
            let span = hits[0].span.expect("a span");
            let text = base.text(&hits[0].document).await.expect("the text");
            assert_eq!(&text[span.start as usize..span.end as usize], hits[0].text);
            assert_eq!(hits[0].metadata["kind"], "animal");
            check_sound(&base).await;
            if round == 1 {
                // A snapshot is not needed.
                base.snapshot(true).await.expect("a snapshot");
                fs::remove_dir_all(place.snapshots()).expect("there was one");
            }
        }
    });
}

#[test]
fn a_changed_document_takes_the_place_of_the_old_and_embeds_only_what_is_new() {
    block_on(async {
        let place = Place::new();
        let base = base(&place.open(), "andes").await;
        let long: String = (0..40)
            .map(|n| format!("Sentence number {n} speaks of llamas and of mountains here.\n\n"))
            .collect();
        let report = add(&base, vec![input("long", &long, json!({}))]).await;
        assert_eq!(report.embedded, report.chunks);
        let changed = long.replace("number 20 ", "number twenty ");
        let report = add(&base, vec![input("long", &changed, json!({}))]).await;
        assert_eq!(counts(&report), [0, 1, 0, 0, 0]);
        assert!(report.embedded <= 2 && report.chunks == 40, "{report:?}");
        assert_eq!(base.text("long").await.expect("the text"), changed);
        let by_words = SearchOptions { mode: KEYWORD, ..SearchOptions::default() };
        assert!(found(&base, "20", &by_words).await.is_empty(), "the old version is gone");
        assert_eq!(found(&base, "twenty", &by_words).await, ["long"]);
        // Other metadata is another version, with the same vectors.
        let report = add(&base, vec![input("long", &changed, json!({"a": 1}))]).await;
        assert_eq!((counts(&report), report.embedded), ([0, 1, 0, 0, 0], 0));
        check_sound(&base).await;
    });
}

#[test]
fn removal_leaves_nothing_behind() {
    block_on(async {
        let place = Place::new();
        let store = {
            let knowledge = place.open();
            let base = base(&knowledge, "andes").await;
            add(&base, texts()).await;
            assert!(base.remove("llama").await.expect("removed"));
            assert!(!base.remove("llama").await.expect("nothing to remove"));
            for mode in [SearchMode::Hybrid, SearchMode::Vector, KEYWORD] {
                let options = SearchOptions { mode, ..SearchOptions::default() };
                assert!(!found(&base, "llama hums wool", &options).await.contains(&"llama".to_owned()));
            }
            let error = base.text("llama").await.expect_err("gone");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            check_sound(&base).await;
            base.remove("salar").await.expect("removed");
            base.remove("quinoa").await.expect("removed");
            assert_eq!(base.stats().await.chunks, 0);
            drop(base);
            knowledge
        };
        assert!(store.remove("tests", "andes").await.expect("removed"));
        assert!(store.list("tests").await.expect("a list").is_empty());
        drop(store);
        let store =
            SledStore::open(&place.folder.path().join("store"), &StoreOptions::default()).expect("a store");
        assert!(store.scan("knowledge", &[], &[], 10).await.expect("a scan").is_empty(), "entries are left");
    });
}

#[test]
fn an_open_base_is_not_removed() {
    block_on(async {
        let knowledge = Place::new().open();
        let base = base(&knowledge, "andes").await;
        let error = knowledge.remove("tests", "andes").await.expect_err("open");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        drop(base);
        assert!(knowledge.remove("tests", "andes").await.expect("closed"));
        assert!(!knowledge.remove("tests", "andes").await.expect("none"));
    });
}

#[test]
fn what_a_source_has_no_more_goes() {
    block_on(async {
        let base = base(&Place::new().open(), "andes").await;
        let of = |source: &str| IngestOptions {
            source: source.to_owned(),
            prune: true,
            ..IngestOptions::default()
        };
        add_as(&base, vec![input("other", "Of another source.", json!({}))], &of("b")).await;
        assert_eq!(counts(&add_as(&base, texts(), &of("a")).await), [3, 0, 0, 0, 0]);
        let rest = texts().split_off(1);
        assert_eq!(counts(&add_as(&base, rest, &of("a")).await), [0, 0, 2, 1, 0]);
        let ids: Vec<String> = base.documents().iter().map(|document| document.id.clone()).collect();
        assert_eq!(ids, ["other", "quinoa", "salar"]);
        assert_eq!(base.remove_source("a").await.expect("removed"), 2);
        check_sound(&base).await;
    });
}

#[test]
fn documents_end() {
    block_on(async {
        let base = base(&Place::new().open(), "andes").await;
        let soon = IngestOptions { ttl: Some(Duration::from_secs(3600)), ..IngestOptions::default() };
        add_as(&base, texts(), &soon).await;
        add(&base, vec![input("stays", "A llama that stays.", json!({}))]).await;
        let ends = base.documents()[0].expires_ms.expect("it ends");
        assert_eq!(base.remove_expired(ends - 3_000_000).await.expect("none"), 0);
        assert_eq!(base.remove_expired(ends + 60_000).await.expect("all"), 3);
        assert_eq!(base.documents().len(), 1);
        check_sound(&base).await;
        // A search removes what has ended before it looks.
        let now = IngestOptions { ttl: Some(Duration::ZERO), ..IngestOptions::default() };
        add_as(&base, texts(), &now).await;
        assert_eq!(found(&base, "llama", &SearchOptions::default()).await, ["stays"]);
        check_sound(&base).await;
    });
}

#[test]
fn removals_shrink_the_indexes() {
    block_on(async {
        let base = base(&Place::new().open(), "many").await;
        let many: Vec<Input> = (0..2_000)
            .map(|n| {
                input(&format!("d{n}"), &format!("Document {n} is about subject {}.", n % 97), json!({}))
            })
            .collect();
        add(&base, many).await;
        let full = base.stats().await.index_bytes;
        for n in 0..1_500 {
            base.remove(&format!("d{n}")).await.expect("removed");
        }
        let rest = base.stats().await;
        assert!(rest.chunks == 500 && rest.index_bytes < full / 2, "{} of {full}", rest.index_bytes);
        assert_eq!(found(&base, "document 1999", &SearchOptions::default()).await[0], "d1999");
        check_sound(&base).await;
    });
}

/// Refuses texts that hold a word.
struct Picky(HashEmbedder, AtomicUsize);

#[async_trait]
impl Embedder for Picky {
    fn dimension(&self) -> usize {
        self.0.dimension
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        if texts.iter().any(|text| text.contains("poison")) {
            return Err(Error::invalid_input("a text is poison"));
        }
        self.0.embed(texts).await
    }

    fn fingerprint(&self) -> String {
        "picky".to_owned()
    }
}

#[test]
fn one_bad_document_does_not_stop_the_others() {
    block_on(async {
        let knowledge = Place::new().open();
        let embedder = Arc::new(Picky(HashEmbedder::default(), AtomicUsize::new(0)));
        let base = knowledge.open("tests", "picky", &small(), embedder).await.expect("a base");
        let inputs = vec![
            Ok(input("good", "A llama.", json!({}))),
            Ok(input("bad", "This is poison.", json!({}))),
            Err(Failure {
                id: "file".to_owned(),
                error: Error::new(ErrorKind::Denied, "cannot read `file`"),
            }),
            Ok(input("", "No name.", json!({}))),
            Ok(input("large", &"x".repeat(MAX_DOCUMENT_BYTES + 1), json!({}))),
            Ok(input("notes", "Much is known.", json!({"note": "n".repeat(20_000)}))),
            Ok(input("good", "Twice.", json!({}))),
            Ok(input("also good", "Another llama.", json!({}))),
            Ok(input("empty", " \n", json!({}))),
        ];
        let report =
            base.ingest(stream::iter(inputs), &IngestOptions::default(), &|_| ()).await.expect("a report");
        assert_eq!(counts(&report), [3, 0, 0, 0, 6]);
        let failed: Vec<(&str, &str)> = report.failed.iter().map(|f| (f.id.as_str(), f.kind)).collect();
        assert_eq!(
            failed,
            [
                ("bad", "invalid_input"),
                ("file", "denied"),
                ("", "invalid_input"),
                ("large", "resource_exhausted"),
                ("notes", "resource_exhausted"),
                ("good", "invalid_input"),
            ]
        );
        check_sound(&base).await;
    });
}

#[test]
fn a_snapshot_that_is_not_sound_is_made_again() {
    block_on(async {
        let place = Place::new();
        let add_some = |from: usize, to: usize| {
            (from..to)
                .map(|n| input(&format!("d{n}"), &format!("Number {n} of many."), json!({})))
                .collect::<Vec<_>>()
        };
        {
            let base = base(&place.open(), "andes").await;
            add(&base, add_some(0, 50)).await;
            base.snapshot(true).await.expect("a snapshot");
            // The snapshot does not know of these.
            add(&base, add_some(48, 52)).await;
            base.remove("d3").await.expect("removed");
        }
        let file = fs::read_dir(place.snapshots())
            .expect("a folder")
            .next()
            .expect("a file")
            .expect("a file")
            .path();
        let whole = fs::read(&file).expect("the file");
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            bytes
        };
        let wrongs = [
            whole.clone(),
            whole[..whole.len() - 1].to_vec(),
            whole[..20].to_vec(),
            Vec::new(),
            changed(3),
            changed(40),
            changed(whole.len() / 2),
            changed(whole.len() - 2),
            vec![0; 100],
        ];
        for wrong in wrongs {
            fs::write(&file, &wrong).expect("written");
            let base = base(&place.open(), "andes").await;
            assert_eq!(base.documents().len(), 51);
            check_sound(&base).await;
            assert!(!found(&base, "number 3", &SearchOptions::default()).await.contains(&"d3".to_owned()));
        }
        // Another precision is another snapshot.
        let knowledge = place.open();
        let options = BaseOptions { precision: Precision::I8, metric: Metric::Cosine, split: None };
        let base =
            knowledge.open_existing("tests", "andes", &options, Arc::new(HashEmbedder::default())).await;
        check_sound(&base.expect("a base")).await;
    });
}

#[test]
fn what_is_not_there_is_told() {
    block_on(async {
        let knowledge = Place::new().open();
        let open = |name: &'static str| {
            let knowledge = knowledge.clone();
            async move {
                let opened =
                    knowledge.open_existing("tests", name, &small(), Arc::new(HashEmbedder::default())).await;
                opened.err().expect("an error")
            }
        };
        let error = open("none").await;
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("`none`"), "{error}");
        for name in ["", " a", "a\0b", "a*b"] {
            assert_eq!(open(name).await.kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    });
}
