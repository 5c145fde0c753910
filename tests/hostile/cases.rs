//! The guests of `guests/`: a head of comments, then the fields of a module (form `guest`, the default, whose memory,
//! allocator and `$answer` are [`crate::guests::component_with`]'s), a whole core module, or a whole component.
//!
//! ```text
//! ;; What it does, in words.
//! ;; outcome: timeout "words of the error"     the kind of the call's error
//! ;; outcome: refused denied "words"           it does not load
//! ;; outcome: answers 7                        it is answered, and no harm is done
//! ;; limit: time_ms                            what stops it, where it is a limit
//! ;; limits: {"time_ms": 60000}                other limits than the defaults with 500 ms
//! ;; pages: 200                                pages of memory at the start
//! ;; form: guest | module | component
//! ```

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use puna_core::{Result, ToolError};
use puna_plugins::{Grants, Limits, MANIFEST_SECTION, embed_manifest};
use serde_json::{Value, json};

use crate::guests::{
    HOST, PATIENCE, call, check_alive, component_of, component_with, context, manifest, tools,
};

/// Good calls whose median is printed.
const GOOD_CALLS: usize = 200;

/// A test for each file, and one that no file lacks a test.
macro_rules! guests {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            check(stringify!($name)).await;
        })*

        #[test]
        fn every_guest_has_a_test() {
            assert_eq!(names(), [$(stringify!($name)),*]);
        }
    };
}

guests![
    allocator_lies,
    allocator_traps,
    another_contract,
    clock_without_grant,
    deep_recursion,
    division_by_zero,
    error_of_no_kind,
    error_with_escapes,
    exports_that_do_not_fit,
    import_outside_the_contract,
    large_memory,
    large_table,
    log_flood,
    log_line_of_8_mib,
    loop_in_allocator,
    loop_in_call,
    loop_in_start,
    many_memories,
    many_modules,
    memory_bomb,
    processor_time,
    read_outside_memory,
    result_cut_off,
    result_empty,
    result_infinity,
    result_nan,
    result_nested,
    result_no_json,
    result_no_utf8,
    result_nowhere,
    result_of_8_mib,
    result_of_a_byte_too_many,
    result_of_two_values,
    result_outside_memory,
    several_memories,
    table_bomb,
    trap_in_call,
    trap_in_start,
];

/// One file.
struct Case {
    what: String,
    outcome: String,
    limit: String,
    limits: Limits,
    component: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/guests")
}

fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the guests");
    let mut names: Vec<String> = files
        .map(|file| file.expect("a guest").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read(name: &str) -> Case {
    let text = fs::read_to_string(folder().join(name).with_extension("wat")).expect("a guest");
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix(";; ")).collect();
    let value = |key: &str| head.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let called = text.replace(r#"(export "call")"#, r#"(export "puna:plugin/tools@0.1.0#call")"#);
    let form = value("form").unwrap_or("guest");
    let component = match form {
        "guest" => {
            let (imports, fields): (Vec<&str>, Vec<&str>) =
                called.lines().partition(|line| line.starts_with("(import"));
            let pages = value("pages").map_or(1, |pages| pages.parse().expect("pages"));
            let mut component = component_with(&imports.join("\n"), pages, &fields.join("\n"));
            embed_manifest(&mut component, &manifest()).expect("a sound manifest");
            component
        }
        "module" => {
            let mut component = component_of(&called);
            embed_manifest(&mut component, &manifest()).expect("a sound manifest");
            component
        }
        "component" => {
            let component = wat::parse_str(&called).unwrap_or_else(|error| panic!("{name}: {error}"));
            with_raw_manifest(component, &serde_json::to_vec(&manifest()).expect("JSON"))
        }
        other => panic!("{name}: no form `{other}`"),
    };
    let mut limits = Limits { time_ms: 500, ..Limits::default() };
    let other: Value =
        value("limits").map_or(json!({}), |limits| serde_json::from_str(limits).expect("JSON"));
    for (limit, most) in other.as_object().expect("limits") {
        let most = most.as_u64().expect("a number");
        match limit.as_str() {
            "time_ms" => limits.time_ms = most,
            "cpu_ms" => limits.cpu_ms = most,
            other => panic!("{name}: no limit `{other}`"),
        }
    }
    Case {
        what: head[0].trim_end_matches('.').to_owned(),
        outcome: value("outcome").unwrap_or_else(|| panic!("{name}: no outcome")).to_owned(),
        limit: value("limit").unwrap_or_default().to_owned(),
        limits,
        component,
    }
}

/// What came of a guest, in the words of its head.
async fn outcome(case: &Case) -> (String, String) {
    let kind_of = |error: &ToolError| {
        let kind = serde_json::to_value(error.kind).expect("JSON");
        kind.as_str().expect("a kind").to_owned()
    };
    let loading = tokio::time::timeout(PATIENCE, HOST.load_bytes(case.component.clone()));
    if let Err(error) = loading.await.expect("loading ends") {
        return (format!("refused {}", error.kind().as_str()), error.to_string());
    }
    match call(case.component.clone(), &Grants::default(), &case.limits, json!({})).await {
        Ok(value) => (format!("answers {value}"), String::new()),
        Err(error) => {
            assert!(error.message.len() < 10_000, "an error of {} bytes", error.message.len());
            (kind_of(&error), error.message)
        }
    }
}

async fn check(name: &str) {
    let case = read(name);
    let (kind, words) = case.outcome.split_once(" \"").unwrap_or((&case.outcome, "\""));
    let (came, message) = outcome(&case).await;
    assert_eq!(came, kind, "{name}: {message}");
    let words = words.trim_end_matches('"');
    assert!(message.contains(words), "{name}: no `{words}` in `{message}`");
    check_alive().await;
}

/// Adds a manifest as it is, however bad.
pub fn with_raw_manifest(mut component: Vec<u8>, json: &[u8]) -> Vec<u8> {
    use wasm_encoder::ComponentSection as _;
    wasm_encoder::CustomSection { name: MANIFEST_SECTION.into(), data: json.into() }
        .append_to_component(&mut component);
    component
}

/// How long a good call takes, the median of [`GOOD_CALLS`].
async fn good_call() -> Result<Duration> {
    let plugin = HOST.load_bytes(crate::guests::Guest::echo().plugin()).await?;
    let tool = tools(&plugin, &Grants::default(), &Limits::default()).remove(0);
    let mut times = Vec::with_capacity(GOOD_CALLS);
    for _ in 0..GOOD_CALLS {
        let begun = Instant::now();
        tool.call(json!({"still": "here"}), &context()).await.map_err(puna_core::Error::from)?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[GOOD_CALLS / 2])
}

#[tokio::test]
async fn every_attack() {
    let before = good_call().await.expect("good calls");
    for name in names() {
        outcome(&read(&name)).await;
    }
    let after = good_call().await.expect("good calls");
    println!("a good call: {before:?} before {} attacks, {after:?} after them", names().len());
}

/// The table in the documentation is what the heads say; `BLESS=1` writes it.
#[test]
fn the_documentation_lists_every_guest() {
    let mut table = "| guest | what it does | outcome | limit |\n|---|---|---|---|\n".to_owned();
    for name in names() {
        let Case { what, outcome, limit, .. } = read(&name);
        let outcome = outcome.split(" \"").next().unwrap_or_default().replace('_', " ");
        let limit =
            if limit.chars().any(|c| c == ' ') || limit.is_empty() { limit } else { format!("`{limit}`") };
        writeln!(table, "| `{name}` | {what} | {outcome} | {limit} |").expect("a string");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("the documentation");
    let (begin, end) = ("<!-- guests -->\n", "<!-- end of guests -->");
    let (head, rest) = readme.split_once(begin).expect("where the table begins");
    let (old, tail) = rest.split_once(end).expect("where the table ends");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{head}{begin}{table}{end}{tail}")).expect("the documentation is writable");
    } else {
        assert_eq!(old, table, "`BLESS=1 cargo test -p puna-plugins --test hostile` writes it");
    }
}
