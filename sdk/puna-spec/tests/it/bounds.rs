//! Files made to exhaust the reader are refused with a reason.

use crate::{MINIMAL, parse};

#[track_caller]
fn check_refused(lines: &str, message: &str) {
    let diagnostics = parse(format!("{MINIMAL}{lines}"), "a.yaml").unwrap_err();
    let text = diagnostics.to_string();
    assert!(text.contains(message), "{text}");
    // However long the file, what is shown of it fits a screen or two.
    assert!(text.len() < 20_000, "{} bytes are shown", text.len());
}

#[test]
fn aliases_of_long_texts_are_counted_in_bytes() {
    let many = |item: &str, count: usize| vec![item; count].join(", ");
    let lines = format!("x: &a {}\ny: [{}]\n", "q".repeat(100_000), many("*a", 60));
    check_refused(&lines, "more than 4194304 bytes of text");
}

#[test]
fn values_of_variables_are_counted_in_bytes() {
    check_refused(&format!("description: {}\n", "${LONG}".repeat(60)), "more than 4194304 bytes of text");
    let texts = "- plugin: ${LONG}\n".repeat(60);
    check_refused(&format!("tools:\n{texts}"), "more than 4194304 bytes of text");
}

#[test]
fn values_are_counted() {
    check_refused(&"- \n".repeat(20_001).replacen("- ", "tools:\n- ", 1), "more than 20000 values");
    check_refused(&format!("tools: [{}]\n", "{}, ".repeat(20_001)), "more than 20000 values");
}

#[test]
fn the_same_tool_many_times_is_told_a_few_times() {
    let names: Vec<String> = (0..9).map(|number| format!("f{number}")).collect();
    let first = format!("tools:\n- &tool {{ plugin: p.wasm, functions: [{}] }}\n", names.join(", "));
    let lines = first + &"- *tool\n".repeat(1_000);
    let diagnostics = parse(format!("{MINIMAL}{lines}"), "a.yaml").unwrap_err();
    assert_eq!((diagnostics.diagnostics.len(), diagnostics.more), (20, 9 * 1_000 - 20));
}

#[test]
fn nesting_is_bounded() {
    check_refused(&format!("tools: {}", "[".repeat(100_000)), "");
    check_refused(&format!("tools:\n{}", "- ".repeat(100_000)), "nested more than 32 levels deep");
    let deep: String = (0..40).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    check_refused(&deep, "nested more than 32 levels deep");
}

#[test]
fn long_words_are_cut() {
    let long = "k".repeat(900);
    check_refused(&format!("{long}: 1\n{long}: 2\n"), "stands here a second time");
    check_refused(&format!("memory: {{ history: {} }}\n", "k".repeat(300_000)), "is not known here");
    check_refused(&format!("description: ${{{}}}\n", "k".repeat(300_000)), "is not set");
    check_refused(&format!("description: \"${{{}\"\n", "k".repeat(300_000)), "`${` without its `}`");
    check_refused(&format!("limits: {{ time: {} }}\n", "k".repeat(300_000)), "expected a time");
    check_refused(&format!("name: !{} x\n", "k".repeat(300_000)), "is not read here");
    check_refused(&format!("description: {}\n", "1".repeat(300_000)), "expected text");
}
