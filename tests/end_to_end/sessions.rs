//! `puna sessions`.

use crate::support::{CONCIERGE, Puna};

#[test]
fn a_conversation_is_listed_shown_exported_deleted_and_imported() {
    let puna = Puna::new();
    puna.ok(&["run", CONCIERGE, "-s", "sums", "What is 12 times 34?"]);
    let listed = puna.ok(&["sessions", "list"]);
    assert!(listed.lines().nth(1).is_some_and(|line| line.starts_with("sums ")), "{listed}");
    let shown = puna.ok(&["sessions", "show", "sums"]);
    for part in ["user  What is 12 times 34?", "call  calculate(", "result  calculate ", "408"] {
        assert!(shown.contains(part), "no `{part}`:\n{shown}");
    }

    let exported = puna.ok(&["sessions", "export", "sums"]);
    let file = puna.path("sums.jsonl");
    std::fs::write(&file, &exported).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let conflict = puna.run(&["sessions", "import", file]);
    assert_eq!(conflict.code, 5, "{conflict:?}");

    assert!(puna.ok(&["sessions", "delete", "sums"]).contains("deleted session `sums`"));
    assert_eq!(puna.ok(&["sessions", "list", "--json"]).trim(), "[]");
    assert!(puna.ok(&["sessions", "import", file]).contains("imported session `sums`"));
    assert_eq!(puna.ok(&["sessions", "show", "sums"]), shown);
    assert_eq!(
        puna.ok(&["sessions", "import", file, "--name", "again", "--json"]).trim(),
        r#"{"imported":"again"}"#
    );
    // What was imported goes on.
    puna.ok(&["run", CONCIERGE, "-s", "again", "Hello"]);
    assert!(puna.ok(&["sessions", "show", "again"]).contains("user  Hello"));
}

#[test]
fn a_run_without_a_name_begins_a_session() {
    let puna = Puna::new();
    puna.ok(&["run", CONCIERGE, "Hello"]);
    puna.ok(&["run", CONCIERGE, "Hello"]);
    let sessions: Vec<serde_json::Value> =
        serde_json::from_str(&puna.ok(&["sessions", "list", "--json"])).expect("JSON");
    let names: Vec<&str> = sessions.iter().filter_map(|session| session["session"].as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.starts_with("concierge-")), "{names:?}");
}
