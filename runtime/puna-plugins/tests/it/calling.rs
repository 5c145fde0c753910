use std::time::{Duration, Instant};

use puna_core::{ToolErrorKind, ToolSchema};
use puna_plugins::{Grants, Limits, embed_manifest};
use serde_json::{Value, json};

use crate::guests::{Guest, HOST, PATIENCE, call, check_alive, component_of, context, manifest, tools};

const CLOCK: &str = r#"(import "puna:plugin/clock@0.1.0" "now" (func $now (param i32)))"#;
const LOG: &str = r#"(import "puna:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#;

/// Passes the clock's error on, whose place in memory is the same, or answers `1`.
const ASK_CLOCK: &str = "(call $now (i32.const 512))
    (if (result i32) (i32.load8_u (i32.const 512))
        (then (i32.const 512))
        (else (call $answer (i32.const 2048) (i32.const 1))))";

/// Short enough for a test to wait for, far longer than an honest guest takes.
fn brief() -> Limits {
    Limits { time_ms: 500, ..Limits::default() }
}

/// The guest's call fails with this kind and words, and the host goes on serving.
#[track_caller]
fn check_fails(guest: Guest, kind: ToolErrorKind, words: &str) -> impl Future<Output = ()> {
    let row = std::panic::Location::caller();
    async move {
        let outcome = call(guest.plugin(), &Grants::default(), &brief(), json!({})).await;
        let error = outcome.expect_err(&format!("{row}: a failure"));
        assert_eq!(error.kind, kind, "{row}: {error}");
        assert!(error.message.contains(words), "{row}: {error}");
        check_alive().await;
    }
}

#[tokio::test]
async fn an_honest_guest_is_answered() {
    let arguments = json!({"text": "Grüße, 世界 🦙", "deep": [[{"a": null}], 1.5]});
    let answer =
        call(Guest::echo().plugin(), &Grants::default(), &Limits::default(), arguments.clone()).await;
    assert_eq!(answer, Ok(arguments));
}

#[tokio::test]
async fn guests_that_never_end_time_out() {
    let forever = "(loop $again (br $again)) (unreachable)";
    let in_start = "(func $first (loop $again (br $again))) (start $first)";
    check_fails(Guest::of(forever), ToolErrorKind::Timeout, "500 ms").await;
    check_fails(Guest::echo().with_items(in_start), ToolErrorKind::Timeout, "500 ms").await;
}

#[tokio::test]
async fn processor_time_is_bounded_by_itself() {
    let forever = Guest::of("(loop $again (br $again)) (unreachable)");
    let limits = Limits { time_ms: 60_000, cpu_ms: 100, ..Limits::default() };
    let error = call(forever.plugin(), &Grants::default(), &limits, json!({})).await.expect_err("an end");
    assert_eq!(error.kind, ToolErrorKind::Timeout, "{error}");
    assert!(error.message.contains("100 ms of processor time"), "{error}");
    check_alive().await;
}

#[tokio::test]
async fn guests_that_trap_break_alone() {
    let in_start = "(func $first unreachable) (start $first)";
    let recursion =
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))";
    check_fails(Guest::of("unreachable"), ToolErrorKind::Internal, "unreachable").await;
    check_fails(Guest::echo().with_items(in_start), ToolErrorKind::Internal, "unreachable").await;
    check_fails(
        Guest::of("(call $deep (i32.const 0))").with_items(recursion),
        ToolErrorKind::Internal,
        "call stack exhausted",
    )
    .await;
    check_fails(
        Guest::of("(i32.div_u (i32.const 1) (i32.const 0))"),
        ToolErrorKind::Internal,
        "divide by zero",
    )
    .await;
    check_fails(Guest::of("(i32.load (i32.const -4))"), ToolErrorKind::Internal, "out of bounds").await;
}

#[tokio::test]
async fn memory_is_bounded_in_the_sum() {
    let bomb =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    check_fails(Guest::of(bomb), ToolErrorKind::TooLarge, "memory").await;
    check_fails(Guest { pages: 2_000, ..Guest::echo() }, ToolErrorKind::TooLarge, "memory").await;
    let three = "(memory 400) (memory 400) (memory 400)"; // 25 MiB each: every one alone would pass.
    check_fails(Guest::echo().with_items(three), ToolErrorKind::TooLarge, "memory").await;
    let table = "(table $t 0 funcref)";
    let grow =
        "(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then unreachable))
        unreachable";
    check_fails(Guest::of(grow).with_items(table), ToolErrorKind::TooLarge, "memory").await;
}

