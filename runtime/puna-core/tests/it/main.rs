//! The vocabulary as others see it: the JSON that is stored and printed, and errors.

mod ask;

use std::io;

use puna_core::{
    Citation, Content, Error, ErrorKind, Event, GenerateOptions, InvalidToolCall, Media, Message, OutputForm,
    RecalledFact, Record, Role, StopReason, ToolCall, ToolChoice, ToolError, ToolErrorKind, ToolOutcome,
    ToolResult, ToolSchema, TurnForm, TurnOutcome, Usage,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Journals and scripts hold this JSON: it is written so, and read back.
fn pinned<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, wanted: Value) {
    assert_eq!(serde_json::to_value(value).expect("JSON"), wanted);
    assert_eq!(&serde_json::from_value::<T>(wanted).expect("it reads back"), value);
}

fn call() -> ToolCall {
    ToolCall { id: "call_0".to_owned(), name: "add".to_owned(), arguments: json!({"a": 1}) }
}

fn fact() -> RecalledFact {
    RecalledFact { id: "f".to_owned(), subject: "Ada".to_owned(), text: "likes tea".to_owned() }
}

fn result(outcome: ToolOutcome) -> ToolResult {
    ToolResult { call_id: "call_0".to_owned(), name: "add".to_owned(), outcome }
}

#[test]
fn messages_keep_their_form() {
    let parts = vec![
        Content::text("hi"),
        Content::Image(Media { media_type: "image/png".to_owned(), url: "data:".to_owned() }),
        Content::Audio(Media { media_type: "audio/wav".to_owned(), url: "a.wav".to_owned() }),
        Content::ToolCall(call()),
        Content::InvalidToolCall(InvalidToolCall {
            id: "call_1".to_owned(),
            name: None,
            text: "{".to_owned(),
            reason: "it ends".to_owned(),
        }),
        Content::ToolResult(result(ToolOutcome::Success { value: json!(2) })),
        Content::Citation(Citation { source: "a.md".to_owned(), span: None, quote: "q".to_owned() }),
    ];
    let message = Message { role: Role::Assistant, content: parts };
    pinned(
        &message,
        json!({"role": "assistant", "content": [
            {"type": "text", "text": "hi"},
            {"type": "image", "media_type": "image/png", "url": "data:"},
            {"type": "audio", "media_type": "audio/wav", "url": "a.wav"},
            {"type": "tool_call", "id": "call_0", "name": "add", "arguments": {"a": 1}},
            {"type": "invalid_tool_call", "id": "call_1", "text": "{", "reason": "it ends"},
            {"type": "tool_result", "call_id": "call_0", "name": "add", "outcome": {"status": "success", "value": 2}},
            {"type": "citation", "source": "a.md", "quote": "q"},
        ]}),
    );
    assert_eq!(message.plain_text(), "hi");
    assert_eq!(message.tool_calls().collect::<Vec<_>>(), [&call()]);
}

