use std::{collections::BTreeSet, fs, path::Path};

use puna_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Language,
    authored::{Authored, Parts},
};
use crate::inspect::{digest, inspect, read_component};

/// The record beside a component.
pub const LOCK_FILE: &str = "plugin.lock";

/// What a component was built from; [`build`](super::build) writes it as `plugin.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// SHA-256 of the component, in hexadecimal.
    pub component: String,
    /// SHA-256 over the list of files; the manifest in the component carries it too.
    pub source: String,
    /// What compiled it.
    pub toolchain: String,
    /// Every source file: the plugin's own and those of its path dependencies.
    pub files: Vec<SourceFile>,
}

/// A source file of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Where it lies, from the plugin's folder, with `/`.
    pub path: String,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
}

impl Lock {
    pub(super) fn to_toml(&self) -> Result<String> {
        let body =
            toml::to_string(self).map_err(|error| Error::internal(format!("`{LOCK_FILE}`: {error}")))?;
        Ok(format!("# Written by `puna plugin build`: what the component beside it was built from.\n{body}"))
    }
}

/// Holds a plugin's folder against its `plugin.lock`: the component's digest, the digest of every source
/// file, no source file that is not listed, and the component's manifest against `plugin.toml`. Needs no
/// toolchain.
///
/// # Errors
/// Corrupt when something differs, naming it and how to build again; those of reading the files.
pub fn verify(folder: impl AsRef<Path>) -> Result<Lock> {
    let folder = folder.as_ref();
    let path = folder.join(LOCK_FILE);
    let text = fs::read_to_string(&path).map_err(|error| Error::from_io("read", &path, error))?;
    let lock: Lock = toml::from_str(&text)
        .map_err(|error| Error::invalid_input(format!("`{}`: {error}", path.display())))?;
    let stale = |what: String| {
        Error::new(
            ErrorKind::Corrupt,
            format!("{what}; build again with `puna plugin build {}`", folder.display()),
        )
    };

    for file in &lock.files {
        let path = folder.join(&file.path);
        let bytes = fs::read(&path).map_err(|error| Error::from_io("read", &path, error))?;
        if digest(&bytes) != file.sha256 {
            return Err(stale(format!("`{}` is not what the component was built from", path.display())));
        }
    }
    let listed: BTreeSet<&str> = lock.files.iter().map(|file| file.path.as_str()).collect();
    let authored = Authored::read(folder)?;
    for file in authored.own_files(folder)? {
        if !listed.contains(file.as_str()) {
            return Err(stale(format!("`{file}` is new since the component was built")));
        }
    }
    if digest_of(&lock.files) != lock.source {
        return Err(stale(format!("the digests in `{}` contradict each other", path.display())));
    }

    let component = folder.join(format!("{}.wasm", authored.name));
    let inspection = inspect(&read_component(&component)?)?;
    let manifest = &inspection.manifest;
    if inspection.digest != lock.component {
        return Err(stale(format!("`{}` is not the component that was recorded", component.display())));
    }
    let parts = match authored.language {
        // The code tells; that it is the code is told by the digests.
        Language::Rust => Parts {
            configuration: manifest.configuration.clone(),
            tools: manifest.tools.clone(),
            loaders: manifest.loaders.clone(),
            retrievers: manifest.retrievers.clone(),
        },
        _ => authored.parts(folder)?,
    };
    let same = *manifest == authored.manifest(parts, lock.source.clone());
    if !same {
        return Err(stale("the component's manifest differs from `plugin.toml`".to_owned()));
    }
    Ok(lock)
}

/// One digest for a list of files.
pub(super) fn digest_of(files: &[SourceFile]) -> String {
    let mut digest = Sha256::new();
    for file in files {
        // Lengths first, so that no two lists read the same.
        digest.update((file.path.len() as u64).to_le_bytes());
        digest.update(&file.path);
        digest.update(&file.sha256);
    }
    format!("{:x}", digest.finalize())
}
