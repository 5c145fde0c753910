//! A writer that is killed, again and again: what it acknowledged is there, and no batch is half there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use puna_core::{Error, ErrorKind};
use puna_store::{Batch, SledStore, Store};

use crate::{SPACE, all, open, put, runtime};

/// How often the writer is killed; more with `PUNA_KILL_CYCLES`.
const CYCLES: u64 = 20;

/// Names the writer's folder; set by the tests for the process they kill.
const FOLDER: &str = "PUNA_TEST_STORE";

/// Set for a writer whose files cannot grow beyond so many bytes.
const FILE_LIMIT: &str = "PUNA_TEST_FILE_LIMIT";

/// Set for a writer that compacts without end.
const COMPACT: &str = "PUNA_TEST_COMPACT";

/// Tasks that write at once, each its own batches: they share flushes.
const LANES: u64 = 4;

/// Stores that are opened and dropped: some of them meet a process that is being started.
const DROPS: usize = 100;

/// Keys that one batch writes, besides the lane's head.
const KEYS: u64 = 5;

/// Batches of a lane that are kept: each batch removes the keys of an older one.
const KEPT: u64 = 30;

fn head(lane: u64) -> String {
    format!("{lane}-head")
}

fn keys(lane: u64, batch: u64) -> impl Iterator<Item = String> {
    (0..KEYS).map(move |key| format!("{lane}-{batch:08}-{key}"))
}

fn value(batch: u64) -> Vec<u8> {
    [batch.to_be_bytes().to_vec(), vec![(batch % 251) as u8; 700]].concat()
}

/// Moves the lane's head from the batch before, writes the batch's keys and removes those of an older batch.
pub fn batch(lane: u64, number: u64) -> Batch {
    let before = number.checked_sub(1).map(value);
    let mut batch = Batch::new().expect(SPACE, head(lane).as_bytes(), before.as_deref()).put(
        SPACE,
        head(lane).as_bytes(),
        value(number),
    );
    for key in keys(lane, number) {
        batch = batch.put(SPACE, key.as_bytes(), value(number));
    }
    for key in number.checked_sub(KEPT).into_iter().flat_map(|old| keys(lane, old)) {
        batch = batch.remove(SPACE, key.as_bytes());
    }
    batch
}

/// How many batches a lane has, by its head.
pub async fn batches(store: &SledStore, lane: u64) -> Result<u64, Error> {
    let head = store.get(SPACE, head(lane).as_bytes()).await?;
    Ok(head.map_or(0, |value| u64::from_be_bytes(*value.first_chunk().expect("a number")) + 1))
}

/// The process that is killed: goes on where it was left, and prints each batch once it is acknowledged. On its own
/// it has nothing to do.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    if let Some(limit) = std::env::var(FILE_LIMIT).ok().and_then(|limit| limit.parse().ok()) {
        limit_files(limit);
    }
    let failed = |error: Error| println!("failed {} {}", error.kind().as_str(), error.report());
    runtime().block_on(async {
        let store = match open(&folder) {
            Ok(store) => store,
            Err(error) => return failed(error),
        };
        println!("opened");
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in batches(&store, lane).await.expect("a read").. {
                        match store.commit(batch(lane, number)).await {
                            Ok(()) => println!("wrote {lane} {number}"),
                            Err(error) => return failed(error),
                        }
                    }
                })
            })
            .collect();
        if std::env::var_os(COMPACT).is_some() {
            loop {
                match store.compact(|_| {}).await {
                    Ok(_) => println!("compacted"),
                    Err(error) => return failed(error),
                }
            }
        }
        for lane in lanes {
            lane.await.expect("a lane");
        }
        // Only a writer whose disk is full comes here.
        match store.commit(put(&["late".to_owned()], b"x")).await {
            Ok(()) => println!("late written"),
            Err(error) => println!("late {} {}", error.kind().as_str(), error.report()),
        }
        match batches(&store, 0).await {
            Ok(batches) => println!("read {batches}"),
            Err(error) => println!("read {} {}", error.kind().as_str(), error.report()),
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

/// Starts the writer, with one more variable or none.
fn spawn(folder: &Path, variable: Option<(&str, u64)>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "kill::writer", "--nocapture"]).env(FOLDER, folder);
    if let Some((name, value)) = variable {
        command.env(name, value.to_string());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the writer runs")
}

