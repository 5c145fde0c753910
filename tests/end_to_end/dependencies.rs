//! What the crates depend on, for this platform.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::support::root;

/// Licences that ask for nothing but their text. `deny.toml` has the same list.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The one crate that may name each heavy dependency.
const OWNERS: [(&str, &str); 11] = [
    ("cap-std", "puna-plugins"),
    ("clap", "puna-cli"),
    ("minijinja", "puna-text"),
    ("ort", "puna-inference"),
    ("prost", "puna-export"),
    ("reqwest", "puna-plugins"),
    ("rusqlite", "puna-plugins"),
    ("rustls", "puna-plugins"),
    ("sled", "puna-store"),
    ("tokenizers", "puna-text"),
    ("wasmtime", "puna-plugins"),
];

fn metadata() -> Value {
    let host = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let host = String::from_utf8(host).expect("UTF-8");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Whether one of an SPDX expression's alternatives is allowed. Packages nest no parentheses.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace(" / ", "/").replace('/', " OR ");
    // `(A OR B) AND C`: every part in turn.
    plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licences_are_permissive_and_heavy_dependencies_have_one_owner() {
    let metadata = metadata();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let members = list(&metadata["workspace_members"]);
    let used: Vec<Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| node["id"].clone()).collect();
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in list(&metadata["packages"]).iter().filter(|package| used.contains(&package["id"])) {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(allowed(licence), "`{name}` has the licence `{licence}`, which is not on the list");
        if members.contains(&package["id"]) {
            for dependency in list(&package["dependencies"]) {
                let dependency = dependency["name"].as_str().expect("a name").to_owned();
                let owners = owners.entry(dependency).or_default();
                // A crate may use it itself and in its tests.
                if owners.last().is_none_or(|last| last != name) {
                    owners.push(name.to_owned());
                }
            }
        }
    }
    for (dependency, owner) in OWNERS {
        assert_eq!(owners.get(dependency).map(Vec::as_slice), Some(&[owner.to_owned()][..]), "{dependency}");
    }
}

#[test]
fn licence_expressions_are_read() {
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-2.0 / GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("none", false),
    ] {
        assert_eq!(allowed(expression), wanted, "{expression}");
    }
}
