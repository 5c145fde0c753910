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
                Record::OutputRefused { .. } => "refused",
                Record::ToolFinished { .. } => "tool",
                Record::TurnFinished { .. } => "finished",
                ref other => panic!("{other:?} is not in the pinned export"),
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
            ("{\"puna_session\":\"s\",\"format\":1,\"records\":0}\n".to_owned(), "no entries"),
            (without(2), "line 3 of the export has sequence 2"),
            (without(5), "4 entries of 5"),
            (format!("{PINNED}{}\n", lines[5]), "line 7 of the export has sequence 4"),
            (format!("{}\n{PINNED}", lines[0]), "line 2 of the export is not an entry"),
            (format!("{PINNED}\n"), "line 7 of the export is not an entry"),
            (PINNED.replace("\"format\":1", "\"format\":2"), "format 2, and this version reads 1"),
            (PINNED.replace("\"format\":1", "\"format\":1,\"extra\":1"), "line 1"),
            (PINNED.replace("\"records\":5", "\"records\":18446744073709551615"), "5 entries of"),
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
        for line in [0, 1, 5] {
            let mut bytes = PINNED.as_bytes().to_vec();
            let at = lines[..line].iter().map(|line| line.len() + 1).sum::<usize>() + 3;
            bytes[at] = 0xff;
            let error = conversations.import(&mut Cursor::new(&bytes), None).await.expect_err("no text");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("line {} of", line + 1)), "{error}");
            assert!(conversations.sessions().await.expect("a list").is_empty());
        }
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

#[test]
fn line_ends_of_other_systems_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let conversations = durable(folder.path());
        import(&conversations, &PINNED.replace('\n', "\r\n"), None).await.expect("an import");
        assert_eq!(exported(&conversations, "pinned").await, PINNED);
    });
}

/// A reader or writer that fails on the way.
struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
}

impl std::io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn broken_files_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let conversations = durable(folder.path());
        let mut cut = std::io::BufReader::new(std::io::Read::chain(PINNED.as_bytes(), Broken));
        assert_eq!(conversations.import(&mut cut, None).await.expect_err("broken").kind(), ErrorKind::Io);
        assert!(conversations.sessions().await.expect("a list").is_empty());
        conversations.append("s", 0, &[said("a")]).await.expect("an entry");
        assert_eq!(conversations.export("s", &mut Broken).await.expect_err("broken").kind(), ErrorKind::Io);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_export_with_a_changed_byte_is_read_whole_or_refused(at in 0..PINNED.len(), byte in any::<u8>()) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let conversations = durable(folder.path());
            let mut bytes = PINNED.as_bytes().to_vec();
            bytes[at] = byte;
            match conversations.import(&mut Cursor::new(&bytes), None).await {
                Ok(name) => assert_eq!(conversations.read(&name, 0).await.expect("entries").len(), 5),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                    assert!(conversations.sessions().await.expect("a list").is_empty());
                }
            }
        });
    }

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