/// The writer's lines that say something.
pub fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let said = |line: String| {
        let words = ["opened", "wrote ", "compacted", "failed ", "late ", "read ", "unwell ", "done"];
        words.iter().find_map(|word| Some(line[line.find(word)?..].to_owned()))
    };
    lines.filter_map(said)
}

/// The last batch of each lane that was acknowledged.
#[derive(Debug, Default)]
pub struct Acknowledged(BTreeMap<u64, u64>);

impl Acknowledged {
    pub fn note(&mut self, line: &str) {
        let numbers = line.strip_prefix("wrote ").and_then(|numbers| numbers.split_once(' '));
        if let Some((lane, number)) = numbers {
            let number = number.parse().expect("a whole line");
            self.0.insert(lane.parse().expect("a lane"), number);
        }
    }
}

/// Checks that the store holds what was acknowledged, and of every batch all or none.
pub fn check(folder: &Path, acknowledged: &Acknowledged) {
    runtime().block_on(async {
        let store = open(folder).expect("the store opens after a kill");
        let mut wanted = BTreeMap::new();
        for lane in 0..LANES {
            let batches = batches(&store, lane).await.expect("a read");
            let last = acknowledged.0.get(&lane);
            assert!(
                last.is_none_or(|last| batches > *last),
                "batch {last:?} of lane {lane} is lost: {batches} are there"
            );
            if let Some(last) = batches.checked_sub(1) {
                wanted.insert(head(lane), value(last));
            }
            for number in batches.saturating_sub(KEPT)..batches {
                wanted.extend(keys(lane, number).map(|key| (key, value(number))));
            }
        }
        let found = all(&store).await.expect("a scan");
        let found: BTreeMap<String, Vec<u8>> =
            found.into_iter().map(|(key, value)| (String::from_utf8(key).expect("UTF-8"), value)).collect();
        let (have, want): (BTreeSet<_>, BTreeSet<_>) = (found.keys().collect(), wanted.keys().collect());
        let differ: Vec<_> = have.symmetric_difference(&want).collect();
        assert!(differ.is_empty(), "a batch is half there: {differ:?}");
        assert!(found == wanted, "a value is of another batch");
    });
}

/// A place between 0 and `below`, another each time.
fn anywhere(below: u64) -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    ((state ^ (state >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % below
}

/// Kills a writer at random moments, and checks after each kill what is there. Gives how often the writers said a word.
fn survives_kills(variable: Option<(&str, u64)>, word: &str) -> usize {
    let cycles =
        std::env::var("PUNA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let (mut acknowledged, mut said) = (Acknowledged::default(), 0);
    for _ in 0..cycles {
        let mut child = spawn(folder.path(), variable);
        let mut lines = lines(&mut child);
        // None at all, while it opens, to many.
        for _ in 0..anywhere(120) {
            let line = lines.next().expect("the writer writes without end");
            assert!(!line.starts_with("failed"), "{line}");
            said += usize::from(line.starts_with(word));
            acknowledged.note(&line);
        }
        thread::sleep(Duration::from_micros(anywhere(9_000)));
        child.kill().expect("the writer runs");
        child.wait().expect("the writer is dead");
        // What it printed before it died counts.
        lines.for_each(|line| acknowledged.note(&line));
        check(folder.path(), &acknowledged);
    }
    let written: u64 = acknowledged.0.values().sum();
    assert!(
        acknowledged.0.len() as u64 == LANES && written > cycles,
        "the writers hardly wrote: {acknowledged:?}"
    );
    println!("{cycles} kills, {written} acknowledged batches, none lost, none torn; `{word}` {said} times");
    said
}

#[test]
fn what_is_acknowledged_survives_kills() {
    survives_kills(None, "wrote");
}

#[test]
fn what_is_acknowledged_survives_kills_of_compactions() {
    assert!(survives_kills(Some((COMPACT, 1)), "compacted") > 0, "nothing was compacted");
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
    assert!(message.contains(&format!("process {};", child.id())), "{message}");
    assert!(message.contains(&format!("`{}`", folder.path().display())), "{message}");
    child.kill().expect("the writer runs");
    child.wait().expect("the writer is dead");
    check(folder.path(), &Acknowledged::default());
    // In one process too.
    let held = open(folder.path()).expect("the holder is dead");
    let error = open(folder.path()).expect_err("held");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&format!("process {};", std::process::id())), "{error}");
    let clone = held.clone();
    drop(held);
    assert_eq!(open(folder.path()).expect_err("a clone holds it").kind(), ErrorKind::Conflict);
    drop(clone);
    open(folder.path()).expect("released");
}

/// A process that is being started shares the files of the one that starts it, and so their locks.
#[test]
fn a_dropped_store_is_free_at_once() {
    thread::scope(|scope| {
        // Dropped with what follows, however that ends.
        let (_going_on, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
                Command::new("true").status().expect("a process that ends at once");
            }
        });
        let held: Vec<_> = (0..DROPS).filter_map(|_| still_held()).collect();
        assert!(held.is_empty(), "held after {} of {DROPS} drops: {held:?}", held.len());
    });
}

