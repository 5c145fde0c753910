//! Searches: ways, filters, variety, judging again, parents, pages.

use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;
use puna_core::{ErrorKind, Reranker, Result, Retriever};
use puna_knowledge::{
    BaseOptions, BaseRetriever, Filter, KnowledgeBase, MAX_FILTER_DEPTH, Precision, SearchMode,
    SearchOptions, SplitOptions, Unit,
};
use serde_json::{Value, json};

use crate::support::{HashEmbedder, Place, add, base, block_on, found, input, small};

/// What a filter finds in ten documents with numbers, tags and objects.
#[track_caller]
fn check_filter(filter: Value, expected: &[usize]) {
    let parsed: Filter = serde_json::from_value(filter.clone()).expect("a filter");
    assert_eq!(serde_json::to_value(&parsed).expect("JSON"), filter, "it is written as it is read");
    block_on(async {
        let base = base(&Place::new().open(), "filters").await;
        let inputs = (0..10).map(|n| {
            let mut metadata = json!({
                "n": n, "half": n as f64 / 2.0, "even": n % 2 == 0, "name": format!("name{n}"),
                "tags": [format!("t{}", n % 3), "all"], "author": {"name": format!("a{}", n % 2)},
            });
            if n > 7 {
                metadata["rare"] = Value::Null;
                metadata["late"] = json!("2026-01-01");
            }
            input(&format!("{n}"), &format!("The same words in document {n}."), metadata)
        });
        add(&base, inputs.collect()).await;
        for mode in [SearchMode::Hybrid, SearchMode::Vector, SearchMode::Keyword] {
            let options = SearchOptions { mode, filter: Some(parsed.clone()), ..SearchOptions::default() };
            let mut ids: Vec<usize> = found(&base, "same words", &options)
                .await
                .iter()
                .map(|id| id.parse().expect("a number"))
                .collect();
            ids.sort_unstable();
            assert_eq!(ids, expected, "{filter} by {mode:?}");
        }
    });
}

#[test]
fn filters_hold_of_what_they_say() {
    check_filter(json!({"eq": ["n", 3]}), &[3]);
    check_filter(json!({"eq": ["half", 2]}), &[4]);
    check_filter(json!({"eq": ["n", "3"]}), &[]);
    check_filter(json!({"ne": ["even", true]}), &[1, 3, 5, 7, 9]);
    check_filter(json!({"ne": ["late", "2026-01-01"]}), &[0, 1, 2, 3, 4, 5, 6, 7]);
    check_filter(json!({"lt": ["half", 1.5]}), &[0, 1, 2]);
    check_filter(json!({"lt": ["name", 5]}), &[]);
    check_filter(json!({"and": [{"gte": ["n", 2]}, {"lte": ["n", 4]}]}), &[2, 3, 4]);
    check_filter(json!({"or": [{"gt": ["n", 8]}, {"in": ["name", ["name0", "name1"]]}]}), &[0, 1, 9]);
    check_filter(json!({"not": {"contains": ["tags", "t0"]}}), &[1, 2, 4, 5, 7, 8]);
    check_filter(json!({"contains": ["name", "me7"]}), &[7]);
    check_filter(json!({"exists": "late"}), &[8, 9]);
    check_filter(json!({"exists": "rare"}), &[]);
    check_filter(json!({"eq": ["author.name", "a1"]}), &[1, 3, 5, 7, 9]);
    check_filter(json!({"in": ["_id", ["2", "5"]]}), &[2, 5]);
    check_filter(json!({"gt": ["late", "2025-12-31"]}), &[8, 9]);
    check_filter(json!({"and": []}), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    check_filter(json!({"or": []}), &[]);
}

#[test]
fn filters_without_bounds_are_refused() {
    let mut deep = Filter::Exists("a".to_owned());
    for _ in 0..MAX_FILTER_DEPTH {
        deep = Filter::Not(Box::new(deep));
    }
    let wide = Filter::In("a".to_owned(), vec![Value::Null; 1_000]);
    for filter in [deep, wide] {
        assert_eq!(filter.check().expect_err("too much").kind(), ErrorKind::InvalidInput);
    }
}

async fn animals() -> KnowledgeBase {
    let base = base(&Place::new().open(), "animals").await;
    let texts = [
        ("llama", "The llama carries loads over the mountains."),
        ("llama-again", "The llama carries loads over the mountains, they say."),
        ("vicuna", "The vicuna has the finest wool and lives wild in the mountains."),
        ("condor", "The condor glides above the mountains without a stroke of its wings."),
        ("ship", "A ship carries loads over the sea."),
    ];
    add(&base, texts.iter().map(|(id, text)| input(id, text, json!({}))).collect()).await;
    base
}

#[test]
fn both_ways_are_fused_by_ranks() {
    block_on(async {
        let base = animals().await;
        let by = |mode| SearchOptions { mode, ..SearchOptions::default() };
        let query = "llama carries loads";
        let lists = [SearchMode::Vector, SearchMode::Keyword];
        let mut expected: Vec<(String, f64)> = Vec::new();
        for mode in lists {
            for (rank, id) in found(&base, query, &by(mode)).await.into_iter().enumerate() {
                let part = 1.0 / (61.0 + rank as f64);
                match expected.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, score)) => *score += part,
                    None => expected.push((id, part)),
                }
            }
        }
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let hits = base.search(query, 10, &by(SearchMode::Hybrid), None).await.expect("hits");
        let hits: Vec<(String, f64)> = hits.into_iter().map(|hit| (hit.document, hit.score)).collect();
        assert_eq!(hits, expected);
    });
}