#[tokio::test]
async fn results_are_bounded() {
    let large = Guest { pages: 200, ..Guest::of("(call $answer (i32.const 0) (i32.const 8388608))") };
    check_fails(large, ToolErrorKind::TooLarge, "").await;
    let just = Limits::DEFAULT_RESULT_BYTES + 1;
    let above = Guest { pages: 20, ..Guest::of(format!("(call $answer (i32.const 0) (i32.const {just}))")) };
    check_fails(above, ToolErrorKind::TooLarge, "262145 bytes").await;
    check_fails(
        Guest::of("(call $answer (i32.const -8) (i32.const 100))"),
        ToolErrorKind::Internal,
        "out of bounds",
    )
    .await;
    check_fails(Guest::of("(i32.const -1)"), ToolErrorKind::Internal, "").await;
}

#[tokio::test]
async fn results_that_are_no_json_are_invalid_output() {
    let deep = [vec![b'['; 2_000], vec![b']'; 2_000]].concat();
    for text in [&b""[..], b"nope", b"NaN", b"{\"a\":Infinity}", b"{\"a\":1", b"1 2", b"\"\xff\xfe\"", &deep]
    {
        check_fails(Guest::saying(text), ToolErrorKind::InvalidOutput, "").await;
    }
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
async fn log_floods_are_dropped() {
    let flood = "(local $left i32) (local.set $left (i32.const 100000))
        (loop $again
            (call $write (i32.const 1) (i32.const 2048) (i32.const 1))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $answer (i32.const 2048) (i32.const 1))";
    let guest = Guest { imports: LOG, ..Guest::of(flood).with_items("(data (i32.const 2048) \"7\")") };
    let limits = Limits { time_ms: 30_000, ..Limits::default() };
    assert_eq!(call(guest.plugin(), &Grants::default(), &limits, json!({})).await, Ok(json!(7)));
    let long = "(call $write (i32.const 1) (i32.const 0) (i32.const 8388608)) unreachable";
    check_fails(
        Guest { imports: LOG, pages: 200, ..Guest::of(long) },
        ToolErrorKind::TooLarge,
        "handed over",
    )
    .await;
}

#[tokio::test]
async fn errors_of_guests_are_bounded_and_clean() {
    // An error with kind 1 (not-found) and a long message that holds an escape character.
    let body = "(i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 520) (i32.const 1))
        (i32.store (i32.const 524) (i32.const 2048))
        (i32.store (i32.const 528) (i32.const 10000))
        (i32.const 512)";
    let guest = Guest::of(body).with_items("(data (i32.const 2048) \"\\1b[31mred\")");
    let error = call(guest.plugin(), &Grants::default(), &brief(), json!({})).await.expect_err("an error");
    assert_eq!(error.kind, ToolErrorKind::NotFound);
    assert!(error.message.starts_with("\u{fffd}[31mred"), "{error}");
    assert!(error.message.len() < 10_000, "{} bytes", error.message.len());
    // A kind that does not exist.
    let unknown = "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store8 (i32.const 520) (i32.const 99)) (i32.const 512)";
    check_fails(Guest::of(unknown), ToolErrorKind::Internal, "").await;
}

#[tokio::test]
async fn a_bad_allocator_hurts_its_guest_alone() {
    let module = |realloc: &str| {
        let text = format!(
            r#"(module (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "puna:plugin/tools@0.1.0#call") (param i32 i32 i32 i32) (result i32) unreachable))"#
        );
        let mut component = component_of(&text);
        embed_manifest(&mut component, &manifest()).expect("a sound manifest");
        component
    };
    for (realloc, kind) in [
        ("(i32.const -2)", ToolErrorKind::Internal),
        ("unreachable", ToolErrorKind::Internal),
        ("(loop $again (br $again)) (i32.const 0)", ToolErrorKind::Timeout),
    ] {
        let outcome = call(module(realloc), &Grants::default(), &brief(), json!({})).await;
        assert_eq!(outcome.map_err(|error| error.kind), Err(kind), "{realloc}");
        check_alive().await;
    }
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
