//! `puna plugin`.

use serde_json::{Value, json};

use crate::support::Puna;

const CALCULATOR: &str = "plugins/calculator/calculator.wasm";
const DATETIME: &str = "plugins/datetime/datetime.wasm";

#[test]
fn components_tell_what_they_are() {
    let puna = Puna::new();
    let inspected: Value =
        serde_json::from_str(&puna.ok(&["plugin", "inspect", DATETIME, "--json"])).expect("JSON");
    assert_eq!(inspected["manifest"]["name"], "datetime");
    assert!(inspected["manifest"]["asks"]["clock"].is_string(), "{inspected}");
    let text = puna.ok(&["plugin", "inspect", CALCULATOR]);
    for part in ["calculator 0.1.0", "imports", "calculate", r#""expression""#] {
        assert!(text.contains(part), "no `{part}`:\n{text}");
    }
    assert!(!text.contains("[1m"), "no styles where there is no terminal:\n{text}");
}

#[test]
fn functions_are_called() {
    let puna = Puna::new();
    let call = |plugin: &str, function: &str, arguments: Value| {
        let printed = puna.ok(&["plugin", "call", plugin, function, &arguments.to_string()]);
        serde_json::from_str::<Value>(&printed).expect("JSON")
    };
    assert_eq!(call(CALCULATOR, "calculate", json!({"expression": "0.1 + 0.2"}))["value"], "0.3");
    assert_eq!(call(DATETIME, "weekday", json!({"date": "2026-11-23"}))["weekday"], "Monday");
    let now =
        puna.ok(&["plugin", "call", "--grant", "clock", DATETIME, "current_time", r#"{"place":"Lima"}"#]);
    assert!(now.contains("America/Lima"), "{now}");
}

#[test]
fn wrong_calls_are_told_apart_by_their_exit_codes() {
    let puna = Puna::new();
    for (arguments, code, told) in [
        (vec![CALCULATOR, "nothing", "{}"], 3, "it has calculate"),
        (vec![CALCULATOR, "calculate", "{"], 2, "are not JSON"),
        (vec![CALCULATOR, "calculate", "{}"], 2, "expression"),
        (vec![CALCULATOR, "calculate", r#"{"expression": 7}"#], 2, "expression"),
        (vec![CALCULATOR, "calculate", r#"{"expression": "1/0"}"#], 2, "zero"),
        (vec![DATETIME, "current_time", r#"{"place": "Tokyo"}"#], 4, "clock"),
        (vec!["README.md", "calculate", "{}"], 2, "README.md"),
        (vec!["nowhere.wasm", "calculate", "{}"], 3, "nowhere.wasm"),
        (vec!["--grant", "everything", CALCULATOR, "calculate", "{}"], 2, "`everything` is not known here"),
    ] {
        let ran = puna.run(&[vec!["plugin", "call"], arguments.clone()].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{arguments:?}: no `{told}` in {ran:?}");
        assert!(ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn cases_beside_the_source_are_run() {
    let puna = Puna::new();
    for plugin in
        ["plugins/calculator", "plugins/datetime", "plugins/keyword", "plugins/search", "plugins/tables"]
    {
        assert!(puna.ok(&["plugin", "test", plugin]).contains("cases passed"), "{plugin}");
    }
    let cases = puna.path("cases.yaml");
    let text = r#"
cases:
  - tool: days_between
    input: {start: "2024-02-28", end: "2024-03-01"}
    output: {days: 3}
  - tool: weekday
    input: {date: nonsense}
    error: {kind: invalid_input, path: /date}
  - tool: nothing
"#;
    std::fs::write(&cases, text).expect("a file");
    let cases = cases.display().to_string();
    let ran = puna.run(&["plugin", "test", &cases, "--component", DATETIME, "--json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("2 of 3 cases failed"), "{ran:?}");
    let outcomes: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(outcomes[0]["reason"], r#"expected {"days":3}, got {"days":2}"#);
    assert_eq!(outcomes[1]["passed"], true);
    let reason = outcomes[2]["reason"].as_str().expect("a reason");
    assert!(reason.contains("has no tool `nothing`; it has `current_time`"), "{reason}");
    for text in ["cases: [{}]", "cases: [{tool: weekday, loader: csv}]"] {
        std::fs::write(&cases, text).expect("a file");
        let ran = puna.run(&["plugin", "test", &cases, "--component", DATETIME]);
        assert!(ran.code == 2 && ran.stderr.contains("`loader` or a `retriever`"), "{text}: {ran:?}");
    }
}

#[test]
fn loaders_and_retrievers_are_called_like_tools() {
    let puna = Puna::new();
    let tables = "plugins/tables/tables.wasm";
    let rows = r#"{"uri": "a.csv", "text": "a,b\n1,2\n3,4\n", "options": {"rows": 1}}"#;
    let documents = puna.ok(&["plugin", "call", tables, "csv", rows]);
    let ids: Vec<Value> = documents
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a document")["id"].clone())
        .collect();
    assert_eq!(ids, ["rows 2-2", "rows 3-3"]);
    let file = r#"{"file": "tests/collections/documents/herd.xlsx"}"#;
    assert_eq!(puna.ok(&["plugin", "call", tables, "xlsx", file]).lines().count(), 2);
    let keyword = "plugins/keyword/keyword.wasm";
    let query = r#"{"query": "llama"}"#;
    let page = puna.ok(&["plugin", "call", keyword, "keyword", query, "--grant", "store"]);
    assert_eq!(page.trim(), r#"{"hits":[],"next":null}"#);
    for (component, function, arguments, code, words) in [
        (keyword, "keyword", query, 4, "not granted `store`"),
        (keyword, "keyword", r#"{"k": 3}"#, 2, "missing field `query`"),
        (tables, "csvv", "{}", 3, "it has csv (loader), xlsx (loader)"),
        (tables, "csv", "{}", 2, "needs a `file`, or a `uri`"),
        (tables, "csv", r#"{"fil": "a"}"#, 2, "unknown field `fil`"),
        (tables, "csv", r#"{"file": "a", "text": "b"}"#, 2, "not both"),
        (tables, "csv", r#"{"file": "nowhere.csv"}"#, 3, "nowhere.csv"),
        (tables, "csv", r#"{"uri": "a", "text": "a,b", "options": {"rowz": 1}}"#, 2, "rowz"),
    ] {
        let ran = puna.run(&["plugin", "call", component, function, arguments]);
        assert!(ran.code == code && ran.stderr.contains(words), "{function} {arguments}: {ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

/// From nothing to a tool that answers, with the commands that are printed.
#[test]
fn a_new_plugin_builds_and_passes_its_tests() {
    let puna = Puna::new();
    let folder = puna.path("hello").display().to_string();
    let printed = puna.ok(&["plugin", "new", "hello", "--folder", &folder]);
    for command in ["build", "test", "call"] {
        assert!(printed.contains(&format!("puna plugin {command} ")), "{printed}");
    }
    puna.ok(&["plugin", "build", &folder]);
    assert!(puna.ok(&["plugin", "test", &folder]).contains("4 cases passed"));
    let component = format!("{folder}/hello.wasm");
    let answer = puna.ok(&["plugin", "call", &component, "greet", r#"{"name": "Ada"}"#]);
    assert_eq!(answer.trim(), r#"{"text":"Hello, Ada!"}"#);
    // The SDK that was written is the whole SDK.
    let sources = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.file_name().expect("a name").to_owned(), std::fs::read(path).expect("a file")))
            .collect();
        files.sort();
        files
    };
    let written = sources(&puna.path("hello/sdk/puna-plugin/src"));
    assert!(written == sources(&crate::support::root().join("plugins/puna-plugin/src")));
    let again = puna.run(&["plugin", "new", "hello", "--folder", &folder]);
    assert!(again.stderr.contains("not empty"), "{again:?}");
    assert_eq!(puna.run(&["plugin", "new", "../up"]).code, 2);
}

#[test]
fn a_call_is_measured() {
    let puna = Puna::new();
    let measure = ["plugin", "bench", CALCULATOR, "calculate", r#"{"expression": "1+1"}"#, "--json"];
    let few = ["--calls", "5", "--concurrent", "100", "--slots", "8"];
    let report: Value = serde_json::from_str(&puna.ok(&[&measure[..], &few[..]].concat())).expect("JSON");
    assert_eq!((&report["failed"], &report["concurrent"]), (&json!(0), &json!(100)));
    for time in ["/compile_ms", "/ready_ms", "/fresh_us/median", "/warm_us/p95", "/calls_per_second"] {
        assert!(
            report.pointer(time).and_then(Value::as_f64).is_some_and(|time| time > 0.0),
            "{time}: {report}"
        );
    }
    let wrong = puna.run(&["plugin", "bench", CALCULATOR, "calculate", r#"{"expression": "1/0"}"#]);
    assert!(wrong.stderr.contains("zero") && wrong.stdout.is_empty(), "{wrong:?}");
}
