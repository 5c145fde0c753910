//! Nothing crosses a namespace: no search, filter, list or message.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
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

/// Something that is done to a base of a namespace.
#[derive(Clone, Debug)]
enum Act {
    Add(Vec<u8>),
    Remove(u8),
    RemoveSource,
    RemoveBase,
    Search(SearchMode, u8),
    Read(u8),
    List,
    Snapshot,
    Reembed(u64),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let mode = prop::sample::select(vec![SearchMode::Hybrid, SearchMode::Vector, SearchMode::Keyword]);
    prop_oneof![
        4 => prop::collection::vec(0..8_u8, 1..4).prop_map(Act::Add),
        2 => (0..8_u8).prop_map(Act::Remove),
        1 => Just(Act::RemoveSource),
        1 => Just(Act::RemoveBase),
        4 => (mode, any::<u8>()).prop_map(|(mode, filter)| Act::Search(mode, filter)),
        2 => (0..8_u8).prop_map(Act::Read),
        2 => Just(Act::List),
        1 => Just(Act::Snapshot),
        1 => (1..4_u64).prop_map(Act::Reembed),
        1 => Just(Act::Reopen),
    ]
}

/// Its own word, which stands in all that a base holds and in nothing else.
fn owner(place: (usize, usize)) -> String {
    format!("owner{}x{}", place.0, place.1)
}

/// Whether a filter of the others' finds anything, and one that holds of everything finds only one's own.
fn filter(number: u8, places: &[(usize, usize)]) -> Option<Filter> {
    let other = json!(owner(places[usize::from(number) % places.len()]));
    match number % 5 {
        0 => None,
        1 => Some(Filter::Eq("owner".to_owned(), other)),
        2 => Some(Filter::Not(Box::new(Filter::Eq("owner".to_owned(), other)))),
        3 => Some(Filter::Contains("_id".to_owned(), json!(""))),
        _ => {
            Some(Filter::Or(vec![Filter::Exists("_source".to_owned()), Filter::Ne("x".to_owned(), json!(1))]))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever is done in whichever order, what a base says is its own, and is what was done to it.
    #[test]
    fn nothing_crosses_whatever_is_done(
        acts in prop::collection::vec(((0..3_usize, 0..2_usize), act()), 1..24),
    ) {
        const NAMES: [&str; 3] = ["a", "ab", "user/1"];
        const BASES: [&str; 2] = ["x", "xy"];
        let places: Vec<(usize, usize)> = (0..3).flat_map(|n| (0..2).map(move |b| (n, b))).collect();
        block_on(async {
            let place = Place::new();
            let mut knowledge = place.open();
            let mut model: BTreeMap<(usize, usize), BTreeSet<u8>> = BTreeMap::new();
            let mut seeds: BTreeMap<(usize, usize), u64> = BTreeMap::new();
            for (at, act) in acts {
                let (namespace, name, own) = (NAMES[at.0], BASES[at.1], owner(at));
                let mut said: Vec<String> = Vec::new();
                let mut tell = |what: &dyn std::fmt::Debug| said.push(format!("{what:?}"));
                if let Act::Reopen = act {
                    drop(knowledge);
                    knowledge = place.open();
                    continue;
                }
                if let Act::RemoveBase = act {
                    let known = knowledge.remove(namespace, name).await.expect("it is not open");
                    assert_eq!(known, model.remove(&at).is_some());
                    seeds.remove(&at);
                    continue;
                }
                let seed = *seeds.entry(at).or_insert(1);
                let embedder = |seed| Arc::new(HashEmbedder { seed, ..HashEmbedder::default() });
                let base = knowledge.open(namespace, name, &small(), embedder(seed)).await.expect("a base");
                let documents = model.entry(at).or_default();
                match act {
                    Act::Add(numbers) => {
                        let numbers: BTreeSet<u8> = numbers.into_iter().collect();
                        let inputs = numbers.iter().map(|number| {
                            let text = format!("The shared words, document {number} of {own}.");
                            input(&format!("doc{number}"), &text, json!({ "owner": own }))
                        });
                        tell(&add(&base, inputs.collect()).await);
                        documents.extend(numbers);
                    }
                    Act::Remove(number) => {
                        let removed = base.remove(&format!("doc{number}")).await.expect("a removal");
                        assert_eq!(removed, documents.remove(&number));
                    }
                    Act::RemoveSource => {
                        let removed = base.remove_source("").await.expect("a removal");
                        assert_eq!(removed, std::mem::take(documents).len());
                    }
                    Act::Search(mode, number) => {
                        let options =
                            SearchOptions { mode, filter: filter(number, &places), ..SearchOptions::default() };
                        let query = format!("shared words of {}", owner(places[usize::from(number) % 6]));
                        tell(&base.search(&query, 500, &options, None).await.expect("a search"));
                    }
                    Act::Read(number) => {
                        let text = base.text(&format!("doc{number}")).await;
                        assert_eq!(text.is_ok(), documents.contains(&number));
                        tell(&text);
                    }
                    Act::List => {
                        let listed = knowledge.list(namespace).await.expect("a list");
                        let names: Vec<&str> = listed.iter().map(|base| base.name.as_str()).collect();
                        let wanted = places.iter().filter(|(n, b)| *n == at.0 && model.contains_key(&(*n, *b)));
                        assert_eq!(names, wanted.map(|(_, b)| BASES[*b]).collect::<Vec<_>>());
                        tell(&(listed, base.stats().await));
                    }
                    Act::Snapshot => base.snapshot(true).await.expect("a snapshot"),
                    Act::Reembed(seed) => {
                        base.reembed(embedder(seed), &|_| ()).await.expect("embedded again");
                        seeds.insert(at, seed);
                    }
                    Act::RemoveBase | Act::Reopen => unreachable!("done above"),
                }
                let listed: Vec<String> = base.documents().iter().map(|record| record.id.clone()).collect();
                tell(&base.documents());
                check_sound(&base).await;
                let wanted: Vec<String> = model[&at].iter().map(|number| format!("doc{number}")).collect();
                assert_eq!(listed, wanted);
                for other in places.iter().filter(|other| **other != at) {
                    let other = owner(*other);
                    assert!(said.iter().all(|said| !said.contains(&other)), "{own} hears of {other}: {said:?}");
                }
            }
        });
    }
}
