//! A writer that is killed, again and again: what it acknowledged is there, and no batch is half there.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use puna_core::ErrorKind;
use puna_store::Store;

use crate::{all, open, put, runtime};

/// How often the writer is killed; more with `PUNA_KILL_CYCLES`.
const CYCLES: u64 = 12;

/// Names the writer's folder; set by the tests for the process they kill.
const FOLDER: &str = "PUNA_TEST_STORE";

/// Set for a writer whose files cannot grow beyond so many bytes.
const FILE_LIMIT: &str = "PUNA_TEST_FILE_LIMIT";

/// Keys of one batch.
const BATCH: u64 = 5;

fn keys(batch: u64) -> Vec<String> {
    (0..BATCH).map(|key| format!("{batch:08}-{key}")).collect()
}

/// The process that is killed: writes batches from the first that is missing on, and prints the number of each once
/// it is acknowledged. On its own it has nothing to do.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    if let Some(limit) = std::env::var(FILE_LIMIT).ok().and_then(|limit| limit.parse().ok()) {
        limit_files(limit);
    }
    runtime().block_on(async {
        let store = match open(&folder) {
            Ok(store) => store,
            Err(error) => return println!("failed {} {}", error.kind().as_str(), error.report()),
        };
        println!("opened");
        let next = all(&store).await.expect("a scan").len() as u64 / BATCH;
        for batch in next.. {
            let value = vec![(batch % 251) as u8; 700];
            match store.commit(put(&keys(batch), &value)).await {
                Ok(()) => println!("wrote {batch}"),
                Err(error) => return println!("failed {} {}", error.kind().as_str(), error.report()),
            }
        }
    });
}

/// Makes writes beyond a size fail as on a full disk.
fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: plain calls with a valid pointer; they change this process alone, which the test made for it.
    let done = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
    };
    assert_eq!(done, 0, "the limit is set");
}

fn spawn(folder: &Path, file_limit: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "kill::writer", "--nocapture"]).env(FOLDER, folder);
    if let Some(limit) = file_limit {
        command.env(FILE_LIMIT, limit.to_string());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the writer runs")
}

/// The writer's lines that say something.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let said = |line: String| {
        ["opened", "wrote ", "failed "].iter().find_map(|word| Some(line[line.find(word)?..].to_owned()))
    };
    lines.filter_map(said)
}

fn number(line: &str) -> Option<u64> {
    line.strip_prefix("wrote ")?.parse().ok()
}

/// Checks every batch up to the last acknowledged one, and gives how many there are.
fn check(folder: &Path, acknowledged: Option<u64>) -> u64 {
    runtime().block_on(async {
        let store = open(folder).expect("the store opens after a kill");
        let entries = all(&store).await.expect("a scan");
        assert_eq!(entries.len() as u64 % BATCH, 0, "a batch is half there");
        let batches = entries.len() as u64 / BATCH;
        for (batch, entries) in (0..).zip(entries.chunks(BATCH as usize)) {
            for (key, (found, value)) in keys(batch).iter().zip(entries) {
                assert_eq!(key.as_bytes(), found, "a key is missing");
                assert!(value.len() == 700 && value.iter().all(|byte| u64::from(*byte) == batch % 251));
            }
        }
        assert!(
            acknowledged.is_none_or(|last| batches > last),
            "batch {acknowledged:?} is lost: {batches} are there"
        );
        batches
    })
}

#[test]
fn what_is_acknowledged_survives_kills() {
    let cycles =
        std::env::var("PUNA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut last = None;
    for cycle in 0..cycles {
        let mut child = spawn(folder.path(), None);
        let mut lines = lines(&mut child);
        let wanted = 1 + cycle * 7 % 23;
        for _ in 0..wanted {
            let line = lines.next().expect("the writer writes without end");
            last = number(&line).or(last);
        }
        thread::sleep(Duration::from_micros(cycle * 1_237 % 9_000));
        child.kill().expect("the writer runs");
        child.wait().expect("the writer is dead");
        // What it printed before it died counts.
        last = lines.filter_map(|line| number(&line)).last().or(last);
        check(folder.path(), last);
    }
    assert!(last > Some(cycles), "the writers hardly wrote: {last:?}");
}

#[test]
fn a_folder_has_one_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = spawn(folder.path(), None);
    // Kept, because a writer whose reader goes away ends.
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().as_deref(), Some("opened"));
    let error = open(folder.path()).expect_err("the folder is held");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = error.to_string();
    assert!(message.contains(&format!("process {}", child.id())), "{message}");
    assert!(message.contains(folder.path().to_str().expect("UTF-8")), "{message}");
    child.kill().expect("the writer runs");
    child.wait().expect("the writer is dead");
    check(folder.path(), None);
    // In one process too.
    let held = open(folder.path()).expect("the holder is dead");
    assert_eq!(open(folder.path()).expect_err("held").kind(), ErrorKind::Conflict);
    let clone = held.clone();
    drop(held);
    assert_eq!(open(folder.path()).expect_err("a clone holds it").kind(), ErrorKind::Conflict);
    drop(clone);
    open(folder.path()).expect("released");
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    for limit in [700_000, 1_500_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = spawn(folder.path(), Some(limit));
        let said: Vec<String> = lines(&mut child).collect();
        child.wait().expect("the writer ends");
        let last = said.iter().rev().find_map(|line| number(line));
        let end = said.last().expect("the writer says how it ended");
        assert!(end.starts_with("failed resource_exhausted") || end.starts_with("failed io"), "{end}");
        let batches = check(folder.path(), last);
        // With room again it goes on.
        runtime().block_on(async {
            let store = open(folder.path()).expect("the store");
            store.commit(put(&keys(batches), b"after")).await.expect("there is room again");
        });
    }
}
