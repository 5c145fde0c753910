//! The concierge answers on the command line.

use serde_json::json;

use crate::support::{CONCIERGE, Puna, of_kind, ran};

#[test]
fn calls_the_calculator_and_answers() {
    let puna = Puna::new();
    let ran = puna.run(&["run", CONCIERGE, "What is 1234 times 5678?"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("7006652"), "{ran:?}");
    assert!(ran.stderr.contains("calculate("), "tool calls are told on standard error: {ran:?}");
    assert!(!ran.stdout.contains("calculate("), "standard output holds the answer alone: {ran:?}");
}

#[test]
fn tells_every_event_as_json() {
    let events = Puna::new().lines(&["run", CONCIERGE, "What is 1234 times 5678?", "--json"]);
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    let told: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "text_delta").collect();
    let expected = [
        "turn_started",
        "step_started",
        "step_finished",
        "tool_started",
        "tool_finished",
        "step_started",
        "step_finished",
        "turn_finished",
    ];
    assert_eq!(told, expected);
    let streamed: String =
        of_kind(&events, "text_delta").iter().filter_map(|event| event["text"].as_str()).collect();
    let end = &of_kind(&events, "turn_finished")[0];
    assert_eq!(end["outcome"]["outcome"], "answered");
    assert_eq!(end["outcome"]["text"], streamed.as_str(), "the answer is what was streamed");
    assert!(of_kind(&events, "text_delta").len() > 1, "the answer came in pieces");
    let call = &of_kind(&events, "tool_started")[0]["call"];
    assert_eq!(call["name"], "calculate");
    assert!(end["usage"]["completion_tokens"].as_u64() > Some(10), "{end}");
}

#[test]
fn remembers_across_processes() {
    let puna = Puna::new();
    puna.ok(&["run", CONCIERGE, "-s", "ada", "My name is Ada."]);
    assert!(puna.ok(&["run", CONCIERGE, "-s", "ada", "What is my name?"]).contains("Ada"));
    // Another session knows nothing of it.
    assert!(!puna.ok(&["run", CONCIERGE, "-s", "bob", "What is my name?"]).contains("Ada"));
}

#[test]
fn keeps_nothing_when_told_so() {
    let puna = Puna::new();
    let agent = puna.agent(|text| text + "memory: { conversation: false }\n");
    puna.ok(&["run", &agent, "-s", "ada", "My name is Ada."]);
    assert!(!puna.ok(&["run", &agent, "-s", "ada", "What is my name?"]).contains("Ada"));
    assert!(!puna.data().join("store").exists(), "no store was made");
}

#[test]
fn takes_the_question_from_standard_input() {
    let puna = Puna::new();
    let question = puna.path("question");
    std::fs::write(&question, "What is 12 times 34?\n").expect("a question");
    let mut command = puna.command(&["run", CONCIERGE]);
    command.stdin(std::fs::File::open(&question).expect("a question"));
    let ran = ran(command.output().expect("the binary runs"));
    assert!(ran.stdout.contains("408"), "{ran:?}");
}

#[test]
fn a_grant_is_needed_for_the_clock() {
    let puna = Puna::new();
    let outcome = |agent: &str| {
        let ran = puna.run(&["run", agent, "What time is it in Tokyo?", "--json"]);
        let events = crate::support::json_lines(&ran.stdout);
        of_kind(&events, "tool_finished")[0]["result"]["outcome"].clone()
    };
    assert_eq!(outcome(CONCIERGE)["value"]["zone"], "Asia/Tokyo");
    let agent = puna.agent(|text| text.replace("grants: [clock]", "grants: []"));
    let refused = outcome(&agent);
    assert_eq!(refused["status"], "failure", "{refused}");
    assert_eq!(refused["error"]["kind"], "denied", "{refused}");
    let told = puna.run(&["validate", &agent]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stderr.contains("asks for `clock`"), "{told:?}");
}

#[test]
fn limits_end_a_turn_with_their_exit_code() {
    for (limit, outcome) in [
        ("steps: 1", json!({"outcome": "step_limit", "limit": 1})),
        ("tokens: 3", json!({"outcome": "token_limit", "text": ""})),
    ] {
        let puna = Puna::new();
        let agent = puna.agent(|text| text.replace("steps: 6", limit));
        let ran = puna.run(&["run", &agent, "What is 1234 times 5678?", "--json"]);
        assert_eq!(ran.code, 7, "{ran:?}");
        let events = crate::support::json_lines(&ran.stdout);
        assert_eq!(of_kind(&events, "turn_finished")[0]["outcome"], outcome);
        assert!(ran.stderr.contains("raise"), "the message names the remedy: {ran:?}");
    }
}

#[test]
fn verbose_tells_what_happens() {
    let puna = Puna::new();
    let ran = puna.run(&["-v", "run", CONCIERGE, "Hello"]);
    assert!(ran.stderr.contains("model loaded"), "{ran:?}");
    assert!(!puna.run(&["run", CONCIERGE, "Hello"]).stderr.contains("model loaded"));
}

#[test]
fn needs_no_network_once_the_library_is_there() {
    let puna = Puna::new();
    let run = |cache: Option<&str>| {
        let mut command = puna.command(&["run", CONCIERGE, "What is 3 times 4?"]);
        // Nothing listens there: whatever asks for a package fails.
        command.envs([
            ("PIP_INDEX_URL", "http://127.0.0.1:9"),
            ("PIP_NO_CACHE_DIR", "1"),
            ("PIP_RETRIES", "0"),
        ]);
        command.env_remove("PIP_FIND_LINKS").env_remove("ORT_DYLIB_PATH");
        if let Some(cache) = cache {
            command.env("PUNA_CACHE_DIR", cache);
        }
        ran(command.output().expect("the binary runs"))
    };
    // The library is there, because another test ran the model or this one does.
    puna.ok(&["run", CONCIERGE, "Hello"]);
    let there = run(None);
    assert!(there.stdout.contains("12"), "{there:?}");
    let missing = run(puna.path("empty").to_str());
    assert_eq!(missing.code, 9, "{missing:?}");
    assert!(missing.stderr.contains("ORT_DYLIB_PATH"), "the message names the manual steps: {missing:?}");
}

#[test]
fn doctor_reports_what_is_there() {
    let puna = Puna::new();
    puna.ok(&["run", CONCIERGE, "Hello"]);
    let report: serde_json::Value =
        serde_json::from_str(&puna.ok(&["doctor", "--agent", CONCIERGE, "--json"])).expect("JSON");
    assert!(report["onnx_runtime"]["found"]["library"]["version"].is_string(), "{report}");
    assert_eq!(report["store"]["found"]["sessions"], 1, "{report}");
    let model = &report["agents"][0]["model"]["found"];
    assert!(model["graph_bytes"].as_u64() > Some(1_000_000), "the weights are counted: {report}");
    assert!(report["machine"]["memory_bytes"].as_u64() > Some(1 << 28), "{report}");
    let text = puna.ok(&["doctor"]);
    for word in ["ONNX Runtime", "providers", "cores", "memory", "cache", "store", "model", "plugin"] {
        assert!(text.lines().any(|line| line.starts_with(word)), "no line `{word}`:\n{text}");
    }
    let broken = puna.run(&["doctor", "--agent", "nowhere.yaml"]);
    assert_eq!(broken.code, 1, "what is broken fails the command: {broken:?}");
}