#[test]
fn variety_puts_what_says_the_same_behind() {
    block_on(async {
        let base = animals().await;
        let by =
            |diversity| SearchOptions { mode: SearchMode::Vector, diversity, ..SearchOptions::default() };
        let query = "the llama carries loads over the mountains";
        let plain = found(&base, query, &by(None)).await;
        assert_eq!(plain[..2], ["llama", "llama-again"]);
        let varied = found(&base, query, &by(Some(0.3))).await;
        assert_eq!(varied[0], "llama");
        assert_ne!(varied[1], "llama-again");
        assert_eq!(found(&base, query, &by(Some(1.0))).await, plain);
    });
}

#[test]
fn other_words_for_a_question_find_more() {
    block_on(async {
        let base = animals().await;
        let options = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        assert_eq!(found(&base, "sea", &options).await, ["ship"]);
        let options = SearchOptions { queries: vec!["condor".to_owned(), "wool".to_owned()], ..options };
        let mut ids = found(&base, "sea", &options).await;
        ids.sort_unstable();
        assert_eq!(ids, ["condor", "ship", "vicuna"]);
    });
}

/// Likes short texts.
struct Short;

#[async_trait]
impl Reranker for Short {
    async fn rerank(&self, _: &str, documents: &[String]) -> Result<Vec<f32>> {
        Ok(documents.iter().map(|text| -(text.len() as f32)).collect())
    }
}

