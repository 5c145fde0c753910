//! Loaders and retrievers of plugins.

use futures_util::TryStreamExt as _;
use puna_core::{ErrorKind, Loader as _, Retriever as _};
use puna_plugins::{BlobSource, Grants, Limits, LoaderSource, PluginLoader, Setup};
use serde_json::{Value, json};

use crate::{
    guests::check_alive,
    probe::{limited, ready},
};

async fn loader(name: &str) -> PluginLoader {
    limited(Grants::default(), Limits::for_loaders()).await.loader(name).expect("a loader")
}

fn source(content: &[u8]) -> LoaderSource {
    LoaderSource { uri: "a.txt".to_owned(), media_type: None, content: Some(BlobSource::bytes(content)) }
}

/// The ids of every document of a source, and where pages ended.
async fn drain(loader: &PluginLoader, options: &Value, resume: Option<&str>) -> (Vec<String>, Vec<String>) {
    let mut cursor = loader.open(source(b"abc"), options, resume).await.expect("a cursor");
    let (mut ids, mut ends) = (Vec::new(), Vec::new());
    while let Some(page) = cursor.next().await.expect("a page") {
        ids.extend(page.documents.into_iter().map(|document| document.id));
        ends.extend(page.resume);
    }
    (ids, ends)
}

#[tokio::test]
async fn documents_come_in_pages_that_can_be_resumed() {
    let loader = loader("numbers").await;
    let expect = |from: u32, to: u32| (from..to).map(|number| number.to_string()).collect::<Vec<_>>();
    for (documents, length, pages) in
        [(0, 1, 1), (1, 1, 1), (100, 1, 1), (101, 1, 2), (250, 10, 3), (5, 600_000, 3)]
    {
        let options = json!({"documents": documents, "length": length});
        let (ids, ends) = drain(&loader, &options, None).await;
        assert_eq!(ids, expect(0, documents), "{options}");
        assert_eq!(ends.len() + 1, pages, "{options}");
        for end in ends {
            let from = end.parse().expect("a number");
            assert_eq!(
                drain(&loader, &options, Some(&end)).await.0,
                expect(from, documents),
                "{options} {end}"
            );
        }
    }
    let options = json!({"documents": 2, "length": 1});
    for resume in ["3", "nonsense"] {
        let error = loader.open(source(b""), &options, Some(resume)).await.err().expect("a refusal");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{resume}");
    }
}

#[tokio::test]
async fn an_error_comes_after_the_documents_before_it() {
    let loader = loader("numbers").await;
    let options = json!({"documents": 10, "length": 1, "fails_at": 3});
    let mut cursor = loader.open(source(b""), &options, None).await.expect("a cursor");
    assert_eq!(cursor.next().await.expect("a page").expect("documents").documents.len(), 3);
    let error = cursor.next().await.expect_err("the error");
    assert!(error.to_string().contains("document 3 is broken"), "{error}");
    assert_eq!(cursor.next().await.expect("the end"), None);
}

#[tokio::test]
async fn large_files_are_read_in_pieces() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.txt");
    let line = "라마 llama\n";
    std::fs::write(&path, line.repeat(200_000)).expect("a file");
    // The file is several times what the guest may hold.
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::for_loaders() };
    let plugin = limited(Grants::default(), limits).await;
    let loader = plugin.loader("lines").expect("a loader");
    let documents = loader.load(&path.display().to_string(), &Value::Null).await.expect("documents");
    let mut count = 0_u32;
    let counted = documents.try_for_each(|document| {
        assert_eq!(document.text, "라마 llama");
        count += 1;
        std::future::ready(Ok(()))
    });
    counted.await.expect("the end");
    assert_eq!(count, 200_000);
    let missing = loader.load("no/such/file", &Value::Null).await.err().expect("a refusal");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let bad = loader.open(source(b"a\n\xff\n"), &json!({}), None).await.expect("a cursor").next().await;
    assert!(bad.is_ok_and(|page| page.is_some_and(|page| page.documents.len() == 1)));
}

#[tokio::test]
async fn options_are_held_against_their_schema() {
    let numbers = loader("numbers").await;
    let error = numbers.open(source(b""), &json!({"documents": "x", "length": 1}), None).await;
    let error = error.err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("/documents"), "{error}");
    let plugin = ready(Setup::default()).await;
    let missing = plugin.loader("nothing").err().expect("a refusal");
    assert!(missing.to_string().contains("`numbers`, `lines`"), "{missing}");
    let missing = plugin.retriever("nothing").err().expect("a refusal");
    assert!(missing.to_string().contains("`echo`"), "{missing}");
}

#[tokio::test]
async fn pages_are_bounded() {
    let limits = Limits { result_bytes: 100_000, ..Limits::for_loaders() };
    let plugin = limited(Grants::default(), limits).await;
    let loader = plugin.loader("numbers").expect("a loader");
    let options = json!({"documents": 1, "length": 200_000});
    let mut cursor = loader.open(source(b""), &options, None).await.expect("a cursor");
    assert_eq!(cursor.next().await.expect_err("too large").kind(), ErrorKind::ResourceExhausted);
    check_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_cursors_keep_no_call_waiting() {
    let loader = loader("numbers").await;
    let options = json!({"documents": 1000, "length": 1});
    let mut cursors = Vec::new();
    // As many as are kept at once.
    for _ in 0..puna_plugins::HostOptions::DEFAULT_CONCURRENT_CALLS {
        cursors.push(loader.open(source(b""), &options, None).await.expect("a cursor"));
    }
    check_alive().await;
    for mut cursor in cursors {
        assert_eq!(cursor.next().await.expect("a page").expect("documents").documents.len(), 100);
    }
    check_alive().await;
}

#[tokio::test]
async fn hits_come_in_pages() {
    let plugin = ready(Setup::default()).await;
    let retriever = plugin.retriever("echo").expect("a retriever");
    let (mut documents, mut page) = (Vec::new(), None);
    loop {
        let found = retriever.retrieve("llama", 4, &Value::Null, page.as_deref()).await.expect("hits");
        documents.extend(found.hits.iter().map(|hit| hit.document.clone()));
        assert!(
            found.hits.iter().all(|hit| hit.text == "llama" && hit.span.is_some_and(|span| span.end == 5))
        );
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(documents.len(), 8);
    let wrong = retriever.retrieve("llama", 1, &json!({"score": "high"}), None).await.expect_err("a refusal");
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
}
