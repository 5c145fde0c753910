//! The index through the public interface, as the host calls it; natively each test has a store of its own.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use puna_plugin::{Error, ErrorKind, Hits, Query, store};
use puna_plugin_keyword::{call, retrieve};
use serde_json::{Value, json};

fn ask(name: &str, arguments: Value) -> Result<Value, Error> {
    call(name, &arguments.to_string()).map(|text| serde_json::from_str(&text).unwrap())
}

fn keep(id: &str, text: &str) -> Value {
    ask("index_document", json!({"id": id, "text": text})).unwrap()
}

fn look(text: &str, k: usize, page: Option<&str>) -> Result<Hits, Error> {
    retrieve("keyword", Query { text: text.to_owned(), k, page: page.map(str::to_owned) }, "{}")
}

/// The documents found, best first.
fn found(text: &str) -> Vec<String> {
    look(text, 10, None).unwrap().hits.into_iter().map(|hit| hit.document).collect()
}

#[test]
fn documents_are_found_by_their_words() {
    keep("a", "Llamas are members of the camel family.");
    keep("b", "Alpacas are smaller than llamas. Llamas carry loads.");
    keep("c", "東京は日本の首都です。");
    keep("d", "서울은 대한민국의 수도이다.");
    keep("e", "Ein Übermaß an Wörtern");
    for (query, expect) in [
        ("LLAMAS", &["b", "a"][..]),
        ("camel", &["a"]),
        ("alpacas camel", &["a", "b"]),
        ("首都", &["c"]),
        ("日本", &["c"]),
        ("本日", &[]),
        ("수도", &["d"]),
        ("übermass", &[]),
        ("ÜBERMAẞ", &["e"]),
        ("nothing at all", &[]),
        ("", &[]),
        ("?!", &[]),
    ] {
        assert_eq!(found(query), expect, "{query}");
    }
}

#[test]
fn scores_are_those_of_bm25() {
    keep("a", "one two two");
    keep("b", "one");
    let hits = look("two", 10, None).unwrap().hits;
    // N 2, n 1, tf 2, length 3 of an average of 2.
    let expect = (1.0_f64 + 1.5 / 1.5).ln() * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 1.5));
    assert!((hits[0].score - expect).abs() < 1e-12, "{}", hits[0].score);
}

#[test]
fn passages_say_where_they_stand() {
    let filler = "Words that say little. ".repeat(80);
    let text = format!("  {filler}\n\nThe needle is here.\n\n{filler}");
    let metadata = json!({"title": "Hay"});
    let indexed = ask("index_document", json!({"id": "a", "text": text, "metadata": metadata})).unwrap();
    assert!(indexed["passages"].as_u64().unwrap() > 2);
    let hit = look("needle", 1, None).unwrap().hits.remove(0);
    let (start, end) = hit.span.unwrap();
    assert_eq!(hit.text, text[start as usize..end as usize]);
    assert!(hit.text.contains("needle") && hit.text.len() <= 1_200);
    assert_eq!(Value::from(hit.metadata), metadata);
}

#[test]
fn documents_are_replaced_and_removed() {
    keep("a", "old words here");
    assert_eq!(ask("index_document", json!({"id": "a", "text": "new words"})).unwrap()["replaced"], true);
    assert_eq!((found("old"), found("new")), (vec![], vec!["a".to_owned()]));
    let stats = json!({"documents": 1, "passages": 1, "words": 2});
    assert_eq!(ask("index_stats", json!({})).unwrap(), stats);
    assert_eq!(ask("remove_document", json!({"id": "a"})).unwrap(), json!({"removed": true}));
    assert_eq!(ask("remove_document", json!({"id": "a"})).unwrap(), json!({"removed": false}));
    assert_eq!(ask("index_stats", json!({})).unwrap(), json!({"documents": 0, "passages": 0, "words": 0}));
    // Nothing stays behind but what the index knows of itself.
    assert_eq!(store::keys("", None, 10).unwrap(), ["state"]);
}

