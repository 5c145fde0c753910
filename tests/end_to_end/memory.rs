//! `puna memory`, and agents that remember. The bundled model writes what it likes; what it wrote is kept and found.

use std::{fs, sync::Arc};

use puna::{
    Stack,
    memory::{FactScope, NewFact},
};
use serde_json::Value;

use crate::support::{Puna, of_kind, root};

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

/// With the default embedding model, what has no word in common with a question is found for it.
#[test]
fn facts_are_found_by_their_meaning() {
    let puna = Puna::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ids = runtime.block_on(async {
        let stack = Stack::builder().data_dir(puna.data()).build().expect("a stack");
        let embedder = tokio::task::spawn_blocking({
            let stack = stack.clone();
            move || stack.embedder()
        });
        let embedder = embedder.await.expect("no panic").expect("the default model");
        let facts = stack.facts().expect("facts").with_embedder(Arc::clone(&embedder) as _).expect("facts");
        let scope = FactScope::of_user("ada");
        let mut ids = Vec::new();
        for text in ["travels by train whenever possible", "must not eat peanuts", "works as a nurse in Lima"]
        {
            let fact = NewFact { subject: "Ada".to_owned(), text: text.to_owned(), ..NewFact::default() };
            ids.push(facts.remember(&scope, fact).await.expect("a fact").fact().id.clone());
        }
        let questions = ["Which vehicle should be booked?", "Any food allergies?", "What is her profession?"];
        for (id, question) in ids.iter().zip(questions) {
            let found = facts.search(&scope, question, 3).await.expect("a search");
            assert_eq!(found[0].0.id, *id, "{question}: {found:?}");
        }
        ids
    });
    // An agent is shown them in the same order.
    let agent = puna.agent(|text| text + "memory:\n  long_term: { scope: user }\n");
    let question = "Which vehicle should be booked?";
    // Whatever the small model makes of it.
    let ran = puna.run(&["run", &agent, "--user", "ada", "--json", question]);
    let events = crate::support::json_lines(&ran.stdout);
    let recalled = of_kind(&events, "facts_recalled");
    assert_eq!(recalled[0]["facts"][0]["id"], ids[0].as_str(), "{recalled:?}");
}

/// The bundled model writes a summary of whatever quality; it stands in the place of the turns from then on.
#[test]
fn the_oldest_turns_are_summarised_by_the_model() {
    let puna = Puna::new();
    let agent = puna.path("small.yaml");
    let model = root().join("examples/models/puna-tiny");
    let text = format!(
        "version: 1\nname: small\nmodel:\n  path: {}\n  context: 288\n  options: {{ temperature: 0, max_tokens: 24 }}\n\
         memory:\n  history: summarize\n  summary: {{ max_tokens: 24, fallback: error }}\n",
        model.display()
    );
    fs::write(&agent, text).expect("written");
    let agent = agent.to_str().expect("a path in UTF-8");
    let turn = |number: u32| {
        let said = format!("My name is Ada, and I like the number {number}.");
        let ran = puna.run(&["run", agent, "-s", "long", "--json", &said]);
        let events = crate::support::json_lines(&ran.stdout);
        let end = of_kind(&events, "turn_finished")[0]["outcome"]["outcome"].clone();
        assert!(matches!(end.as_str(), Some("answered" | "token_limit")), "{ran:?}");
        of_kind(&events, "history_summarized").first().map(|event| (*event).clone())
    };
    let summary = (0..30).find_map(turn).expect("the history outgrows the context");
    assert!(summary["turns"].as_u64() >= Some(1), "{summary}");
    assert!(summary["text"].as_str().is_some_and(|text| !text.is_empty()), "{summary}");
    assert!(summary["usage"]["completion_tokens"].as_u64() <= Some(24), "{summary}");
    // The next turn goes on with it.
    turn(30);
    // Turns and summaries are in the journal.
    let shown = puna.ok(&["sessions", "show", "long"]);
    assert!(shown.contains("number 0.") && shown.contains("summary  of the first"), "{shown}");
}
