//! Guests that reach beyond what they were lent: without a grant, out of their folders, past their tables, into calls
//! within calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use puna_core::{Embedder, Result, ToolErrorKind};
use puna_plugins::{FolderGrant, Generator, Grants, Limits, MAX_CALL_DEPTH, ReadyPlugin, Services, SqlGrant};
use serde_json::json;

use crate::{
    guests::check_alive,
    probe::{ask, kind, limited, with},
};

#[tokio::test]
async fn what_is_not_granted_is_denied() {
    let plugin = with(Grants::default(), Services::default()).await;
    for (tool, arguments, grant) in [
        ("now", json!({}), "clock"),
        ("bytes", json!({"length": 1}), "random"),
        ("send", json!({"url": "https://example.com"}), "http"),
        ("keep", json!({"key": "a", "value": "b"}), "store"),
        ("kept", json!({"name": "a"}), "store"),
        ("keys", json!({"prefix": "", "limit": 1}), "store"),
        ("list", json!({"path": ""}), "files"),
        ("read", json!({"path": "notes/a"}), "files"),
        ("write", json!({"path": "notes/a"}), "files"),
        ("create_folder", json!({"path": "notes/a"}), "files"),
        ("remove", json!({"path": "notes/a"}), "files"),
        ("embed", json!({"texts": ["a"]}), "embed"),
        ("generate", json!({"prompt": "a"}), "generate"),
        ("query", json!({"database": "shop"}), "sql"),
        ("query", json!({"database": "shop", "statement": "SELECT 1"}), "sql"),
    ] {
        let denied = ask(&plugin, tool, arguments).await.expect_err(tool);
        assert_eq!(denied.kind, ToolErrorKind::Denied, "{tool}: {denied}");
        assert!(denied.message.contains(&format!("`{grant}`")), "{tool}: {denied}");
    }
    assert_eq!(ask(&plugin, "secret", json!({"name": "token"})).await, Ok(json!({"exists": false})));
    // What is missing behind a grant is told apart.
    let granted = Grants { store: true, embed: true, generate: true, ..Grants::default() };
    let plugin = with(granted, Services::default()).await;
    for (tool, arguments) in [
        ("kept", json!({"name": "a"})),
        ("embed", json!({"texts": ["a"]})),
        ("generate", json!({"prompt": "a"})),
    ] {
        assert_eq!(kind(ask(&plugin, tool, arguments).await), ToolErrorKind::Unavailable, "{tool}");
    }
}

/// A model that calls the plugin that asks it.
struct Reentrant(std::sync::OnceLock<ReadyPlugin>);

#[async_trait]
impl Generator for Reentrant {
    async fn generate(&self, _: Option<&str>, prompt: &str, max_tokens: u32) -> Result<String> {
        let plugin = self.0.get().expect("the plugin");
        let again = json!({"prompt": format!("{prompt}."), "max_tokens": max_tokens});
        let inner = ask(plugin, "generate", again).await?;
        Ok(inner["text"].as_str().unwrap_or_default().to_owned())
    }
}

struct Vectors;

#[async_trait]
impl Embedder for Vectors {
    fn dimension(&self) -> usize {
        2
    }

    fn fingerprint(&self) -> String {
        "lengths".to_owned()
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect())
    }
}

#[tokio::test]
async fn models_are_lent_and_calls_nest_only_so_deep() {
    let generator = Arc::new(Reentrant(Default::default()));
    let services = Services {
        embedder: Some(Arc::new(Vectors)),
        generator: Some(generator.clone()),
        ..Services::default()
    };
    let plugin = with(Grants { embed: true, generate: true, ..Grants::default() }, services).await;
    assert!(generator.0.set(plugin.clone()).is_ok());
    let vectors = ask(&plugin, "embed", json!({"texts": ["ab", ""]})).await;
    assert_eq!(vectors, Ok(json!({"vectors": [[2.0, 1.0], [0.0, 1.0]]})));
    let many = json!({"texts": vec!["a"; Limits::DEFAULT_EMBED_TEXTS as usize + 1]});
    assert_eq!(kind(ask(&plugin, "embed", many).await), ToolErrorKind::TooLarge);
    let error = ask(&plugin, "generate", json!({"prompt": "a"})).await.expect_err("too deep");
    assert_eq!(error.kind, ToolErrorKind::Denied, "{error}");
    assert!(error.message.contains(&format!("inside {MAX_CALL_DEPTH} other calls")), "{error}");
    let much = json!({"prompt": "a", "max_tokens": 1_000_000});
    assert_eq!(kind(ask(&plugin, "generate", much).await), ToolErrorKind::TooLarge);
    check_alive().await;
}

