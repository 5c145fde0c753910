//! The retriever through the public interface, as the host calls it, with a service that a test speaks for.

use std::{cell::RefCell, rc::Rc};

use proptest::prelude::*;
use puna_plugin::{
    Error, ErrorKind, Hits, Query, config,
    http::{self, Request, Response},
};
use puna_plugin_search::{retrieve, retriever_manifest};
use serde_json::{Value, json};

fn query(text: &str, k: usize) -> Query {
    Query { text: text.to_owned(), k, page: None }
}

/// What the retriever makes of an answer, and what it asked.
fn ask(configured: Value, query: Query, response: Response) -> (Result<Hits, Error>, Option<Request>) {
    let asked = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&asked);
    let answer = move |request: &Request| {
        seen.replace(Some(request.clone()));
        Ok(response.clone())
    };
    let found = config::given(configured, || http::answered_by(answer, || retrieve("search", query, "{}")));
    let asked = asked.take();
    (found, asked)
}

fn service() -> Value {
    json!({"url": "https://search.example.com/v1?q={query}&n={k}"})
}

#[test]
fn a_service_is_asked_and_read() {
    let configured = json!({
        "url": "https://search.example.com/v1?q={query}&n={k}&page={page}",
        "headers": {"x-index": "docs"},
        "secret": {"name": "token", "header": "authorization", "prefix": "Bearer "},
        "hits": "/result/hits",
        "text": "/source/body",
        "id": "/source/id",
        "score": "/score",
        "metadata": "/source/about",
        "next": "/result/next",
        "first_page": "1",
    });
    let answer = json!({"result": {"next": 2, "hits": [
        {"score": "0.5", "source": {"body": "second", "id": 7}},
        {"score": 2, "source": {"body": "first", "id": "a", "about": {"title": "A"}}},
        {"score": 0.1, "source": {"body": "beyond k", "id": "c"}},
    ]}});
    let (found, asked) =
        ask(configured.clone(), query(" what & how? ", 2), Response::new(200, answer.to_string()));
    let (found, asked) = (found.unwrap(), asked.unwrap());
    assert_eq!(asked.url, "https://search.example.com/v1?q=what%20%26%20how%3F&n=2&page=1");
    let header =
        |name: &str| asked.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
    assert_eq!((header("x-index"), header("authorization")), (Some("docs"), Some("Bearer {{secret:token}}")));
    let hits: Vec<_> = found.hits.iter().map(|hit| (&*hit.document, &*hit.text, hit.score)).collect();
    assert_eq!(hits, [("a", "first", 2.0), ("7", "second", 0.5)]);
    assert_eq!((found.hits[0].metadata["title"].as_str(), found.next.as_deref()), (Some("A"), Some("2")));

    let second = Query { page: found.next, ..query("what", 2) };
    let (found, asked) = ask(configured, second, Response::new(200, r#"{"result": {"hits": []}}"#));
    assert_eq!(asked.unwrap().url, "https://search.example.com/v1?q=what&n=2&page=2");
    assert_eq!(found.unwrap(), Hits::default());
}

#[test]
fn the_least_that_is_configured() {
    let answer = json!([{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]);
    let (found, _) = ask(service(), query("q", 10), Response::new(200, answer.to_string()));
    let hits = found.unwrap().hits;
    assert_eq!(hits.iter().map(|hit| hit.score).collect::<Vec<_>>(), [1.0, 0.5]);
    let (found, asked) = ask(service(), query("  ", 10), Response::new(200, "[]"));
    assert_eq!((found.unwrap(), asked), (Hits::default(), None));
    assert_eq!(retriever_manifest()[0].name, "search");
}

#[test]
fn what_goes_wrong_says_why() {
    let check = |configured: Value, response: Response, kind: ErrorKind, words: &str| {
        let error = ask(configured, query("q", 3), response).0.expect_err("a failure");
        assert_eq!(error.kind, kind, "{}", error.message);
        assert!(error.message.contains(words), "{}", error.message);
    };
    let ok = |body: &str| Response::new(200, body);
    check(Value::Null, ok("[]"), ErrorKind::InvalidInput, "not configured");
    check(
        json!({"url": "https://a/{q}"}),
        ok("[]"),
        ErrorKind::InvalidInput,
        "`{q}` is unknown; there are `{query}`",
    );
    check(json!({"url": "https://a/{query"}), ok("[]"), ErrorKind::InvalidInput, "no `}`");
    check(service(), ok("<html>"), ErrorKind::Unavailable, "no JSON");
    check(service(), ok("{}"), ErrorKind::Unavailable, "no list at ``");
    check(service(), ok(r#"[{"id": 1}]"#), ErrorKind::Unavailable, "no text at `/text` of hit 0");
    check(service(), ok(r#"[{"text": "a"}]"#), ErrorKind::Unavailable, "no identifier at `/id`");
    check(service(), Response::new(401, ""), ErrorKind::AuthRequired, "401");
    check(service(), Response::new(503, ""), ErrorKind::Unavailable, "503");
    let scored = json!({"url": "https://a/", "score": "/score"});
    check(scored, ok(r#"[{"id": 1, "text": "a", "score": "high"}]"#), ErrorKind::Unavailable, "no number");
    let long = ask(service(), query(&"x".repeat(2_001), 3), ok("[]")).0.unwrap_err();
    assert_eq!(long.kind, ErrorKind::TooLarge);
    let denied = config::given(service(), || retrieve("search", query("q", 3), "{}")).unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
}

#[test]
fn a_page_is_bounded() {
    let about: Value = (0..500)
        .map(|number| (format!("k{number}"), json!("value")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let hit = json!({"id": "a", "text": "é".repeat(10_000), "about": about});
    let configured = json!({"url": "https://a/{query}", "metadata": "/about"});
    let answer = Value::from(vec![hit; 200]).to_string();
    let found = ask(configured, query("q", 150), Response::new(200, answer)).0.unwrap();
    assert!(found.hits.iter().all(|hit| hit.text.len() <= 8 << 10 && hit.metadata.is_empty()));
    assert_eq!(found.hits.len(), 19);
    let short = Value::from(vec![json!({"id": "a", "text": "b"}); 200]).to_string();
    assert_eq!(ask(service(), query("q", 150), Response::new(200, short)).0.unwrap().hits.len(), 100);
}

proptest! {
    /// No question changes the address beyond its own place.
    #[test]
    fn questions_stay_in_their_place(text in "\\PC{1,60}") {
        prop_assume!(!text.trim().is_empty());
        let (_, asked) = ask(service(), query(&text, 3), Response::new(200, "[]"));
        let url = asked.unwrap().url;
        let inner = url.strip_prefix("https://search.example.com/v1?q=").and_then(|rest| rest.strip_suffix("&n=3"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '%');
        prop_assert!(inner.is_some_and(|inner| inner.chars().all(plain)), "{url}");
    }

    /// Any answer that is no list of hits is an error of the service.
    #[test]
    fn any_answer(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assume!(serde_json::from_slice::<Vec<Value>>(&body).is_err());
        let error = ask(service(), query("q", 3), Response::new(200, body)).0.unwrap_err();
        prop_assert_eq!(error.kind, ErrorKind::Unavailable);
    }
}
