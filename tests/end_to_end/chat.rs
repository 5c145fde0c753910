//! `puna chat`, fed lines as a terminal would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{CONCIERGE, Puna, ran};

#[test]
fn a_conversation_line_by_line() {
    let puna = Puna::new();
    let chat = |lines: &str| {
        let mut command = puna.command(&["chat", CONCIERGE]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("the child reads");
        ran(child.wait_with_output().expect("the binary ends"))
    };
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
