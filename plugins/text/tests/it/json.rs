use proptest::prelude::*;
use puna_plugin::{ErrorKind, Source};
use serde_json::{Value, json};

use crate::{load, texts};

#[track_caller]
fn check(uri: &str, text: &str, options: Value, expect: &[(&str, &str)]) {
    let documents = load("json", uri, text.as_bytes(), &options).expect("documents");
    assert_eq!(texts(&documents), expect, "{text}");
}

#[test]
fn each_value_is_a_document() {
    let two = [("value 1", r#"{"a":1}"#), ("value 2", r#"{"b":"},]"}"#)];
    for text in [
        r#"[{"a": 1}, {"b": "},]"}]"#,
        "{\"a\": 1}\n{\"b\": \"},]\"}\n",
        "\n\n{\"a\":\n1}\r\n\r\n{\"b\": \"},]\"}",
        r#"{"a":1}{"b":"},]"}"#,
    ] {
        check("a.json", text, json!({}), &two);
    }
    check("a.json", "", json!({}), &[]);
    check("a.json", " [ ] ", json!({}), &[]);
    check("a.json", r#""say \"hi\\""#, json!({}), &[("value 1", "say \"hi\\")]);
    check(
        "a.json",
        "[1,true,null,-2.5e3]",
        json!({}),
        &[("value 1", "1"), ("value 2", "true"), ("value 3", "null"), ("value 4", "-2500.0")],
    );
    check("a.JSONL", "[1,2]\n[3]\n", json!({}), &[("value 1", "[1,2]"), ("value 2", "[3]")]);
    check("a.json", "[1,2]", json!({"lines": true}), &[("value 1", "[1,2]")]);
    check("a.jsonl", "[1,2]", json!({"lines": false}), &[("value 1", "1"), ("value 2", "2")]);
    let mut typed = Source::of_bytes("a", "[1]");
    typed.media_type = Some("application/x-ndjson".to_owned());
    let mut documents = puna_plugin_text::open("json", typed, "{}").expect("documents");
    assert_eq!(documents.next().expect("one").expect("a document").text, "[1]");
}

#[test]
fn pointers_choose_parts() {
    let text = r#"[{"id": 7, "body": {"text": "가"}, "by": "Ana", "x": {"by": "Bo", "a/b": 1}}, {"id": "8", "body": {"text": "b"}}]"#;
    let options = json!({"text": "/body/text", "id": "/id", "metadata": ["/by", "/x/by", "/x/a~1b"]});
    check("a.json", text, options.clone(), &[("7", "가"), ("8", "b")]);
    let documents = load("json", "a.json", text.as_bytes(), &options).expect("documents");
    assert_eq!(json!(documents[0].metadata), json!({"by": "Ana", "/x/by": "Bo", "a/b": 1}));
    assert_eq!(json!(documents[1].metadata), json!({}));
}

#[test]
fn errors_name_the_place() {
    for (text, options, words) in [
        ("[1, 2", json!({}), "the array does not end"),
        ("[1 2]", json!({}), "a `,` or `]` is missing"),
        ("[1] 2", json!({}), "more after the array"),
        ("{\"a\": 1}\n{\"b\" 2}\n", json!({}), "line 2"),
        ("{\"a\": ", json!({}), "EOF"),
        ("\"a", json!({}), "EOF"),
        ("[1,]", json!({}), "expected value"),
        ("nonsense", json!({}), "line 1"),
        ("{\"a\": 1}", json!({"text": "/b"}), "value 1 of `a.json` has nothing at `/b`"),
        ("{\"a\": 1}", json!({"id": "/b"}), "`/b`"),
        ("{\"a\": 1}", json!({"text": "a"}), "write `/a`"),
        ("{\"a\": 1}", json!({"metadata": ["/a", "b"]}), "write `/b`"),
    ] {
        let error = load("json", "a.json", text.as_bytes(), &options).expect_err("a refusal");
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains(words), "{text}: {error}");
    }
}

#[test]
fn what_comes_before_an_error_is_given_and_nothing_after() {
    let source = Source::of_bytes("a.jsonl", "{}\n{}\n}\n{}\n");
    let found: Vec<_> =
        puna_plugin_text::open("json", source, "{}").expect("documents").map(|it| it.is_ok()).collect();
    assert_eq!(found, [true, true, false]);
}

#[test]
fn hostile_values_are_bounded() {
    let deep = "[".repeat(1 << 20);
    assert_eq!(
        load("json", "a.jsonl", deep.as_bytes(), &json!({})).expect_err("deep").kind,
        ErrorKind::InvalidInput
    );
    for text in [format!("\"{}\"", "a".repeat(2 << 20)), "1".repeat((2 << 20) + 1)] {
        let error = load("json", "a.json", text.as_bytes(), &json!({})).expect_err("too large");
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }
    let many = format!("[{}{{}}]", "{},".repeat(200_000));
    assert_eq!(load("json", "a.json", many.as_bytes(), &json!({})).expect("documents").len(), 200_001);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Lines, arrays, compact or spread over lines: the same values come out.
    #[test]
    fn values_come_back(values in prop::collection::vec(any_json(), 0..6), pretty: bool) {
        let shown = |value: &Value| match (value, pretty) {
            (value, true) => serde_json::to_string_pretty(value).unwrap(),
            (value, false) => value.to_string(),
        };
        let parts: Vec<String> = values.iter().map(shown).collect();
        for (uri, text) in [("a.json", format!("[{}]", parts.join(","))), ("a.jsonl", parts.join("\n"))] {
            let documents = load("json", uri, text.as_bytes(), &json!({"encoding": "utf-8"})).unwrap();
            let found: Vec<Value> = documents
                .iter()
                .zip(&values)
                .map(|(document, value)| match value {
                    Value::String(_) => Value::from(document.text.clone()),
                    _ => serde_json::from_str(&document.text).unwrap(),
                })
                .collect();
            prop_assert_eq!(&found, &values);
        }
    }
}
