use proptest::prelude::*;
use puna_plugin::ErrorKind;
use serde_json::{Value, json};

use crate::load;

#[track_caller]
fn check(text: &str, body: &str, metadata: Value) {
    let documents = load("markdown", "notes/llamas.md", text.as_bytes(), &json!({})).expect("a document");
    let [document] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!((document.text.as_str(), json!(document.metadata)), (body, metadata), "{text}");
}

#[test]
fn titles_come_from_the_first_place_that_tells_one() {
    check("# Llamas of *Puna*\n\nText.", "# Llamas of *Puna*\n\nText.", json!({"title": "Llamas of Puna"}));
    check("Llamas\n======\n", "Llamas\n======\n", json!({"title": "Llamas"}));
    check("## Second\n# First `code`\n", "## Second\n# First `code`\n", json!({"title": "First code"}));
    check("## Second\n", "## Second\n", json!({"title": "Second"}));
    check("```\n# no heading\n```\n", "```\n# no heading\n```\n", json!({"title": "llamas"}));
    check("", "", json!({"title": "llamas"}));
}

#[test]
fn front_matter_becomes_metadata() {
    check(
        "---\ntitle: \"Wool: a guide\"\ntags: [wool, 라마]\nweight: 2.5\nyear: 2024\ncode: 007\ndraft: false\n\
         date: 2024-02-29\nnone:\nauthor:\n  name: Ana\n---\n\n# Heading\n",
        "# Heading\n",
        json!({
            "title": "Wool: a guide", "tags": ["wool", "라마"], "weight": 2.5, "year": 2024, "code": "007",
            "draft": false, "date": "2024-02-29", "none": null, "author": {"name": "Ana"},
        }),
    );
    check("---\r\na: b\r\n---\r\nText", "Text", json!({"a": "b", "title": "llamas"}));
    check("---\n---\nText", "Text", json!({"title": "llamas"}));
}

/// A text may begin with a line of its own.
#[test]
fn what_is_no_front_matter_is_text() {
    for text in [
        "---\nJust a line.\n---\nText",
        "---\na: b\n",
        "----\na: b\n----\n",
        "---\na: [b\n---\n",
        "---\na: &x [1]\nb: *x\n---\n",
        "---\n- a\n---\n",
        "---\n? [a]\n: b\n---\n",
    ] {
        let documents = load("markdown", "a.md", text.as_bytes(), &json!({})).expect("a document");
        assert_eq!(documents[0].text, text);
    }
}

#[test]
fn hostile_texts_are_bounded() {
    let deep = format!("---\na: {}{}\n---\n", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(load("markdown", "a.md", deep.as_bytes(), &json!({})).expect("a document")[0].text, deep);
    for text in [
        ">".repeat(1 << 20),
        "[".repeat(1 << 20),
        "*a ".repeat(1 << 18),
        format!("# {}", "가".repeat(1 << 20)),
    ] {
        let documents = load("markdown", "a.md", text.as_bytes(), &json!({})).expect("a document");
        assert!(documents[0].metadata["title"].as_str().expect("a title").len() <= 1 << 10);
    }
    let long = "a".repeat((8 << 20) + 1);
    let error = load("markdown", "a.md", long.as_bytes(), &json!({})).expect_err("too large");
    assert_eq!(error.kind, ErrorKind::TooLarge);
}

proptest! {
    /// Whatever the text, none of what follows the front matter is lost.
    #[test]
    fn bodies_are_kept(body in "[^\r\n-].*") {
        for text in [body.clone(), format!("---\na: 1\n---\n{body}")] {
            let documents = load("markdown", "a.md", text.as_bytes(), &json!({"encoding": "utf-8"})).unwrap();
            prop_assert_eq!(&documents[0].text, body.strip_prefix('\u{feff}').filter(|_| text == body).unwrap_or(&body));
        }
    }
}
