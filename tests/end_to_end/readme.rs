//! The README tells what the repository holds.

use std::collections::BTreeMap;

use puna::AgentSpec;

use crate::support::{CONCIERGE, read};

/// The README's code blocks by language.
fn blocks() -> BTreeMap<String, Vec<String>> {
    let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in read("README.md").lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (language, text) = open.take().expect("a block is open");
                blocks.entry(language).or_default().push(text);
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block does not end");
    blocks
}

#[test]
fn its_code_is_that_of_the_examples() {
    let blocks = blocks();
    let examples = ["examples/embed/src/main.rs", "examples/typed/src/main.rs", "examples/shout/src/lib.rs"];
    assert_eq!(blocks["rust"], examples.map(read));
    let [agent, output] = blocks["yaml"].as_slice() else { panic!("{:?}", blocks["yaml"]) };
    assert_eq!(*agent, read(CONCIERGE));
    let with_output = format!("{agent}{output}");
    let spec = AgentSpec::parse(with_output.as_bytes(), "agent.yaml", &|_| None).expect("an agent");
    assert!(spec.output.schema.is_some() && !spec.parallel_tool_calls);
}

#[test]
fn its_two_commands_come_first() {
    let first = &blocks()["sh"][0];
    let expected = "cargo run --release -- run examples/concierge/agent.yaml \"What is 1234 times 5678?\"\ncargo test --workspace\n";
    assert_eq!(first, expected);
}

#[test]
fn its_error_is_what_is_printed() {
    let text = read(CONCIERGE).replace("instructions:", "instuctions:");
    let told = AgentSpec::parse(text.as_bytes(), "agent.yaml", &|_| None).expect_err("a misspelt key");
    assert!(blocks()["text"].contains(&format!("{told}\n")), "the README shows another error than:\n{told}");
}
