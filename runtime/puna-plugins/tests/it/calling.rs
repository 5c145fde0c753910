use std::time::{Duration, Instant};

use puna_core::{ToolErrorKind, ToolSchema};
use puna_plugins::{Grants, Limits, embed_manifest};
use serde_json::{Value, json};

use crate::guests::{Guest, HOST, PATIENCE, call, check_alive, context, manifest, tools};

const CLOCK: &str = r#"(import "puna:plugin/clock@0.1.0" "now" (func $now (param i32)))"#;

/// Passes the clock's error on, whose place in memory is the same, or answers `1`.
const ASK_CLOCK: &str = "(call $now (i32.const 512))
    (if (result i32) (i32.load8_u (i32.const 512))
        (then (i32.const 512))
        (else (call $answer (i32.const 2048) (i32.const 1))))";

/// Short enough for a test to wait for, far longer than an honest guest takes.
fn brief() -> Limits {
    Limits { time_ms: 500, ..Limits::default() }
}

#[tokio::test]
async fn an_honest_guest_is_answered() {
    let arguments = json!({"text": "Grüße, 世界 🦙", "deep": [[{"a": null}], 1.5]});
    let answer =
        call(Guest::echo().plugin(), &Grants::default(), &Limits::default(), arguments.clone()).await;
    assert_eq!(answer, Ok(arguments));
}

/// A guest whose result or arguments must satisfy a schema.
async fn call_with_schemas(
    guest: Guest,
    parameters: Value,
    output: Value,
    arguments: Value,
) -> Result<Value, (ToolErrorKind, Option<String>)> {
    let mut manifest = manifest();
    manifest.tools[0] = ToolSchema { parameters, output: Some(output), ..manifest.tools[0].clone() };
    let mut component = guest.component();
    embed_manifest(&mut component, &manifest).expect("a sound manifest");
    let outcome = call(component, &Grants::default(), &Limits::default(), arguments).await;
    outcome.map_err(|error| (error.kind, error.path))
}

#[tokio::test]
async fn arguments_and_results_are_held_against_their_schemas() {
    let numbers = json!({"type": "object", "properties": {"n": {"type": "array", "items": {"type": "number"}}}, "required": ["n"]});
    let any = json!({"type": "object"});
    let row = |parameters: &Value, output: &Value, arguments: Value| {
        call_with_schemas(Guest::echo(), parameters.clone(), output.clone(), arguments)
    };
    let failure = |kind, path: &str| Err((kind, Some(path.to_owned())));
    let (input, output) = (ToolErrorKind::InvalidInput, ToolErrorKind::InvalidOutput);
    assert_eq!(row(&numbers, &numbers, json!({"n": [1, 2.5]})).await, Ok(json!({"n": [1, 2.5]})));
    assert_eq!(row(&numbers, &any, json!({"n": [1, "2"]})).await, failure(input, "/n/1"));
    assert_eq!(row(&numbers, &any, json!({})).await, failure(input, ""));
    assert_eq!(row(&numbers, &any, json!("n")).await, failure(input, ""));
    assert_eq!(row(&any, &numbers, json!({"n": [1, "2"]})).await, failure(output, "/n/1"));
    assert_eq!(row(&any, &numbers, json!({"m": 1})).await, failure(output, ""));
}

#[tokio::test]
async fn large_arguments_never_reach_the_guest() {
    let long = json!({"text": "x".repeat(Limits::DEFAULT_ARGUMENT_BYTES)});
    let outcome = call(Guest::of("unreachable").plugin(), &Grants::default(), &Limits::default(), long).await;
    assert_eq!(outcome.map_err(|error| error.kind), Err(ToolErrorKind::TooLarge));
}

#[tokio::test]
async fn the_clock_needs_its_grant() {
    let guest = Guest { imports: CLOCK, ..Guest::of(ASK_CLOCK).with_items("(data (i32.const 2048) \"1\")") };
    let denied =
        call(guest.plugin(), &Grants::default(), &Limits::default(), json!({})).await.expect_err("no grant");
    assert_eq!(denied.kind, ToolErrorKind::Denied);
    assert!(denied.message.contains("`clock`"), "{denied}");
    let granted =
        call(guest.plugin(), &Grants { clock: true, ..Grants::default() }, &Limits::default(), json!({}))
            .await;
    assert_eq!(granted, Ok(json!(1)));
}

#[tokio::test]
async fn cancelling_and_deadlines_end_a_running_guest() {
    let plugin = HOST
        .load_bytes(Guest::of("(loop $again (br $again)) (unreachable)").plugin())
        .await
        .expect("a plugin");
    let tool = &tools(&plugin, &Grants::default(), &Limits { time_ms: 3_600_000, ..Limits::default() })[0];
    let mut context = context();
    let cancel = context.cancel.clone();
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let both = async { tokio::join!(tool.call(json!({}), &context), cancelling).0 };
    let outcome = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    assert_eq!(outcome.map_err(|error| error.kind), Err(ToolErrorKind::Cancelled));

    context.cancel = Default::default();
    context.deadline = Some(Instant::now() + Duration::from_millis(50));
    let outcome = tokio::time::timeout(PATIENCE, tool.call(json!({}), &context)).await.expect("an end");
    assert_eq!(outcome.map_err(|error| error.kind), Err(ToolErrorKind::Timeout));
    check_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_slots_wait_their_turn() {
    let plugin = HOST.load_bytes(Guest::echo().plugin()).await.expect("a plugin");
    let tool = tools(&plugin, &Grants::default(), &Limits::default()).remove(0);
    let looping = HOST
        .load_bytes(Guest::of("(loop $again (br $again)) (unreachable)").plugin())
        .await
        .expect("a plugin");
    let looping = tools(&looping, &Grants::default(), &brief()).remove(0);
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..200 {
        let tool = if index % 10 == 0 { looping.clone() } else { tool.clone() };
        calls.spawn(async move { (index, tool.call(json!({"index": index}), &context()).await) });
    }
    for (index, outcome) in tokio::time::timeout(PATIENCE, calls.join_all()).await.expect("an end") {
        let expect = if index % 10 == 0 { Err(ToolErrorKind::Timeout) } else { Ok(json!({"index": index})) };
        assert_eq!(outcome.map_err(|error| error.kind), expect, "{index}");
    }
}

#[tokio::test]
async fn no_call_sees_what_another_left() {
    let count = "(i32.store8 (i32.const 2048) (i32.add (i32.load8_u (i32.const 2048)) (i32.const 1)))
        (call $answer (i32.const 2048) (i32.const 1))";
    let guest = Guest::of(count).with_items("(data (i32.const 2048) \"0\")");
    let plugin = HOST.load_bytes(guest.plugin()).await.expect("a plugin");
    let tool = &tools(&plugin, &Grants::default(), &Limits::default())[0];
    for _ in 0..3 {
        assert_eq!(tool.call(json!({}), &context()).await, Ok(json!(1)));
    }
}
