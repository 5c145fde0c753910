//! Sessions: the same rules for those on disk and those in memory.

mod crossing;
mod facts;
mod fork;
mod journal;
mod kill;
mod losses;
mod model;
mod sessions;
mod transfer;

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use puna_core::{
    Content, Journal, JournalEntry, Message, OutputForm, Record, Role, ToolCall, ToolChoice, ToolError,
    ToolErrorKind, ToolOutcome, ToolResult, TurnForm, TurnOutcome, Usage,
};
use puna_memory::{Conversations, EphemeralJournal};
use puna_store::{SledStore, StoreOptions};
use serde_json::json;

fn durable(folder: &Path) -> Conversations {
    Conversations::new(Arc::new(SledStore::open(folder, &StoreOptions::default()).expect("a store")))
}

/// Runs a check over both journals.
fn both(check: impl AsyncFn(Arc<dyn Journal>)) {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        check(Arc::new(durable(folder.path()))).await;
        check(Arc::new(EphemeralJournal::new())).await;
    });
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn said(text: &str) -> Record {
    Record::TurnStarted {
        turn: "turn".to_owned(),
        agent: "agent".to_owned(),
        message: Message::user(text),
        form: TurnForm::default(),
        user: None,
    }
}

/// What the user said in each entry.
fn texts(entries: &[JournalEntry]) -> Vec<String> {
    let text = |entry: &JournalEntry| match &entry.record {
        Record::TurnStarted { message, .. } => message.content.iter().filter_map(Content::as_text).collect(),
        other => panic!("nobody said {other:?}"),
    };
    entries.iter().map(text).collect()
}

/// Any record, with any text in it.
fn record() -> impl Strategy<Value = Record> {
    let text = "\\PC{0,20}";
    prop_oneof![
        (text, text).prop_map(|(turn, text)| Record::TurnStarted {
            turn,
            agent: "a".to_owned(),
            message: Message::user(&text),
            form: TurnForm {
                output: text.is_ascii().then(|| OutputForm::new(json!({"description": text}))),
                tool_choice: ToolChoice::Named(text),
                ..TurnForm::default()
            },
            user: None
        }),
        text.prop_map(|reason| Record::OutputRefused { reason }),
        (text, text, any::<u32>()).prop_map(|(text, name, tokens)| Record::Step {
            message: Message {
                role: Role::Assistant,
                content: vec![
                    Content::text(&text),
                    Content::ToolCall(ToolCall {
                        id: text.clone(),
                        name,
                        arguments: json!({&text: [1, 2.5, null]})
                    }),
                ],
            },
            usage: Usage { prompt_tokens: tokens.into(), decode_ms: 0.5, ..Usage::default() },
        }),
        (text, any::<bool>()).prop_map(|(text, good)| Record::ToolFinished {
            result: ToolResult {
                call_id: text.clone(),
                name: "tool".to_owned(),
                outcome: if good {
                    ToolOutcome::Success { value: json!({"text": text}) }
                } else {
                    ToolOutcome::Failure { error: ToolError::new(ToolErrorKind::Timeout, text) }
                },
            },
        }),
        text.prop_map(|text| Record::TurnFinished { outcome: TurnOutcome::Answered { text, value: None } }),
    ]
}
