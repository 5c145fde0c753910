//! What the host lends a guest: denied without a grant, bounded with one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use puna_core::{Result, ToolErrorKind, ToolReport, ToolReports};
use puna_plugins::{Clock, Grants, HttpGrant, KeyValue, Limits, Random, Services, Setup};
use serde_json::{Value, json};

use crate::{
    guests::context,
    probe::{ask, ask_with, kind, limited, probe, ready, with},
};

#[tokio::test]
async fn clock_and_randomness_are_lent() {
    let grants = Grants { clock: true, random: true, ..Grants::default() };
    let services = || Services {
        clock: Clock::At(Duration::from_secs(1_700_000_000)),
        random: Random::Seed(7),
        ..Services::default()
    };
    let plugin = with(grants.clone(), services()).await;
    assert_eq!(ask(&plugin, "now", json!({})).await, Ok(json!({"seconds": 1_700_000_000})));
    let seeded = ask(&plugin, "bytes", json!({"length": 40})).await;
    assert_eq!(ask(&with(grants.clone(), services()).await, "bytes", json!({"length": 40})).await, seeded);
    let plugin = with(grants.clone(), Services::default()).await;
    let one = ask(&plugin, "bytes", json!({"length": 32})).await.expect("bytes");
    let other = ask(&plugin, "bytes", json!({"length": 32})).await.expect("bytes");
    assert_ne!(one, other);
    let most = Limits::DEFAULT_RANDOM_BYTES + 1;
    assert_eq!(kind(ask(&plugin, "bytes", json!({"length": most})).await), ToolErrorKind::TooLarge);
    assert_eq!(kind(ask(&plugin, "bytes", json!({"length": u32::MAX})).await), ToolErrorKind::TooLarge);
}

#[tokio::test]
async fn a_configuration_is_held_against_its_schema() {
    let plugin = probe().await;
    let setup = |config: Value| Setup { config, ..Setup::default() };
    let ready = plugin.ready(setup(json!({"greeting": "hello"}))).expect("a sound configuration");
    assert_eq!(ask(&ready, "configuration", json!({})).await, Ok(json!({"greeting": "hello"})));
    for (config, pointer) in [(json!({"greeting": 1}), "/greeting"), (json!({"greting": "a"}), "")] {
        let error = plugin.ready(setup(config)).err().expect("a refusal");
        assert!(error.to_string().contains("configuration of plugin `probe`"), "{error}");
        assert!(error.to_string().contains(pointer), "{error}");
    }
}

#[tokio::test]
async fn progress_and_attachments_reach_the_caller() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let mut context = context();
    context.reports = ToolReports::to(move |report| hear.lock().unwrap().push(report));
    let plugin = limited(Grants::default(), Limits { progress_reports: 3, ..Limits::default() }).await;
    let value = ask_with(&plugin, "report", json!({"length": 5}), &context).await;
    assert_eq!(
        value,
        Ok(json!([
            {"type": "text", "text": "done"},
            {"type": "image", "name": "a.png", "media_type": "image/png", "bytes": 3},
            {"type": "file", "name": "b.csv", "media_type": "text/csv", "bytes": 3},
        ]))
    );
    let heard = heard.lock().unwrap();
    let shares: Vec<_> = heard
        .iter()
        .filter_map(|report| match report {
            ToolReport::Progress { done, message } => Some((done.expect("a share"), message.as_str())),
            ToolReport::Attachment { .. } => None,
        })
        .collect();
    assert_eq!(shares, [(0.0, "step 0"), (0.2, "step 1"), (0.4, "step 2")]);
    let files: Vec<_> = heard
        .iter()
        .filter_map(|report| match report {
            ToolReport::Attachment { name, media } => Some((name.as_str(), media.url.as_str())),
            ToolReport::Progress { .. } => None,
        })
        .collect();
    assert_eq!(files, [("a.png", "data:image/png;base64,YWJj"), ("b.csv", "data:text/csv;base64,YWJj")]);
}

#[tokio::test]
async fn an_instance_is_used_again_only_where_the_setup_says_so() {
    let calls = |value: std::result::Result<Value, _>| value.expect("a count")["calls"].clone();
    let fresh = ready(Setup::default()).await;
    for _ in 0..3 {
        assert_eq!(calls(ask(&fresh, "count", json!({})).await), 1);
    }
    let warm = ready(Setup { reuse: 2, ..Setup::default() }).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(calls(ask(&warm, "count", json!({})).await));
    }
    assert_eq!(seen, [1, 2, 3, 1, 2, 3]);
    // An error of the guest's own leaves the instance sound, a trap does not.
    let warm = ready(Setup { reuse: 100, ..Setup::default() }).await;
    assert_eq!(calls(ask(&warm, "count", json!({})).await), 1);
    assert_eq!(kind(ask(&warm, "now", json!({})).await), ToolErrorKind::Denied);
}

