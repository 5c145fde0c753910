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
fn a_conversation_is_forked_and_both_go_on() {
    let puna = Puna::new();
    for question in ["What is 12 times 34?", "What is 2 times 3?"] {
        puna.ok(&["run", CONCIERGE, "-s", "sums", question]);
    }
    let forked = puna.ok(&["sessions", "fork", "sums", "other", "--turn", "1"]);
    assert_eq!(forked, "session `other` goes on from `sums` after turn 1\n");
    puna.ok(&["run", CONCIERGE, "-s", "other", "What is 5 times 6?"]);
    puna.ok(&["sessions", "fork", "other", "third"]);
    let shown = puna.ok(&["sessions", "show", "other"]);
    let users: Vec<&str> = shown.lines().filter(|line| line.starts_with("user")).collect();
    assert_eq!(users, ["user  What is 12 times 34?", "user  What is 5 times 6?"]);
    assert!(!puna.ok(&["sessions", "show", "sums"]).contains("5 times 6"));
    let branches = puna.ok(&["sessions", "branches", "sums"]);
    assert_eq!(branches, "other  from `sums` after turn 1\n  third  from `other` after turn 2\n");
    assert!(puna.ok(&["sessions", "list"]).contains("from `sums` after turn 1"));
    let wrong = puna.run(&["sessions", "fork", "sums", "fourth", "--turn", "9"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("has 2 finished turns"), "{wrong:?}");
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
