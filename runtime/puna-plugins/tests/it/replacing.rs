//! Components that are replaced while they are used, and those of other versions of the contract.

use std::sync::Arc;

use async_trait::async_trait;
use puna_core::{ToolError, ToolErrorKind};
use puna_plugins::{
    CONTRACT, Grants, HttpBounds, HttpGrant, HttpRequest, HttpResponse, HttpService, Limits, LivePlugin,
    MANIFEST_SECTION, Manifest, Plugin, Services, Setup, embed_manifest,
};
use serde_json::json;
use tokio::sync::Semaphore;
use wasm_encoder::ComponentSection as _;

use crate::{
    guests::{Guest, HOST, PATIENCE, context, manifest, tools},
    probe::probe,
};

async fn saying(text: &str) -> Plugin {
    HOST.load_bytes(Guest::saying(text.as_bytes()).plugin()).await.expect("a plugin that loads")
}

#[tokio::test]
async fn the_next_call_is_that_of_the_new_component() {
    let live = LivePlugin::new(&saying("1").await, Setup::default()).expect("a plugin");
    let tools = live.tools();
    let call = async || tools[0].call(json!({}), &context()).await;
    assert_eq!(call().await, Ok(json!(1)));
    assert!(live.replace(&saying("2").await).expect("a plugin"), "its tools present themselves as before");
    assert_eq!(call().await, Ok(json!(2)));

    // Other tools: the old one is gone, and said to be.
    let mut other = Guest::saying(b"3").component();
    let mut manifest = manifest();
    manifest.tools[0].name = "come".to_owned();
    embed_manifest(&mut other, &manifest).expect("a manifest");
    let other = HOST.load_bytes(other).await.expect("a plugin that loads");
    assert!(!live.replace(&other).expect("a plugin"));
    assert_eq!(call().await.expect_err("no such tool").kind, ToolErrorKind::NotFound);
    assert_eq!(live.tools()[0].call(json!({}), &context()).await, Ok(json!(3)));
}

#[tokio::test]
async fn a_component_that_does_not_fit_leaves_the_old_one() {
    let live = LivePlugin::new(&saying("1").await, Setup::default()).expect("a plugin");
    let mut configured = Guest::saying(b"2").component();
    let mut manifest = manifest();
    manifest.configuration = Some(json!({"type": "object", "required": ["key"]}));
    embed_manifest(&mut configured, &manifest).expect("a manifest");
    let configured = HOST.load_bytes(configured).await.expect("a plugin that loads");
    let error = live.replace(&configured).expect_err("it wants a configuration");
    assert!(error.to_string().contains("key"), "{error}");
    assert_eq!(live.tools()[0].call(json!({}), &context()).await, Ok(json!(1)));
}

/// A network that says when it was asked, and answers when it may.
struct Gate {
    asked: Semaphore,
    open: Semaphore,
}

#[async_trait]
impl HttpService for Gate {
    async fn send(&self, _: HttpRequest, _: HttpBounds) -> Result<HttpResponse, ToolError> {
        self.asked.add_permits(1);
        let _open = self.open.acquire().await.expect("an open semaphore");
        Ok(HttpResponse { status: 200, headers: Vec::new(), body: b"old".to_vec() })
    }
}

#[tokio::test]
async fn a_call_ends_on_the_component_that_it_began_on() {
    let gate = Arc::new(Gate { asked: Semaphore::new(0), open: Semaphore::new(0) });
    let grants = Grants {
        http: vec![HttpGrant::reading("https://example.com").expect("an origin")],
        ..Grants::default()
    };
    let services = Services { http: Arc::clone(&gate) as _, ..Services::default() };
    let live =
        LivePlugin::new(probe().await, Setup { grants, services, ..Setup::default() }).expect("a plugin");
    let tools = live.tools();
    let send = tools.into_iter().find(|tool| tool.schema().name == "send").expect("a tool");
    let request = json!({"url": "https://example.com/"});
    let old = tokio::spawn({
        let (send, request) = (Arc::clone(&send), request.clone());
        async move { send.call(request, &context()).await }
    });
    let work = async {
        let _asked = gate.asked.acquire().await.expect("an open semaphore");
        let mut new = Guest::saying(b"\"new\"").component();
        let mut manifest = manifest();
        manifest.tools[0].name = "send".to_owned();
        embed_manifest(&mut new, &manifest).expect("a manifest");
        live.replace(&HOST.load_bytes(new).await.expect("a plugin that loads")).expect("a plugin");
        assert_eq!(send.call(request, &context()).await, Ok(json!("new")));
        gate.open.add_permits(1);
        let old = old.await.expect("no panic").expect("an answer");
        assert_eq!(old["body"], "old");
    };
    tokio::time::timeout(PATIENCE, work).await.expect("answers in bounded time");
}

/// A guest of another patch of the contract: every name in it has that version.
fn of_contract(guest: &Guest, version: &str) -> Vec<u8> {
    let (mut component, ours) = (guest.component(), b"@0.1.0");
    for at in 0..component.len() - ours.len() {
        if component[at..].starts_with(ours) {
            component[at + 1..][..version.len()].copy_from_slice(version.as_bytes());
        }
    }
    let manifest = Manifest { contract: version.to_owned(), ..manifest() };
    // As it is: this host embeds no manifest of a contract that it does not speak.
    let json = serde_json::to_vec(&manifest).expect("JSON");
    wasm_encoder::CustomSection { name: MANIFEST_SECTION.into(), data: json.into() }
        .append_to_component(&mut component);
    component
}

/// What differs in the patch alone runs, also where it imports; another minor version does not.
#[tokio::test]
async fn plugins_of_one_minor_version_run_side_by_side() {
    const CLOCK: &str = r#"(import "puna:plugin/clock@0.1.0" "now" (func $now (param i32)))"#;
    let asking = Guest {
        imports: CLOCK,
        ..Guest::of("(call $now (i32.const 512)) (call $answer (local.get 2) (local.get 3))")
    };
    for guest in [Guest::echo(), asking] {
        for (version, runs) in [("0.1.0", true), ("0.1.1", true), ("0.1.9", true), ("0.2.0", false)] {
            let loaded = HOST.load_bytes(of_contract(&guest, version)).await;
            if !runs {
                let error = loaded.err().expect("another contract").to_string();
                assert!(error.contains(version) && error.contains(CONTRACT), "{error}");
                continue;
            }
            let grants = Grants { clock: true, ..Grants::default() };
            let tools = tools(&loaded.expect(version), &grants, &Limits::default());
            assert_eq!(tools[0].call(json!({"a": 1}), &context()).await, Ok(json!({"a": 1})), "{version}");
        }
    }
}