#[tokio::test]
async fn files_stay_in_their_folders() {
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("secret"), "secret").expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path();
    std::fs::write(notes.join("a.txt"), "hello").expect("a file");
    std::fs::create_dir(notes.join("deep")).expect("a folder");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(outside.path(), notes.join("link")).expect("a link");
        symlink(outside.path().join("secret"), notes.join("file-link")).expect("a link");
        symlink("../../..", notes.join("deep/up")).expect("a link");
        symlink("deep/up/..", notes.join("chain")).expect("a link");
        symlink("a.txt", notes.join("within")).expect("a link");
        assert!(
            std::process::Command::new("mkfifo").arg(notes.join("pipe")).status().expect("mkfifo").success()
        );
    }
    let grant = |write| {
        let folder = FolderGrant { path: notes.to_owned(), write };
        Grants { files: BTreeMap::from([("notes".to_owned(), folder)]), ..Grants::default() }
    };
    let reader = with(grant(false), Services::default()).await;
    assert_eq!(ask(&reader, "list", json!({"path": ""})).await, Ok(json!({"names": ["notes"]})));
    let read = async |path: &str| ask(&reader, "read", json!({"path": path})).await;
    assert_eq!(read("notes/a.txt").await, Ok(json!({"bytes": 5, "start": "hello"})));
    #[cfg(unix)]
    assert_eq!(read("notes/within").await, Ok(json!({"bytes": 5, "start": "hello"})));
    let absolute = format!("notes/{}", outside.path().join("secret").display());
    let up = format!("notes/../{}/secret", outside.path().file_name().unwrap().to_string_lossy());
    for path in [
        &up,
        &absolute,
        "/etc/passwd",
        "notes/../../etc/passwd",
        "notes/deep/../../a",
        "notes/link/secret",
        "notes/file-link",
        "notes/deep/up/etc/passwd",
        "notes/chain/etc/passwd",
        "other/a.txt",
        "../notes/a.txt",
    ] {
        let error = read(path).await.expect_err(path);
        assert_eq!(error.kind, ToolErrorKind::Denied, "{path}: {error}");
        assert!(!error.message.contains("secret\n"), "{error}");
    }
    for (path, expect) in [
        ("notes/missing", ToolErrorKind::NotFound),
        ("notes/deep", ToolErrorKind::InvalidInput),
        ("notes/pipe", ToolErrorKind::InvalidInput),
    ] {
        assert_eq!(kind(read(path).await), expect, "{path}");
    }
    for (tool, path) in [("write", "notes/b.txt"), ("remove", "notes/a.txt"), ("create_folder", "notes/b")] {
        assert_eq!(kind(ask(&reader, tool, json!({"path": path})).await), ToolErrorKind::Denied, "{tool}");
    }

    let writer = with(grant(true), Services::default()).await;
    let write = json!({"path": "notes/b.txt", "content": "new"});
    assert_eq!(ask(&writer, "write", write).await, Ok(json!({"size": 3})));
    assert_eq!(std::fs::read_to_string(notes.join("b.txt")).expect("a file"), "new");
    assert_eq!(
        kind(ask(&writer, "write", json!({"path": "notes/link/x", "content": "y"})).await),
        ToolErrorKind::Denied
    );
    assert_eq!(kind(ask(&writer, "remove", json!({"path": "notes"})).await), ToolErrorKind::Denied);
    assert_eq!(ask(&writer, "remove", json!({"path": "notes/b.txt"})).await, Ok(json!({})));
    assert!(!notes.join("b.txt").exists());
    // A link is removed, not what it points at.
    #[cfg(unix)]
    {
        assert_eq!(ask(&writer, "remove", json!({"path": "notes/file-link"})).await, Ok(json!({})));
        assert!(outside.path().join("secret").exists());
    }
    let tight = limited(grant(true), Limits { file_bytes: 4, ..Limits::default() }).await;
    assert_eq!(kind(ask(&tight, "read", json!({"path": "notes/a.txt"})).await), ToolErrorKind::TooLarge);
    let write = json!({"path": "notes/c.txt", "content": "hello"});
    assert_eq!(kind(ask(&tight, "write", write).await), ToolErrorKind::TooLarge);
    assert!(!notes.join("c.txt").exists());
}

fn shop() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection
        .execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL);
             INSERT INTO orders (item, price) VALUES ('tea', 2.5), ('bread', 3.0), ('차', 4.25);
             CREATE TABLE people (name TEXT, password TEXT);
             INSERT INTO people VALUES ('ann', 'secret');
             CREATE VIEW names AS SELECT name FROM people;",
        )
        .expect("tables");
    (folder, path)
}

