//! `puna chat`, fed lines as a terminal would.

use std::{io::Write, process::Stdio};

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
