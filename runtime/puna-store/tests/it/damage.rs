//! Damaged files: what is read is what was written, or an error tells of the damage.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use puna_core::ErrorKind;
use puna_store::{SledStore, Store};

use crate::{SPACE, all, copy, open, put, runtime};

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// Each kind of damage is tried so often on each file.
const PLACES: u64 = 10;

/// Damages bytes at a place in them.
type Damage = fn(&mut Vec<u8>, usize);

/// What can happen to a file.
const DAMAGES: [(&str, Damage); 3] = [
    ("a flipped bit", |bytes, at| bytes[at] ^= 1 << (at % 8)),
    ("a lost sector", |bytes, at| {
        let end = bytes.len().min(at + 512);
        bytes[at..end].fill(0);
    }),
    ("a cut", |bytes, at| bytes.truncate(at)),
];

/// Writes `rounds` over `groups` batches of `group` keys each, and gives what is then in the store.
fn written(folder: &Path, rounds: u8, groups: u32, group: u32, value_bytes: usize) -> Values {
    let mut values = Values::new();
    runtime().block_on(async {
        let store = open(folder).expect("a store");
        for (round, first) in (0..rounds).flat_map(|round| (0..groups).map(move |at| (round, at * group))) {
            let keys: Vec<String> = (first..first + group).map(|key| format!("key-{key:06}")).collect();
            let value = vec![round * 31 + (first % 29) as u8; value_bytes];
            store.commit(put(&keys, &value)).await.expect("a batch");
            values.extend(keys.into_iter().map(|key| (key.into_bytes(), value.clone())));
        }
    });
    values
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the store's folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Whether all is right; false where an error told of damage. A value that is wrong or missing without an error
/// fails the test, and so does a panic and a store that does not come back.
#[track_caller]
fn all_is_right(folder: &Path, wanted: &Values, case: &str) -> bool {
    let (done, outcome) = mpsc::channel();
    let (path, values) = (folder.to_owned(), wanted.clone());
    let reader = thread::spawn(move || {
        let told = survey(&path, &values);
        // The test may have given up.
        let _ = done.send(told);
    });
    match outcome.recv_timeout(Duration::from_secs(120)) {
        Ok(told) => {
            reader.join().expect("it has ended");
            told.unwrap_or_else(|wrong| panic!("{case}: {wrong}"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{case}: a panic comes through"),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{case}: the store does not come back"),
    }
}

/// Whether nothing told of damage, or what is wrong and was not told.
fn survey(folder: &Path, wanted: &Values) -> Result<bool, String> {
    let told = |error: puna_core::Error| match error.kind() {
        ErrorKind::Corrupt => Ok(false),
        kind => Err(format!("damage is no {kind:?}: {}", error.report())),
    };
    let store = match open(folder) {
        Ok(store) => store,
        Err(error) => return told(error),
    };
    runtime().block_on(async {
        let mut right = true;
        for (key, value) in wanted {
            right &= match store.get(SPACE, key).await {
                Ok(found) if found.as_ref() == Some(value) => true,
                Ok(found) => {
                    return Err(format!("`{}` is {:?}", key.escape_ascii(), found.map(|value| value[0])));
                }
                Err(error) => told(error)?,
            };
        }
        right &= match all(&store).await {
            Ok(found) if found.iter().map(|(key, value)| (key, value)).eq(wanted) => true,
            Ok(found) => return Err(format!("a scan finds {} of {}", found.len(), wanted.len())),
            Err(error) => told(error)?,
        };
        Ok(right)
    })
}

/// Damages each file of a store in every way, and gives how often that was told, by file.
fn damage_everywhere(whole: &Path, wanted: &Values) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for file in files(whole) {
        let name = file.file_name().expect("a file").to_str().expect("UTF-8").to_owned();
        let bytes = fs::read(&file).expect("a file");
        // sled makes the log longer than what is in it.
        let length = bytes.iter().rposition(|byte| *byte != 0).expect("something was written") as u64 + 1;
        // `snap.` is followed by a number that differs.
        let kind = name.split('.').next().unwrap_or_default().to_owned();
        let count = told.entry(kind).or_insert(0);
        for place in 0..PLACES {
            for (number, (damage, apply)) in (0..).zip(DAMAGES) {
                let at = ((place * 3 + number) * 1_037_389 % length) as usize;
                let folder = tempfile::tempdir().expect("a folder");
                copy(whole, folder.path());
                let mut bytes = bytes.clone();
                apply(&mut bytes, at);
                fs::write(folder.path().join(&name), bytes).expect("a file");
                let right =
                    all_is_right(folder.path(), wanted, &format!("{damage} at {at} of {length} in `{name}`"));
                *count += u64::from(!right);
            }
        }
    }
    told
}

/// A log of one segment, as the first process leaves it.
#[test]
fn a_small_store_tells_of_damage() {
    let whole = tempfile::tempdir().expect("a folder");
    let wanted = written(whole.path(), 2, 40, 3, 300);
    let opened = tempfile::tempdir().expect("a folder");
    copy(whole.path(), opened.path());
    assert!(all_is_right(opened.path(), &wanted, "undamaged"));
    let told = damage_everywhere(whole.path(), &wanted);
    // Whatever happens to the log, the mark tells.
    assert_eq!(told["db"], PLACES * DAMAGES.len() as u64, "{told:?}");
    assert!(told["conf"] > 0, "{told:?}");
    assert_eq!((told["lock"], told["mark"]), (0, 0), "{told:?}");
}

/// A log of several segments with sled's summary of it, as every later process finds it.
#[test]
fn a_large_store_tells_of_damage() {
    let whole = tempfile::tempdir().expect("a folder");
    let wanted = written(whole.path(), 3, 20, 50, 700);
    // Opening it writes the summary.
    assert!(all_is_right(whole.path(), &wanted, "undamaged"));
    let told = damage_everywhere(whole.path(), &wanted);
    assert!(told["db"] > 0 && told["snap"] > 0 && told["conf"] > 0, "{told:?}");
    assert_eq!((told["lock"], told["mark"]), (0, 0), "{told:?}");
}

/// Commits so many batches.
async fn extend(store: &SledStore, batches: std::ops::Range<usize>) {
    for batch in batches {
        store.commit(put(&[format!("{batch:03}")], b"value")).await.expect("a batch");
    }
}

#[test]
fn a_lost_end_is_told_until_it_is_accepted() {
    let (folder, earlier) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = folder.path();
    runtime().block_on(async {
        extend(&open(path).expect("a store"), 0..5).await;
        copy(path, earlier.path());
        extend(&open(path).expect("a store"), 5..9).await;
        // sled's files fall back to what was acknowledged earlier.
        let mark = fs::read(path.join("mark")).expect("the mark");
        for file in files(path) {
            fs::remove_file(file).expect("a file");
        }
        copy(earlier.path(), path);
        fs::write(path.join("mark"), mark).expect("the mark");
        for _ in 0..2 {
            let error = open(path).expect_err("the end is lost");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            for part in [path.to_str().expect("UTF-8"), "lost its latest data", "delete its file `mark`"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
        fs::remove_file(path.join("mark")).expect("the mark");
        let store = open(path).expect("what is left");
        assert_eq!(all(&store).await.expect("a scan").len(), 5);
        extend(&store, 5..6).await;
        drop(store);
        let store = open(path).expect("it goes on");
        assert_eq!(all(&store).await.expect("a scan").len(), 6);
    });
}

/// Changes a value below the store, keeping sled's own checksums right.
fn tamper(folder: &Path, change: impl FnOnce(&sled::Db)) {
    let db = sled::open(folder).expect("the raw store");
    change(&db);
    db.flush().expect("a flush");
}

/// What becomes of a value.
type Change = fn(Vec<u8>) -> Vec<u8>;

#[test]
fn a_value_has_its_own_checksum() {
    let cases: [(&str, Change); 4] = [
        ("a flipped bit of the value", |mut value| {
            value[7] ^= 4;
            value
        }),
        ("a flipped bit of the checksum", |mut value| {
            value[0] ^= 128;
            value
        }),
        ("a shorter value", |value| value[..6].to_vec()),
        ("no room for a checksum", |value| value[..3].to_vec()),
    ];
    for (case, change) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        runtime().block_on(async {
            let keys = ["a", "b", "c"].map(str::to_owned);
            open(folder.path()).expect("a store").commit(put(&keys, b"value")).await.expect("a batch");
            tamper(folder.path(), |db| {
                let value = db.get(b"test\0b").expect("a read").expect("it is there").to_vec();
                db.insert(b"test\0b", change(value)).expect("a write");
            });
            let store = open(folder.path()).expect("the store");
            let error = store.get(SPACE, b"b").await.expect_err(case);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}");
            assert!(error.to_string().contains("test\\x00b"), "the key is named: {error}");
            assert_eq!(all(&store).await.expect_err(case).kind(), ErrorKind::Corrupt, "{case}");
            assert_eq!(store.get(SPACE, b"a").await.expect("its neighbour"), Some(b"value".to_vec()));
        });
    }
}

#[test]
fn a_value_belongs_to_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        store
            .commit(put(&["a".to_owned()], b"of a").put(SPACE, b"b", b"of b".to_vec()))
            .await
            .expect("a batch");
        drop(store);
        tamper(folder.path(), |db| {
            let other = db.get(b"test\0a").expect("a read").expect("it is there");
            db.insert(b"test\0b", other).expect("a write");
        });
        let store = open(folder.path()).expect("the store");
        assert_eq!(store.get(SPACE, b"b").await.expect_err("of another key").kind(), ErrorKind::Corrupt);
        assert_eq!(store.get(SPACE, b"a").await.expect("its own"), Some(b"of a".to_vec()));
    });
}
