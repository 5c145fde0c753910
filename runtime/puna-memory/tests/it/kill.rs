//! What a process was told is there when it is killed: turns, forks, imports and deletions, while the store is compacted.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use puna_core::{ErrorKind, Journal, Message, Record, TurnOutcome};
use puna_memory::Conversations;
use puna_store::{SledStore, Store, StoreOptions};

use crate::{block_on, durable, said};

/// Names the writer's folder; set by the test for the process it kills.
const FOLDER: &str = "PUNA_TEST_JOURNAL";

/// Names the session in which the writer takes turns.
const SESSION: &str = "PUNA_TEST_SESSION";

/// Kills of writers that take turns in the same session, before the next ones delete it: each kill costs as much as what
/// is there, and that does not grow.
const SESSION_CYCLES: u64 = 10;

/// How often it is killed; more with `PUNA_KILL_CYCLES`.
const CYCLES: u64 = 12;

/// Records of a session that is written and deleted as a whole: more than one piece of a deletion.
const LARGE: usize = 5_000;

/// A turn of three records, which begins at an entry.
fn turn(first: u64) -> [Record; 3] {
    [
        said(&first.to_string()),
        Record::Step { message: Message::assistant("x".repeat(500)), usage: Default::default() },
        Record::TurnFinished { outcome: TurnOutcome::Answered { text: String::new(), value: None } },
    ]
}

/// An import of a session of [`LARGE`] records.
fn large() -> Vec<u8> {
    let header = format!("{{\"puna_session\":\"large\",\"format\":1,\"records\":{LARGE}}}\n");
    let line = |sequence: usize| {
        let record = serde_json::to_value(said("large")).expect("JSON");
        serde_json::json!({ "sequence": sequence, "at_ms": 1, "record": record }).to_string() + "\n"
    };
    let lines: String = (0..LARGE).map(line).collect();
    (header + &lines).into_bytes()
}

/// The process that is killed: says what it was told. On its own it has nothing to do.
#[test]
fn writer() {
    let (Some(folder), Ok(session)) = (std::env::var_os(FOLDER), std::env::var(SESSION)) else { return };
    block_on(async {
        let store = SledStore::open(Path::new(&folder), &StoreOptions::default()).expect("a store");
        let journal = Conversations::new(Arc::new(store.clone()));
        let left = journal.sessions().await.expect("a list");
        // Names that were not there before, whichever process number comes again.
        let numbers = AtomicU64::new(now_us());
        // What the last writer had no time for.
        for name in left.into_iter().map(|summary| summary.session).filter(|name| *name != session) {
            assert!(journal.delete(&name).await.expect("a deletion"));
            println!("deleted {name}");
        }
        tokio::join!(
            take_turns(&journal, &session),
            fork_and_delete(&journal, &session, &numbers),
            import_and_delete(&journal, &numbers),
            compact(&store)
        );
    });
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_micros()).expect("not so late")
}

async fn take_turns(journal: &Conversations, session: &str) {
    let mut next = journal.read(session, 0).await.expect("entries").len() as u64;
    loop {
        next = journal.append(session, next, &turn(next)).await.expect("an append");
        println!("told {session} {next}");
    }
}

async fn fork_and_delete(journal: &Conversations, session: &str, numbers: &AtomicU64) {
    loop {
        let name = format!("fork-{}", numbers.fetch_add(1, Ordering::Relaxed));
        match journal.fork(session, None, &name).await {
            Ok(fork) => println!("forked {name} {}", fork.records),
            // There is no turn yet.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if journal.delete(&name).await.expect("a deletion") {
            println!("deleted {name}");
        }
    }
}

