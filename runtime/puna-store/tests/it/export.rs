//! A store as JSON Lines, out and in again.

use puna_core::ErrorKind;
use puna_store::{Batch, Imported, SledStore, Store};

use crate::{SPACE, all, open, runtime};

/// More than a page of small entries, and one of every byte.
async fn fill(store: &SledStore) {
    let batch = (0..2_500_u32).fold(Batch::new(), |batch, number| {
        batch.put(SPACE, &number.to_be_bytes(), number.to_string().into_bytes())
    });
    let batch = batch.put("other", b"", (0..=u8::MAX).collect());
    store.commit(batch).await.expect("a batch");
}

async fn exported(store: &SledStore) -> Vec<u8> {
    let mut lines = Vec::new();
    store.export(&mut lines, |_| {}).await.expect("an export");
    lines
}

#[test]
fn what_is_exported_is_imported_once() {
    let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    runtime().block_on(async {
        let (from, to) = (open(from.path()).expect("a store"), open(to.path()).expect("a store"));
        fill(&from).await;
        let lines = exported(&from).await;
        for wanted in [Imported { added: 2_501, kept: 0 }, Imported { added: 0, kept: 2_501 }] {
            assert_eq!(to.import(lines.as_slice(), |_| {}).await.expect("an import"), wanted);
            assert_eq!(all(&to).await.expect("a scan"), all(&from).await.expect("a scan"));
            assert_eq!(exported(&to).await, lines);
        }
        let check = to.check(|_| {}).await.expect("a check");
        // The store's own two records are read too.
        assert_eq!((check.entries, check.damaged), (2_503, 0));
    });
}

#[test]
fn what_is_no_export_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let store = open(folder.path()).expect("a store");
        let header = r#"{"store":{"schema_version":1}}"#;
        let entry = |namespace: &str, key: &str, value: &str| {
            format!(
                r#"{header}{}{{"entry":{{"namespace":"{namespace}","key":"{key}","value":"{value}"}}}}"#,
                '\n'
            )
        };
        for (text, told) in [
            (String::new(), "line 1"),
            ("{}".to_owned(), "line 1"),
            (r#"{"store":{"schema_version":9}}"#.to_owned(), "version 9"),
            (header.to_owned(), "cut short"),
            (format!("{header}\n{header}"), "line 2"),
            (format!("{header}\n{{\"end\":{{\"entries\":1}}}}"), "1 entries"),
            (entry("", "00", ""), "line 2"),
            (entry("meta", "00", ""), "line 2"),
            (entry(SPACE, "0", ""), "line 2"),
            (entry(SPACE, "é", ""), "line 2"),
            (entry(SPACE, "00", &"00".repeat(1 << 20)), "line 2"),
        ] {
            let error = store.import(text.as_bytes(), |_| {}).await.expect_err("no export");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(told), "{error} tells {told}");
        }
        assert!(all(&store).await.expect("a scan").is_empty(), "nothing was written");
        store.commit(Batch::new().put(SPACE, &[0], vec![1])).await.expect("a batch");
        let error =
            store.import(entry(SPACE, "00", "02").as_bytes(), |_| {}).await.expect_err("another value");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    });
}
