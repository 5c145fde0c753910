//! Scores of searches by words beside those of another implementation of BM25.

use std::{collections::BTreeMap, sync::Arc};

use puna_knowledge::{BaseOptions, SearchMode, SearchOptions, SplitOptions, Unit};
use serde::Deserialize;
use serde_json::json;

use crate::support::{HashEmbedder, Place, add, block_on, input};

/// What `make.py` beside it wrote.
const SCORES: &str = include_str!("../../../../tests/collections/bm25/scores.json");

/// How far scores may be apart, as a share: the other one computes in 32 bits too, in another order.
const SHARE: f64 = 1e-4;

#[derive(Deserialize)]
struct Collection {
    documents: Vec<String>,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    text: String,
    /// By the number of each document that has a word of the question.
    scores: BTreeMap<String, f64>,
}

#[test]
fn scores_are_those_of_bm25s() {
    let collection: Collection = serde_json::from_str(SCORES).expect("the scores");
    block_on(async {
        let place = Place::new();
        let split = SplitOptions { unit: Unit::Words, size: 500, ..SplitOptions::default() };
        let options = BaseOptions { split: Some(split), ..BaseOptions::default() };
        let (knowledge, embedder) = (place.open(), Arc::new(HashEmbedder::default()));
        let base = knowledge.open("tests", "bm25", &options, embedder).await.expect("a base");
        let documents = collection.documents.iter().enumerate();
        add(&base, documents.map(|(number, text)| input(&number.to_string(), text, json!({}))).collect())
            .await;
        let options = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        let mut compared = 0;
        for Question { text, scores } in &collection.questions {
            let hits = base.search(text, 500, &options, None).await.expect("a search");
            assert!(hits.is_sorted_by(|a, b| a.score >= b.score), "{text}");
            let found: BTreeMap<String, f64> =
                hits.into_iter().map(|hit| (hit.document, hit.score)).collect();
            assert!(found.keys().eq(scores.keys()), "`{text}` finds {found:?}, not {scores:?}");
            for (document, score) in scores {
                let own = found[document];
                assert!((own - score).abs() <= SHARE * score, "`{text}` in {document}: {own}, not {score}");
                compared += 1;
            }
        }
        assert!(compared > 500, "only {compared} scores were compared");
    });
}
