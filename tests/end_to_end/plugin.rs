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
        (vec!["--grant", "everything", CALCULATOR, "calculate", "{}"], 2, "no grant `everything`"),
    ] {
        let ran = puna.run(&[vec!["plugin", "call"], arguments.clone()].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{arguments:?}: no `{told}` in {ran:?}");
        assert!(ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
}
