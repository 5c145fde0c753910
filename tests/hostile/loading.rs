use proptest::prelude::*;
use puna_core::{Error, ErrorKind, ToolSchema};
use puna_plugins::{MANIFEST_SECTION, MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES, inspect, inspect_file};
use serde_json::{Value, json};

use crate::cases::with_raw_manifest;
use crate::guests::{Guest, HOST, PATIENCE, check_alive, manifest};

/// Loading fails with this kind and words, and the host goes on serving.
#[track_caller]
fn check_refused(component: Vec<u8>, kind: ErrorKind, words: &str) -> impl Future<Output = ()> {
    let row = std::panic::Location::caller();
    async move {
        let outcome = tokio::time::timeout(PATIENCE, HOST.load_bytes(component)).await.expect("an end");
        let error: Error = outcome.err().unwrap_or_else(|| panic!("{row}: it loads"));
        assert_eq!(error.kind(), kind, "{row}: {error}");
        assert!(error.to_string().contains(words), "{row}: {error}");
        check_alive().await;
    }
}

fn component_text(text: &str) -> Vec<u8> {
    let component = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    with_raw_manifest(component, &serde_json::to_vec(&manifest()).expect("JSON"))
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    let invalid = ErrorKind::InvalidInput;
    let good = Guest::echo().plugin();
    check_refused(Vec::new(), invalid, "").await;
    check_refused(b"not wasm at all".to_vec(), invalid, "not a sound WebAssembly component").await;
    check_refused(b"\0asm\x01\0\0\0".to_vec(), invalid, "core WebAssembly module").await;
    for quarter in 1..4 {
        check_refused(good[..good.len() * quarter / 4].to_vec(), invalid, "").await;
    }
    check_refused(wat::parse_str("(component)").expect("text"), invalid, MANIFEST_SECTION).await;
}

#[tokio::test]
async fn the_contract_is_held_on_both_sides() {
    let invalid = ErrorKind::InvalidInput;
    let exporting = |version: &str, import: &str| {
        component_text(&format!(
            r#"(component {import} (instance $empty) (export "puna:plugin/tools@{version}" (instance $empty)))"#
        ))
    };
    check_refused(exporting("0.2.0", ""), invalid, "contract `0.2.0` and this host speaks `0.1.0`").await;
    check_refused(exporting("1.0.0", ""), invalid, "contract `1.0.0`").await;
    check_refused(exporting("0.1.0-rc.1", ""), invalid, "`0.1.0-rc.1`").await;
    check_refused(exporting("0.1.0", ""), invalid, "does not fit the contract").await;
    let wasi = r#"(import "wasi:filesystem/types@0.2.0" (instance))"#;
    check_refused(exporting("0.1.0", wasi), ErrorKind::Denied, "`wasi:filesystem/types@0.2.0`").await;
    let unknown = r#"(import "puna:plugin/network@0.1.0" (instance))"#;
    check_refused(exporting("0.1.0", unknown), ErrorKind::Denied, "`puna:plugin/network@0.1.0`").await;
    check_refused(component_text("(component)"), invalid, "exports no `puna:plugin/tools@0.1.0`").await;
}

/// A good component with its manifest changed.
fn lying(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = serde_json::to_value(manifest()).expect("JSON");
    change(&mut json);
    with_raw_manifest(Guest::echo().component(), json.to_string().as_bytes())
}

#[tokio::test]
async fn manifests_that_lie_are_refused() {
    let invalid = ErrorKind::InvalidInput;
    let echo = || Guest::echo().component();
    check_refused(echo(), invalid, "no section `puna:manifest`").await;
    check_refused(with_raw_manifest(Guest::echo().plugin(), b"{}"), invalid, "has 2 sections").await;
    check_refused(with_raw_manifest(echo(), b""), invalid, "manifest").await;
    check_refused(with_raw_manifest(echo(), b"{\"name\": \"x\""), invalid, "manifest").await;
    check_refused(with_raw_manifest(echo(), b"\xff\xff"), invalid, "manifest").await;
    check_refused(with_raw_manifest(echo(), &vec![b'['; 100_000]), invalid, "manifest").await;
    check_refused(with_raw_manifest(echo(), &vec![b' '; MAX_MANIFEST_BYTES + 1]), invalid, "bytes of 262144")
        .await;
    check_refused(
        lying(|it| it["contract"] = json!("0.2.0")),
        invalid,
        "contract `0.2.0` and this host speaks `0.1.0`",
    )
    .await;
    check_refused(lying(|it| it["contract"] = json!("")), invalid, "contract").await;
    check_refused(lying(|it| it["name"] = json!("../up")), invalid, "no name for a plugin").await;
    check_refused(lying(|it| it["name"] = json!("")), invalid, "no name for a plugin").await;
    check_refused(lying(|it| it["description"] = json!("a\u{1b}[2J")), invalid, "control characters").await;
    check_refused(lying(|it| it["description"] = json!("x".repeat(2_000))), invalid, "1024 bytes").await;
    check_refused(lying(|it| it["asks"] = json!({"root": "please"})), invalid, "root").await;
    check_refused(lying(|it| it["tools"] = json!([])), invalid, "this one has none").await;
    let many: Vec<Value> = (0..65).map(|_| json!(manifest().tools[0])).collect();
    check_refused(lying(|it| it["tools"] = json!(many)), invalid, "at most 64 tools").await;
    check_refused(lying(|it| it["tools"] = json!(many[..2])), invalid, "two tools").await;
    check_refused(lying(|it| it["tools"][0]["name"] = json!("go now")), invalid, "no name for a tool").await;
    check_refused(lying(|it| it["tools"][0]["parameters"] = json!({"type": "string"})), invalid, "`object`")
        .await;
    check_refused(lying(|it| it["tools"][0]["parameters"] = json!(true)), invalid, "parameters of tool `go`")
        .await;
}

