//! Damaged files: what is read is what was written, or it is an error.

use std::{collections::BTreeMap, fs, path::Path};

use puna_core::ErrorKind;
use puna_store::Store;

use crate::{SPACE, open, put, runtime};

const KEYS: u32 = 200;

/// A store with known values, closed.
fn written(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let wanted: BTreeMap<String, Vec<u8>> =
        (0..KEYS).map(|key| (format!("key-{key:03}"), vec![(key % 256) as u8; 300])).collect();
    runtime().block_on(async {
        let store = open(folder).expect("a store");
        for (key, value) in &wanted {
            store.commit(put(std::slice::from_ref(key), value)).await.expect("a batch");
        }
    });
    wanted
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the store's folder") {
        let entry = entry.expect("the store's folder");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Opens and reads all: every value is right, missing, or an error of a kind that tells of damage.
fn survey(folder: &Path, wanted: &BTreeMap<String, Vec<u8>>) -> (usize, usize) {
    let store = match open(folder) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{:?} {error}", error.kind());
            return (0, wanted.len());
        }
    };
    runtime().block_on(async {
        let (mut right, mut told) = (0, 0);
        for (key, value) in wanted {
            match store.get(SPACE, key.as_bytes()).await {
                Ok(Some(found)) => {
                    assert_eq!(&found, value, "`{key}` was read wrongly");
                    right += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io),
                        "{:?} {error}",
                        error.kind()
                    );
                    told += 1;
                }
            }
        }
        (right, told)
    })
}

#[test]
fn flipped_bits_and_cut_files_never_give_wrong_values() {
    let whole = tempfile::tempdir().expect("a folder");
    let wanted = written(whole.path());
    assert_eq!(survey(whole.path(), &wanted), (wanted.len(), 0), "undamaged, all is right");
    // sled makes the log longer than what is in it.
    let log = fs::read(whole.path().join("db")).expect("the log");
    let length = log.iter().rposition(|byte| *byte != 0).expect("something was written") as u64;
    let mut hurt = 0;
    for case in 0..24u64 {
        let damaged = tempfile::tempdir().expect("a folder");
        copy(whole.path(), damaged.path());
        let path = damaged.path().join("db");
        let mut bytes = fs::read(&path).expect("the log");
        let at = (case * 1_037_389) % length;
        if case % 4 == 3 {
            bytes.truncate(at as usize);
        } else {
            bytes[at as usize] ^= 1 << (case % 8);
        }
        fs::write(&path, bytes).expect("the log");
        let (right, told) = survey(damaged.path(), &wanted);
        println!("case {case} at {at} of {length}: {right} right, {told} told");
        hurt += usize::from(right < wanted.len());
    }
    assert!(hurt > 0, "no damage was noticed: the test damages nothing");
}
