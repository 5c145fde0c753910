use std::sync::Arc;

use proptest::prelude::*;
use puna_core::{ErrorKind, Journal, Record};
use puna_memory::{MAX_SESSION_NAME_BYTES, check_session_name};

use crate::{block_on, both, durable, record, said, texts};

#[test]
fn entries_come_back_in_order() {
    both(async |journal| {
        assert!(journal.read("s", 0).await.expect("a new session").is_empty());
        assert_eq!(journal.append("s", 0, &[said("a"), said("b")]).await.expect("the first"), 2);
        assert_eq!(journal.append("s", 2, &[said("c")]).await.expect("the next"), 3);
        assert_eq!(journal.append("s", 3, &[]).await.expect("nothing"), 3);
        let entries = journal.read("s", 0).await.expect("entries");
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(
            entries.iter().map(|entry| entry.record.clone()).collect::<Vec<_>>(),
            [said("a"), said("b"), said("c")]
        );
        assert!(entries[0].at_ms > 1_700_000_000_000 && entries[0].at_ms <= entries[2].at_ms);
        assert_eq!(journal.read("s", 2).await.expect("the last"), entries[2..]);
        for beyond in [3, 4, 1 << 40, u64::MAX] {
            assert!(journal.read("s", beyond).await.expect("none").is_empty());
        }
    });
}

#[test]
fn who_comes_too_late_is_told() {
    both(async |journal| {
        journal.append("s", 0, &[said("a")]).await.expect("the first");
        for next in [0, 2, 99, u64::MAX] {
            let error = journal.append("s", next, &[said("b")]).await.expect_err("not the next");
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("its next entry is 1"), "{error}");
        }
        assert_eq!(journal.read("s", 0).await.expect("entries").len(), 1, "nothing was added");
    });
}

#[test]
fn a_session_is_there_from_its_first_entry_on() {
    both(async |journal| {
        assert_eq!(journal.append("s", 0, &[]).await.expect("nothing"), 0);
        let error = journal.append("s", 1, &[said("a")]).await.expect_err("not the next");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(journal.sessions().await.expect("a list").is_empty());
        assert!(!journal.delete("s").await.expect("no session"), "there was none");
    });
}

#[test]
fn many_tasks_append_in_turn() {
    const TASKS: usize = 6;
    const EACH: usize = 8;
    both(async |journal| {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    let mut places = Vec::new();
                    for number in 0..EACH {
                        let text = format!("{task}-{number}");
                        let mut next = 0;
                        // Two entries, so that half an append would show.
                        while let Err(error) = journal.append("s", next, &[said(&text), said(&text)]).await {
                            assert_eq!(error.kind(), ErrorKind::Conflict);
                            next = journal.read("s", 0).await.expect("entries").len() as u64;
                        }
                        places.push((next, text));
                    }
                    places
                })
            })
            .collect();
        let mut places = Vec::new();
        for task in tasks {
            places.extend(task.await.expect("a task"));
        }
        places.sort();
        let wanted: Vec<String> = places.iter().flat_map(|(_, text)| [text.clone(), text.clone()]).collect();
        let entries = journal.read("s", 0).await.expect("entries");
        assert_eq!(texts(&entries), wanted, "each append is where its caller was told");
        assert_eq!(entries.len(), TASKS * EACH * 2);
        assert!(entries.is_sorted_by_key(|entry| entry.at_ms));
    });
}

/// More than is read from the store at a time.
#[test]
fn long_journals_and_lists_come_in_one_piece() {
    const MANY: usize = 2_100;
    both(async |journal| {
        let wanted: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
        let records: Vec<Record> = wanted.iter().map(|text| said(text)).collect();
        journal.append("s", 0, &records).await.expect("entries");
        for from in [0, 1, 1_023, 1_024, 1_025, 2_048, MANY - 1, MANY] {
            let entries = journal.read("s", from as u64).await.expect("entries");
            assert_eq!(texts(&entries), wanted[from..], "from {from}");
        }
        assert!(journal.delete("s").await.expect("it is there"));
        assert!(journal.read("s", 0).await.expect("none").is_empty());
        let tasks: Vec<_> = (0..MANY)
            .map(|number| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move { journal.append(&format!("{number:04}"), 0, &[said("x")]).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task").expect("an entry");
        }
        let listed = journal.sessions().await.expect("a list");
        let names: Vec<String> = listed.into_iter().map(|summary| summary.session).collect();
        assert_eq!(names, (0..MANY).map(|number| format!("{number:04}")).collect::<Vec<_>>());
    });
}

#[test]
fn of_two_at_once_one_wins() {
    both(async |journal| {
        for next in 0..20 {
            let (left, right) = ([said("left")], [said("right")]);
            let (left, right) =
                futures(journal.append("s", next, &left), journal.append("s", next, &right)).await;
            assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
        }
        assert_eq!(journal.read("s", 0).await.expect("entries").len(), 20);
    });
}

async fn futures<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}

