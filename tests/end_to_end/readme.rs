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
    let (agent, parts) = blocks["yaml"].split_first().expect("an agent");
    assert_eq!(*agent, read(CONCIERGE));
    // Every other block is a part of an agent's file.
    let specs: Vec<AgentSpec> = parts
        .iter()
        .map(|part| {
            let whole = format!("version: 1\nname: a\nmodel: {{path: m}}\n{part}");
            AgentSpec::parse(whole.as_bytes(), "agent.yaml", &|_| None)
                .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
        })
        .collect();
    assert!(specs.iter().any(|spec| spec.memory.long_term.is_some()));
    assert!(specs.iter().any(|spec| !spec.knowledge.is_empty()));
    assert!(specs.iter().any(|spec| spec.output.schema.is_some() && !spec.parallel_tool_calls));
    assert!(specs.iter().any(|spec| spec.tools.first().is_some_and(|tool| tool.grants.len() == 4)));
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