#[tokio::test]
async fn databases_are_read_and_nothing_more() {
    let (_folder, path) = shop();
    let before = std::fs::read(&path).expect("the database");
    let grants = |tables: Option<&[&str]>| {
        let tables =
            tables.map(|tables| tables.iter().map(|table| (*table).to_owned()).collect::<BTreeSet<_>>());
        let grant = SqlGrant { path: path.clone(), tables };
        Grants { sql: BTreeMap::from([("shop".to_owned(), grant)]), ..Grants::default() }
    };
    let whole = limited(grants(None), Limits { time_ms: 2_000, ..Limits::default() }).await;
    let query = async |plugin: &ReadyPlugin, statement: &str| {
        ask(plugin, "query", json!({"database": "shop", "statement": statement, "rows": 2})).await
    };
    assert_eq!(
        query(&whole, "SELECT id, item, price FROM orders ORDER BY id DESC").await,
        Ok(json!({
            "columns": ["id", "item", "price"], "rows": [[3, "차", 4.25], [2, "bread", 3.0]], "more": true
        }))
    );
    let parameters = json!({
        "database": "shop", "statement": "SELECT item FROM orders WHERE price > ? AND item <> ?", "parameters": [2.6, "차"]
    });
    let found = ask(&whole, "query", parameters).await.expect("rows");
    assert_eq!(found["rows"], json!([["bread"]]));
    let tables = ask(&whole, "query", json!({"database": "shop"})).await.expect("tables");
    let names: Vec<_> =
        tables["tables"].as_array().expect("a list").iter().map(|table| &table["name"]).collect();
    assert_eq!(names, ["names", "orders", "people"]);

    for statement in [
        "DELETE FROM orders",
        "INSERT INTO orders (item) VALUES ('x')",
        "UPDATE orders SET price = 0",
        "DROP TABLE orders",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "PRAGMA journal_mode = wal",
        "PRAGMA query_only = off",
        "ATTACH DATABASE ':memory:' AS other",
        "VACUUM INTO '/tmp/never'",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM orders",
        "WITH gone AS (SELECT 1) DELETE FROM orders",
    ] {
        let error = query(&whole, statement).await.expect_err(statement);
        assert_eq!(error.kind, ToolErrorKind::Denied, "{statement}: {error}");
    }
    assert_eq!(kind(query(&whole, "SELECT nonsense FROM").await), ToolErrorKind::InvalidInput);
    // A recursive statement that never ends.
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(kind(query(&whole, endless).await), ToolErrorKind::Timeout);
    let large = "SELECT hex(zeroblob(3000000))";
    assert_eq!(kind(query(&whole, large).await), ToolErrorKind::TooLarge);
    assert_eq!(std::fs::read(&path).expect("the database"), before, "nothing was written");

    let some = with(grants(Some(&["orders", "names"])), Services::default()).await;
    assert!(query(&some, "SELECT count(*) FROM orders").await.is_ok());
    // A view is read with the tables that it reads.
    assert_eq!(kind(query(&some, "SELECT name FROM names").await), ToolErrorKind::Denied);
    let both = with(grants(Some(&["names", "people"])), Services::default()).await;
    assert_eq!(query(&both, "SELECT name FROM names").await.expect("rows")["rows"], json!([["ann"]]));
    for statement in
        ["SELECT password FROM people", "SELECT count(*) FROM people", "SELECT sql FROM sqlite_schema"]
    {
        assert_eq!(kind(query(&some, statement).await), ToolErrorKind::Denied, "{statement}");
    }
    // A name in the statement that is a granted one's does not lend its grant.
    for statement in [
        "WITH orders AS (SELECT password FROM people) SELECT * FROM orders",
        "WITH names AS (SELECT password AS name FROM people) SELECT * FROM names",
        "WITH orders AS MATERIALIZED (SELECT password FROM people) SELECT * FROM orders",
        "WITH RECURSIVE names(x) AS (SELECT password FROM people UNION ALL SELECT x FROM names WHERE 0) \
         SELECT * FROM names",
        "SELECT (WITH names AS (SELECT password FROM people) SELECT * FROM names)",
        "WITH names AS (SELECT (SELECT password FROM people) AS z) SELECT * FROM names, names AS b",
        "WITH q AS (WITH names AS (SELECT password FROM people) SELECT * FROM names) SELECT * FROM q",
        "SELECT * FROM names, (SELECT password FROM people) AS names",
        "SELECT name FROM names WHERE name IN (SELECT password FROM people)",
    ] {
        let outcome = query(&some, statement).await;
        assert!(
            outcome.as_ref().is_err_and(|error| error.kind == ToolErrorKind::Denied),
            "{statement}: {outcome:?}"
        );
    }
    let tables = ask(&some, "query", json!({"database": "shop"})).await.expect("tables");
    assert!(!tables.to_string().contains("password"), "{tables}");
    let other = json!({"database": "other", "statement": "SELECT 1"});
    assert_eq!(kind(ask(&some, "query", other).await), ToolErrorKind::Denied);
    check_alive().await;
}
