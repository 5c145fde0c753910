//! `puna memory`, and agents that remember. The bundled model writes what it likes; what it wrote is kept and found.

use serde_json::Value;

use crate::support::{Puna, of_kind};

/// The concierge with a memory of its own.
fn agent(puna: &Puna) -> String {
    puna.agent(|text| text + "memory:\n  long_term: { search: keyword, scope: user, extract: true }\n")
}

fn facts(puna: &Puna, user: &str) -> Vec<Value> {
    let listed = puna.ok(&["memory", "list", "--user", user, "--json"]);
    serde_json::from_str(&listed).expect("JSON")
}

#[test]
fn what_a_user_said_is_kept_found_and_forgotten() {
    let puna = Puna::new();
    let agent = agent(&puna);
    let said = "Keep in mind: I prefer trains.";
    let arguments =
        ["run", &agent, "-s", "first", "--user", "ada", "--tool-choice", "remember", "--json", said];
    let events = puna.lines(&arguments);
    let finished = of_kind(&events, "tool_finished");
    assert_eq!(finished[0]["result"]["outcome"]["value"]["outcome"], "added", "{finished:?}");
    // Learning is reported, whether the small model manages or not, and the turn's end comes last.
    let last = events.last().expect("an event");
    assert_eq!((&last["event"], &last["outcome"]["outcome"]), (&"turn_finished".into(), &"answered".into()));
    let exported = puna.ok(&["sessions", "export", "first"]);
    assert!(exported.contains(r#""record":"facts_learned""#), "{exported}");

    let known = facts(&puna, "ada");
    let fact = &known[0]["fact"];
    assert_eq!(fact["source"]["session"], "first");
    let (id, subject) = (fact["id"].as_str().expect("an id"), fact["subject"].as_str().expect("a subject"));
    assert!(facts(&puna, "bob").is_empty());
    let shown = puna.ok(&["memory", "show", "--user", "ada", id]);
    assert!(shown.contains("session `first`, turn `turn-0`"), "{shown}");

    // In another session it is recalled for the one who said it alone.
    for (user, wanted) in [("ada", 1), ("bob", 0)] {
        let question = format!("What about {subject}?");
        let events = puna.lines(&["run", &agent, "-s", user, "--user", user, "--json", &question]);
        let recalled = of_kind(&events, "facts_recalled");
        assert_eq!(recalled.len(), wanted, "{user}: {recalled:?}");
        if wanted == 1 {
            assert!(recalled[0]["facts"].as_array().expect("a list").iter().any(|fact| fact["id"] == id));
        }
    }
    assert_eq!(puna.run(&["memory", "show", "--user", "bob", id]).code, 3);
    assert_eq!(puna.ok(&["memory", "export", "--user", "ada"]).lines().count(), facts(&puna, "ada").len());

    let nobody = puna.run(&["memory", "forget", "--everything"]);
    assert_eq!(nobody.code, 2, "{nobody:?}");
    let forgotten = puna.ok(&["memory", "forget", "--user", "ada", "--everything", "--sessions", "--json"]);
    let forgotten: Value = serde_json::from_str(&forgotten).expect("JSON");
    assert_eq!(forgotten["sessions"], serde_json::json!(["ada", "first"]));
    assert!(facts(&puna, "ada").is_empty());
    let sessions = puna.ok(&["sessions", "list"]);
    assert!(sessions.contains("bob") && !sessions.contains("first"), "{sessions}");
    puna.ok(&["store", "compact"]);
    assert!(!puna.holds(b"prefer trains"), "nothing of it is left in the files");
}
