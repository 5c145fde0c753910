use puna_plugin::{
    Error, ErrorKind,
    files::{self, Kind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::walk::tidy;

#[derive(Deserialize, JsonSchema)]
pub struct WriteFile {
    path: String,
    /// The whole text of the file.
    content: String,
    /// Whether a file of this name may be replaced.
    replace: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
pub struct Written {
    path: String,
    bytes: usize,
    /// Whether there was a file before.
    replaced: bool,
}

/// Writes a whole file and the folders above it.
///
/// # Errors
/// Invalid-input where a folder is, or a file that may not be replaced; denied where writing was not granted.
pub fn write_file(arguments: WriteFile) -> Result<Written, Error> {
    let path = tidy(&arguments.path);
    let invalid = |message: String| Error::invalid_input(message).at("/path");
    let Some((folder, _)) = path.rsplit_once('/') else {
        let folders: Vec<String> = files::list("")?.into_iter().map(|folder| folder.name).collect();
        return Err(invalid(format!(
            "`{path}` names no file in a folder; write it like `FOLDER/name.txt` with a folder of `{}`",
            folders.join("`, `")
        )));
    };
    let replaced = match files::stat(&path) {
        Ok(entry) if entry.kind == Kind::Folder => return Err(invalid(format!("`{path}` is a folder"))),
        Ok(_) if !arguments.replace.unwrap_or(false) => {
            return Err(invalid(format!("`{path}` exists; choose another name or set `replace`")));
        }
        Ok(_) => true,
        Err(error) if error.kind == ErrorKind::NotFound => false,
        Err(error) => return Err(error.at("/path")),
    };
    if !replaced && folder.contains('/') {
        files::create_folder(folder).map_err(|error| error.at("/path"))?;
    }
    files::write(&path, arguments.content.as_bytes()).map_err(|error| error.at("/path"))?;
    Ok(Written { path, bytes: arguments.content.len(), replaced })
}
