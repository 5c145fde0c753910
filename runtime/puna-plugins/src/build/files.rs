//! The files that a component is built from.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use puna_core::{Error, Result};

use super::SourceFile;
use crate::inspect::digest;

/// Digests files, named from `base`, in order of their paths.
pub fn record(base: &Path, paths: Vec<PathBuf>) -> Result<Vec<SourceFile>> {
    let mut files = paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).map_err(|error| Error::from_io("read", &path, error))?;
            Ok(SourceFile { path: relative(base, &path), sha256: digest(&bytes) })
        })
        .collect::<Result<Vec<_>>>()?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files.dedup();
    Ok(files)
}

/// Every file in a folder and the folders in it, but for what an interpreter leaves there.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        let read = |error| Error::from_io("read", &folder, error);
        for entry in fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if !entry.file_type().map_err(read)?.is_dir() {
                files.push(entry.path());
            } else if entry.file_name() != "__pycache__" {
                pending.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// `path` from `base`, with `/` whatever the machine: both absolute, or both from one place.
pub fn relative(base: &Path, path: &Path) -> String {
    let base: Vec<Component> = base.components().collect();
    let parts: Vec<Component> = path.components().collect();
    let shared = base.iter().zip(&parts).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..".to_owned(), base.len() - shared);
    let down = parts[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}
