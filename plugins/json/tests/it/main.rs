//! Queries through the public interface, as the host calls it.

use proptest::prelude::*;
use puna_plugin::{Error, ErrorKind, files};
use puna_plugin_json::call;
use serde_json::{Value, json};

/// The document of RFC 9535, section 1.5, shortened.
fn store() -> Value {
    json!({"store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
        ],
        "bicycle": {"color": "red", "price": 399},
        "a/b": 1,
    }})
}

fn ask(document: &Value, query: &str) -> Result<Value, Error> {
    let arguments = json!({"document": document.to_string(), "query": query});
    call("query_json", &arguments.to_string()).map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn queries() {
    for (query, expect) in [
        ("$.store.book[*].author", json!(["Nigel Rees", "Evelyn Waugh", "Herman Melville"])),
        ("$..price", json!([8.95, 12.99, 8.99, 399])),
        ("$..book[-1].title", json!(["Moby Dick"])),
        ("$..book[0,1].price", json!([8.95, 12.99])),
        ("$..book[:2].price", json!([8.95, 12.99])),
        ("$..book[?@.isbn].title", json!(["Moby Dick"])),
        ("$..book[?@.price < 10 && @.category == 'fiction'].title", json!(["Moby Dick"])),
        ("$.store[?length(@) == 3].color", json!([])),
        ("$..book[?count(@.*) == 5].price", json!([8.99])),
        ("$..book[?@.price > $.store.book[0].price].price", json!([12.99, 8.99])),
        ("$.nothing", json!([])),
        ("/store/bicycle/color", json!(["red"])),
        ("/store/book/1/price", json!([12.99])),
        ("/store/a~1b", json!([1])),
    ] {
        let found = ask(&store(), query).unwrap();
        let matches = found["matches"].as_array().unwrap();
        let values: Vec<&Value> = matches.iter().map(|found| &found["value"]).collect();
        assert_eq!(json!(values), expect, "{query}");
        assert_eq!((&found["count"], &found["more"]), (&json!(values.len()), &json!(false)), "{query}");
    }
    assert_eq!(ask(&store(), "").unwrap()["matches"][0]["value"], store());
    assert_eq!(ask(&store(), "$..isbn").unwrap()["matches"][0]["path"], "$['store']['book'][2]['isbn']");
}

#[test]
fn failures_say_what_to_do() {
    let check = |document: &str, query: &str, kind: ErrorKind, path: &str, words: &str| {
        let error =
            call("query_json", &json!({"document": document, "query": query}).to_string()).unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (kind, Some(path)), "{}", error.message);
        assert!(error.message.contains(words), "{}", error.message);
    };
    check("{}", "store", ErrorKind::InvalidInput, "/query", "begins with `$`");
    check("{}", "$.[", ErrorKind::InvalidInput, "/query", "no JSONPath");
    check("{}", &"$".repeat(1_001), ErrorKind::InvalidInput, "/query", "most is 1000");
    check(
        "[1]",
        &format!("$[?{}@{}]", "(".repeat(300), ")".repeat(300)),
        ErrorKind::InvalidInput,
        "/query",
        "nested",
    );
    check("{", "$", ErrorKind::InvalidInput, "/document", "no JSON");
    check(&"[".repeat(1_000), "$", ErrorKind::InvalidInput, "/document", "recursion");
    check(
        &store().to_string(),
        "/store/car/x",
        ErrorKind::NotFound,
        "/query",
        "at `/store` is an object of 3: `book`",
    );
    check("[1, 2]", "/7", ErrorKind::NotFound, "/query", "an array of 2");
    for arguments in [json!({"query": "$"}), json!({"query": "$", "document": "1", "file": "a/b"})] {
        let error = call("query_json", &arguments.to_string()).unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::InvalidInput, Some("/document")));
    }
}

#[test]
fn queries_that_ask_for_too_much_are_refused() {
    let wide = Value::from((0..10_000).collect::<Vec<_>>());
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for (document, query, accepted) in [
        (&wide, "$[*]", true),
        (&json!([1]), "$[?((((((@ == 1))))))]", true),
        (&wide, "$..*", true),
        (&wide, "$[?@ > 5000]", true),
        (&wide, "$[?@ > $[0]]", false),
        (&wide, "$[?count($..*) > 1]", false),
        (&wide, "$['$', '$', \"..\"]", true),
        (&deep, "$..*..*", true),
        (&deep, "$..*..*..*..*..*", false),
        (&wide, &format!("$[{}*]", "*,".repeat(300)), false),
        (&json!([1]), &"$[0,0]".replace("[0,0]", &"[0,0]".repeat(60)), false),
    ] {
        match ask(document, query) {
            Ok(found) => assert!(accepted && found["count"].is_u64(), "{query}"),
            Err(error) => {
                assert!(!accepted && error.kind == ErrorKind::TooLarge, "{query}: {}", error.message)
            }
        }
    }
}

#[test]
fn results_are_bounded() {
    let many = Value::from((0..1_000).collect::<Vec<_>>());
    let found = ask(&many, "$[*]").unwrap();
    assert_eq!(
        (found["matches"].as_array().unwrap().len(), &found["count"], &found["more"]),
        (50, &json!(1_000), &json!(true))
    );
    let found = ask(&json!({"long": "x".repeat(60_000), "short": 1}), "$.*").unwrap();
    let long = json!({"path": "$['long']", "summary": "a string of 60000 bytes"});
    assert_eq!(found["matches"], json!([long, {"path": "$['short']", "value": 1}]));
    let long_names = json!({"x".repeat(30_000): {"y".repeat(30_000): 1}});
    let found = ask(&long_names, "$..*").unwrap();
    assert!(found.to_string().len() < 70_000);
    assert_eq!((&found["count"], &found["more"]), (&json!(2), &json!(true)));
}

#[test]
fn files_are_read_where_they_were_granted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{\"a\": [1, 2]}").unwrap();
    let ask = |path: &str| {
        let granted = [("data".to_owned(), folder.path().to_owned())];
        let arguments = json!({"file": path, "query": "$.a[1]"});
        files::granted(granted, || call("query_json", &arguments.to_string()))
    };
    assert!(ask("data/a.json").unwrap().contains("\"value\":2"));
    for (path, kind) in [("data/b.json", ErrorKind::NotFound), ("data/../a.json", ErrorKind::Denied)] {
        let error = ask(path).unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (kind, Some("/file")));
    }
}

proptest! {
    /// A pointer to a member finds it whatever its name.
    #[test]
    fn pointers_find_members(name in ".{0,12}", value in any::<i64>()) {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        // White space around a query is no part of it.
        prop_assume!(pointer.trim() == pointer);
        let found = ask(&json!({ name: value }), &pointer).unwrap();
        prop_assert_eq!(&found["matches"][0]["value"], &json!(value));
    }

    /// Any query is answered or refused.
    #[test]
    fn any_query(query in r#"\$?([.\[\]*'"$@?(),:&|<>=!0-9ab -]|\.\.|\[\?){0,40}"#, document in "[\\[\\]{}:,\"0-9a]{0,30}") {
        for document in [document, store().to_string()] {
            let outcome = call("query_json", &json!({"document": document, "query": query}).to_string());
            let kinds = [ErrorKind::InvalidInput, ErrorKind::NotFound, ErrorKind::TooLarge];
            prop_assert!(outcome.is_ok() || outcome.is_err_and(|error| kinds.contains(&error.kind)));
        }
    }
}