#[test]
fn records_keep_their_form() {
    pinned(
        &Record::TurnStarted {
            turn: "t".to_owned(),
            agent: "a".to_owned(),
            message: Message::user("hi"),
            form: TurnForm::default(),
            user: None,
        },
        json!({"record": "turn_started", "turn": "t", "agent": "a",
            "message": {"role": "user", "content": [{"type": "text", "text": "hi"}]}}),
    );
    pinned(
        &Record::TurnStarted {
            turn: "t".to_owned(),
            agent: "a".to_owned(),
            message: Message::user("hi"),
            form: TurnForm {
                output: Some(OutputForm { schema: json!({"type": "null"}), repairs: 1 }),
                tool_choice: ToolChoice::Named("add".to_owned()),
                parallel_tool_calls: false,
            },
            user: None,
        },
        json!({"record": "turn_started", "turn": "t", "agent": "a",
            "message": {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            "form": {"output": {"schema": {"type": "null"}, "repairs": 1},
                "tool_choice": {"named": "add"}, "parallel_tool_calls": false}}),
    );
    pinned(
        &Record::OutputRefused { reason: "no".to_owned() },
        json!({"record": "output_refused", "reason": "no"}),
    );
    pinned(
        &Record::TurnStarted {
            turn: "t".to_owned(),
            agent: "a".to_owned(),
            message: Message::user("hi"),
            form: TurnForm::default(),
            user: Some("ada".to_owned()),
        },
        json!({"record": "turn_started", "turn": "t", "agent": "a", "user": "ada",
            "message": {"role": "user", "content": [{"type": "text", "text": "hi"}]}}),
    );
    pinned(
        &Record::HistorySummarized {
            turns: 2,
            through: "t".to_owned(),
            text: "x".to_owned(),
            cut: true,
            model: "m".to_owned(),
            usage: Usage::default(),
        },
        json!({"record": "history_summarized", "turns": 2, "through": "t", "text": "x", "cut": true, "model": "m",
            "usage": Usage::default()}),
    );
    let facts = vec!["f".to_owned()];
    pinned(
        &Record::FactsRecalled { facts: facts.clone() },
        json!({"record": "facts_recalled", "facts": ["f"]}),
    );
    pinned(&Record::FactsLearned { facts }, json!({"record": "facts_learned", "facts": ["f"]}));
    let error = ToolError::new(ToolErrorKind::InvalidInput, "no").at("/a");
    pinned(
        &Record::ToolFinished { result: result(ToolOutcome::Failure { error }) },
        json!({"record": "tool_finished", "result": {"call_id": "call_0", "name": "add", "outcome":
            {"status": "failure", "error": {"kind": "invalid_input", "message": "no", "path": "/a"}}}}),
    );
    for (outcome, wanted) in [
        (
            TurnOutcome::Answered { text: "x".to_owned(), value: None },
            json!({"outcome": "answered", "text": "x"}),
        ),
        // A value that is `null` is a value.
        (
            TurnOutcome::Answered { text: "null".to_owned(), value: Some(Value::Null) },
            json!({"outcome": "answered", "text": "null", "value": null}),
        ),
        (
            TurnOutcome::InvalidOutput { text: "x".to_owned(), reason: "no".to_owned() },
            json!({"outcome": "invalid_output", "text": "x", "reason": "no"}),
        ),
        (TurnOutcome::StepLimit { limit: 3 }, json!({"outcome": "step_limit", "limit": 3})),
        (TurnOutcome::TokenLimit { text: "x".to_owned() }, json!({"outcome": "token_limit", "text": "x"})),
        (TurnOutcome::TimeLimit { limit_ms: 5 }, json!({"outcome": "time_limit", "limit_ms": 5})),
        (TurnOutcome::Cancelled, json!({"outcome": "cancelled"})),
    ] {
        pinned(&Record::TurnFinished { outcome }, json!({"record": "turn_finished", "outcome": wanted}));
    }
}

#[test]
fn events_keep_their_form() {
    let usage = Usage {
        prompt_tokens: 1,
        cached_tokens: 2,
        completion_tokens: 3,
        prefill_ms: 0.5,
        decode_ms: 1.5,
        ..Usage::default()
    };
    let usage_json = json!({"prompt_tokens": 1, "cached_tokens": 2, "completion_tokens": 3, "prefill_ms": 0.5, "decode_ms": 1.5});
    let message = Message { role: Role::Assistant, content: vec![] };
    for (event, wanted) in [
        (
            Event::TurnStarted { session: "s".to_owned(), turn: "t".to_owned(), resumed: true },
            json!({"event": "turn_started", "session": "s", "turn": "t", "resumed": true}),
        ),
        (Event::StepStarted { step: 1 }, json!({"event": "step_started", "step": 1})),
        (Event::HistoryPacked { dropped_turns: 2 }, json!({"event": "history_packed", "dropped_turns": 2})),
        (
            Event::HistorySummarized { turns: 2, text: "x".to_owned(), cut: false, usage },
            json!({"event": "history_summarized", "turns": 2, "text": "x", "cut": false, "usage": usage_json}),
        ),
        (
            Event::SummaryFailed { kind: "io".to_owned(), message: "no".to_owned() },
            json!({"event": "summary_failed", "kind": "io", "message": "no"}),
        ),
        (
            Event::FactsRecalled { facts: vec![fact()], left_out: 1 },
            json!({"event": "facts_recalled", "left_out": 1,
                "facts": [{"id": "f", "subject": "Ada", "text": "likes tea"}]}),
        ),
        (
            Event::FactsLearned { facts: vec![fact()] },
            json!({"event": "facts_learned", "facts": [{"id": "f", "subject": "Ada", "text": "likes tea"}]}),
        ),
        (
            Event::MemoryFailed {
                during: "learn".to_owned(),
                kind: "io".to_owned(),
                message: "no".to_owned(),
            },
            json!({"event": "memory_failed", "during": "learn", "kind": "io", "message": "no"}),
        ),
        (Event::TextDelta { text: "x".to_owned() }, json!({"event": "text_delta", "text": "x"})),
        (
            Event::PartialOutput { value: json!({"a": [1]}) },
            json!({"event": "partial_output", "value": {"a": [1]}}),
        ),
        (
            Event::OutputRefused { repair: 1, reason: "no".to_owned() },
            json!({"event": "output_refused", "repair": 1, "reason": "no"}),
        ),
        (
            Event::StepFinished { step: 1, message, stop: StopReason::EndOfTurn, usage },
            json!({"event": "step_finished", "step": 1, "message": {"role": "assistant", "content": []},
                "stop": "end_of_turn", "usage": usage_json}),
        ),
        (
            Event::ToolStarted { call: call() },
            json!({"event": "tool_started", "call": {"id": "call_0", "name": "add", "arguments": {"a": 1}}}),
        ),
        (
            Event::TurnFinished { outcome: TurnOutcome::Cancelled, usage },
            json!({"event": "turn_finished", "outcome": {"outcome": "cancelled"}, "usage": usage_json}),
        ),
    ] {
        pinned(&event, wanted);
    }
}

#[test]
fn options_refuse_what_they_do_not_know() {
    assert_eq!(
        serde_json::from_value::<GenerateOptions>(json!({})).expect("JSON"),
        GenerateOptions::default()
    );
    assert_eq!(serde_json::to_value(GenerateOptions::default()).expect("JSON"), json!({}));
    let error = serde_json::from_value::<GenerateOptions>(json!({"temprature": 1})).expect_err("misspelt");
    assert!(error.to_string().contains("temprature"), "{error}");
}

#[test]
fn schemas_come_from_types() {
    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Arguments {
        /// Where to
        place: String,
        /// How many
        nights: u8,
        price: Option<f32>,
    }
    let schema = ToolSchema::of::<Arguments>("book", "Book a room.");
    assert_eq!(schema.parameters["required"], json!(["place", "nights"]));
    assert_eq!(
        schema.parameters["properties"]["place"],
        json!({"description": "Where to", "type": "string"})
    );
    let nights = &schema.parameters["properties"]["nights"];
    let keys: Vec<&String> = nights.as_object().expect("an object").keys().collect();
    assert_eq!(keys[..2], ["description", "type"], "in the order that models know: {nights}");
    assert_eq!(nights["type"], "integer");
    assert!(
        !schema.parameters.to_string().contains("$schema"),
        "what costs tokens and says nothing is left out"
    );
    assert_eq!(ToolSchema::of::<()>("now", "Tell the time.").parameters["properties"], json!({}));
}

#[test]
fn errors_tell_everything_once() {
    let below = io::Error::new(io::ErrorKind::NotFound, "no such file");
    let error = Error::from_io("read", "a/b", below).context("loading the agent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "loading the agent: cannot read `a/b`");
    assert_eq!(error.report(), "loading the agent: cannot read `a/b`: no such file");
    assert_eq!(format!("{error:?}"), "not_found: loading the agent: cannot read `a/b`: no such file");
    for (from, kind) in [
        (io::ErrorKind::PermissionDenied, ErrorKind::Denied),
        (io::ErrorKind::StorageFull, ErrorKind::ResourceExhausted),
        (io::ErrorKind::BrokenPipe, ErrorKind::Io),
    ] {
        assert_eq!(Error::from_io("read", "a", from.into()).kind(), kind);
    }
}

#[test]
fn usage_adds_up() {
    let mut sum = Usage::default();
    let one = Usage {
        prompt_tokens: 1,
        cached_tokens: 2,
        completion_tokens: 3,
        prefill_ms: 0.5,
        decode_ms: 1.5,
        companion_tokens: 6,
        drafted_tokens: 4,
        accepted_tokens: 5,
        forced_tokens: 7,
        mask_ms: 0.25,
        mask_wait_ms: 0.125,
    };
    sum += one;
    sum += one;
    let two = Usage {
        prompt_tokens: 2,
        cached_tokens: 4,
        completion_tokens: 6,
        prefill_ms: 1.0,
        decode_ms: 3.0,
        companion_tokens: 12,
        drafted_tokens: 8,
        accepted_tokens: 10,
        forced_tokens: 14,
        mask_ms: 0.5,
        mask_wait_ms: 0.25,
    };
    assert_eq!(sum, two);
    assert_eq!(
        serde_json::to_value(one).expect("JSON"),
        json!({"prompt_tokens": 1, "cached_tokens": 2, "completion_tokens": 3, "prefill_ms": 0.5, "decode_ms": 1.5, "companion_tokens": 6, "drafted_tokens": 4, "accepted_tokens": 5, "forced_tokens": 7, "mask_ms": 0.25, "mask_wait_ms": 0.125})
    );
}

/// What a plugin's function said comes back whole, whatever was being done; what the host says has the nearest kind.
#[test]
fn errors_of_tools_come_back_whole() {
    let mut said = ToolError::new(ToolErrorKind::RateLimited, "later").at("/query");
    said.retry_after_ms = Some(250);
    let error = Error::from(said.clone()).context("retriever `notes`");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(error.report(), "retriever `notes`: rate_limited: later (at `/query`)");
    assert_eq!(ToolError::from(error), said);
    for kind in ErrorKind::ALL {
        let told = ToolError::from(Error::new(kind, "no"));
        assert_eq!(told.message, "no");
        let same = ToolErrorKind::as_str(told.kind) == kind.as_str();
        let nearest = matches!(
            (kind, told.kind),
            (ErrorKind::ContextOverflow | ErrorKind::ResourceExhausted, ToolErrorKind::TooLarge)
                | (ErrorKind::Conflict, ToolErrorKind::Unavailable)
                | (ErrorKind::Corrupt | ErrorKind::Io, ToolErrorKind::Internal)
        );
        assert!(same || nearest, "{kind}: {told}");
    }
}
