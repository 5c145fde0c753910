//! What plugins may use is shown, agreed to, recorded, and taken back.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Puna, Ran, ran, root};

const QUESTION: &str = "What is 12 times 34?";

/// Where a person is asked.
const ASKED: &str = "Allow it?";

/// The terminal is told to mark what is pasted: a chat begins to wait for a line.
const PROMPT: &str = "\u{1b}[?2004h";

/// An agent whose plugin `datetime` is a copy, to become another version.
fn agent(puna: &Puna) -> String {
    fs::copy(root().join("plugins/datetime/datetime.wasm"), puna.path("datetime.wasm")).expect("a copy");
    let original = root().join("plugins/datetime/datetime.wasm");
    puna.agent(|text| text.replace(original.to_str().expect("a path in UTF-8"), "datetime.wasm"))
}

/// A chat at a terminal: each line is typed once its prompt is there, as a person would. Gives what the terminal showed.
fn terminal(puna: &Puna, agent: &str, typed: &[(&str, &str)]) -> Ran {
    let puna = puna.command(&["chat", agent]);
    let words: Vec<_> = std::iter::once(puna.get_program()).chain(puna.get_args()).collect();
    let line = words.iter().map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(root());
    for (name, value) in puna.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`script` gives a terminal");
    let (mut keyboard, mut screen) =
        (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut shown = String::new();
    let mut piece = [0; 4096];
    for (prompt, answer) in typed {
        let from = shown.len();
        while !shown[from..].contains(prompt) {
            let length = screen.read(&mut piece).expect("the terminal shows something");
            assert_ne!(length, 0, "no `{prompt}`:\n{shown}");
            shown.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        writeln!(keyboard, "{answer}").expect("the terminal takes a line");
    }
    screen.read_to_string(&mut shown).expect("the terminal closes");
    let ended = child.wait_with_output().expect("the chat ends");
    Ran { stdout: shown, ..ran(ended) }
}

/// What is on record for the plugin `datetime`.
fn state(puna: &Puna) -> Option<String> {
    let consents: Value = serde_json::from_str(&puna.ok(&["plugin", "consents", "--json"])).expect("JSON");
    let consents = consents.as_array().expect("a list");
    let found = consents.iter().find(|consent| consent["plugin"] == "datetime")?;
    assert_eq!(found["grants"], serde_json::json!(["clock"]), "{found}");
    Some(found["state"].as_str().expect("a state").to_owned())
}

#[track_caller]
fn check_denied(ran: &Ran, told: &str) {
    assert_eq!(ran.code, 4, "{ran:?}");
    let said = format!("{}{}", ran.stderr, ran.stdout);
    assert!(said.contains(told), "no `{told}` in {ran:?}");
}

#[test]
fn a_person_is_shown_what_plugins_may_use_before_they_do() {
    let puna = Puna::new();
    let agent = agent(&puna);
    let refused = terminal(&puna, &agent, &[(ASKED, "")]);
    check_denied(&refused, "`datetime` 0.1.0 of agent `concierge` may use:");
    assert!(refused.stdout.contains("clock") && refused.stdout.contains(ASKED), "{refused:?}");
    assert_eq!(state(&puna), None);

    let agreed = terminal(&puna, &agent, &[(ASKED, "y"), (PROMPT, QUESTION), (PROMPT, "/exit")]);
    assert_eq!(agreed.code, 0, "{agreed:?}");
    assert!(agreed.stdout.contains("408"), "{agreed:?}");
    assert_eq!(state(&puna).as_deref(), Some("agreed"));

    let again = terminal(&puna, &agent, &[(PROMPT, "/exit")]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(!again.stdout.contains(ASKED), "asked a second time: {again:?}");
}

#[test]
fn where_nobody_is_there_the_file_is_the_consent() {
    let puna = Puna::new();
    let agent = agent(&puna);
    puna.ok(&["run", &agent, QUESTION]);
    assert_eq!(state(&puna).as_deref(), Some("from_file"));
    // It was shown to nobody yet.
    check_denied(&terminal(&puna, &agent, &[(ASKED, "n")]), ASKED);
    let unasked = puna.run(&["plugin", "allow", &agent]);
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    let allowed = puna.run(&["plugin", "allow", &agent, "--yes"]);
    assert!(allowed.code == 0 && allowed.stderr.contains("  clock"), "{allowed:?}");
    assert_eq!(state(&puna).as_deref(), Some("agreed"));
}

#[test]
fn a_version_that_asks_for_more_is_agreed_to_again() {
    let puna = Puna::new();
    let agent = agent(&puna);
    puna.ok(&["run", &agent, QUESTION]);
    // The manifest is data in the component; a name of the same length keeps the section whole.
    let component = fs::read(puna.path("datetime.wasm")).expect("the copy");
    let (old, new) = (br#""asks":{"clock":"#, br#""asks":{"store":"#);
    let at = component.windows(old.len()).position(|window| window == old).expect("it asks for the clock");
    let newer = [&component[..at], new, &component[at + old.len()..]].concat();
    fs::write(puna.path("datetime.wasm"), newer).expect("a new version");

    check_denied(&puna.run(&["run", &agent, QUESTION]), "asks for more than was agreed to: `store`");
    let asked = terminal(&puna, &agent, &[(ASKED, "y"), (PROMPT, "/exit")]);
    assert!(asked.code == 0 && asked.stdout.contains(ASKED), "{asked:?}");
    puna.ok(&["run", &agent, QUESTION]);
    // What was agreed to before still is.
    fs::write(puna.path("datetime.wasm"), component).expect("the old version");
    puna.ok(&["run", &agent, QUESTION]);
}

#[test]
fn what_was_revoked_stays_so_until_it_is_allowed() {
    let puna = Puna::new();
    let agent = agent(&puna);
    let nothing = puna.run(&["plugin", "revoke", "concierge", "datetime"]);
    assert!(nothing.code == 3 && nothing.stderr.contains("`datetime`"), "{nothing:?}");
    for name in ["../datetime", "", "a.b"] {
        assert_eq!(puna.run(&["plugin", "revoke", "concierge", name]).code, 2, "{name}");
    }
    puna.ok(&["plugin", "allow", &agent, "--yes"]);
    puna.ok(&["plugin", "revoke", "concierge", "datetime"]);
    assert_eq!(state(&puna).as_deref(), Some("revoked"));
    check_denied(&puna.run(&["run", &agent, QUESTION]), "was revoked");
    check_denied(&terminal(&puna, &agent, &[(ASKED, "")]), "which was revoked");
    let agreed = terminal(&puna, &agent, &[(ASKED, "yes"), (PROMPT, "/exit")]);
    assert_eq!(agreed.code, 0, "{agreed:?}");
    puna.ok(&["run", &agent, QUESTION]);
}

#[test]
fn a_record_that_does_not_read_lends_nothing() {
    let puna = Puna::new();
    let agent = agent(&puna);
    puna.ok(&["run", &agent, QUESTION]);
    let record = puna.data().join("consents/concierge.datetime.json");
    fs::write(&record, "{").expect("the data folder is writable");
    let broken = puna.run(&["run", &agent, QUESTION]);
    assert!(broken.code == 10 && broken.stderr.contains("concierge.datetime.json"), "{broken:?}");
}

#[test]
fn retrievers_of_knowledge_bases_are_plugins_too() {
    let puna = Puna::new();
    let keyword = root().join("plugins/keyword/keyword.wasm");
    let knowledge = format!(
        "knowledge:\n  - name: handbook\n    retrievers:\n      - {{plugin: {}, grants: [store]}}\n",
        keyword.display()
    );
    let agent = puna.agent(|text| text + &knowledge);
    let allowed = puna.run(&["plugin", "allow", &agent, "--yes"]);
    assert!(allowed.code == 0 && allowed.stderr.contains("`keyword` 0.1.0"), "{allowed:?}");
    let listed = puna.ok(&["plugin", "consents"]);
    assert!(listed.contains("concierge  keyword 0.1.0  agreed") && listed.contains("  store"), "{listed}");
}
