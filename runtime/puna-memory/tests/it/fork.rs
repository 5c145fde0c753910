//! Sessions that go on from another one.

use std::sync::Arc;

use puna_core::{ErrorKind, ForkPoint, Journal, Message, Record, TurnOutcome};
use puna_memory::Conversations;
use puna_store::{Batch, SledStore, Store, StoreOptions};

use crate::{block_on, durable, said};

/// A finished turn.
fn turn(text: &str) -> [Record; 3] {
    [
        said(text),
        Record::Step { message: Message::assistant(format!("{text}!")), usage: Default::default() },
        Record::TurnFinished { outcome: TurnOutcome::Answered { text: format!("{text}!"), value: None } },
    ]
}

/// What the user said, turn by turn.
async fn inputs(journal: &Conversations, session: &str) -> Vec<String> {
    let entries = journal.read(session, 0).await.expect("entries");
    let text = |record: &Record| match record {
        Record::TurnStarted { message, .. } => Some(message.plain_text()),
        _ => None,
    };
    entries.iter().filter_map(|entry| text(&entry.record)).collect()
}

async fn append(journal: &Conversations, session: &str, records: &[Record]) {
    let next = journal.read(session, 0).await.expect("entries").len() as u64;
    journal.append(session, next, records).await.expect("an append");
}

#[test]
fn a_fork_has_the_turns_before_and_goes_its_own_way() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let journal = durable(folder.path());
        for text in ["one", "two", "three"] {
            append(&journal, "trunk", &turn(text)).await;
        }
        // The fourth turn is cut off.
        append(&journal, "trunk", &[said("four")]).await;
        let trunk = journal.read("trunk", 0).await.expect("entries");
        for (turns, end) in [(Some(1), 3), (Some(2), 6), (Some(3), 9), (None, 9)] {
            let name = format!("after {turns:?}").replace(['(', ')'], "-");
            let summary = journal.fork("trunk", turns, &name).await.expect("a fork");
            assert_eq!(journal.read(&name, 0).await.expect("entries"), trunk[..end]);
            let from = ForkPoint { session: "trunk".to_owned(), turns: turns.unwrap_or(3) };
            assert_eq!((summary.records, summary.forked_from), (end as u64, Some(from)));
        }
        append(&journal, "after Some-1-", &turn("other")).await;
        assert_eq!(inputs(&journal, "after Some-1-").await, ["one", "other"]);
        assert_eq!(journal.read("trunk", 0).await.expect("entries"), trunk, "it is as it was");
        assert!(journal.delete("trunk").await.expect("a deletion"));
        assert_eq!(inputs(&journal, "after Some-1-").await, ["one", "other"], "and so is its branch");
    });
    block_on(async {
        let journal = durable(folder.path());
        assert_eq!(inputs(&journal, "after Some-2-").await, ["one", "two"]);
    });
}

#[test]
fn what_cannot_be_forked_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let journal = durable(folder.path());
        append(&journal, "s", &turn("one")).await;
        append(&journal, "s", &[said("cut off")]).await;
        append(&journal, "unfinished", &[said("cut off")]).await;
        for (session, turns, name, kind, told) in [
            ("nobody", None, "n", ErrorKind::NotFound, "no session `nobody`"),
            ("s", Some(2), "n", ErrorKind::InvalidInput, "has 1 finished turns"),
            ("s", Some(0), "n", ErrorKind::InvalidInput, "after turn 0"),
            ("unfinished", None, "n", ErrorKind::InvalidInput, "has 0 finished turns"),
            ("s", None, "unfinished", ErrorKind::Conflict, "`unfinished` is there already"),
            ("s", None, "s", ErrorKind::Conflict, "`s` is there already"),
            ("s", None, "a\nb", ErrorKind::InvalidInput, "session name"),
        ] {
            let error = journal.fork(session, turns, name).await.expect_err(told);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
        let names: Vec<String> =
            journal.sessions().await.expect("a list").into_iter().map(|summary| summary.session).collect();
        assert_eq!(names, ["s", "unfinished"]);
    });
}

