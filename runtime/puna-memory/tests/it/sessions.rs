//! Fifty sessions read and write at once, with every read checked.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use puna_core::{Journal, Message, Record, TurnOutcome};
use puna_memory::{Conversations, FactScope, Facts, NewFact};
use puna_store::{SledStore, Store, StoreOptions};

use crate::{block_on, said};

/// Sessions at once.
const SESSIONS: usize = 50;

/// How long they go on; `PUNA_SESSIONS_SECONDS` says otherwise.
const SECONDS: u64 = 30;

/// Turns of a session before it is deleted and begins anew: what is kept does not grow.
const TURNS: u64 = 12;

/// The store's cache, in bytes: so small that it is full within the first third, and what grows after that is no cache.
const CACHE_BYTES: u64 = 1 << 20;

/// Most that the process may take more in its last third than in the one before, in bytes.
const GROWTH: u64 = 16 << 20;

/// Bytes of memory that this process has, once what is free within it is given back to the system.
fn resident() -> u64 {
    // SAFETY: a plain call that takes no pointer; it gives free memory back.
    unsafe { libc::malloc_trim(0) };
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Bytes that the process has asked for and not given back: without what the allocator keeps for later.
fn asked_for() -> u64 {
    // SAFETY: a plain call that takes no pointer; it counts over all arenas.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

/// What one session counts.
#[derive(Default)]
struct Done {
    turns: u64,
    reads: u64,
}

/// One session: each turn is read back, and so is what is known of its user.
async fn session(number: usize, store: SledStore, until: Instant) -> Done {
    let store: Arc<dyn Store> = Arc::new(store);
    let (journal, facts) = (Conversations::new(Arc::clone(&store)), Facts::new(store));
    let (name, scope) = (format!("session {number}"), FactScope::of_user(format!("user {number}")));
    let mine = |text: &str| text.starts_with(&format!("{number}:"));
    let mut done = Done::default();
    while Instant::now() < until {
        let mut next = 0;
        for turn in 0..TURNS {
            let text = format!("{number}: turn {turn}");
            let answered = TurnOutcome::Answered { text: text.clone(), value: None };
            let records = [
                said(&text),
                Record::Step { message: Message::assistant(&text), usage: Default::default() },
                Record::TurnFinished { outcome: answered },
            ];
            next = journal.append(&name, next, &records).await.expect("an append");
            done.turns += 1;
            let entries = journal.read(&name, 0).await.expect("entries");
            assert_eq!(entries.len() as u64, 3 * (turn + 1), "an update of session {number} is lost");
            for entry in &entries {
                if let Record::TurnStarted { message, .. } = &entry.record {
                    assert!(mine(&message.plain_text()), "{number} reads {message:?}");
                }
            }
            let fact = NewFact {
                subject: "turn".to_owned(),
                text: format!("{number}: saw {turn}"),
                ..NewFact::default()
            };
            facts.remember(&scope, fact).await.expect("a fact");
            let found = facts.search(&scope, "Which turn?", 100).await.expect("a search");
            assert_eq!(found.len() as u64, turn + 1, "a fact of user {number} is lost");
            assert!(found.iter().all(|(fact, _)| mine(&fact.text)), "{number} finds {found:?}");
            done.reads += 2;
        }
        let listed = journal.sessions().await.expect("a list");
        assert!(listed.iter().any(|summary| summary.session == name));
        assert!(journal.delete(&name).await.expect("a deletion"));
        assert!(journal.read(&name, 0).await.expect("nothing").is_empty());
        facts.forget_all(&scope).await.expect("a deletion");
    }
    done
}

#[test]
fn fifty_sessions_at_once_lose_nothing_and_see_only_their_own() {
    let seconds =
        std::env::var("PUNA_SESSIONS_SECONDS").ok().map_or(SECONDS, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let store = SledStore::open(folder.path(), &StoreOptions { cache_bytes: CACHE_BYTES }).expect("a store");
    let (until, start) = (Instant::now() + Duration::from_secs(seconds), Instant::now());
    let (turns, reads, sizes) = block_on(async {
        let sessions: Vec<_> =
            (0..SESSIONS).map(|number| tokio::spawn(session(number, store.clone(), until))).collect();
        let mut sizes = Vec::new();
        while Instant::now() < until {
            // Space is given back meanwhile, as a long-lived host would.
            store.compact(|_| {}).await.expect("a compaction");
            sizes.push((resident(), asked_for()));
            tokio::time::sleep(Duration::from_millis(seconds * 20)).await;
        }
        let (mut turns, mut reads) = (0, 0);
        for session in sessions {
            let done = session.await.expect("no panic");
            turns += done.turns;
            reads += done.reads;
        }
        (turns, reads, sizes)
    });
    // What is there once caches are full: the middle third beside the last.
    let third = sizes.len().div_ceil(3);
    let parts = [&sizes[..third], &sizes[third..sizes.len() - third], &sizes[sizes.len() - third..]];
    let peaks =
        |size: fn(&(u64, u64)) -> u64| parts.map(|part| part.iter().map(size).max().unwrap_or_default());
    let (resident, asked) = (peaks(|(resident, _)| *resident), peaks(|(_, asked)| *asked));
    println!(
        "{SESSIONS} sessions for {:.0} s: {turns} turns, {reads} reads checked; in each third at most {:?} MiB resident, {:?} MiB asked for",
        start.elapsed().as_secs_f64(),
        resident.map(|bytes| bytes >> 20),
        asked.map(|bytes| bytes >> 20)
    );
    assert!(turns > SESSIONS as u64, "they hardly wrote");
    for [_, middle, last] in [resident, asked] {
        assert!(last <= middle + GROWTH, "memory grows: {sizes:?}");
    }
    check_empty(store, folder.path());
}

/// Nothing is left but the counts of changes.
fn check_empty(store: SledStore, folder: &Path) {
    block_on(async {
        store.compact(|_| {}).await.expect("a compaction");
        drop(store);
        let store = SledStore::open(folder, &StoreOptions::default()).expect("the store");
        let namespaces = store.namespaces().await.expect("a list");
        let names: Vec<&str> = namespaces.iter().map(|found| found.namespace.as_str()).collect();
        assert_eq!(names, ["fact-count"]);
        assert_eq!(store.check(|_| {}).await.expect("a check").damaged, 0);
    });
}