#[tokio::test]
async fn schemas_that_bomb_are_refused() {
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    let wide: Vec<Value> = (0..2_000).map(|index| json!({"const": index})).collect();
    let doubling = json!({"a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}, "b": {}});
    for (part, words) in [
        (json!({"$ref": "https://example.invalid/schema.json"}), "`$ref`"),
        (json!({"$ref": "file:///etc/passwd"}), "`$ref`"),
        (json!({"$ref": "#"}), "`$ref`"),
        (json!({"$dynamicRef": "#x"}), "`$dynamicRef`"),
        (json!({"$id": "https://example.invalid/"}), "`$id`"),
        (json!({"$defs": doubling}), "`$ref`"),
        (deep, "deeper"),
        (json!({"anyOf": wide}), "more than 2000"),
        (json!({"description": "x".repeat(70_000)}), "of 65536"),
        (json!({"pattern": "("}), "not a JSON Schema"),
        (json!({"pattern": "((a{1000}){1000}){1000}"}), "not a JSON Schema"),
        (json!({"minLength": "three"}), "not a JSON Schema"),
    ] {
        for place in ["parameters", "output"] {
            let component = lying(|it| {
                it["tools"][0][place] = json!({"type": "object", "properties": {"x": part.clone()}});
            });
            check_refused(component, ErrorKind::InvalidInput, words).await;
        }
    }
}

#[tokio::test]
async fn patterns_run_in_linear_time() {
    let mut slow = manifest();
    slow.tools[0] = ToolSchema {
        parameters: json!({"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}),
        ..slow.tools[0].clone()
    };
    let component = with_raw_manifest(Guest::echo().component(), &serde_json::to_vec(&slow).expect("JSON"));
    let arguments = json!({"x": format!("{}b", "a".repeat(50_000))});
    let outcome = crate::guests::call(component, &Default::default(), &Default::default(), arguments).await;
    assert_eq!(outcome.map_err(|error| error.path), Err(Some("/x".to_owned())));
}

#[tokio::test]
async fn components_too_large_to_compile_are_refused() {
    let long: String = "(drop (i32.const 1000000))".repeat(120_000);
    let guest = Guest::echo().with_items(format!("(func {long})"));
    check_refused(guest.plugin(), ErrorKind::InvalidInput, "holds a function of").await;
    let modules = format!("(component {})", "(core module)".repeat(65));
    check_refused(component_text(&modules), ErrorKind::InvalidInput, "64 core modules").await;
    let memories: String = "(memory 1600)".repeat(50);
    check_refused(Guest::echo().with_items(memories).plugin(), ErrorKind::InvalidInput, "memories").await;
    let table = "(table 10000000 funcref)";
    check_refused(Guest::echo().with_items(table).plugin(), ErrorKind::InvalidInput, "table").await;
    let megabytes = vec![0; usize::try_from(MAX_COMPONENT_BYTES).expect("a size") + 1];
    check_refused(megabytes, ErrorKind::ResourceExhausted, "the most is").await;
}

#[tokio::test]
async fn files_are_read_with_care() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.wasm");
    let load = async |path: &std::path::Path| HOST.load(path).await.err().expect("an error");
    assert_eq!(load(&path).await.kind(), ErrorKind::NotFound);
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(1 << 40).expect("a sparse file");
    assert_eq!(load(&path).await.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(load(folder.path()).await.kind(), ErrorKind::InvalidInput);
    std::fs::write(&path, Guest::echo().plugin()).expect("a file");
    assert_eq!(HOST.load(&path).await.expect("a plugin").manifest(), &manifest());
    assert_eq!(inspect_file(&path).expect("an inspection").manifest, manifest());
}

#[test]
fn inspecting_tells_what_a_component_is() {
    let component = Guest::echo().plugin();
    let found = inspect(&component).expect("an inspection");
    assert_eq!(found.manifest, manifest());
    assert_eq!(found.bytes, component.len() as u64);
    assert_eq!(found.digest.len(), 64);
    assert_eq!(found.exports, ["puna:plugin/tools@0.1.0"]);
    assert!(found.imports.iter().all(|import| import.starts_with("puna:plugin/")), "{:?}", found.imports);
}

proptest! {
    /// Damage anywhere gives an error or a component that still reads: never a panic.
    #[test]
    fn damaged_components_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut component = Guest::echo().plugin();
        for (place, byte) in damage {
            let place = place.index(component.len());
            component[place] = byte;
        }
        let _ = inspect(&component);
        let _ = inspect(&component[..cut.index(component.len())]);
    }
}
