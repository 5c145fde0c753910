use puna_agent::{Action, Conversation, Limits, PendingCall, next_action};
use puna_core::{
    ErrorKind, JournalEntry, Message, Record, Role, ToolError, ToolErrorKind, ToolOutcome, ToolResult,
    TurnOutcome, Usage,
};
use serde_json::json;

use crate::support::{answered, call, transcript};

fn started() -> Record {
    Record::TurnStarted {
        turn: "t".into(),
        agent: "tester".into(),
        message: Message::user("go"),
        form: Default::default(),
        user: None,
    }
}

fn step(ids: &[&str]) -> Record {
    let calls: Vec<_> = ids.iter().map(|id| (*id, "wait", json!({}))).collect();
    let content = call(&calls).content;
    let usage = Usage { completion_tokens: 10, ..Usage::default() };
    Record::Step { message: Message { role: Role::Assistant, content }, usage }
}

fn said(text: &str) -> Record {
    Record::Step { message: Message::assistant(text), usage: Usage::default() }
}

fn result(id: &str) -> Record {
    let outcome = ToolOutcome::Failure { error: ToolError::new(ToolErrorKind::Denied, "no") };
    Record::ToolFinished { result: ToolResult { call_id: id.into(), name: "wait".into(), outcome } }
}

fn finished() -> Record {
    Record::TurnFinished { outcome: TurnOutcome::Cancelled }
}

fn fold(records: &[Record]) -> puna_core::Result<Conversation> {
    let entry = |(at, record): (usize, &Record)| JournalEntry {
        sequence: at as u64,
        at_ms: 0,
        record: record.clone(),
    };
    Conversation::fold(&records.iter().enumerate().map(entry).collect::<Vec<_>>())
}

#[test]
fn the_next_action_follows_from_the_records() {
    let limits = Limits { steps: 3, tokens: 25, ..Limits::default() };
    // Call ids stand for the calls to perform.
    let cases: [(&str, &[Record], &str); 8] = [
        ("a new turn", &[started()], "generate 1, 25 left"),
        ("calls to perform", &[started(), step(&["a", "b"])], "call a b"),
        ("the first was performed", &[started(), step(&["a", "b"]), result("a")], "call b"),
        ("the last was performed", &[started(), step(&["a", "b"]), result("b")], "call a"),
        ("all were", &[started(), step(&["a"]), result("a")], "generate 2, 15 left"),
        ("an answer", &[started(), said("hi")], "finish answered"),
        (
            "no tokens left",
            &[started(), step(&["a"]), result("a"), step(&["b"]), result("b")],
            "generate 3, 5 left",
        ),
        (
            "no steps left",
            &[started(), step(&["a"]), result("a"), step(&["b"]), result("b"), step(&["c"])],
            "finish step limit",
        ),
    ];
    for (name, records, expect) in cases {
        let conversation = fold(records).unwrap();
        let action = match next_action(conversation.unfinished().unwrap(), &limits) {
            Action::Generate { step, tokens_left } => format!("generate {step}, {tokens_left} left"),
            Action::CallTools(calls) => calls.iter().fold("call".to_owned(), |line, call| match call {
                PendingCall::Perform(call) => format!("{line} {}", call.id),
                PendingCall::Refuse(result) => format!("{line} not {}", result.call_id),
            }),
            Action::Finish(TurnOutcome::StepLimit { limit: 3 }) => "finish step limit".to_owned(),
            Action::Finish(outcome) if outcome == answered("hi") => "finish answered".to_owned(),
            action => format!("{action:?}"),
        };
        assert_eq!(action, expect, "{name}");
    }
}

#[test]
fn records_that_do_not_follow_are_corrupt() {
    let cases: [(&[Record], &str); 9] = [
        (&[started(), started()], "entry `1` of the session does not follow: a turn starts inside another"),
        (&[said("hi")], "entry `0` of the session does not follow: a step stands outside a turn"),
        (
            &[started(), finished(), said("")],
            "entry `2` of the session does not follow: a step stands outside a turn",
        ),
        (
            &[started(), step(&["a"]), said("")],
            "entry `2` of the session does not follow: a step follows one whose calls have no results",
        ),
        (&[result("a")], "entry `0` of the session does not follow: a result stands outside a turn"),
        (
            &[started(), result("a")],
            "entry `1` of the session does not follow: a result comes before the first step",
        ),
        (
            &[started(), step(&["a"]), result("b")],
            "entry `2` of the session does not follow: a result has no open call",
        ),
        (
            &[started(), step(&["a"]), result("a"), result("a")],
            "entry `3` of the session does not follow: a result has no open call",
        ),
        (&[finished()], "entry `0` of the session does not follow: a turn ends that did not start"),
    ];
    for (records, expect) in cases {
        let error = fold(records).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Corrupt, expect.to_owned()));
    }
    let gap = JournalEntry { sequence: 1, at_ms: 0, record: started() };
    let error = Conversation::fold(&[gap]).unwrap_err();
    assert_eq!(error.to_string(), "entry `1` of the session does not follow: expected entry 0");
}

#[test]
fn open_calls_are_not_shown() {
    let conversation = fold(&[started(), step(&["a", "b"]), result("b"), finished()]).unwrap();
    let expect = ["user: go", "assistant: b=wait{}", "tool: b->denied: no"];
    assert_eq!(transcript(&conversation.messages(0)), expect);
    let conversation = fold(&[started(), step(&["a"]), finished()]).unwrap();
    assert_eq!(transcript(&conversation.messages(0)), ["user: go"]);
    assert_eq!(conversation.next, 3);
    assert!(conversation.messages(1).is_empty());
}
