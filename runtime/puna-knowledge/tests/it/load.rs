//! Files to documents.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, stream, stream::BoxStream};
use puna_core::{Document, ErrorKind, Loader, Result};
use puna_knowledge::{Failure, FileKind, Format, Input, Loaders, detect, find_files, load_bytes, load_files};
use serde_json::{Value, json};

use crate::support::block_on;

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, content).expect("written");
}

fn load(name: &str, content: impl AsRef<[u8]>) -> Vec<Result<Input, Failure>> {
    block_on(
        load_bytes(name.to_owned(), name.to_owned(), content.as_ref().to_vec(), Loaders::new()).collect(),
    )
}

fn one(name: &str, content: impl AsRef<[u8]>) -> Input {
    let mut all = load(name, content);
    assert_eq!(all.len(), 1);
    all.remove(0).expect("a document")
}

#[test]
fn forms_are_told_by_content() {
    for (name, head, kind) in [
        ("a", "plain words", FileKind::Text(Format::Text)),
        ("a.md", "plain words", FileKind::Text(Format::Markdown)),
        ("a", "# Title\n\nSee [this](x).\n", FileKind::Text(Format::Markdown)),
        ("a.txt", "# Title\n\nSee [this](x).\n", FileKind::Text(Format::Text)),
        ("a.txt", "\u{feff} <!DOCTYPE HTML><p>x", FileKind::Text(Format::Html)),
        ("a.rs", "fn main() {}", FileKind::Text(Format::Code)),
        ("a", "#!/bin/sh\necho", FileKind::Text(Format::Code)),
        ("a", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", FileKind::JsonLines),
        ("a.jsonl", "{\"text\": \"a\"}", FileKind::JsonLines),
        ("a.txt", "%PDF-1.7", FileKind::Pdf),
        ("a.txt", "PK\u{3}\u{4}", FileKind::Zip),
        ("a.txt", "a\0b", FileKind::Binary),
    ] {
        assert_eq!(detect(name, head.as_bytes()), kind, "{name} {head}");
    }
    assert_eq!(detect("a.txt", &[0xff, 0x00, 0x9f]), FileKind::Binary);
    assert_eq!(
        detect("a.txt", "가나".as_bytes().split_last().expect("bytes").1),
        FileKind::Text(Format::Text)
    );
}

#[test]
fn pages_become_text_with_headings() {
    let page = "<!doctype html><html><head><title>Llamas &amp; more</title><style>p { color: red }</style></head>\
        <body><h1>Llamas</h1><p>They   hum,\n <b>softly</b>, at 3&nbsp;&lt; 4.</p><ul><li>one</li><li>two</li></ul>\
        <script>if (a < b) { x(\"</p>\") }</script><h2 class='x'>Wool</h2><pre>a\n  b</pre>last &#x41;&#66; &unknown; &</body></html>";
    let Input { document, format } = one("a.html", page);
    assert_eq!(document.metadata["title"], "Llamas & more");
    assert_eq!(format, Format::Markdown);
    assert_eq!(
        document.text,
        "# Llamas\n\nThey hum, softly, at 3 < 4.\n\n- one\n- two\n\n## Wool\n\na\n  b\n\nlast AB &unknown; &"
    );
}

#[test]
fn lines_of_json_are_documents() {
    let lines = "{\"_id\": 7, \"title\": \"T\", \"text\": \"x\", \"year\": 2020}\n\n{\"id\": \"b\", \"content\": \"y\", \"metadata\": {\"k\": [1]}}\n{\"text\": 5}\nnot json\n{\"body\": \"z\"}";
    let all = load("c.jsonl", lines);
    let shown: Vec<String> = all
        .iter()
        .map(|one| match one {
            Ok(Input { document: Document { id, text, metadata }, .. }) => {
                format!("{id} {text:?} {}", json!(metadata))
            }
            Err(Failure { id, error }) => format!("{id} {error}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "c.jsonl#7 \"T\\n\\nx\" {\"year\":2020,\"title\":\"T\"}",
            "c.jsonl#b \"y\" {\"k\":[1]}",
            // A number is taken for a text.
            "c.jsonl#4 \"5\" {}",
            "c.jsonl#5 line 5 of `c.jsonl` is no JSON object",
            "c.jsonl#6 \"z\" {}",
        ]
    );
}

#[test]
fn other_encodings_and_what_is_no_text() {
    let wide: Vec<u8> =
        [0xfeff_u16].into_iter().chain("라마".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(one("a.txt", &wide).document.text, "라마");
    let broken = [0xfe, 0xff, 0xd8, 0x00];
    for (name, content, says) in [
        ("a.pdf", &b"%PDF-1.4 ..."[..], "a PDF"),
        ("a.docx", b"PK\x03\x04...", "a ZIP file"),
        ("a.bin", &[0, 1, 2], "no text"),
        ("a.txt", &broken, "neither UTF-8 nor UTF-16"),
    ] {
        let error = load(name, content).remove(0).expect_err("refused").error;
        assert!(error.to_string().contains(says) || error.report().contains(says), "{error:?}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn folders_and_patterns_name_files() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.md", "b.txt", "sub/c.md", "sub/deep/d.md", ".hidden/e.md", "sub/.f.md"] {
        write(folder.path(), name, "x");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("sub/loop")).expect("a link");
    let names = |source: &str| -> Vec<String> {
        let files = find_files(&folder.path().join(source).display().to_string()).expect("files");
        let short = |file: &Path| file.strip_prefix(folder.path()).expect("within").display().to_string();
        files.iter().map(|file| short(file)).collect()
    };
    assert_eq!(names(""), ["a.md", "b.txt", "sub/c.md", "sub/deep/d.md"]);
    assert_eq!(names("b.txt"), ["b.txt"]);
    assert_eq!(names("*.md"), ["a.md"]);
    assert!(names("**/*.md").starts_with(&["a.md".to_owned(), "sub/c.md".to_owned()]));
    for (source, kind) in
        [("none", ErrorKind::NotFound), ("*.pdf", ErrorKind::NotFound), ("a[", ErrorKind::InvalidInput)]
    {
        let error = find_files(&folder.path().join(source).display().to_string()).expect_err("none");
        assert_eq!(error.kind(), kind, "{source}: {error}");
    }
}

/// Reads files of numbers.
struct Numbers;

#[async_trait]
impl Loader for Numbers {
    async fn load(&self, source: &str, _: &Value) -> Result<BoxStream<'static, Result<Document>>> {
        let text = fs::read_to_string(source).expect("a file");
        let pages: Vec<_> = text
            .split(' ')
            .map(|number| {
                Ok(Document {
                    id: number.to_owned(),
                    text: format!("page {number}"),
                    metadata: Default::default(),
                })
            })
            .collect();
        Ok(stream::iter(pages).boxed())
    }
}

#[test]
fn loaders_read_what_is_not_read_here() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.NUM", "1 2");
    write(folder.path(), "b.txt", "text");
    let files = find_files(&folder.path().display().to_string()).expect("files");
    let loaders = Loaders::from_iter([("num".to_owned(), Arc::new(Numbers) as Arc<dyn Loader>)]);
    let all: Vec<_> = block_on(load_files(files, loaders).collect());
    let ids: Vec<String> = all
        .into_iter()
        .map(|one| one.expect("a document").document.id)
        .map(|id| id.rsplit('/').next().expect("a name").to_owned())
        .collect();
    assert_eq!(ids, ["a.NUM#1", "a.NUM#2", "b.txt"]);
}

#[test]
fn the_content_chooses_the_loader_where_it_tells() {
    let loaders = |names: &[&str]| {
        Loaders::from_iter(
            names.iter().map(|name| ((*name).to_owned(), Arc::new(Numbers) as Arc<dyn Loader>)),
        )
    };
    for (name, content, loader) in [
        ("report", "%PDF-1.7", "pdf"),
        ("report.txt", "%PDF-1.7", "pdf"),
        ("book.bin", "PK\u{3}\u{4}word/document.xml", "docx"),
        ("sums.zip", "PK\u{3}\u{4}xl/workbook.xml", "xlsx"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), name, content);
        let files = || find_files(&folder.path().display().to_string()).expect("files");
        let load = |loaders| block_on(load_files(files(), loaders).collect::<Vec<_>>()).remove(0);
        let read = load(loaders(&[loader, "txt"])).expect("a document");
        assert_eq!(read.document.text, format!("page {content}"), "{name}");
        // Bytes without a file go to it too.
        let bytes = || load_bytes("-".to_owned(), name.to_owned(), content.into(), loaders(&[loader]));
        let read = block_on(bytes().collect::<Vec<_>>()).remove(0).expect("a document");
        assert_eq!(
            (read.document.id, read.document.text),
            (format!("-#{content}"), format!("page {content}"))
        );
        // Another loader is not given what it cannot read.
        assert!(load(loaders(&["csv"])).is_err(), "{name}");
    }
}
