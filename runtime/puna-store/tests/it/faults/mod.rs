//! Calls of the system that fail: what was acknowledged stays, errors are typed, and it goes on when the fault is over.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use puna_core::Error;
use puna_store::Store;

use crate::{
    copy, files_below,
    kill::{Acknowledged, batch, batches, check, lines},
    open, runtime,
};

/// Names the writer's folder; set by the test for the process whose calls fail.
const FOLDER: &str = "PUNA_TEST_FAULTS";

/// Batches that a writer must get acknowledged, however often it has to open the store again.
const GOAL: u64 = 90;

/// A compaction comes after so many batches.
const COMPACT_EVERY: u64 = 20;

/// Most times that a writer opens the store: bounds the test.
const ATTEMPTS: usize = 100;

/// The process whose calls fail. On its own it has nothing to do.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut acknowledged = 0;
    for _ in 0..ATTEMPTS {
        match runtime().block_on(write(&folder, &mut acknowledged)) {
            Ok(()) => return println!("done"),
            Err(error) => println!("failed {} {}", error.kind().as_str(), error.report()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes until enough is acknowledged or something fails.
async fn write(folder: &Path, acknowledged: &mut u64) -> Result<(), Error> {
    let store = open(folder)?;
    while *acknowledged < GOAL {
        let number = batches(&store, 0).await?;
        store.commit(batch(0, number)).await?;
        println!("wrote 0 {number}");
        *acknowledged += 1;
        if acknowledged.is_multiple_of(COMPACT_EVERY)
            && let Err(error) = store.compact(|_| {}).await
        {
            println!("failed {} {}", error.kind().as_str(), error.report());
            // The data is as it was, unless it is open which generation counts.
            if let Err(unwell) = store.health().await {
                println!("unwell {}", unwell.kind().as_str());
                return Err(unwell);
            }
        }
    }
    Ok(())
}

/// The shim, compiled into a folder.
fn shim(folder: &Path) -> PathBuf {
    let library = folder.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/shim.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// What a writer said whose calls from the `first` of a kind on fail, `count` of them.
fn said(shim: &Path, folder: &Path, kind: &str, first: u32, count: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "faults::writer", "--nocapture"])
        .env(FOLDER, folder)
        .env("LD_PRELOAD", shim)
        .env("PUNA_FAULT_FOLDER", folder)
        .env("PUNA_FAULT_KIND", kind)
        .env("PUNA_FAULT_FIRST", first.to_string())
        .env("PUNA_FAULT_COUNT", count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the writer runs");
    let said = lines(&mut child).collect();
    child.wait().expect("the writer ends");
    said
}

#[test]
fn what_is_acknowledged_survives_failing_calls() {
    let library = tempfile::tempdir().expect("a folder");
    let shim = shim(library.path());
    // Which kinds of errors may tell of it; none where it is no failure.
    let kinds: [(&str, &[&str]); 6] = [
        ("write-short", &[]),
        ("write-eio", &["io"]),
        ("write-enospc", &["resource_exhausted"]),
        ("write-torn", &["resource_exhausted"]),
        ("sync-eio", &["io"]),
        ("read-eio", &["io", "corrupt"]),
    ];
    let mut failures = std::collections::BTreeMap::new();
    for (kind, told) in kinds {
        for (first, count) in [(0, 1), (3, 2), (17, 1), (60, 4), (150, 9), (400, 1)] {
            let count = if kind == "write-short" { 10_000 } else { count };
            let case = format!("{kind} from call {first} on, {count} of them");
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().canonicalize().expect("a folder");
            let said = said(&shim, &path, kind, first, count);
            assert_eq!(said.last().map(String::as_str), Some("done"), "{case}: it goes on: {said:?}");
            let mut acknowledged = Acknowledged::default();
            said.iter().for_each(|line| acknowledged.note(line));
            for line in said.iter().filter(|line| line.starts_with("failed ")) {
                let right = told.iter().any(|kind| line.starts_with(&format!("failed {kind} ")));
                assert!(right, "{case}: {line}");
                *failures.entry(kind).or_insert(0) += 1;
            }
            check(&path, &acknowledged);
        }
    }
    for (kind, told) in kinds {
        assert_eq!(failures.contains_key(kind), !told.is_empty(), "{kind}: {failures:?}");
    }
}

/// sled alone takes a read that fails while it opens for the log's end, and overwrites what follows.
#[test]
fn a_read_that_fails_while_it_opens_costs_nothing() {
    let library = tempfile::tempdir().expect("a folder");
    let shim = shim(library.path());
    let whole = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    runtime().block_on(write(whole.path(), &mut acknowledged)).expect("a store");
    let length = files_below(whole.path()).iter().map(|path| path.metadata().expect("a file").len()).max();
    let length = u32::try_from(length.expect("a file")).expect("a small file");
    for place in 0..8 {
        for count in [1, 3] {
            let spot = place * (length / 8) + 100;
            let case = format!("byte {spot} of {length} does not read {count} times");
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().canonicalize().expect("a folder");
            copy(whole.path(), &path);
            let said = said(&shim, &path, "spot-eio", spot, count);
            assert_eq!(said.last().map(String::as_str), Some("done"), "{case}: {said:?}");
            assert!(said[0].starts_with("failed io "), "{case}: {said:?}");
            assert!(said.contains(&format!("wrote 0 {GOAL}")), "{case}: it goes on where it was: {said:?}");
        }
    }
}
