use puna_plugin::{
    Error,
    files::{self, Kind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    pattern::matches,
    walk::{Walk, tidy},
};

/// Most entries that are shown: a model reads every one.
const MAX_SHOWN: usize = 500;

#[derive(Deserialize, JsonSchema)]
pub struct ListFiles {
    /// The folder.
    path: Option<String>,
    /// Only names like this, for example `*.md`.
    name: Option<String>,
    /// Also what lies in the folders within.
    recursive: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
pub struct Listed {
    entries: Vec<Shown>,
    /// Whether there are more than are shown.
    more: bool,
}

#[derive(Serialize, JsonSchema)]
struct Shown {
    path: String,
    folder: bool,
    /// In bytes.
    size: u64,
}

/// What a folder holds.
///
/// # Errors
/// Invalid-input for a path that is a file, and those of the host.
pub fn list_files(arguments: ListFiles) -> Result<Listed, Error> {
    let path = tidy(&arguments.path.unwrap_or_default());
    let at_path = |error: Error| error.at("/path");
    if !path.is_empty() && files::stat(&path).map_err(at_path)?.kind == Kind::File {
        return Err(at_path(Error::invalid_input(format!("`{path}` is a file; read it with `read_file`"))));
    }
    let name = arguments.name.filter(|name| !name.trim().is_empty());
    let mut walk = Walk::new(&path, arguments.recursive.unwrap_or(false)).map_err(at_path)?;
    let mut listed = Listed { entries: Vec::new(), more: false };
    for found in &mut walk {
        let (path, entry) = found?;
        if name.as_ref().is_some_and(|name| !matches(name.trim(), &entry.name)) {
            continue;
        }
        if listed.entries.len() == MAX_SHOWN {
            listed.more = true;
            break;
        }
        listed.entries.push(Shown { path, folder: entry.kind == Kind::Folder, size: entry.size });
    }
    listed.more |= walk.cut;
    Ok(listed)
}
