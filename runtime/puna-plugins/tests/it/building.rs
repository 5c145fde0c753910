use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use puna_core::{ErrorKind, ToolErrorKind};
use puna_plugins::{
    BuildOptions, FolderGrant, Grants, Limits, Lock, Manifest, SourceFile, SqlGrant, build, embed_manifest,
    verify,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::guests::{Guest, HOST, context, manifest, tools};

const PLUGIN_TOML: &str =
    "name = \"guest\"\nversion = \"0.1.0\"\ncontract = \"0.1.0\"\ndescription = \"A guest.\"\n";

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A folder with a plugin of three files.
fn sources(folder: &Path) {
    fs::create_dir(folder.join("src")).expect("a folder");
    fs::write(folder.join("Cargo.toml"), "[package]\nname = \"guest\"\n").expect("a write");
    fs::write(folder.join("src/lib.rs"), "// A guest.\n").expect("a write");
    fs::write(folder.join("plugin.toml"), PLUGIN_TOML).expect("a write");
}

/// The same with a component and a record, as a build leaves them.
fn built(folder: &Path) {
    sources(folder);
    let files: Vec<SourceFile> = ["Cargo.toml", "plugin.toml", "src/lib.rs"]
        .map(|path| SourceFile {
            path: path.to_owned(),
            sha256: hex(&fs::read(folder.join(path)).expect("a file")),
        })
        .into();
    let mut list = Vec::new();
    for file in &files {
        list.extend((file.path.len() as u64).to_le_bytes());
        list.extend(file.path.bytes().chain(file.sha256.bytes()));
    }
    let source = hex(&list);
    let mut component = Guest::echo().component();
    embed_manifest(&mut component, &Manifest { source: Some(source.clone()), ..manifest() })
        .expect("a manifest");
    let lock = Lock { component: hex(&component), source, toolchain: "by hand".to_owned(), files };
    fs::write(folder.join("guest.wasm"), component).expect("a write");
    fs::write(folder.join("plugin.lock"), toml::to_string(&lock).expect("TOML")).expect("a write");
}

#[test]
fn sources_that_cannot_be_built_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let fails = |words: &str, kind| {
        let error = build(folder.path(), &BuildOptions::default()).expect_err("an error");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    fails("plugin.toml", ErrorKind::NotFound);
    sources(folder.path());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a write");
    write("plugin.toml", &format!("{PLUGIN_TOML}colour = \"red\"\n"));
    fails("colour", ErrorKind::InvalidInput);
    write("plugin.toml", &format!("{PLUGIN_TOML}[asks]\nroot = \"please\"\n"));
    fails("root", ErrorKind::InvalidInput);
    write("plugin.toml", PLUGIN_TOML);
    write("Cargo.toml", "[package]\nname = 1\n");
    fails("cargo metadata", ErrorKind::InvalidInput);
    assert_eq!(verify(folder.path()).expect_err("no record").kind(), ErrorKind::NotFound);
}

#[test]
fn a_record_is_held_against_every_file() {
    let check = |change: &dyn Fn(&Path), expect: Option<(ErrorKind, &str)>| {
        let folder = tempfile::tempdir().expect("a folder");
        built(folder.path());
        change(folder.path());
        let found = verify(folder.path()).err();
        let kinds = (found.as_ref().map(puna_core::Error::kind), expect.map(|(kind, _)| kind));
        assert_eq!(kinds.0, kinds.1, "{found:?}");
        if let (Some(error), Some((_, words))) = (found, expect) {
            assert!(error.to_string().contains(words), "{error}");
        }
    };
    let put = |name: &'static str, text: &'static [u8]| {
        move |folder: &Path| fs::write(folder.join(name), text).expect("a write")
    };
    check(&|_| {}, None);
    check(&put("README.md", b"no source"), None);
    check(&put("src/lib.rs", b"// Changed.\n"), Some((ErrorKind::Corrupt, "src/lib.rs")));
    check(&put("src/new.rs", b""), Some((ErrorKind::Corrupt, "`src/new.rs` is new")));
    check(&put("plugin.toml", b"name = \"guest\"\n"), Some((ErrorKind::Corrupt, "plugin.toml")));
    check(&put("guest.wasm", b""), Some((ErrorKind::InvalidInput, "")));
    check(&put("plugin.lock", b"nothing"), Some((ErrorKind::InvalidInput, "plugin.lock")));
    check(
        &|folder| fs::remove_file(folder.join("src/lib.rs")).expect("a file"),
        Some((ErrorKind::NotFound, "lib.rs")),
    );
    check(
        &|folder| fs::write(folder.join("guest.wasm"), Guest::saying(b"1").plugin()).expect("a write"),
        Some((ErrorKind::Corrupt, "not the component that was recorded")),
    );
}

/// The folders beside the contract that hold a plugin.
fn first_party_plugins() -> Vec<PathBuf> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let folders = fs::read_dir(plugins).expect("the plugins").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("plugin.toml").exists()).collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn committed_components_are_those_recorded_for_their_source() {
    let folders = first_party_plugins();
    assert!(!folders.is_empty());
    for folder in folders {
        verify(&folder).unwrap_or_else(|error| panic!("{error}"));
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let plugin = HOST.load(folder.join(format!("{name}.wasm"))).await.expect("a plugin that loads");
        assert_eq!(plugin.manifest().name, name);
        // The purest sandbox: nothing but the contract.
        let imports = &plugin.inspection().imports;
        assert!(imports.iter().all(|import| import.starts_with("puna:plugin/")), "{imports:?}");
    }
}