#[test]
fn a_reranker_has_the_last_word() {
    block_on(async {
        let base = animals().await;
        let options = SearchOptions::default();
        let hits = base.search("mountains", 2, &options, Some(&Short)).await.expect("hits");
        assert_eq!((hits[0].document.as_str(), hits[1].document.as_str()), ("ship", "llama"));
        assert_eq!(hits[0].score, -34.0);
        let without = SearchOptions { rerank: Some(false), ..options.clone() };
        let hits = base.search("mountains", 5, &without, Some(&Short)).await.expect("hits");
        assert!(hits.iter().all(|hit| hit.score > 0.0));
        let wanted = SearchOptions { rerank: Some(true), ..options };
        assert_eq!(
            base.search("a", 2, &wanted, None).await.expect_err("none").kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn parents_are_given_once() {
    block_on(async {
        let split = SplitOptions {
            unit: Unit::Words,
            size: 6,
            overlap: 0,
            parent_size: Some(24),
            ..SplitOptions::default()
        };
        let options = BaseOptions { split: Some(split), ..BaseOptions::default() };
        let knowledge = Place::new().open();
        let base = knowledge
            .open("tests", "parents", &options, Arc::new(HashEmbedder::default()))
            .await
            .expect("a base");
        let text = "Llamas hum when they are tired. Llamas hum when they are hot. Llamas hum when they are worried.\n\n\
                    Salt is cut from the flat. It dries in the sun. It is sold in blocks of some weight.";
        add(&base, vec![input("text", text, json!({}))]).await;
        let chunks = base.search("llamas hum", 5, &SearchOptions::default(), None).await.expect("hits");
        assert!(chunks.len() > 2 && chunks[0].text.len() < 40, "{chunks:?}");
        let options = SearchOptions { parents: true, ..SearchOptions::default() };
        let parents = base.search("llamas hum", 5, &options, None).await.expect("hits");
        assert_eq!(parents.len(), 2);
        assert!(
            parents[0].text.starts_with("Llamas hum when they are tired.")
                && parents[0].text.ends_with("worried.")
        );
        for hit in &parents {
            let span = hit.span.expect("a span");
            assert_eq!(&text[span.start as usize..span.end as usize], hit.text);
        }
    });
}

#[test]
fn a_retriever_gives_pages() {
    block_on(async {
        let base = animals().await;
        let retriever = BaseRetriever { base, options: SearchOptions::default(), reranker: None };
        let options = json!({"mode": "keyword"});
        let all = retriever.retrieve("mountains carries", 10, &options, None).await.expect("hits");
        assert!(all.hits.len() == 5 && all.next.is_none());
        let (mut page, mut hits) = (None, Vec::new());
        loop {
            let next =
                retriever.retrieve("mountains carries", 2, &options, page.as_deref()).await.expect("hits");
            assert!(next.hits.len() <= 2);
            hits.extend(next.hits);
            page = next.next;
            if page.is_none() {
                break;
            }
        }
        assert_eq!(hits, all.hits);
        for (options, page) in [
            (json!({"mode": "telepathy"}), None),
            (json!([]), None),
            (json!({"x": 1}), None),
            (json!({}), Some("x")),
        ] {
            let error = retriever.retrieve("a", 2, &options, page).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    });
}

#[test]
fn words_of_every_language_are_found() {
    block_on(async {
        let base = base(&Place::new().open(), "languages").await;
        let texts = [
            ("ko", "라마는 안데스 고원에서 짐을 나르는 동물이다."),
            ("zh", "大羊驼是安第斯高原上驮运货物的动物。"),
            ("ja", "ラマはアンデスの高原で荷物を運ぶ動物です。"),
            ("en", "The llama is an animal that carries loads on the Andean highland."),
            ("es", "La llama es un animal que lleva cargas en el altiplano."),
        ];
        add(&base, texts.iter().map(|(id, text)| input(id, text, json!({}))).collect()).await;
        let options = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        for (query, id) in [
            ("고원의 라마", "ko"),
            ("大羊驼", "zh"),
            ("荷物を運ぶ", "ja"),
            ("LLAMAS carrying LOAD", "en"),
            ("altiplano", "es"),
        ] {
            assert_eq!(found(&base, query, &options).await[0], id, "{query}");
        }
    });
}

#[test]
fn an_empty_base_and_an_empty_question_find_nothing() {
    block_on(async {
        let base = base(&Place::new().open(), "empty").await;
        assert!(found(&base, "anything", &SearchOptions::default()).await.is_empty());
        let base = animals().await;
        let options = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        assert!(found(&base, "", &options).await.is_empty());
        assert!(base.search("llama", 0, &SearchOptions::default(), None).await.expect("none").is_empty());
        let error = base.search("llama", 100_000, &options, None).await.expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever was added and removed before, a search by vectors gives the nearest that there are.
    #[test]
    fn the_nearest_are_found(
        words in prop::collection::vec("[a-h]{1,3} [a-h]{1,3} [a-h]{1,3}", 1..80),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        query in "[a-h]{1,3} [a-h]{1,3}",
        precision in prop_oneof![Just(Precision::F32), Just(Precision::F16), Just(Precision::I8)],
    ) {
        block_on(async {
            let embedder = Arc::new(HashEmbedder { dimension: 70, seed: 3 });
            let knowledge = Place::new().open();
            let options = BaseOptions { precision, ..small() };
            let base = knowledge.open("tests", "near", &options, embedder.clone()).await.expect("a base");
            add(&base, words.iter().enumerate().map(|(n, text)| input(&n.to_string(), text, json!({}))).collect()).await;
            let mut live: Vec<(String, String)> = words.iter().enumerate().map(|(n, text)| (n.to_string(), text.clone())).collect();
            for index in removed {
                if !live.is_empty() {
                    let (id, _) = live.remove(index.index(live.len()));
                    base.remove(&id).await.expect("removed");
                }
            }
            use puna_core::Embedder;
            let asked = &embedder.embed(std::slice::from_ref(&query)).await.expect("a vector")[0];
            let texts: Vec<String> = live.iter().map(|(_, text)| text.clone()).collect();
            let vectors = embedder.embed(&texts).await.expect("vectors");
            let mut scores: Vec<f32> = vectors.iter().map(|vector| vector.iter().zip(asked).map(|(x, y)| x * y).sum()).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            let options = SearchOptions { mode: SearchMode::Vector, ..SearchOptions::default() };
            let hits = base.search(&query, 10, &options, None).await.expect("hits");
            assert_eq!(hits.len(), live.len().min(10));
            let tolerance = if precision == Precision::I8 { 0.03 } else { 2e-3 };
            for (hit, score) in hits.iter().zip(scores) {
                assert!((hit.score - f64::from(score)).abs() < tolerance, "{} for {score}", hit.score);
            }
        });
    }
}