/// Keys and values in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<(String, String), Vec<u8>>>);

#[async_trait]
impl KeyValue for Memory {
    async fn get(&self, space: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let map = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| map.get(&(space.to_owned(), key.clone())).cloned()).collect())
    }

    async fn write(&self, space: &str, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        let mut map = self.0.lock().unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert((space.to_owned(), key), value),
                None => map.remove(&(space.to_owned(), key)),
            };
        }
        Ok(())
    }

    async fn keys(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let map = self.0.lock().unwrap();
        let keys = map.keys().filter(|(of, key)| of == space && key.starts_with(prefix));
        Ok(keys
            .map(|(_, key)| key.clone())
            .filter(|key| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .collect())
    }
}

#[tokio::test]
async fn keys_and_values_are_the_plugins_own() {
    let memory = Arc::new(Memory::default());
    let of = async |space: &str, limits: Limits| {
        let services = Services { store: Some(memory.clone()), ..Services::default() };
        let grants = Grants { store: true, ..Grants::default() };
        ready(Setup { grants, services, limits, space: Some(space.to_owned()), ..Setup::default() }).await
    };
    let one = of("one", Limits::default()).await;
    let other = of("other", Limits::default()).await;
    for (key, value) in [("b", "2"), ("a", "1"), ("c", "3")] {
        assert_eq!(ask(&one, "keep", json!({"key": key, "value": value})).await, Ok(json!({})));
    }
    assert_eq!(ask(&one, "kept", json!({"name": "b"})).await, Ok(json!({"value": "2"})));
    assert_eq!(ask(&other, "kept", json!({"name": "b"})).await, Ok(json!({"value": null})));
    assert_eq!(ask(&other, "keys", json!({"prefix": "", "limit": 10})).await, Ok(json!({"keys": []})));
    let after = json!({"prefix": "", "after": "a", "limit": 1});
    assert_eq!(ask(&one, "keys", after).await, Ok(json!({"keys": ["b"]})));
    assert_eq!(ask(&one, "keep", json!({"key": "b"})).await, Ok(json!({})));
    assert_eq!(ask(&one, "kept", json!({"name": "b"})).await, Ok(json!({"value": null})));
    let long = "k".repeat(600);
    assert_eq!(kind(ask(&one, "keep", json!({"key": long})).await), ToolErrorKind::TooLarge);
    let tight = of("one", Limits { store_bytes: 10, ..Limits::default() }).await;
    let value = json!({"key": "d", "value": "x".repeat(20)});
    assert_eq!(kind(ask(&tight, "keep", value).await), ToolErrorKind::TooLarge);
    assert_eq!(ask(&one, "kept", json!({"name": "d"})).await, Ok(json!({"value": null})));
}

/// The committed keyword retriever: its index lies in the store that it was granted.
#[tokio::test]
async fn the_keyword_index_lives_in_its_store() {
    use puna_core::Retriever as _;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/keyword/keyword.wasm");
    let plugin = crate::guests::HOST.load(file).await.expect("the plugin");
    let services = Services { store: Some(Arc::new(Memory::default())), ..Services::default() };
    let grants = Grants { store: true, ..Grants::default() };
    let plugin = plugin.ready(Setup { grants, services, ..Setup::default() }).expect("a ready plugin");
    for (id, text) in
        [("salt", "the salt flat of Uyuni"), ("wool", "llamas carry wool"), ("소금", "소금 사막의 라마")]
    {
        let document = json!({"id": id, "text": text});
        ask(&plugin, "index_document", document).await.expect("an indexed document");
    }
    let retriever = plugin.retriever("keyword").expect("the retriever");
    let find = async |query: &str| {
        let page = retriever.retrieve(query, 3, &Value::Null, None).await.expect("hits");
        page.hits.into_iter().map(|hit| hit.document).collect::<Vec<_>>()
    };
    assert_eq!(find("llama wool").await, ["wool"]);
    assert_eq!(find("사막").await, ["소금"]);
    ask(&plugin, "remove_document", json!({"id": "wool"})).await.expect("a removed document");
    assert_eq!(find("wool").await, Vec::<String>::new());
}

#[test]
fn grants_are_told_in_words_without_secrets() {
    let grants = Grants {
        clock: true,
        http: vec![HttpGrant::reading("https://*.example.com").expect("an origin")],
        secrets: BTreeMap::from([(
            "token".to_owned(),
            puna_plugins::SecretGrant {
                value: Some("hunter2".to_owned()),
                origins: vec!["https://api.example.com".parse().expect("an origin")],
            },
        )]),
        ..Grants::default()
    };
    assert_eq!(
        grants.lines(),
        ["clock", "http: GET, HEAD https://*.example.com", "secrets: `token` to https://api.example.com"]
    );
    assert!(!format!("{grants:?}").contains("hunter2"));
}