/// The file of a dropped store that is still locked.
fn still_held() -> Option<&'static str> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("a store");
    runtime().block_on(store.commit(put(&["a".to_owned()], b"value"))).expect("a batch");
    drop(store);
    let held = |name: &&str| {
        let file = File::open(folder.path().join(name)).expect("a file of the store");
        let locked = file.try_lock();
        // Nor is it this that holds it.
        file.unlock().expect("unlocked");
        locked.is_err()
    };
    ["db", "lock"].into_iter().find(held)
}

/// Whether a line tells of a full disk.
fn tells_of_a_full_disk(line: &str, word: &str) -> bool {
    ["resource_exhausted ", "io "].iter().any(|kind| line.starts_with(&format!("{word} {kind}")))
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    for limit in [700_000, 1_100_000, 1_500_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = spawn(folder.path(), Some((FILE_LIMIT, limit)));
        let mut acknowledged = Acknowledged::default();
        let said: Vec<String> = lines(&mut child).collect();
        said.iter().for_each(|line| acknowledged.note(line));
        child.wait().expect("the writer ends");
        assert!(!acknowledged.0.is_empty(), "it wrote until the disk was full: {said:?}");
        let failures: Vec<_> = said.iter().filter(|line| line.starts_with("failed")).collect();
        assert_eq!(failures.len() as u64, LANES, "each lane is told: {failures:?}");
        assert!(failures.iter().all(|line| tells_of_a_full_disk(line, "failed")), "{failures:?}");
        // From then on nothing is written. Reads are right, or tell of the disk too: sled may refuse them.
        let [.., late, read] = &said[..] else { panic!("it ended early: {said:?}") };
        assert!(tells_of_a_full_disk(late, "late") && late.contains("start again"), "{late}");
        let there = read.strip_prefix("read ").and_then(|number| number.parse::<u64>().ok());
        assert!(
            match there {
                Some(batches) => acknowledged.0.get(&0).is_none_or(|last| batches > *last),
                None => tells_of_a_full_disk(read, "read"),
            },
            "{read}: {acknowledged:?}"
        );
        check(folder.path(), &acknowledged);
        // With room again it goes on.
        runtime().block_on(async {
            let store = open(folder.path()).expect("the store");
            store.commit(put(&["after".to_owned()], b"x")).await.expect("there is room again");
        });
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = spawn(folder.path(), Some((FILE_LIMIT, 0)));
    let said: Vec<String> = lines(&mut child).collect();
    child.wait().expect("the writer ends");
    assert!(said.len() == 1 && tells_of_a_full_disk(&said[0], "failed"), "{said:?}");
    check(folder.path(), &Acknowledged::default());
}
