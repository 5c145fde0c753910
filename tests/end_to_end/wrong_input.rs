//! What goes wrong in a user's first hour, and what each prints.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{CONCIERGE, Puna, Ran, ran};

/// Runs an agent and checks the exit code, and that the message holds every part.
fn fails(puna: &Puna, agent: &str, code: i32, parts: &[&str]) {
    let ran = puna.run(&["run", agent, "Hello"]);
    check(&ran, agent, code, parts);
}

fn check(ran: &Ran, what: &str, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{what}: {ran:?}");
    assert!(ran.stdout.is_empty(), "{what}: {ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "{what}: no `{part}` in {ran:?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{what}: {ran:?}");
}

#[test]
fn files_that_are_missing() {
    let puna = Puna::new();
    fails(&puna, "nowhere.yaml", 3, &["nowhere.yaml"]);
    fails(&puna, "examples", 2, &["`examples` is a folder"]);
    let agent = puna.agent(|text| text.replace("puna-tiny", "puna-huge"));
    fails(&puna, &agent, 3, &["no model folder", "puna-huge"]);
    let agent = puna.agent(|text| text.replace("calculator.wasm", "calculater.wasm"));
    fails(&puna, &agent, 3, &["calculater.wasm"]);
}

#[test]
fn yaml_that_is_wrong() {
    let puna = Puna::new();
    for (from, to, parts) in [
        (
            "instructions:",
            "instuctions:",
            vec!["unknown key `instuctions`", "did you mean `instructions`", "^^^^"],
        ),
        ("version: 1", "version: 9", vec!["version", "agent.yaml:5:"]),
        ("steps: 6", "steps: six", vec!["steps", "six"]),
        ("model:", "model: [", vec!["not YAML"]),
        ("[clock]", "[network]", vec!["network", "clock"]),
        ("puna-tiny", "${PUNA_TEST_UNSET_VARIABLE}", vec!["PUNA_TEST_UNSET_VARIABLE"]),
    ] {
        let agent = puna.agent(|text| text.replacen(from, to, 1));
        fails(&puna, &agent, 2, &parts);
    }
}

#[test]
fn plugins_that_are_wrong() {
    let puna = Puna::new();
    let functions = |text: String| {
        text.replace("calculator.wasm\n", "calculator.wasm\n    functions: [calculate, integrate]\n")
    };
    fails(&puna, &puna.agent(functions), 2, &["no function `integrate`", "calculate"]);
    let file = puna.path("calculator.wasm");
    fs::write(&file, "not WebAssembly").expect("a file");
    let agent = puna.agent(|text| text.replace("plugins/calculator/calculator.wasm", "nowhere"));
    let text = fs::read_to_string(&agent).expect("the agent");
    let shown = file.to_str().expect("a path in UTF-8");
    fs::write(&agent, text.replace(crate::support::root().join("nowhere").to_str().expect("UTF-8"), shown))
        .expect("the agent");
    fails(&puna, &agent, 2, &[shown]);
    let agent = puna.agent(|text| {
        text.replace("    grants: [clock]\n", "  - plugin: CALCULATOR\n").replace(
            "CALCULATOR",
            crate::support::root().join("plugins/calculator/calculator.wasm").to_str().expect("UTF-8"),
        )
    });
    fails(&puna, &agent, 2, &["same plugin", "agent.yaml:18:"]);
}

#[test]
fn models_that_are_damaged() {
    let cut = |path: &Path, length: u64| {
        let file = fs::OpenOptions::new().write(true).open(path).expect("the model's file");
        file.set_len(length).expect("a shorter file");
    };
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Damage, i32); 6] = [
        ("model.onnx", &|path| cut(path, 1000), 10),
        ("model.onnx.data", &|path| cut(path, 100_000), 10),
        ("model.onnx", &|path| fs::remove_file(path).expect("the model's file"), 3),
        ("tokenizer.json", &|path| cut(path, 1000), 2),
        ("tokenizer.json", &|path| fs::remove_file(path).expect("the model's file"), 3),
        ("config.json", &|path| cut(path, 10), 2),
    ];
    for (name, damage, code) in cases {
        let puna = Puna::new();
        let folder = puna.model();
        damage(&folder.join(name));
        let agent = puna.agent(|text| text);
        let text = fs::read_to_string(&agent).expect("the agent");
        let bundled = crate::support::root().join("examples/models/puna-tiny");
        let text = text.replace(bundled.to_str().expect("UTF-8"), folder.to_str().expect("UTF-8"));
        fs::write(&agent, text).expect("the agent");
        fails(&puna, &agent, code, &[name.trim_end_matches(".data")]);
    }
}

#[test]
fn sessions_that_are_wrong() {
    let puna = Puna::new();
    for name in ["", " blank", "a\tb", "a?b", &"x".repeat(1000)] {
        let ran = puna.run(&["run", CONCIERGE, "-s", name, "Hello"]);
        check(&ran, name, 2, &["session"]);
    }
    check(
        &puna.run(&["sessions", "show", "nobody"]),
        "show",
        3,
        &["no session `nobody`", "puna sessions list"],
    );
    check(&puna.run(&["sessions", "delete", "nobody"]), "delete", 3, &["no session `nobody`"]);
    check(&puna.run(&["sessions", "export", "nobody"]), "export", 3, &["no session `nobody`"]);
    check(&puna.run(&["sessions", "import", "README.md"]), "import", 2, &["line 1"]);
    check(&puna.run(&["run", CONCIERGE, ""]), "empty", 2, &["question"]);
}

#[test]
fn a_data_folder_that_is_no_folder() {
    let puna = Puna::new();
    let file = puna.path("file");
    fs::write(&file, "a file").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let ran = puna.run(&["run", CONCIERGE, "Hello", "--data", file]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains(file), "{ran:?}");
}

#[test]
fn two_processes_on_one_data_folder() {
    let puna = Puna::new();
    let mut holder = puna
        .command(&["chat", CONCIERGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // The chat greets once it holds the folder.
    let mut greeting = String::new();
    BufReader::new(holder.stderr.take().expect("piped")).read_line(&mut greeting).expect("a line");
    let pid = holder.id().to_string();
    let second = puna.run(&["run", CONCIERGE, "Hello"]);
    drop(holder.stdin.take());
    holder.wait().expect("the chat ends with its input");
    check(&second, "second", 5, &[&pid, puna.data().to_str().expect("a path in UTF-8")]);
    // The first has gone.
    puna.ok(&["run", CONCIERGE, "Hello"]);
}

/// A limit on the size of files fails writes as a full disk does.
#[test]
fn a_full_disk() {
    let puna = Puna::new();
    puna.ok(&["run", CONCIERGE, "-s", "before", "My name is Ada."]);
    let limited = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_puna"), "run", CONCIERGE, "-s", "full"]);
        command.arg("My name is Grace. ".repeat(40));
        command.current_dir(crate::support::root()).env("PUNA_DATA_DIR", puna.data());
        ran(command.stdin(Stdio::null()).output().expect("bash runs"))
    };
    let full = limited(1);
    assert!([6, 11].contains(&full.code), "{full:?}");
    assert!(full.stderr.contains("error:") && !full.stderr.contains("panicked"), "{full:?}");
    // What was acknowledged before is there, and the store goes on once there is room.
    assert!(puna.ok(&["run", CONCIERGE, "-s", "before", "What is my name?"]).contains("Ada"));
    puna.ok(&["run", CONCIERGE, "-s", "full", "Hello"]);
}