#[test]
fn common_words_fill_blocks_and_pages() {
    for number in 0..700 {
        keep(&format!("{number:03}"), &format!("common word{number}"));
    }
    assert!(store::keys("block/common/", None, 10).unwrap().len() == 2);
    let (mut seen, mut page) = (Vec::new(), None);
    loop {
        let hits = look("common", 50, page.as_deref()).unwrap();
        seen.extend(hits.hits.into_iter().map(|hit| hit.document));
        page = hits.next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..700).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    for number in 0..256 {
        ask("remove_document", json!({"id": format!("{number:03}")})).unwrap();
    }
    assert_eq!(store::keys("block/common/", None, 10).unwrap().len(), 1);
    assert_eq!((found("common")[0].as_str(), found("word600")), ("256", vec!["600".to_owned()]));
}

#[test]
fn what_is_wrong_is_refused() {
    keep("a", "one");
    keep("b", "one");
    let page = look("one", 1, None).unwrap().next.unwrap();
    keep("c", "one");
    for page in [&*page, "", "1", "x-y", "18446744073709551616-1"] {
        assert_eq!(look("one", 1, Some(page)).unwrap_err().kind, ErrorKind::InvalidInput, "{page}");
    }
    assert_eq!(look(&"x".repeat(9_000), 1, None).unwrap_err().kind, ErrorKind::TooLarge);
    for (arguments, kind, path) in [
        (json!({"id": "", "text": "x"}), ErrorKind::InvalidInput, "/id"),
        (json!({"id": "x".repeat(257), "text": "x"}), ErrorKind::InvalidInput, "/id"),
        (json!({"id": "x", "text": "x".repeat(65 << 10)}), ErrorKind::TooLarge, "/text"),
        (
            json!({"id": "x", "text": "x", "metadata": {"a": "x".repeat(2_048)}}),
            ErrorKind::TooLarge,
            "/metadata",
        ),
    ] {
        let error = ask("index_document", arguments).unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (kind, Some(path)));
    }
    let words: String = (0..12_000).map(|number| format!("{number:x} ")).collect();
    let error = ask("index_document", json!({"id": "many", "text": words})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{}", error.message);
    assert_eq!(ask("index_stats", json!({})).unwrap()["documents"], 3);
}

#[test]
fn an_index_that_is_broken_says_so() {
    keep("a", "one");
    for broken in [&b"\xff\xff"[..], &[1, 255], &[1, 0, 1], b""] {
        store::set("word/one", broken).unwrap();
        let error = look("one", 1, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal, "{broken:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is kept, replaced and removed, a word finds the documents that have it and no other.
    #[test]
    fn an_index_is_what_was_put_in(
        changes in prop::collection::vec((0_u8..6, prop::option::of(prop::collection::vec(0_u8..8, 0..12))), 1..40)
    ) {
        for key in store::keys("", None, u32::MAX).unwrap() {
            store::delete(&key).unwrap();
        }
        let mut kept: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
        for (id, words) in changes {
            let id = id.to_string();
            match words {
                Some(words) => {
                    let text: Vec<String> = words.iter().map(|word| format!("w{word}")).collect();
                    keep(&id, &text.join(" "));
                    kept.insert(id, words.into_iter().collect());
                }
                None => {
                    let removed = ask("remove_document", json!({ "id": id })).unwrap();
                    prop_assert_eq!(&removed["removed"], kept.remove(&id).is_some());
                }
            }
        }
        for word in 0..8 {
            let mut hits = found(&format!("w{word}"));
            hits.sort();
            let expect: Vec<String> =
                kept.iter().filter(|(_, words)| words.contains(&word)).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(hits, expect);
        }
    }

    /// Any text is kept, and its passages are parts of it.
    #[test]
    fn any_text(text in "(\\PC|\\s){0,3000}", query in "\\PC{0,40}") {
        keep("a", &text);
        for hit in look(&query, 50, None).unwrap().hits {
            let (start, end) = hit.span.unwrap();
            prop_assert_eq!(text.get(start as usize..end as usize), Some(&*hit.text));
            prop_assert!(hit.score.is_finite() && hit.score > 0.0);
        }
    }
}