async fn import_and_delete(journal: &Conversations, numbers: &AtomicU64) {
    let bytes = large();
    loop {
        let name = format!("large-{}", numbers.fetch_add(1, Ordering::Relaxed));
        journal.import(&mut bytes.as_slice(), Some(&name)).await.expect("an import");
        println!("forked {name} {LARGE}");
        journal.delete(&name).await.expect("a deletion");
        println!("deleted {name}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn compact(store: &SledStore) {
    loop {
        store.compact(|_| {}).await.expect("a compaction");
        println!("compacted");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// What a writer said.
#[derive(Default)]
struct Told {
    /// Entries of each session of turns.
    turns: BTreeMap<String, u64>,
    there: BTreeSet<(String, u64)>,
    gone: BTreeSet<String>,
    compactions: u64,
}

impl Told {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [.., "told", session, next] => {
                self.turns.insert(session.to_owned(), next.parse().expect("a whole line"));
            }
            [.., "forked", name, records] => {
                self.there.insert((name.to_owned(), records.parse().expect("a whole line")));
            }
            [.., "deleted", name] => {
                self.gone.insert(name.to_owned());
            }
            [.., "compacted"] => self.compactions += 1,
            _ => {}
        }
    }
}

#[test]
fn what_was_told_survives_kills() {
    let cycles =
        std::env::var("PUNA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = Told::default();
    for cycle in 0..cycles {
        let session = format!("turns-{}", cycle / SESSION_CYCLES);
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill::writer", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(SESSION, &session)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writer runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        for _ in 0..10 + cycle * 37 % 50 {
            told.note(&lines.next().expect("the writer writes without end"));
        }
        thread::sleep(Duration::from_micros(cycle * 7_919 % 40_000));
        child.kill().expect("the writer runs");
        child.wait().expect("the writer is dead");
        // What it printed before it died counts.
        lines.for_each(|line| told.note(&line));
        block_on(check(folder.path(), &session, &told));
    }
    let entries: u64 = told.turns.values().sum();
    assert!(entries >= cycles && !told.gone.is_empty() && told.compactions > 0, "the writers hardly wrote");
    println!(
        "{cycles} kills, {entries} entries told, {} sessions built, {} deleted, {} compactions: none lost, none torn",
        told.there.len(),
        told.gone.len(),
        told.compactions
    );
}

async fn check(folder: &Path, session: &str, told: &Told) {
    let journal = durable(folder);
    let entries = journal.read(session, 0).await.expect("entries");
    let (count, wanted) = (entries.len() as u64, told.turns.get(session).copied().unwrap_or_default());
    assert!(count >= wanted, "{wanted} entries were told, {count} are there");
    assert_eq!(count % 3, 0, "part of a turn is there");
    for entries in entries.chunks(3) {
        let records: Vec<Record> = entries.iter().map(|entry| entry.record.clone()).collect();
        assert_eq!(records, turn(entries[0].sequence));
    }
    journal.clear_up().await.expect("a clearance");
    let listed = journal.sessions().await.expect("a list");
    for summary in &listed {
        // Whole, whether it was told of or not.
        let read = journal.read(&summary.session, 0).await.expect("a whole session");
        assert_eq!(read.len() as u64, summary.records, "{}", summary.session);
        assert!(!told.gone.contains(&summary.session), "`{}` is back", summary.session);
        if summary.session.starts_with("large-") {
            assert_eq!(summary.records, LARGE as u64);
        }
    }
    for (name, records) in told.there.iter().filter(|(name, _)| !told.gone.contains(name)) {
        // Its deletion may have been under way.
        let found = listed.iter().find(|summary| summary.session == *name);
        assert!(found.is_none_or(|summary| summary.records == *records), "`{name}` is torn: {found:?}");
    }
    // No entry is left of a session that is not there.
    let wanted: u64 = listed.iter().map(|summary| summary.records).sum();
    drop(journal);
    let store = SledStore::open(folder, &StoreOptions::default()).expect("the store");
    let entries = store.keys("session-entry", &[], &[], usize::MAX).await.expect("keys").len() as u64;
    assert_eq!(entries, wanted, "entries of no session are left");
}
