//! The committed loaders, run by the host on files of their kind.

use std::path::Path;

use futures_util::TryStreamExt as _;
use puna_core::{Document, ErrorKind, Loader as _};
use puna_plugins::{BlobSource, Limits, LoaderSource, PluginLoader, Setup};
use serde_json::{Value, json};

use crate::guests::HOST;

async fn loader(plugin: &str, loader: &str, limits: Limits) -> PluginLoader {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(plugin);
    let plugin = HOST.load(folder.join(format!("{plugin}.wasm"))).await.expect("a plugin");
    let ready = plugin.ready(Setup { limits, ..Setup::default() }).expect("a ready plugin");
    ready.loader(loader).expect("a loader")
}

async fn load(
    plugin: &str,
    name: &str,
    uri: &str,
    content: &[u8],
    options: Value,
) -> Result<Vec<Document>, puna_core::Error> {
    let loader = loader(plugin, name, Limits::for_loaders()).await;
    let content = Some(BlobSource::bytes(content));
    let mut cursor =
        loader.open(LoaderSource { uri: uri.to_owned(), media_type: None, content }, &options, None).await?;
    let mut documents = Vec::new();
    while let Some(page) = cursor.next().await? {
        documents.extend(page.documents);
    }
    Ok(documents)
}

#[tokio::test]
async fn committed_loaders_read_files_of_their_kind() {
    let check =
        async |plugin: &str, name: &str, uri: &str, content: &[u8], options: Value, expect: &[&str]| {
            let documents = load(plugin, name, uri, content, options).await.expect("documents");
            let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
            assert_eq!(texts, expect, "{name}");
        };
    let none = || json!({});
    check("text", "text", "a.txt", b"\xff\xfea\0b\0", none(), &["ab"]).await;
    check("text", "text", "a.txt", b"\xb0\xa1", json!({"encoding": "cp949"}), &["가"]).await;
    check("text", "markdown", "a.md", b"---\na: b\n---\n# Title\n", none(), &["# Title\n"]).await;
    check("text", "json", "a.jsonl", b"{\"a\":\"x\"}\n{\"a\":\"y\"}", json!({"text": "/a"}), &["x", "y"])
        .await;
    check("html", "html", "a.html", b"<meta charset=euc-kr><h1>\xb0\xa1</h1><nav>x</nav>", none(), &["# 가"])
        .await;
    check("tables", "csv", "a.csv", b"a;b\n1;2\n", none(), &["| a | b |\n| --- | --- |\n| 1 | 2 |"]).await;
}

/// Files as programs write them, see `tests/bench/make_documents.py`.
#[tokio::test]
async fn committed_loaders_read_real_files() {
    for (plugin, name, file, pieces) in [
        (
            "html",
            "html",
            "page.html",
            &["# Wool of the year", "[wool](https://example.com/docs/wool.html)", "| llama 4 | 4.5 kg |"][..],
        ),
        ("html", "html", "korean.html", &["# 라마의 털", "라마는 안데스 고원에 사는 짐승이다."]),
        ("html", "html", "japanese.html", &["# リャマの毛", "高原に住む動物です。"]),
        ("html", "html", "chinese.html", &["# 羊驼的毛", "羊驼生活在安第斯高原。"]),
        (
            "tables",
            "csv",
            "herd.csv",
            &["| 이름 | 무게 | 말 |", "| 라마 19 | 119,5 | 라마는 안데스 고원에 사는"],
        ),
        (
            "tables",
            "xlsx",
            "herd.xlsx",
            &["| llama 29 | 2020-06-03 | 107.25 | 29% | 라마는", "| Puna | one |\n| Puna | two |"],
        ),
        (
            "docx",
            "docx",
            "herd.docx",
            &[
                "# Animals",
                "## Wool",
                "- coarse",
                "2. wash",
                "| llama | 3.5 kg | 라마 |",
                "[elsewhere](https://example.com/wool)",
            ],
        ),
        ("pdf", "pdf", "columns.pdf", &["On the herds of the high plains", "\n7. "]),
        ("pdf", "pdf", "korean.pdf", &["라마는 안데스 고원에 사는 짐승이다", "Llamas carry wool"]),
        ("pdf", "pdf", "plain.pdf", &["llama 3.5 kg 12", "This page is turned by a quarter."]),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/collections/documents").join(file);
        let content = std::fs::read(path).expect("a file of the repository");
        let documents = load(plugin, name, file, &content, json!({})).await.expect(file);
        let text: String = documents.iter().map(|document| format!("{}\n\n", document.text)).collect();
        for piece in pieces {
            assert!(text.contains(piece), "{file}: `{piece}` in {text}");
        }
    }
}

#[tokio::test]
async fn committed_loaders_refuse_what_is_not_theirs() {
    for (plugin, name, options, words) in [
        ("text", "text", json!({}), "zero bytes"),
        ("text", "text", json!({"encoding": "klingon"}), "klingon"),
        ("text", "markdown", json!({}), "zero bytes"),
        ("text", "json", json!({}), "zero bytes"),
        ("html", "html", json!({}), "zero bytes"),
        ("tables", "csv", json!({}), "zero bytes"),
        ("tables", "csv", json!({"rows": 0}), "/rows"),
        ("tables", "xlsx", json!({}), "does not begin as one"),
        ("docx", "docx", json!({}), "does not begin as one"),
        ("pdf", "pdf", json!({}), "does not begin as one"),
    ] {
        let error =
            load(plugin, name, "a", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", options).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

/// Files larger than the memory of the guest are read through.
#[tokio::test]
async fn long_files_need_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    for (plugin, name, line, documents) in [
        ("text", "text", "라마 llama 라마 llama\n", 25),
        ("text", "json", "{\"text\": \"라마 llama\"}\n", 1_000_000),
        ("tables", "csv", "라마,llama of the high plains,2024-02-29,\"wool, and more of it\"\n", 10_000),
    ] {
        let path = folder.path().join("long");
        std::fs::write(&path, line.repeat(1_000_000)).expect("a file");
        let limits = Limits { memory_bytes: 16 << 20, ..Limits::for_loaders() };
        let loader = loader(plugin, name, limits).await;
        let found = loader.load(&path.display().to_string(), &json!({})).await.expect("documents");
        let count = found.try_fold(0, |count, _| std::future::ready(Ok(count + 1))).await.expect("the end");
        assert_eq!(count, documents, "{name}");
    }
}
