//! Answers of a form, from the command line and in Rust, with the bundled model.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use puna::{AgentSpec, Message, SchemaSpec, Stack};
use serde_json::{Value, json};

use crate::support::{CONCIERGE, Puna, Ran, json_lines, of_kind, root};

const SCHEMA: &str = "examples/typed/answer.schema.json";
const MODEL: &str = "examples/models/puna-tiny";
const QUESTION: &str = "What is 1234 times 5678?";

fn fails(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "no `{part}` in {ran:?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

fn write(puna: &Puna, name: &str, text: &str) -> String {
    let path = puna.path(name);
    fs::write(&path, text).expect("the temporary folder is writable");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn the_value_alone_is_printed() {
    let puna = Puna::new();
    let ran = puna.run(&["run", CONCIERGE, "--schema", SCHEMA, QUESTION]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = json_lines(&ran.stdout);
    assert_eq!(lines.len(), 1, "{ran:?}");
    assert!(lines[0]["answer"].as_str().is_some_and(|answer| answer.contains("7006652")), "{ran:?}");
    assert!(ran.stderr.contains("calculate("), "tools are called all the same: {ran:?}");
}

#[test]
fn events_show_the_value_while_it_is_written() {
    let events = Puna::new().lines(&["run", CONCIERGE, "--schema", SCHEMA, "--json", QUESTION]);
    let parts = of_kind(&events, "partial_output");
    // How many depends on how many tokens a step gives.
    assert!(parts.len() > 1, "{parts:?}");
    let end = &of_kind(&events, "turn_finished")[0]["outcome"];
    let answer = end["value"]["answer"].as_str().expect("a value");
    for part in parts {
        let so_far = part["value"].get("answer").map_or("", |text| text.as_str().expect("text"));
        assert!(answer.starts_with(so_far), "`{so_far}` of `{answer}`");
    }
    let text: Value = serde_json::from_str(end["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(text, end["value"]);
}

#[test]
fn what_constraints_do_not_hold_is_checked_and_repaired() {
    let puna = Puna::new();
    // Nothing satisfies it, which shows only once the answer is there.
    let schema = json!({
        "type": "object",
        "properties": { "answer": { "enum": ["yes", "no"], "not": { "type": "string" } } },
        "required": ["answer"],
        "additionalProperties": false,
    });
    let schema = write(&puna, "schema.json", &schema.to_string());
    let agent = puna.agent(|text| text + "output: { repairs: 1 }\n");
    let ran = puna.run(&["run", &agent, "--schema", &schema, "--json", "--tool-choice", "none", "Hello"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    for part in ["/properties/answer/not", "is not held while the model writes", "output.repairs"] {
        assert!(ran.stderr.contains(part), "no `{part}` in {ran:?}");
    }
    let events = json_lines(&ran.stdout);
    let refused = of_kind(&events, "output_refused");
    assert_eq!((refused.len(), &refused[0]["repair"]), (1, &json!(1)), "{refused:?}");
    let end = &of_kind(&events, "turn_finished")[0]["outcome"];
    assert_eq!(end["outcome"], "invalid_output");
    assert!(end["reason"].as_str().is_some_and(|reason| reason.contains("/answer")), "{end}");
}

#[test]
fn an_agent_carries_its_form() {
    let puna = Puna::new();
    let schema = fs::read_to_string(root().join(SCHEMA)).expect("the schema");
    write(&puna, "answer.json", &schema);
    for output in ["answer.json".to_owned(), schema.replace('\n', " ")] {
        let agent = puna.agent(|text| format!("{text}output:\n  stream: false\n  schema: {output}\n"));
        puna.ok(&["validate", &agent]);
        let answer: Value = serde_json::from_str(&puna.ok(&["run", &agent, QUESTION])).expect("JSON");
        assert!(answer["answer"].as_str().is_some_and(|answer| answer.contains("7006652")), "{answer}");
    }
}

#[test]
fn a_tool_is_called_first_when_it_must_be() {
    let puna = Puna::new();
    let called = |choice: &str, question: &str| -> Vec<Value> {
        let events = puna.lines(&["run", CONCIERGE, "--json", "--tool-choice", choice, question]);
        of_kind(&events, "tool_started").iter().map(|event| event["call"]["name"].clone()).collect()
    };
    assert_eq!(called("auto", "Hello"), [json!(null); 0]);
    assert_eq!(called("none", QUESTION), [json!(null); 0]);
    assert_eq!(called("weekday", "Hello").first(), Some(&json!("weekday")));
    assert_eq!(called("required", QUESTION).first(), Some(&json!("calculate")));
    fails(
        &puna.run(&["run", CONCIERGE, "--tool-choice", "nowhere", "Hello"]),
        3,
        &["`nowhere`", "calculate"],
    );
}

#[test]
fn answers_of_a_model_without_an_agent() {
    let puna = Puna::new();
    let generate = |arguments: &[&str]| puna.run(&[&["generate", MODEL], arguments, &["Hello"]].concat());
    let ok = |arguments: &[&str]| {
        let ran = generate(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    let value: Value = serde_json::from_str(&ok(&["--schema", SCHEMA])).expect("JSON");
    assert!(value["answer"].is_string(), "{value}");
    let choices: Value = serde_json::from_str(&ok(&["--schema", SCHEMA, "--json"])).expect("JSON");
    assert_eq!(choices[0]["value"], value);
    assert!(["yes", "no"].contains(&ok(&["--regex", "yes|no"]).trim()));
    let grammar = write(&puna, "grammar.lark", "start: \"a\" \"b\"~2\n");
    assert_eq!(ok(&["--grammar", &grammar]).trim(), "abb");
    fails(&generate(&["--schema", SCHEMA, "--max-tokens", "3"]), 7, &["--max-tokens"]);
    fails(&generate(&["--regex", "("]), 2, &[]);
    fails(&generate(&["--regex", "a", "--schema", SCHEMA]), 2, &["cannot be used with"]);
    fails(&generate(&["--grammar", "nowhere.lark"]), 3, &["nowhere.lark"]);
}

#[test]
fn schemas_that_are_wrong() {
    let puna = Puna::new();
    let deep = "{\"items\":".repeat(100) + "{}" + &"}".repeat(100);
    for (text, code, part) in [
        ("{", 2, "not JSON"),
        ("[]", 2, "JSON object"),
        (r#"{"type": "strin"}"#, 2, "`/type`"),
        (r#"{"$ref": "https://example.com/a.json"}"#, 2, "not fetched"),
        (&deep, 6, "nested deeper"),
    ] {
        let schema = write(&puna, "schema.json", text);
        fails(&puna.run(&["run", CONCIERGE, "--schema", &schema, "Hello"]), code, &[part, "schema.json"]);
        fails(&puna.run(&["generate", MODEL, "--schema", &schema, "Hello"]), code, &[part, "schema.json"]);
        let agent = puna.agent(|text| text + "output: { schema: schema.json }\n");
        fails(&puna.run(&["validate", &agent]), code, &[part, "schema.json"]);
    }
    fails(&puna.run(&["run", CONCIERGE, "--schema", "nowhere.json", "Hello"]), 3, &["nowhere.json"]);
    let agent = puna.agent(|text| text + "output: { schema: { type: strin } }\n");
    fails(&puna.run(&["validate", &agent]), 2, &["not JSON Schema", "^^^^^"]);
}

#[test]
fn a_killed_process_leaves_its_form_to_the_next() {
    let puna = Puna::new();
    let mut cut_off = 0;
    for session in ["a", "b", "c", "d", "e"] {
        let mut command =
            puna.command(&["run", CONCIERGE, "-s", session, "--schema", SCHEMA, "--json", QUESTION]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
        // The turn is durable once it is told.
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        child.kill().expect("a process to kill");
        child.wait().expect("it is gone");
        // The next one asks something else, without a form.
        let events = puna.lines(&["run", CONCIERGE, "-s", session, "--json", "Hello"]);
        let ends = of_kind(&events, "turn_finished");
        if of_kind(&events, "turn_started")[0]["resumed"] == true {
            cut_off += 1;
            let answer = &ends[0]["outcome"]["value"]["answer"];
            assert!(answer.as_str().is_some_and(|answer| answer.contains("7006652")), "{events:?}");
        }
        let last = &ends.last().expect("an end")["outcome"];
        assert!(last["outcome"] == "answered" && last.get("value").is_none(), "{last}");
    }
    assert!(cut_off > 0, "no process was killed in its turn");
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Yes,
    No,
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_type() {
    let puna = Puna::new();
    let stack = Stack::builder().data_dir(puna.data()).build().expect("a stack");
    let mut spec = AgentSpec::from_file(root().join(CONCIERGE)).expect("the agent");
    spec.tools.clear();
    // The type's form is in place of the agent's.
    spec.output.schema = Some(SchemaSpec::File(root().join(SCHEMA)));
    let agent = stack.agent(spec).build().await.expect("the agent");
    let run = agent.run_typed::<Verdict>("s", Message::user("Hello"), Default::default());
    let verdict = run.value().await.expect("a value");
    assert!(matches!(verdict, Verdict::Yes | Verdict::No));
    let run = agent.run_typed::<Vec<Verdict>>("t", Message::user("Hello"), Default::default());
    assert!(run.value().await.is_ok_and(|list| list.len() < 100));
}
