//! What holds for the repository's files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{read, root};

/// Larger files do not belong into a repository that people clone.
const MAX_FILE_BYTES: u64 = 20 << 20;

/// The bundled model: small enough to come along with every clone.
const MAX_MODEL_BYTES: u64 = 12 << 20;

/// Every file but those that Git ignores and Git's own.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("a folder of the repository").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == ".git" || name.starts_with("target") || name == "__pycache__" || name == ".puna" {
                continue;
            }
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let mut files = Vec::new();
    walk(&root(), &mut files);
    files
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let found: BTreeSet<String> = fs::read_dir(root())
        .expect("the repository")
        .map(|entry| entry.expect("the repository").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !name.starts_with("target"))
        .collect();
    let agreed = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "deny.toml",
        "examples",
        "plugins",
        "runtime",
        "rustfmt.toml",
        "sdk",
        "tests",
    ];
    let unknown: Vec<_> = found.iter().filter(|name| !agreed.contains(&name.as_str())).collect();
    // The README's command writes this one and CI removes it.
    assert!(unknown.iter().all(|name| *name == "lunch.jsonl"), "{unknown:?}");
    assert!(agreed.iter().all(|name| found.contains(*name)), "{found:?}");
}

#[test]
fn every_crate_is_described_and_linted() {
    let architecture = read("ARCHITECTURE.md");
    let mut crates = 0;
    for manifest in files().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        if !text.contains("[package]") {
            continue;
        }
        crates += 1;
        let folder = manifest.parent().expect("a folder").strip_prefix(root()).expect("inside");
        let folder = folder.to_str().expect("a path in UTF-8");
        let described = architecture.contains(&format!("`{folder}`")) || folder.starts_with("examples/");
        // Guests of the test suites are crates of their own.
        if folder.starts_with("tests/") || folder.contains("/tests/") {
            continue;
        }
        assert!(described, "ARCHITECTURE.md does not tell what `{folder}` is");
        assert!(text.contains("[lints]\nworkspace = true"), "`{folder}` does not use the workspace's lints");
    }
    assert!(crates > 10, "found only {crates} crates");
}

#[test]
fn files_are_small_and_tests_run() {
    let ignore = ["#[", "ignore"].concat();
    let mut model = 0;
    for path in files() {
        let bytes = fs::metadata(&path).expect("a file").len();
        assert!(bytes <= MAX_FILE_BYTES, "`{}` has {bytes} bytes", path.display());
        if path.starts_with(root().join("examples/models/puna-tiny")) {
            model += bytes;
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            assert!(!text.contains(&ignore), "`{}` ignores a test", path.display());
        }
    }
    assert!(model <= MAX_MODEL_BYTES, "the bundled model has {model} bytes");
}