#[test]
fn branches_are_listed_below_what_they_go_on_from() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let journal = durable(folder.path());
        append(&journal, "trunk", &turn("one")).await;
        for (from, name) in [("trunk", "b"), ("trunk", "a"), ("a", "a1"), ("a1", "a2"), ("b", "b1")] {
            journal.fork(from, None, name).await.expect("a fork");
        }
        append(&journal, "other", &turn("one")).await;
        let listed = async |session: &str| {
            let branches = journal.branches(session).await.expect("a list");
            branches.into_iter().map(|branch| (branch.depth, branch.session.session)).collect::<Vec<_>>()
        };
        let wanted = [(1, "a"), (2, "a1"), (3, "a2"), (1, "b"), (2, "b1")].map(|(d, n)| (d, n.to_owned()));
        assert_eq!(listed("trunk").await, wanted);
        assert_eq!(listed("other").await, []);
        // Those of a session that is gone are still found, and a name that comes back below itself ends no listing.
        journal.delete("trunk").await.expect("a deletion");
        assert_eq!(listed("trunk").await, wanted);
        journal.fork("a2", None, "trunk").await.expect("a fork");
        assert_eq!(listed("trunk").await, wanted);
        assert_eq!(journal.branches("nobody").await.expect_err("none").kind(), ErrorKind::NotFound);
    });
}

/// What a process that dies while it deletes or imports leaves: entries and a mark of another process.
#[test]
fn what_dead_processes_left_is_cleared() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
        let journal = Conversations::new(Arc::new(store.clone()));
        let left = async || {
            let marks = store.scan("session-mark", &[], &[], 10).await.expect("marks").len();
            (marks, store.scan("session-entry", &[], &[], 100).await.expect("entries").len())
        };
        let leave = async |why: u8| {
            append(&journal, "s", &turn("secret")).await;
            let mark = [&[why], &[0; 16][..]].concat();
            let batch = Batch::new().remove("session", b"s").put("session-mark", b"s", mark);
            store.commit(batch).await.expect("a batch");
            assert_eq!(left().await, (1, 3));
            assert!(journal.read("s", 0).await.expect("no session").is_empty());
            assert!(journal.sessions().await.expect("a list").is_empty());
        };
        for why in [b'b', b'd'] {
            leave(why).await;
            assert_eq!(journal.clear_up().await.expect("a clearance"), 1);
            assert_eq!(left().await, (0, 0));
            // Or the next who needs the name does it.
            leave(why).await;
            journal.append("s", 0, &turn("new")).await.expect("a new session");
            assert_eq!(inputs(&journal, "s").await, ["new"]);
            assert_eq!(left().await, (0, 3));
            journal.delete("s").await.expect("a deletion");
            leave(why).await;
            append(&journal, "from", &turn("one")).await;
            journal.fork("from", None, "s").await.expect("a fork");
            assert_eq!(inputs(&journal, "s").await, ["one"]);
            for session in ["s", "from"] {
                journal.delete(session).await.expect("a deletion");
            }
            assert_eq!(left().await, (0, 0));
        }
    });
}

#[test]
fn an_export_keeps_where_a_session_was_forked() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let journal = durable(folder.path());
        journal.append("s", 0, &turn("one")).await.expect("a turn");
        journal.append("s", 3, &turn("two")).await.expect("a turn");
        let fork = journal.fork("s", Some(1), "f").await.expect("a fork");
        let mut out = Vec::new();
        journal.export("f", &mut out).await.expect("an export");
        journal.delete("f").await.expect("a deletion");
        journal.import(&mut out.as_slice(), Some("g")).await.expect("an import");
        let imported = journal.summary("g").await.expect("a summary").expect("it is there");
        assert_eq!(imported.forked_from, fork.forked_from);
        assert!(fork.forked_from.is_some_and(|from| from.session == "s" && from.turns == 1));
        let branches = journal.branches("s").await.expect("branches");
        assert_eq!(branches.iter().map(|branch| branch.session.session.as_str()).collect::<Vec<_>>(), ["g"]);
    });
}
