//! An ingestion that is killed, again and again, while it removes documents, writes snapshots and compacts the store: what
//! it acknowledged is there, each document is whole, and the indexes are what the store has.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use puna_knowledge::{BaseOptions, Knowledge, KnowledgeBase, SearchMode, SearchOptions, SplitOptions, Unit};
use puna_store::{SledStore, StoreOptions};
use serde_json::json;

use crate::support::{HashEmbedder, add, block_on, check_sound, found, input};

/// How often it is killed; more with `PUNA_KILL_CYCLES`.
const CYCLES: u64 = 20;

/// Names the folder; set by the test for the process that it kills.
const FOLDER: &str = "PUNA_TEST_KNOWLEDGE";

/// Documents there are at most.
const DOCUMENTS: u64 = 40;

/// Documents that a round writes.
const ROUND: u64 = 7;

/// What a round does: new versions of some documents, and the removal of one.
fn round(number: u64) -> (Vec<u64>, u64) {
    let written = (0..ROUND).map(|index| (number * 5 + index * 3) % DOCUMENTS).collect();
    (written, (number * 11 + 4) % DOCUMENTS)
}

/// A version's text: several pieces of the store, each with the version's number.
fn text(document: u64, version: u64) -> String {
    let lines = 20 + (document * 37 + version * 101) % 400;
    (0..lines)
        .map(|line| format!("Document {document} in version v{version} has line {line} of {lines} here.\n\n"))
        .collect()
}

/// The version of each document that is there after some rounds.
fn state(rounds: u64) -> BTreeMap<u64, u64> {
    let mut state = BTreeMap::new();
    for number in 1..=rounds {
        let (written, removed) = round(number);
        state.extend(written.into_iter().map(|document| (document, number)));
        state.remove(&removed);
    }
    state
}

/// The store and the knowledge base in it. Chunks are as large as a user's, so that documents of several pieces are written
/// in a moment.
async fn base(folder: &Path) -> (SledStore, KnowledgeBase) {
    let store = SledStore::open(&folder.join("store"), &StoreOptions::default()).expect("a store");
    let knowledge = Knowledge::new(Arc::new(store.clone()), Some(folder.join("indexes")));
    let embedder = Arc::new(HashEmbedder { dimension: 24, seed: 1 });
    let split = SplitOptions { unit: Unit::Words, size: 150, overlap: 10, ..SplitOptions::default() };
    let options = BaseOptions { split: Some(split), ..BaseOptions::default() };
    let base = knowledge.open("tests", "killed", &options, embedder).await;
    (store, base.expect("it opens after a kill"))
}

/// The process that is killed. On its own it has nothing to do.
#[test]
fn ingestion() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let begin: u64 = std::env::var("PUNA_TEST_ROUND").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    block_on(async {
        let (store, base) = base(&folder).await;
        println!("opened");
        for number in begin.. {
            let (written, removed) = round(number);
            let inputs = written.into_iter().map(|document| {
                input(&format!("d{document}"), &text(document, number), json!({"v": number}))
            });
            let report = add(&base, inputs.collect()).await;
            assert!(report.failed.is_empty(), "{report:?}");
            base.remove(&format!("d{removed}")).await.expect("removed");
            println!("round {number}");
            if number % 4 == 0 {
                base.snapshot(true).await.expect("a snapshot");
            }
            if number % 5 == 0 {
                store.compact(|_| {}).await.expect("a compaction");
                println!("compacted");
            }
        }
    });
}

fn spawn(folder: &Path, begin: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "kill::ingestion", "--nocapture"])
        .env(FOLDER, folder)
        .env("PUNA_TEST_ROUND", begin.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs")
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    lines.filter_map(|line| {
        ["opened", "round ", "compacted"].iter().find_map(|word| Some(line[line.find(word)?..].to_owned()))
    })
}

/// Checks a folder after `acknowledged` rounds and perhaps a part of the next.
async fn check(folder: &Path, acknowledged: u64) {
    let (_store, base) = base(folder).await;
    check_sound(&base).await;
    let (before, after) = (state(acknowledged), state(acknowledged + 1));
    let (written, _) = round(acknowledged + 1);
    let there: BTreeMap<u64, u64> = base
        .documents()
        .iter()
        .map(|record| {
            (record.id[1..].parse().expect("a number"), record.metadata["v"].as_u64().expect("a version"))
        })
        .collect();
    for document in 0..DOCUMENTS {
        let found = there.get(&document).copied();
        // The next round may have written it and not yet removed it.
        let between = written.contains(&document).then_some(acknowledged + 1);
        assert!(
            found == before.get(&document).copied()
                || found == after.get(&document).copied()
                || found == between && between.is_some(),
            "document {document} is in version {found:?} after round {acknowledged}: {:?} or {:?}",
            before.get(&document),
            after.get(&document)
        );
        if let Some(version) = found {
            let id = format!("d{document}");
            assert_eq!(base.text(&id).await.expect("its text"), text(document, version), "{id} is torn");
        }
    }
    if let Some((document, version)) = there.first_key_value() {
        let options = SearchOptions { mode: SearchMode::Keyword, ..SearchOptions::default() };
        let query = format!("v{version}");
        assert!(
            found(&base, &query, &options)
                .await
                .iter()
                .all(|id| there[&id[1..].parse().expect("a number")] == *version),
            "{document}"
        );
    }
}

/// A place between 0 and `below`, another each time.
fn anywhere(cycle: u64, below: u64) -> u64 {
    let state = (cycle + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((state ^ (state >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % below
}

#[test]
fn what_is_acknowledged_survives_kills() {
    let cycles =
        std::env::var("PUNA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let (mut acknowledged, mut compactions) = (0, 0);
    for cycle in 0..cycles {
        let mut child = spawn(folder.path(), acknowledged + 1);
        let mut lines = lines(&mut child);
        // None at all, while it opens, to some.
        let mut note = |line: &str| match line.strip_prefix("round ").map(str::parse) {
            Some(Ok(number)) => acknowledged = number,
            _ => compactions += u64::from(line == "compacted"),
        };
        for _ in 0..anywhere(cycle, 6) {
            note(&lines.next().expect("it goes on without end"));
        }
        thread::sleep(Duration::from_micros(anywhere(cycle + 1_000, 120_000)));
        child.kill().expect("it runs");
        child.wait().expect("it is dead");
        lines.for_each(|line| note(&line));
        block_on(check(folder.path(), acknowledged));
    }
    assert!(acknowledged > cycles / 2 && compactions > 0, "it hardly wrote: {acknowledged} rounds");
    println!(
        "{cycles} kills, {acknowledged} rounds acknowledged, {compactions} compactions: none lost, none torn"
    );
}
