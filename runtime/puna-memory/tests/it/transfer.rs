use std::io::Cursor;

use proptest::prelude::*;
use puna_core::{Error, ErrorKind, Journal, Record};
use puna_memory::Conversations;

use crate::{block_on, durable, record, said};

/// What an export of format 1 looks like, for good.
const PINNED: &str = include_str!("../fixtures/session-1.jsonl");

async fn exported(conversations: &Conversations, session: &str) -> String {
    let mut out = Vec::new();
    conversations.export(session, &mut out).await.expect("an export");
    String::from_utf8(out).expect("UTF-8")
}

async fn import(conversations: &Conversations, text: &str, name: Option<&str>) -> Result<String, Error> {
    conversations.import(&mut Cursor::new(text), name).await
}

#[test]
fn the_pinned_export_is_read_and_written_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let conversations = durable(folder.path());
        assert_eq!(import(&conversations, PINNED, None).await.expect("an import"), "pinned");
        assert_eq!(exported(&conversations, "pinned").await, PINNED);
        let kinds: Vec<&str> = conversations
            .read("pinned", 0)
            .await
            .expect("entries")
            .iter()
            .map(|entry| match entry.record {
                Record::TurnStarted { .. } => "started",
                Record::Step { .. } => "step",
                Record::ToolFinished { .. } => "tool",
                Record::TurnFinished { .. } => "finished",
            })
            .collect();
        assert_eq!(kinds, ["started", "step", "tool", "step", "finished"]);
    });
}

#[test]
fn damaged_exports_import_nothing() {
    let lines: Vec<&str> = PINNED.lines().collect();
    let without = |skip: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != skip);
        kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let conversations = durable(folder.path());
        let cases = [
            (String::new(), "the export is empty"),
            ("{}\n".to_owned(), "line 1"),
            ("README\n".to_owned(), "line 1"),
            (without(0), "line 1"),
            (without(2), "line 3 of the export has sequence 2"),
            (without(5), "4 entries of 5"),
            (format!("{PINNED}{}\n", lines[5]), "line 7"),
            (PINNED.replace("\"format\":1", "\"format\":2"), "format 2"),
            (PINNED.replace("turn_started", "turn_begun"), "line 2"),
            (PINNED[..PINNED.len() - 30].to_owned(), "line 6"),
            (PINNED.replace("\"puna_session\":\"pinned\"", "\"puna_session\":\"a\\nb\""), "session name"),
        ];
        for (text, told) in cases {
            let error = import(&conversations, &text, None).await.expect_err(told);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{told}");
            assert!(error.report().contains(told), "no `{told}` in: {}", error.report());
            assert!(conversations.sessions().await.expect("a list").is_empty(), "{told}");
        }
        let bytes = conversations.import(&mut Cursor::new(&b"\xff\xfe\n"[..]), None).await;
        assert_ne!(bytes.expect_err("no text").kind(), ErrorKind::Internal);
        conversations.append("pinned", 0, &[said("mine")]).await.expect("an entry");
        assert_eq!(
            import(&conversations, PINNED, None).await.expect_err("it is there").kind(),
            ErrorKind::Conflict
        );
        assert_eq!(conversations.read("pinned", 0).await.expect("entries").len(), 1, "mine is as it was");
        let error = conversations.export("nobody", &mut Vec::new()).await.expect_err("no session");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_exported_is_imported(records in prop::collection::vec(record(), 1..12)) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let conversations = durable(folder.path());
            conversations.append("from", 0, &records).await.expect("entries");
            let text = exported(&conversations, "from").await;
            assert_eq!(import(&conversations, &text, Some("to")).await.expect("an import"), "to");
            let (from, to) = (conversations.read("from", 0).await, conversations.read("to", 0).await);
            assert_eq!(from.expect("entries"), to.expect("entries"));
            let (from, to) = (conversations.summary("from").await, conversations.summary("to").await);
            let (from, to) = (from.expect("a summary").expect("it is there"), to.expect("a summary").expect("it is there"));
            assert_eq!((from.records, from.created_ms, from.updated_ms), (to.records, to.created_ms, to.updated_ms));
        });
    }

    #[test]
    fn any_text_is_judged(text in "\\PC{0,200}") {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let conversations = durable(folder.path());
            assert_eq!(import(&conversations, &text, None).await.expect_err("no export").kind(), ErrorKind::InvalidInput);
        });
    }
}
