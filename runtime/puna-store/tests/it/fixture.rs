//! Data folders that earlier versions wrote, which every later one opens.

use std::{fs, io::Write, path::Path};

use puna_store::{Batch, Store};

use crate::{SPACE, all, files_below, open, runtime};

/// What is in every fixture.
fn entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..40_u8).map(|number| (vec![b'k', number], vec![number; usize::from(number) * 9])).collect()
}

/// The folder of a version's fixtures. A file stands in them without the zeros at its end, whose number is its name's last
/// part: sled's logs are long and mostly empty.
fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn unpack(from: &Path, to: &Path) {
    for file in files_below(from) {
        let name = file.strip_prefix(from).expect("below").to_str().expect("UTF-8");
        let (name, zeros) = name.rsplit_once(".zeros-").expect("a name with its zeros");
        let target = to.join(name);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &target).expect("a copy");
        let mut out = fs::OpenOptions::new().append(true).open(&target).expect("the copy");
        out.write_all(&vec![0; zeros.parse().expect("a number")]).expect("the zeros");
    }
}

fn pack(from: &Path, to: &Path) {
    for file in files_below(from) {
        let mut bytes = fs::read(&file).expect("a file");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let zeros = bytes.len() - end;
        bytes.truncate(end);
        let name = file.strip_prefix(from).expect("below").to_str().expect("UTF-8");
        let target = to.join(format!("{name}.zeros-{zeros}"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::write(target, bytes).expect("a file");
    }
}

/// Writes the fixtures of this version, where `BLESS` asks for it. Those of earlier versions are never written again.
#[test]
fn bless() {
    if std::env::var_os("BLESS").is_none() {
        return;
    }
    for compacted in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        runtime().block_on(async {
            let store = open(folder.path()).expect("a store");
            let batch =
                entries().into_iter().fold(Batch::new(), |batch, (key, value)| batch.put(SPACE, &key, value));
            store.commit(batch).await.expect("a batch");
            if compacted {
                store.compact(|_| {}).await.expect("a compaction");
            }
        });
        let name = if compacted { "store-1-compacted" } else { "store-1" };
        pack(folder.path(), &fixture(name));
    }
}

#[test]
fn earlier_versions_open() {
    for name in ["store-1", "store-1-compacted"] {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(&fixture(name), folder.path());
        runtime().block_on(async {
            for round in 0..2 {
                let store = open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(all(&store).await.expect(name), entries(), "{name}");
                store.commit(Batch::new().put("later", &[round], vec![])).await.expect(name);
                store.compact(|_| {}).await.expect(name);
            }
        });
    }
}
