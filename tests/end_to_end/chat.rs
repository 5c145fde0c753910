//! `puna chat`, fed lines as a terminal would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{CONCIERGE, Puna, Ran, ran};

/// What a chat with these arguments prints when it is given these lines.
fn chat(puna: &Puna, arguments: &[&str], lines: &str) -> Ran {
    let mut child = puna
        .command(&[&["chat", CONCIERGE], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("the child reads");
    ran(child.wait_with_output().expect("the binary ends"))
}

#[test]
fn every_answer_of_a_chat_has_the_form() {
    let puna = Puna::new();
    let form = ["--schema", "examples/typed/answer.schema.json", "--tool-choice", "none"];
    let said = chat(&puna, &form, "Hello\nWhat is 12 times 34?\n");
    assert_eq!(said.code, 0, "{said:?}");
    let answers: Vec<Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 2, "{said:?}");
    assert!(answers.iter().all(|answer| answer["answer"].is_string()), "{said:?}");
    let called = chat(&puna, &["--tool-choice", "weekday"], "Hello\n");
    assert!(called.stderr.contains("weekday("), "{called:?}");
}

#[test]
fn a_conversation_line_by_line() {
    let puna = Puna::new();
    let chat = |lines: &str| chat(&puna, &[], lines);
    let first = chat("My name is Ada.\n/session\n/nonsense\n\n/help\nWhat is 12 times 34?\n");
    assert_eq!(first.code, 0, "the end of the input ends the chat: {first:?}");
    assert!(first.stdout.contains("408"), "{first:?}");
    assert!(first.stderr.contains("no command `/nonsense`"), "{first:?}");
    assert!(first.stderr.contains("Ctrl-C"), "{first:?}");
    let second = chat("What is my name?\n/exit\nHello\n");
    assert!(second.stdout.contains("Ada"), "the chat goes on with its session: {second:?}");
    assert!(!second.stdout.contains("Hello"), "nothing is read after /exit: {second:?}");
}

#[test]
fn ctrl_c_ends_an_answer_and_not_the_chat() {
    let puna = Puna::new();
    // At this temperature the model babbles, up to the limit.
    let agent = puna.agent(|text| {
        text.replace("temperature: 0", "temperature: 50\n    seed: 1")
            .replace("max_tokens: 256", "max_tokens: 700")
    });
    let mut child = puna
        .command(&["chat", &agent])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let pid = child.id().to_string();
    let signal = |name: &str, pid: &str| {
        Command::new("kill").args([name, pid]).status().expect("kill runs");
    };
    // A chat that hangs must not hang the tests.
    let hung = pid.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(60));
        signal("-KILL", &hung);
    });
    let mut input = child.stdin.take().expect("piped");
    let mut errors = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut told = |part: &str| {
        assert!(errors.any(|line| line.contains(part)), "nothing on standard error holds `{part}`");
    };
    told("/help lists the commands");
    writeln!(input, "Hello").expect("the child reads");
    // Something of the answer is there: the model is in the middle of it.
    let mut first = [0];
    child.stdout.as_mut().expect("piped").read_exact(&mut first).expect("an answer");
    signal("-INT", &pid);
    told("cancelled");
    writeln!(input, "/session").expect("the child still reads");
    told("chat");
    drop(input);
    assert!(child.wait().expect("the chat ends with its input").success());
}