#[test]
fn sessions_are_listed_and_deleted() {
    both(async |journal| {
        assert!(journal.sessions().await.expect("none").is_empty());
        assert!(!journal.delete("a").await.expect("nothing to delete"));
        // Names that begin alike, and those that a naive key would mix up.
        let names = ["a", "a b", "a/b", "ab", "a.1", "ü", "a-long-name-that-goes-on", "A"];
        for (number, name) in names.iter().enumerate() {
            for next in 0..=number as u64 {
                journal.append(name, next, &[said(name)]).await.expect("an entry");
            }
        }
        let listed = journal.sessions().await.expect("a list");
        let mut sorted = names.map(str::to_owned);
        sorted.sort();
        assert_eq!(listed.iter().map(|summary| summary.session.clone()).collect::<Vec<_>>(), sorted);
        for (number, name) in names.iter().enumerate() {
            let summary = listed.iter().find(|summary| summary.session == *name).expect("it is listed");
            assert_eq!(summary.records, number as u64 + 1);
            assert!(summary.created_ms <= summary.updated_ms);
            let entries = journal.read(name, 0).await.expect("entries");
            assert_eq!(entries.len(), number + 1, "`{name}` has its own entries alone");
            assert!(entries.iter().all(|entry| entry.record == said(name)));
        }
        assert!(journal.delete("a").await.expect("it is there"));
        assert!(!journal.delete("a").await.expect("it is gone"));
        assert!(journal.read("a", 0).await.expect("none").is_empty());
        assert_eq!(journal.sessions().await.expect("a list").len(), names.len() - 1);
        assert_eq!(journal.read("ab", 0).await.expect("entries").len(), 4, "its neighbour stays");
        assert_eq!(journal.append("a", 0, &[said("new")]).await.expect("it begins anew"), 1);
    });
}

#[test]
fn names_are_checked() {
    let longest = "n".repeat(MAX_SESSION_NAME_BYTES);
    for name in ["a", "two words", "user@host:8/x+y_z-1.2", "日本", &longest] {
        check_session_name(name).expect(name);
    }
    let too_long = "n".repeat(MAX_SESSION_NAME_BYTES + 1);
    for name in ["", " a", "a ", "\n", "a\nb", "a\0b", "a\u{7f}", "a*", "a'b", "\u{202e}a", &too_long] {
        assert_eq!(check_session_name(name).expect_err(name).kind(), ErrorKind::InvalidInput);
        both(async |journal| {
            assert_eq!(
                journal.append(name, 0, &[said("x")]).await.expect_err(name).kind(),
                ErrorKind::InvalidInput
            );
            assert_eq!(journal.read(name, 0).await.expect_err(name).kind(), ErrorKind::InvalidInput);
            assert_eq!(journal.delete(name).await.expect_err(name).kind(), ErrorKind::InvalidInput);
        });
    }
}

/// A record larger than one value of the store.
#[test]
fn large_records_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let large = said(&"🦙x".repeat(60_000));
        let journal = durable(folder.path());
        journal.append("s", 0, &[said("a"), large.clone(), said("b")]).await.expect("entries");
        drop(journal);
        let journal = durable(folder.path());
        let records: Vec<Record> =
            journal.read("s", 0).await.expect("entries").into_iter().map(|entry| entry.record).collect();
        assert_eq!(records, [said("a"), large, said("b")]);
        assert_eq!(journal.read("s", 2).await.expect("the last").len(), 1);
        assert!(journal.delete("s").await.expect("it is there"));
        assert!(journal.read("s", 0).await.expect("none").is_empty());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_record_outlives_the_process(groups in prop::collection::vec(prop::collection::vec(record(), 0..4), 0..6)) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let mut next = 0;
            for group in &groups {
                // A new process for each.
                next = durable(folder.path()).append("s", next, group).await.expect("an append");
            }
            let entries = durable(folder.path()).read("s", 0).await.expect("entries");
            let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
            assert_eq!(records, groups.concat());
        });
    }
}