/// The same component, run by the host: one row shows that arguments, schemas and results fit together.
#[tokio::test]
async fn committed_components_answer() {
    let check = async |plugin: &str,
                       tool: &str,
                       grants: Grants,
                       arguments: Value,
                       expect: Result<Value, ToolErrorKind>| {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let plugin = HOST.load(plugins.join(plugin).join(format!("{plugin}.wasm"))).await.expect("a plugin");
        let tools = tools(&plugin, &grants, &Limits::default());
        let tool = tools.iter().find(|it| it.schema().name == tool).expect("a tool");
        let found = tool.call(arguments, &context()).await;
        match expect {
            // Of a result only what the row names.
            Ok(expect) => {
                let found = found.expect("a result");
                for (key, value) in expect.as_object().expect("an object") {
                    assert_eq!(&found[key], value, "{found}");
                }
            }
            Err(kind) => assert_eq!(found.expect_err("a failure").kind, kind),
        }
    };
    let none = Grants::default;
    let times = json!({"expression": "1234 times 5678"});
    check("calculator", "calculate", none(), times, Ok(json!({"value": "7006652"}))).await;
    let missing = json!({"expresion": "1"});
    check("calculator", "calculate", none(), missing, Err(ToolErrorKind::InvalidInput)).await;
    let days = json!({"start": "2024-02-28", "end": "2024-03-01"});
    check("datetime", "days_between", none(), days, Ok(json!({"days": 2}))).await;
    let place = || json!({"place": "UTC"});
    check("datetime", "current_time", none(), place(), Err(ToolErrorKind::Denied)).await;
    check(
        "datetime",
        "current_time",
        Grants { clock: true, ..Grants::default() },
        place(),
        Ok(json!({"zone": "UTC"})),
    )
    .await;

    let (folder, notes) = notes();
    let page = json!({"path": "notes/a.txt", "first_line": 2});
    check("files", "read_file", notes.clone(), page.clone(), Ok(json!({"text": "two llamas"}))).await;
    let hits = json!([{"path": "notes/a.txt", "line": 2, "text": "two llamas"}]);
    let search = json!({"query": "LLAMA", "path": "notes"});
    check("files", "search_files", notes.clone(), search, Ok(json!({"hits": hits}))).await;
    let write = json!({"path": "notes/b.txt", "content": "b"});
    check("files", "write_file", notes.clone(), write, Err(ToolErrorKind::Denied)).await;
    check("files", "read_file", none(), page, Err(ToolErrorKind::Denied)).await;
    let address = json!({"url": "https://example.com"});
    check("fetch", "fetch_page", none(), address, Err(ToolErrorKind::Denied)).await;
    let find = json!({"document": "{\"a\": [1, 2]}", "query": "$.a[?@ > 1]"});
    check("json", "query_json", none(), find, Ok(json!({"count": 1}))).await;

    let shop = shop(folder.path());
    let tables = json!([{"name": "orders", "kind": "table", "columns": ["id INTEGER", "total REAL"]}]);
    let list = json!({"database": "shop"});
    check("query", "list_tables", shop.clone(), list, Ok(json!({"tables": tables}))).await;
    let ask = |statement: &str| json!({"database": "shop", "statement": statement, "max_rows": 1});
    let sorted = ask("SELECT total FROM orders ORDER BY total DESC;");
    check("query", "query_database", shop.clone(), sorted, Ok(json!({"rows": [[20.0]], "more": true}))).await;
    for (statement, kind) in [
        ("SELECT totl FROM orders", ToolErrorKind::InvalidInput),
        ("SELECT name FROM secrets", ToolErrorKind::Denied),
        ("DELETE FROM orders", ToolErrorKind::Denied),
        ("SELECT 1; SELECT 2", ToolErrorKind::Denied),
    ] {
        check("query", "query_database", shop.clone(), ask(statement), Err(kind)).await;
    }
}

