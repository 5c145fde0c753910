//! `puna store`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{CONCIERGE, Puna};

fn report(puna: &Puna, command: &str) -> Value {
    serde_json::from_str(&puna.ok(&["store", command, "--json"])).expect("JSON")
}

#[test]
fn a_data_folder_is_measured_moved_and_compacted() {
    let puna = Puna::new();
    let nothing = puna.run(&["store", "stats"]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(nothing.stderr.contains("nothing is stored in"), "{nothing:?}");
    assert!(!puna.data().exists(), "looking made nothing");

    puna.ok(&["run", CONCIERGE, "-s", "kept", "What is 12 times 34?"]);
    let kept = puna.ok(&["sessions", "export", "kept"]);
    puna.ok(&["run", CONCIERGE, "-s", "gone", "Tell me about aardvarks"]);
    puna.ok(&["sessions", "delete", "gone"]);
    let stats = report(&puna, "stats");
    assert_eq!(stats["schema_version"], 1);
    let names: Vec<&Value> =
        stats["namespaces"].as_array().expect("a list").iter().map(|found| &found["namespace"]).collect();
    assert_eq!(names, ["session", "session-entry"]);
    let check = report(&puna, "check");
    assert_eq!(check["damaged"], 0);

    let backup = puna.path("backup.jsonl");
    let backup = backup.to_str().expect("a path in UTF-8");
    assert!(puna.ok(&["store", "export", backup]).starts_with("exported "));
    assert_eq!(puna.run(&["store", "export", backup]).code, 5, "a backup is not overwritten");
    let other = Puna::new();
    let imported = other.ok(&["store", "import", backup]);
    assert!(imported.ends_with("0 were there already\n"), "{imported}");
    assert_eq!(other.ok(&["sessions", "export", "kept"]), kept);
    assert_eq!(other.ok(&["store", "export"]), fs::read_to_string(backup).expect("the backup"));

    assert!(puna.holds(b"aardvarks"), "sled keeps what is deleted");
    let compacted = report(&puna, "compact");
    assert_eq!(compacted["entries"], check["entries"]);
    assert!(!puna.holds(b"aardvarks"), "it is gone");
    assert_eq!(puna.ok(&["sessions", "export", "kept"]), kept);
}

#[test]
fn what_is_wrong_is_told() {
    let puna = Puna::new();
    let file = puna.path("no-export.jsonl");
    fs::write(&file, "hello\n").expect("a file");
    let refused = puna.run(&["store", "import", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("line 1"), "{refused:?}");
    let missing = puna.run(&["store", "import", "nowhere.jsonl"]);
    assert_eq!(missing.code, 3, "{missing:?}");
    puna.ok(&["run", CONCIERGE, "-s", "kept", "Hello"]);
    // Of the log alone nothing is left.
    fs::write(puna.data().join("store/db"), json!("damaged").to_string()).expect("the log");
    let damaged = puna.run(&["store", "check"]);
    assert_eq!(damaged.code, 10, "{damaged:?}");
}
