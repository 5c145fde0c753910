//! Files through the public interface, as the host calls it.

use std::{fs, path::Path};

use proptest::prelude::*;
use puna_plugin::{ErrorKind, files};
use puna_plugin_files::{call, manifest};
use serde_json::{Value, json};

/// Calls a tool with one granted folder, `notes`; an error is its kind, its words and the argument it points at.
fn ask(folder: &Path, name: &str, arguments: Value) -> Result<Value, (ErrorKind, String, Option<String>)> {
    let granted = [("notes".to_owned(), folder.to_owned())];
    files::granted(granted, || call(name, &arguments.to_string()))
        .map(|text| serde_json::from_str(&text).unwrap())
        .map_err(|error| (error.kind, error.message, error.path))
}

/// A folder with files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[track_caller]
fn fails(
    outcome: Result<Value, (ErrorKind, String, Option<String>)>,
    kind: ErrorKind,
    words: &str,
    path: &str,
) {
    let (found, message, at) = outcome.expect_err("a failure");
    assert_eq!((found, at.as_deref()), (kind, Some(path)), "{message}");
    assert!(message.contains(words), "{message}");
}

#[test]
fn listing() {
    let folder = folder(&[("b.md", b"12345"), ("a.txt", b""), ("deep/er/c.MD", b"1"), (".git/config", b"")]);
    let paths = |arguments: Value| -> Vec<String> {
        let listed = ask(folder.path(), "list_files", arguments).unwrap();
        assert_eq!(listed["more"], false);
        let entries = listed["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(json!({})), ["notes"]);
    assert_eq!(paths(json!({"path": "notes"})), ["notes/a.txt", "notes/b.md", "notes/deep"]);
    assert_eq!(paths(json!({"path": "./notes//deep/"})), ["notes/deep/er"]);
    let all = ["notes/a.txt", "notes/b.md", "notes/deep", "notes/deep/er", "notes/deep/er/c.MD"];
    assert_eq!(paths(json!({"path": "notes", "recursive": true})), all);
    let markdown = json!({"recursive": true, "name": "*.md"});
    assert_eq!(paths(markdown), ["notes/b.md", "notes/deep/er/c.MD"]);
    let listed = ask(folder.path(), "list_files", json!({"path": "notes", "name": "b*"})).unwrap();
    assert_eq!(listed["entries"], json!([{"path": "notes/b.md", "folder": false, "size": 5}]));
    let list = |path: &str| ask(folder.path(), "list_files", json!({ "path": path }));
    fails(list("notes/b.md"), ErrorKind::InvalidInput, "read_file", "/path");
    fails(list("notes/none"), ErrorKind::NotFound, "notes/none", "/path");
    fails(list("other"), ErrorKind::Denied, "other", "/path");
    fails(list("notes/../.."), ErrorKind::Denied, "notes/../..", "/path");
}

#[test]
fn a_long_listing_says_that_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..501 {
        fs::write(folder.path().join(format!("{number:03}")), "").unwrap();
    }
    let listed = ask(folder.path(), "list_files", json!({"path": "notes"})).unwrap();
    assert_eq!((listed["entries"].as_array().unwrap().len(), &listed["more"]), (500, &json!(true)));
}

#[test]
fn reading() {
    let long = "x".repeat(40_000) + "\nlast";
    let folder = folder(&[
        ("a.txt", b"one\r\ntwo\n\nfour"),
        ("marked.txt", b"\xef\xbb\xbfone\n"),
        ("empty.txt", b""),
        ("long.txt", long.as_bytes()),
        ("accents.txt", "é".repeat(20_000).as_bytes()),
        ("binary", b"\x00\x01"),
        ("latin", b"caf\xe9"),
    ]);
    let read = |path: &str, more: Value| {
        let mut arguments = json!({"path": format!("notes/{path}")});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(folder.path(), "read_file", arguments)
    };
    for (path, more, expect) in [
        ("a.txt", json!({}), json!({"text": "one\ntwo\n\nfour", "first_line": 1})),
        ("a.txt", json!({"lines": 1}), json!({"text": "one", "first_line": 1, "next_line": 2})),
        (
            "a.txt",
            json!({"first_line": 2, "lines": 2}),
            json!({"text": "two\n", "first_line": 2, "next_line": 4}),
        ),
        ("a.txt", json!({"first_line": 4, "lines": 9}), json!({"text": "four", "first_line": 4})),
        ("marked.txt", json!({}), json!({"text": "one", "first_line": 1})),
        ("empty.txt", json!({}), json!({"text": "", "first_line": 1})),
        ("long.txt", json!({"first_line": 2}), json!({"text": "last", "first_line": 2})),
    ] {
        assert_eq!(read(path, more).unwrap(), expect, "{path}");
    }
    let cut = read("long.txt", json!({})).unwrap();
    assert_eq!(cut["text"].as_str().unwrap().len(), 32 << 10);
    assert_eq!((&cut["left_out"], &cut["next_line"]), (&json!(40_000 - (32 << 10)), &json!(2)));
    assert_eq!(read("accents.txt", json!({})).unwrap()["text"].as_str().unwrap().len(), 32 << 10);
    fails(read("a.txt", json!({"first_line": 5})), ErrorKind::InvalidInput, "has 4 lines", "/first_line");
    fails(read("empty.txt", json!({"first_line": 2})), ErrorKind::InvalidInput, "has 0 lines", "/first_line");
    fails(read("none", json!({})), ErrorKind::NotFound, "notes/none", "/path");
    fails(read("", json!({})), ErrorKind::InvalidInput, "list_files", "/path");
    for (path, words) in [("binary", "NUL"), ("latin", "UTF-8")] {
        let (kind, message, _) = read(path, json!({})).unwrap_err();
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn searching() {
    let deep = format!("{}needle{}", "é".repeat(2_000), "y".repeat(1_000));
    let folder = folder(&[
        ("a.txt", b"One llama\n  two LLAMAS\nan alpaca (shorn)"),
        ("sub/b.md", b"no camels\nllama.\n"),
        ("sub/deep.txt", deep.as_bytes()),
        ("binary", b"llama\n\x00"),
        (".hidden", b"llama"),
    ]);
    let search = |arguments: Value| ask(folder.path(), "search_files", arguments);
    let places = |arguments: Value| -> Vec<String> {
        let found = search(arguments).unwrap();
        let place = |hit: &Value| format!("{}:{}", hit["path"].as_str().unwrap(), hit["line"]);
        found["hits"].as_array().unwrap().iter().map(place).collect()
    };
    let all = ["notes/a.txt:1", "notes/a.txt:2", "notes/sub/b.md:2"];
    assert_eq!(places(json!({"query": "Llama"})), all);
    assert_eq!(places(json!({"query": "LLAMA", "case_sensitive": true})), ["notes/a.txt:2"]);
    assert_eq!(places(json!({"query": "llama", "name": "*.md"})), ["notes/sub/b.md:2"]);
    assert_eq!(places(json!({"query": "llama", "path": "notes/sub"})), ["notes/sub/b.md:2"]);
    assert_eq!(places(json!({"query": "llama", "path": "notes/a.txt", "max_hits": 1})), ["notes/a.txt:1"]);
    assert_eq!(places(json!({"query": "llama."})), ["notes/sub/b.md:2"]);
    assert_eq!(places(json!({"query": "(shorn)"})), ["notes/a.txt:3"]);
    assert_eq!(places(json!({"query": r"^\w+ llama$", "regex": true})), ["notes/a.txt:1"]);
    let found = search(json!({"query": "llamas"})).unwrap();
    let hits = json!([{"path": "notes/a.txt", "line": 2, "text": "two LLAMAS"}]);
    assert_eq!(found, json!({"hits": hits, "more": false, "files_searched": 3, "files_skipped": 1}));
    assert_eq!(search(json!({"query": "llama", "max_hits": 2})).unwrap()["more"], true);
    let shown = search(json!({"query": "needle"})).unwrap()["hits"][0]["text"].as_str().unwrap().to_owned();
    assert!(shown.starts_with("…é") && shown.contains("needle") && shown.ends_with("y…"), "{shown}");
    assert!(shown.len() < 320);

    let wrong = |query: &str| search(json!({"query": query, "regex": true}));
    fails(wrong("(llama"), ErrorKind::InvalidInput, "unclosed group", "/query");
    fails(wrong("(a{1000}){1000}"), ErrorKind::InvalidInput, "too large", "/query");
    fails(wrong(&"(".repeat(900)), ErrorKind::InvalidInput, "regular expression", "/query");
    fails(wrong(&"a".repeat(1_001)), ErrorKind::InvalidInput, "1 to 1000 bytes", "/query");
    fails(wrong(""), ErrorKind::InvalidInput, "1 to 1000 bytes", "/query");
}

#[test]
fn writing() {
    let folder = folder(&[("a.txt", b"old")]);
    let write = |path: &str, replace: bool| {
        ask(folder.path(), "write_file", json!({"path": path, "content": "new ✓", "replace": replace}))
    };
    let written = json!({"path": "notes/new/deep/b.txt", "bytes": 7, "replaced": false});
    assert_eq!(write("notes/new/deep/b.txt", false).unwrap(), written);
    assert_eq!(fs::read_to_string(folder.path().join("new/deep/b.txt")).unwrap(), "new ✓");
    fails(write("notes/a.txt", false), ErrorKind::InvalidInput, "set `replace`", "/path");
    assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "old");
    assert_eq!(write("notes/a.txt", true).unwrap()["replaced"], true);
    assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "new ✓");
    fails(write("notes/new", true), ErrorKind::InvalidInput, "is a folder", "/path");
    fails(write("a.txt", true), ErrorKind::InvalidInput, "a folder of `notes`", "/path");
    fails(write("notes/../b.txt", true), ErrorKind::Denied, "granted", "/path");
    fails(write("other/b.txt", true), ErrorKind::Denied, "granted", "/path");
}

#[test]
fn without_a_grant_everything_is_denied() {
    for (name, arguments) in [
        ("read_file", json!({"path": "notes/a"})),
        ("search_files", json!({"query": "a", "path": "notes"})),
        ("write_file", json!({"path": "notes/a", "content": ""})),
    ] {
        let error = call(name, &arguments.to_string()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{name}");
    }
    assert_eq!(manifest().len(), 4);
}

proptest! {
    /// Reading page by page gives every line, whatever the ends of the lines and wherever they fall.
    #[test]
    fn pages_of_lines_make_the_file(lines in prop::collection::vec("[a-zé]{0,9}", 1..60), step in 1_u64..20) {
        let text = lines.join("\n") + "\n";
        let folder = folder(&[("a.txt", text.as_bytes())]);
        let (mut read, mut next) = (Vec::new(), Some(1));
        while let Some(first) = next {
            let arguments = json!({"path": "notes/a.txt", "first_line": first, "lines": step});
            let page = ask(folder.path(), "read_file", arguments).unwrap();
            read.push(page["text"].as_str().unwrap().to_owned());
            next = page["next_line"].as_u64();
        }
        prop_assert_eq!(read.join("\n"), lines.join("\n"));
    }

    /// Any bytes are read or refused.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2_000), query in ".{1,20}") {
        let folder = folder(&[("a", &bytes)]);
        let read = ask(folder.path(), "read_file", json!({"path": "notes/a"}));
        prop_assert_eq!(read.is_ok(), std::str::from_utf8(&bytes).is_ok() && !bytes.contains(&0));
        for regex in [false, true] {
            let found = ask(folder.path(), "search_files", json!({"query": query, "regex": regex}));
            prop_assert!(found.is_ok() || regex);
        }
    }

    /// A text is found in the line that holds it.
    #[test]
    fn what_is_there_is_found(before in ".{0,400}", query in "[!-~]{1,20}", after in ".{0,400}") {
        let line = format!("{before}{query}{after}").replace('\0', "");
        let folder = folder(&[("a", format!("\n{line}\n").as_bytes())]);
        let found = ask(folder.path(), "search_files", json!({"query": query, "case_sensitive": true})).unwrap();
        let hit = found["hits"].as_array().unwrap().iter().find(|hit| hit["line"] == 2).cloned();
        prop_assert!(hit.is_some_and(|hit| hit["text"].as_str().unwrap().contains(&query)));
    }
}