/// A folder with a file, granted for reading.
fn notes() -> (tempfile::TempDir, Grants) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.txt"), "one\ntwo llamas\n").expect("a write");
    let grant = FolderGrant { path: folder.path().to_owned(), write: false };
    (folder, Grants { files: BTreeMap::from([("notes".to_owned(), grant)]), ..Grants::default() })
}

/// A database of which one table is granted.
fn shop(folder: &Path) -> Grants {
    let path = folder.join("shop.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    let rows = "CREATE TABLE orders (id INTEGER, total REAL); INSERT INTO orders VALUES (1, 9.5), (2, 20);
        CREATE TABLE secrets (name TEXT)";
    connection.execute_batch(rows).expect("rows");
    let grant = SqlGrant { path, tables: Some(["orders".to_owned()].into()) };
    Grants { sql: BTreeMap::from([("shop".to_owned(), grant)]), ..Grants::default() }
}

/// What a plugin in another language than Rust has stands in its `plugin.toml`, which is checked before anything is
/// compiled.
#[test]
fn wrong_manifests_of_other_languages_say_why() {
    let tool = |rest: &str| format!("[[tools]]\nname = \"go\"\ndescription = \"Go.\"\n{rest}\n");
    let object = tool("parameters = { type = \"object\" }");
    let python = "language = \"python\"\n";
    for (text, words, kind) in [
        (format!("language = \"cobol\"\n{object}"), "cobol", ErrorKind::InvalidInput),
        (object.clone(), "comes from its code", ErrorKind::InvalidInput),
        (python.to_owned(), "tools, loaders or retrievers", ErrorKind::InvalidInput),
        (format!("{python}{}", tool("")), "parameters", ErrorKind::InvalidInput),
        (format!("{python}{}", tool("parameters = \"none.json\"")), "none.json", ErrorKind::NotFound),
        (format!("{python}{}", tool("parameters = \"../a.json\"")), "within", ErrorKind::InvalidInput),
        (format!("{python}{}", tool("parameters = \"/etc/passwd\"")), "within", ErrorKind::InvalidInput),
        (format!("{python}{}", tool("parameters = \"plugin.toml\"")), "no JSON", ErrorKind::InvalidInput),
        (
            format!("{python}{}", tool("parameters = { type = \"string\" }")),
            "`object`",
            ErrorKind::InvalidInput,
        ),
        (format!("{python}{}", tool("parameters = { type = 7 }")), "parameters", ErrorKind::InvalidInput),
        (format!("{python}{object}{object}"), "two tools", ErrorKind::InvalidInput),
        (format!("{python}{object}"), "plugin.py", ErrorKind::NotFound),
        (format!("language = \"javascript\"\n{object}"), "plugin.js", ErrorKind::NotFound),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("plugin.toml"), format!("{PLUGIN_TOML}{text}")).expect("a write");
        let error = build(folder.path(), &BuildOptions::default()).expect_err(&text);
        assert_eq!(error.kind(), kind, "{error}\n{text}");
        assert!(error.to_string().contains(words), "no `{words}` in: {error}");
    }
}
