use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::files;

/// Entries of the store before: more than two pieces.
const ENTRIES: u32 = 25_000;

/// Numbers become text, in a namespace that comes after.
fn to_text(namespace: &str, _: &[u8], value: &[u8]) -> Result<Change> {
    if namespace != "number" {
        return Ok(Change::Keep);
    }
    let number = u32::from_be_bytes(value.try_into().map_err(|_| corrupt(value))?);
    let text = number.to_string();
    Ok(Change::Replace(vec![("text".to_owned(), text.clone().into_bytes(), text.into_bytes())]))
}

/// Every text with a nine in it goes.
fn without_nines(namespace: &str, key: &[u8], _: &[u8]) -> Result<Change> {
    let doomed = namespace == "text" && key.contains(&b'9');
    Ok(if doomed { Change::Replace(Vec::new()) } else { Change::Keep })
}

/// How many entries [`fails`] lets pass.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// As [`to_text`], until it fails as if the process ended.
fn fails(namespace: &str, key: &[u8], value: &[u8]) -> Result<Change> {
    match LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => to_text(namespace, key, value),
        Err(_) => Err(Error::internal("the end")),
    }
}

/// A store of version 1.
fn fill(db: &sled::Db, log: &File) {
    run(db, log, &[]).expect("a new store");
    for number in 0..ENTRIES {
        let key = full_key("number", &number.to_be_bytes()).expect("a key");
        let sealed = seal(&key, &number.to_be_bytes());
        db.insert(key, sealed).expect("an entry");
    }
}

/// Everything but the store's own.
fn entries(db: &sled::Db) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = db.iter().map(|item| item.expect("an entry"));
    let entries = entries.map(|(key, value)| (key.to_vec(), unseal(&key, &value).expect("whole").to_vec()));
    entries.filter(|(key, _)| !key.starts_with(b"meta\0")).collect()
}

#[test]
fn a_migration_that_is_interrupted_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = files::open(folder.path(), 1 << 20).expect("a store");
    let log = files::log(folder.path()).expect("its log");
    fill(&db, &log);
    // Each attempt is cut off in its second piece, so that the first counts.
    let done = |db: &sled::Db| cursor(db, 2).expect("a cursor");
    let mut before = Vec::new();
    for _ in 0..2 {
        LEFT.store(PIECE_ENTRIES + 10, Ordering::SeqCst);
        let error = run(&db, &log, &[fails, without_nines]).expect_err("it ends");
        assert_eq!(error.to_string(), "the end");
        assert_eq!(version(&db).expect("a version"), Some(1));
        assert!(done(&db) > before, "it went on");
        before = done(&db);
    }
    run(&db, &log, &[to_text, without_nines]).expect("the rest");
    assert_eq!(version(&db).expect("a version"), Some(3));
    assert!(!db.contains_key(CURSOR_KEY).expect("a read"));
    let texts = (0..ENTRIES).map(|number| number.to_string()).filter(|text| !text.contains('9'));
    let mut wanted: Vec<_> =
        texts.map(|text| (full_key("text", text.as_bytes()).expect("a key"), text.into_bytes())).collect();
    wanted.sort();
    assert!(entries(&db) == wanted, "every entry went through both steps once");
    // A second run has nothing to do, and an older program is told.
    run(&db, &log, &[to_text, without_nines]).expect("nothing to do");
    let error = run(&db, &log, &[to_text]).expect_err("newer data");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("has schema version 3, and this version of Puna reads up to 2"));
}

#[test]
fn a_damaged_entry_stops_a_migration() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = files::open(folder.path(), 1 << 20).expect("a store");
    let log = files::log(folder.path()).expect("its log");
    fill(&db, &log);
    db.insert(b"number\0\0\0\0\x07", b"damaged").expect("a write");
    let error = run(&db, &log, &[to_text]).expect_err("damage");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(entries_of(&db), ENTRIES as usize, "nothing was changed");
}

fn entries_of(db: &sled::Db) -> usize {
    db.scan_prefix(b"number\0").count()
}
