use puna_core::{ErrorKind, Event, StopReason, TurnOutcome};
use serde_json::json;

use crate::support::{Bench, End, Reply, SESSION, answered, call, outcome, say, transcript, unreadable};

/// Runs one turn with the input `go` and compares the conversation (without the input) and the outcome.
#[track_caller]
fn check_turn(script: Vec<Reply>, expect: &[&str], expected_outcome: TurnOutcome) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (messages, events, recorded) = runtime.unwrap().block_on(async {
        let bench = Bench::new(&[("go", script)]);
        let events = bench.run("go").await;
        let conversation = bench.agent.conversation(SESSION).await.unwrap();
        (conversation.messages(0), events, conversation.turns[0].outcome.clone())
    });
    assert_eq!(transcript(&messages)[1..], *expect);
    assert_eq!(outcome(&events), &expected_outcome);
    assert_eq!(recorded.as_ref(), Some(&expected_outcome));
}

#[test]
fn answers_without_tools() {
    check_turn(vec![say("hello")], &["assistant: hello"], answered("hello"));
    check_turn(vec![say("")], &["assistant: "], answered(""));
}

#[test]
fn results_stand_in_call_order_whatever_order_they_finished_in() {
    let calls =
        [("a", "wait", json!({"ms": 30})), ("b", "wait", json!({"ms": 20})), ("c", "wait", json!({}))];
    check_turn(
        vec![call(&calls), say("done")],
        &[
            r#"assistant: a=wait{"ms":30} b=wait{"ms":20} c=wait{}"#,
            r#"tool: a->{"ms":30}"#,
            r#"tool: b->{"ms":20}"#,
            "tool: c->{}",
            "assistant: done",
        ],
        answered("done"),
    );
}

#[test]
fn failures_go_back_to_the_model() {
    let cases = [
        (
            call(&[("a", "weather", json!({}))]),
            "a=weather{}",
            "not_found: no tool `weather`; the tools are `deny`, `flood`, `liar`, `panic`, `wait`",
        ),
        (
            call(&[("a", "wait", json!({"ms": "soon"}))]),
            r#"a=wait{"ms":"soon"}"#,
            r#"invalid_input: the arguments of `wait` are not valid: "soon" is not of type "integer" (at `/ms`)"#,
        ),
        (
            call(&[("a", "wait", json!([1]))]),
            "a=wait[1]",
            r#"invalid_input: the arguments of `wait` are not valid: [1] is not of type "object""#,
        ),
        (call(&[("a", "deny", json!({}))]), "a=deny{}", "denied: not today"),
        (call(&[("a", "panic", json!({}))]), "a=panic{}", "internal: tool `panic` broke: the tool is broken"),
        (
            call(&[("a", "liar", json!({}))]),
            "a=liar{}",
            r#"invalid_output: the result of `liar` does not satisfy its schema: "many" is not of type "integer" (at `/count`)"#,
        ),
        (
            unreadable("a", "{oops"),
            "a=?{oops",
            "invalid_input: the call cannot be read: a brace is missing; write it as one json object",
        ),
    ];
    for (reply, shown, failure) in cases {
        check_turn(
            vec![reply, say("sorry")],
            &[&format!("assistant: {shown}"), &format!("tool: a->{failure}"), "assistant: sorry"],
            answered("sorry"),
        );
    }
}

#[test]
fn a_model_that_counts_its_calls_anew_gets_unique_ids() {
    let again =
        || call(&[("call_0", "wait", json!({})), ("call_0", "wait", json!({})), ("", "wait", json!({}))]);
    check_turn(
        vec![again(), call(&[("call_0", "wait", json!({}))]), say("done")],
        &[
            "assistant: call_0=wait{} call_0-2=wait{} call=wait{}",
            "tool: call_0->{}",
            "tool: call_0-2->{}",
            "tool: call->{}",
            "assistant: call_0-3=wait{}",
            "tool: call_0-3->{}",
            "assistant: done",
        ],
        answered("done"),
    );
}

#[test]
fn a_failing_model_fails_the_turn() {
    let failed = |kind: ErrorKind, message: &str| TurnOutcome::Failed {
        kind: kind.to_string(),
        message: message.to_owned(),
    };
    let broken = Reply { end: End::Error(ErrorKind::Io), ..say("half") };
    check_turn(vec![broken], &[], failed(ErrorKind::Io, "the script says so"));
    let silent = Reply { end: End::Nothing, ..say("half") };
    let message = "model `scripted` ended without finishing its answer";
    check_turn(vec![silent], &[], failed(ErrorKind::Internal, message));
    // Neither was asked to stop, so these are failures as well.
    for kind in [ErrorKind::Cancelled, ErrorKind::Timeout] {
        let reply = Reply { end: End::Error(kind), ..say("") };
        check_turn(vec![reply], &[], failed(kind, "the script says so"));
    }
}

#[test]
fn a_cut_answer_is_no_answer_and_its_calls_are_not_performed() {
    for stop in [StopReason::MaxTokens, StopReason::ContextFull] {
        let cut = Reply { stop, ..say("the answer is") };
        let text = "the answer is".to_owned();
        check_turn(vec![cut], &["assistant: the answer is"], TurnOutcome::TokenLimit { text });
        let cut = Reply { stop, ..call(&[("a", "panic", json!({}))]) };
        check_turn(vec![cut], &[], TurnOutcome::TokenLimit { text: String::new() });
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_and_after_their_records() {
    let bench = Bench::new(&[("go", vec![call(&[("a", "wait", json!({"ms": 5}))]), say("ok")])]);
    let mut stream = bench.start("go", &Default::default());
    let mut seen = Vec::new();
    while let Some(event) = futures_util::StreamExt::next(&mut stream).await {
        let line = match event.unwrap() {
            Event::TurnStarted { session, turn, resumed } => format!("turn {session} {turn} {resumed}"),
            Event::StepStarted { step } => format!("step {step}"),
            Event::TextDelta { text } => format!("delta {text}"),
            Event::StepFinished { step, usage, .. } => format!("stepped {step} {}", usage.completion_tokens),
            Event::ToolStarted { call } => format!("call {}", call.id),
            Event::ToolFinished { result, elapsed_ms } => format!("called {} {elapsed_ms}", result.call_id),
            Event::TurnFinished { usage, .. } => format!("end {}", usage.completion_tokens),
            other => format!("{other:?}"),
        };
        seen.push(format!("{line} | {} records", bench.records().len()));
    }
    assert_eq!(
        seen,
        [
            "turn s turn-0 false | 1 records",
            "step 1 | 1 records",
            "stepped 1 10 | 2 records",
            "call a | 2 records",
            "called a 5 | 3 records",
            "step 2 | 3 records",
            "delta o | 3 records",
            "delta k | 3 records",
            // The answer and the turn's end are one append.
            "stepped 2 10 | 5 records",
            "end 20 | 5 records",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn later_turns_see_earlier_ones() {
    let bench = Bench::new(&[
        ("one", vec![call(&[("a", "wait", json!({}))]), say("first")]),
        ("two", vec![say("second")]),
    ]);
    bench.run("one").await;
    bench.run("two").await;
    let expect = ["user: one", "assistant: a=wait{}", "tool: a->{}", "assistant: first", "user: two"];
    assert_eq!(transcript(&bench.model.last_messages()), expect);
    assert_eq!(transcript(&bench.messages().await)[5..], ["assistant: second"]);
}
