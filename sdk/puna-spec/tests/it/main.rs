//! Tests of `agent.yaml` through the crate's public interface.

mod bounds;
mod files;
mod goldens;
mod properties;
mod schema;
mod yaml;

use std::path::{Path, PathBuf};

use puna_spec::{AgentSpec, Diagnostics};

/// A smallest agent, to which tests add lines.
const MINIMAL: &str = "version: 1\nname: a\nmodel:\n  path: m\n";

/// Parses with the tests' environment.
fn parse(content: impl AsRef<[u8]>, name: &str) -> Result<AgentSpec, Diagnostics> {
    AgentSpec::parse(content.as_ref(), name, &environment)
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "NAME" => "concierge",
        "FOLDER" => "/models",
        "SECONDS_ALLOWED" => "90",
        "SECRET" => "sk-12345",
        "GRANT" => "clock",
        "FUNCTION" => "add",
        "TRICKY" => "a: [b, *c, ${NAME}]",
        "LONG" => return Some("y".repeat(100_000)),
        _ => return None,
    };
    Some(value.to_owned())
}

/// The YAML files of a folder beside this one, in order.
fn files_of(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no YAML in {}", folder.display());
    files
}
