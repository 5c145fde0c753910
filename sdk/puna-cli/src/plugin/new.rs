//! `puna plugin new`: a plugin's folder to begin with, the SDK in it, so that it builds from the registry alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use puna::{Error, ErrorKind, Result, plugins::CONTRACT};

use crate::{args::PluginLanguage, spec::print_line};

/// Files with their content.
type Files = [(&'static str, &'static str)];

macro_rules! files {
    ($folder:literal: $($file:literal from $source:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../plugins/", $folder, "/", $source)))),+]
    };
}

/// The templates name what they are about with these.
const NAME: &str = "{{name}}";
const CONTRACT_VERSION: &str = "{{contract}}";
const LANGUAGE: &str = "{{language}}";
const INSTALL: &str = "{{install}}";

/// What every plugin begins with.
const COMMON: &Files = files!("templates":
    "tests.yaml" from "tests.yaml",
    "README.md" from "README.md.txt",
);

/// What every plugin in another language than Rust begins with: there, the schemas are files.
const FOREIGN: &Files = files!("templates":
    "plugin.toml" from "plugin.toml.txt",
    "schemas/greet.json" from "schemas/greet.json",
    "schemas/greeting.json" from "schemas/greeting.json",
);

const RUST: &Files = files!("templates/rust":
    "Cargo.toml" from "Cargo.toml.txt",
    "plugin.toml" from "plugin.toml.txt",
    "src/lib.rs" from "src/lib.rs.txt",
    ".gitignore" from "gitignore.txt",
);

const PYTHON: &Files = files!("templates/python":
    "requirements.txt" from "requirements.txt",
    "src/plugin.py" from "src/plugin.py",
    "sdk/puna_plugin.py" from "sdk/puna_plugin.py",
    ".gitignore" from "gitignore.txt",
);

const JAVASCRIPT: &Files = files!("templates/javascript":
    "package.json" from "package.json",
    "src/plugin.js" from "src/plugin.js",
    "sdk/puna-plugin.js" from "sdk/puna-plugin.js",
    ".gitignore" from "gitignore.txt",
);

const C: &Files = files!("templates/c":
    "src/plugin.c" from "src/plugin.c",
    "sdk/puna_plugin.h" from "sdk/puna_plugin.h",
    "sdk/puna_plugin.c" from "sdk/puna_plugin.c",
    ".gitignore" from "gitignore.txt",
);

macro_rules! sdk {
    ($($file:literal),+ $(,)?) => {
        &[$((
            concat!("sdk/puna-plugin/src/", $file),
            include_str!(concat!("../../../../plugins/puna-plugin/src/", $file)),
        )),+]
    };
}

/// The sources of the SDK; a test holds the list against the folder.
const SDK: &Files = sdk!(
    "clock.rs",
    "config.rs",
    "content.rs",
    "describe.rs",
    "error.rs",
    "files.rs",
    "guest.rs",
    "http.rs",
    "lib.rs",
    "loader.rs",
    "log.rs",
    "models.rs",
    "native.rs",
    "progress.rs",
    "random.rs",
    "retriever.rs",
    "secrets.rs",
    "sql.rs",
    "store.rs",
);

const CONTRACT_FILE: (&str, &str) =
    ("sdk/wit/plugin.wit", include_str!("../../../../plugins/wit/plugin.wit"));

/// The SDK's manifest outside this workspace.
const SDK_MANIFEST: (&str, &str) = ("sdk/puna-plugin/Cargo.toml", {
    r#"[package]
name = "puna-plugin"
description = "Guest SDK for Puna plugins written in Rust."
version = "0.1.0"
edition = "2024"
license = "Apache-2.0"
publish = false

# Files beyond this package's own that shape what is built from it: `puna plugin build` digests them.
[package.metadata.puna]
sources = ["../wit/plugin.wit"]

[dependencies]
schemars = { version = "1.2", features = ["preserve_order"] }
serde = { version = "1", features = ["derive"] }
serde_json = { version = "1", features = ["float_roundtrip", "preserve_order"] }
serde_path_to_error = "0.1"

[target.'cfg(target_arch = "wasm32")'.dependencies]
wit-bindgen = { version = "0.63", default-features = false, features = ["macros", "realloc", "std"] }
"#
});

/// Writes a plugin's folder.
///
/// # Errors
/// Invalid input for what is no name for a plugin, conflict when the folder is there and not empty.
pub(super) fn new(language: PluginLanguage, name: &str, folder: Option<PathBuf>) -> Result<()> {
    let sound = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !sound {
        return Err(Error::invalid_input(format!(
            "`{name}` is no name for a plugin; use lower-case letters, digits and `-`, at most 64"
        )));
    }
    let folder = folder.unwrap_or_else(|| name.into());
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("`{}` is there and not empty", folder.display()),
        ));
    }
    let (files, language, install): (Vec<&Files>, _, _) = match language {
        PluginLanguage::Rust => (
            vec![RUST, SDK, &[CONTRACT_FILE, SDK_MANIFEST]],
            "rust",
            "rustup target add wasm32-unknown-unknown",
        ),
        PluginLanguage::Python => (
            vec![FOREIGN, PYTHON],
            "python",
            "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        ),
        PluginLanguage::Javascript => (vec![FOREIGN, JAVASCRIPT], "javascript", "npm install"),
        PluginLanguage::C => {
            (vec![FOREIGN, C], "c", "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32")
        }
    };
    for (file, content) in [COMMON].into_iter().chain(files).flatten() {
        let content = content.replace(NAME, name).replace(CONTRACT_VERSION, CONTRACT);
        let content = content.replace(LANGUAGE, language).replace(INSTALL, install);
        write(&folder.join(file), &content)?;
    }
    let shown = folder.display();
    print_line(&format!(
        "wrote {shown}\n\n  cd {shown}\n  {install}\n  puna plugin build .\n  puna plugin test .\n  puna plugin call {name}.wasm greet '{{\"name\": \"Ada\"}}'"
    ))
}

fn write(path: &Path, content: &str) -> Result<()> {
    let failed = |error| Error::from_io("write", path, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)
}
