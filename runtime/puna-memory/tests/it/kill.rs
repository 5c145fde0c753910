//! A turn's entries are there when the process that was told so is killed.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use puna_core::Journal;

use crate::{block_on, durable, said, texts};

/// Names the writer's folder; set by the test for the process it kills.
const FOLDER: &str = "PUNA_TEST_JOURNAL";

/// How often it is killed.
const CYCLES: usize = 4;

/// The process that is killed: appends turns of two entries, and prints how many entries it was told of. On its own it
/// has nothing to do.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    block_on(async {
        let journal = durable(folder.as_ref());
        let mut next = journal.read("s", 0).await.expect("entries").len() as u64;
        loop {
            next = journal
                .append("s", next, &[said(&next.to_string()), said(&(next + 1).to_string())])
                .await
                .expect("an append");
            println!("told {next}");
        }
    });
}

#[test]
fn what_was_told_survives_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = 0;
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill::writer", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writer runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.split_once("told ")?.1.parse::<usize>().ok());
        for _ in 0..=cycle * 9 {
            told = numbers.next().expect("the writer writes without end");
        }
        child.kill().expect("the writer runs");
        child.wait().expect("the writer is dead");
        // What it printed before it died counts.
        told = numbers.last().unwrap_or(told);
        block_on(async {
            let journal = durable(folder.path());
            let entries = journal.read("s", 0).await.expect("entries");
            assert!(entries.len() >= told, "{told} entries were told, {} are there", entries.len());
            assert_eq!(entries.len() % 2, 0, "half a turn is there");
            assert_eq!(
                texts(&entries),
                (0..entries.len()).map(|place| place.to_string()).collect::<Vec<_>>()
            );
            let listed = journal.sessions().await.expect("a list");
            assert_eq!(
                listed.iter().map(|summary| summary.records).collect::<Vec<_>>(),
                [entries.len() as u64]
            );
        });
    }
    assert!(told >= 2 * CYCLES, "the writers hardly wrote");
}
