//! Nothing crosses a namespace: no search, filter, list or message.

use std::sync::Arc;

use puna_knowledge::{Filter, Knowledge, KnowledgeBase, SearchMode, SearchOptions};
use serde_json::json;

use crate::support::{HashEmbedder, Place, add, block_on, check_sound, found, input, small};

/// Names that are each other's beginnings or look like parts of keys.
const NAMESPACES: [&str; 6] = ["a", "ab", "a b", "user/1", "user/10", "ü"];

async fn base(knowledge: &Knowledge, namespace: &str, name: &str) -> KnowledgeBase {
    knowledge.open(namespace, name, &small(), Arc::new(HashEmbedder::default())).await.expect("a base")
}

/// Documents of the same ids and words everywhere, each with its namespace's secret.
async fn fill(base: &KnowledgeBase, secret: &str) {
    let inputs = (0..10).map(|n| {
        let text = format!("The shared words number {n}. The secret is {secret}.");
        input(&format!("doc{n}"), &text, json!({"secret": secret, "n": n}))
    });
    add(base, inputs.collect()).await;
}

fn secret(namespace: usize, base: usize) -> String {
    format!("{}{}", ["crimson", "violet", "amber", "indigo", "ochre", "teal"][namespace], base)
}

#[test]
fn no_search_or_filter_crosses() {
    block_on(async {
        let place = Place::new();
        for round in 0..2 {
            let knowledge = place.open();
            let mut bases = Vec::new();
            for (number, namespace) in NAMESPACES.iter().enumerate() {
                for (index, name) in ["x", "xy"].iter().enumerate() {
                    let base = base(&knowledge, namespace, name).await;
                    if round == 0 {
                        fill(&base, &secret(number, index)).await;
                    }
                    bases.push((secret(number, index), base));
                }
            }
            for (own, base) in &bases {
                check_sound(base).await;
                for (other, _) in &bases {
                    let filters = [
                        None,
                        Some(Filter::Eq("secret".to_owned(), json!(other))),
                        Some(Filter::Or(vec![
                            Filter::Exists("secret".to_owned()),
                            Filter::Not(Box::new(Filter::Exists("secret".to_owned()))),
                        ])),
                    ];
                    for filter in filters {
                        for mode in [SearchMode::Hybrid, SearchMode::Vector, SearchMode::Keyword] {
                            let options =
                                SearchOptions { mode, filter: filter.clone(), ..SearchOptions::default() };
                            let query = format!("the secret is {other}");
                            let hits = base.search(&query, 500, &options, None).await.expect("hits");
                            assert!(hits.len() <= 20);
                            for hit in hits {
                                assert!(
                                    hit.text.contains(own.as_str()) || !hit.text.contains("secret"),
                                    "{hit:?}"
                                );
                                assert_eq!(hit.metadata["secret"], own.as_str());
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn removal_stays_within() {
    block_on(async {
        let place = Place::new();
        let knowledge = place.open();
        for namespace in NAMESPACES {
            fill(&base(&knowledge, namespace, "x").await, namespace).await;
        }
        base(&knowledge, "a", "x").await.remove("doc1").await.expect("removed");
        assert!(knowledge.remove("a", "x").await.expect("removed"));
        for namespace in NAMESPACES {
            let names: Vec<String> =
                knowledge.list(namespace).await.expect("a list").into_iter().map(|base| base.name).collect();
            assert_eq!(names, if namespace == "a" { vec![] } else { vec!["x"] }, "{namespace}");
            if namespace != "a" {
                let base = base(&knowledge, namespace, "x").await;
                assert_eq!(base.documents().len(), 10);
                check_sound(&base).await;
            }
        }
    });
}

#[test]
fn no_message_or_file_name_tells_of_another() {
    block_on(async {
        let place = Place::new();
        let knowledge = place.open();
        let hidden = base(&knowledge, "hidden-tenant", "hidden-base").await;
        fill(&hidden, "hidden-word").await;
        hidden.snapshot(true).await.expect("a snapshot");
        let mine = base(&knowledge, "mine", "own").await;
        let mut said = Vec::new();
        let embedder = || Arc::new(HashEmbedder::default());
        said.push(format!(
            "{:?}",
            knowledge.open_existing("mine", "hidden-bas", &small(), embedder()).await.err().expect("none")
        ));
        said.push(format!("{:?}", mine.text("doc1").await.expect_err("none")));
        said.push(format!(
            "{:?}",
            mine.search("x", 5000, &SearchOptions::default(), None).await.expect_err("too many")
        ));
        said.push(format!("{:?}", knowledge.remove("mine", "own").await.expect_err("open")));
        said.push(format!("{:?} {:?}", knowledge.list("mine").await, mine.stats().await));
        said.push(format!("{:?}", found(&mine, "hidden-word doc1", &SearchOptions::default()).await));
        for entry in std::fs::read_dir(place.snapshots()).expect("a folder") {
            said.push(entry.expect("a file").file_name().to_string_lossy().into_owned());
        }
        for text in said {
            assert!(
                !text.contains("hidden-tenant")
                    && !text.contains("hidden-base")
                    && !text.contains("hidden-word"),
                "{text}"
            );
        }
    });
}
