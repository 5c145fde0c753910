//! Files in folders that were granted by name: a path is `NAME/path/within`. A plugin that reads or writes some asks for
//! the grant `files`.

use crate::Error;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last part of its path.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// In bytes; 0 of a folder.
    pub size: u64,
}

/// Most bytes of one crossing to the host.
const PIECE_BYTES: u32 = 256 << 10;

/// What a folder holds, by name; of the empty path the granted folders.
///
/// # Errors
/// Denied for what was not granted or leads out of it, not-found for what does not exist.
pub fn list(path: &str) -> Result<Vec<Entry>, Error> {
    host::list(path)
}

/// What a path leads to.
///
/// # Errors
/// Denied for what was not granted or leads out of it, not-found for what does not exist.
pub fn stat(path: &str) -> Result<Entry, Error> {
    host::stat(path)
}

/// At most `length` bytes from `offset`; fewer at the end, none past it.
///
/// # Errors
/// Denied for what was not granted or leads out of it, not-found for what does not exist.
pub fn read_at(path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
    host::read(path, offset, length)
}

/// A whole file of at most `most` bytes.
///
/// # Errors
/// Too-large for a longer one; those of [`read_at`].
pub fn read(path: &str, most: u64) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    loop {
        let piece = read_at(path, content.len() as u64, PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(content);
        }
        content.extend(piece);
        if content.len() as u64 > most {
            return Err(Error::new(
                crate::ErrorKind::TooLarge,
                format!("`{path}` takes more than {most} bytes"),
            ));
        }
    }
}

/// Writes a whole file, so that nobody sees half of it.
///
/// # Errors
/// Denied where writing was not granted, too-large above the host's limits.
pub fn write(path: &str, content: &[u8]) -> Result<(), Error> {
    host::write(path, content)
}

/// Makes a folder, and those above it.
///
/// # Errors
/// Denied where writing was not granted.
pub fn create_folder(path: &str) -> Result<(), Error> {
    host::create_folder(path)
}

/// Removes a file or an empty folder.
///
/// # Errors
/// Denied where writing was not granted, invalid-input for a folder that is not empty.
pub fn remove(path: &str) -> Result<(), Error> {
    host::remove(path)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Entry, Kind};
    use crate::{Error, guest::bindings::host::puna::plugin::files};

    fn entry(entry: files::Entry) -> Entry {
        let kind = match entry.kind {
            files::Kind::File => Kind::File,
            files::Kind::Folder => Kind::Folder,
        };
        Entry { name: entry.name, kind, size: entry.size }
    }

    pub fn list(path: &str) -> Result<Vec<Entry>, Error> {
        Ok(files::list_entries(path)?.into_iter().map(entry).collect())
    }

    pub fn stat(path: &str) -> Result<Entry, Error> {
        Ok(entry(files::stat(path)?))
    }

    pub fn read(path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        Ok(files::read(path, offset, length)?)
    }

    pub fn write(path: &str, content: &[u8]) -> Result<(), Error> {
        Ok(files::write(path, content)?)
    }

    pub fn create_folder(path: &str) -> Result<(), Error> {
        Ok(files::create_folder(path)?)
    }

    pub fn remove(path: &str) -> Result<(), Error> {
        Ok(files::remove(path)?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use host::granted;

/// Natively the folders that [`granted`] names.
#[cfg(not(target_arch = "wasm32"))]
mod host {
    use std::{
        cell::RefCell,
        collections::BTreeMap,
        fs, io,
        path::{Component, Path, PathBuf},
    };

    use super::{Entry, Kind};
    use crate::{Error, ErrorKind, native::with};

    thread_local! {
        static FOLDERS: RefCell<BTreeMap<String, PathBuf>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Runs `body` with folders, on this thread. Only natively: they can be written, and links are followed, which the
    /// host does not do beyond a folder.
    pub fn granted<T>(folders: impl IntoIterator<Item = (String, PathBuf)>, body: impl FnOnce() -> T) -> T {
        with(&FOLDERS, folders.into_iter().collect(), body)
    }

    fn locate(path: &str) -> Result<PathBuf, Error> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let folder = FOLDERS.with_borrow(|folders| folders.get(name).cloned());
        let within =
            Path::new(rest).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        match folder {
            Some(folder) if within => Ok(folder.join(rest)),
            _ => Err(Error::new(ErrorKind::Denied, format!("no folder for `{path}` was granted"))),
        }
    }

    fn told(path: &str) -> impl Fn(io::Error) -> Error + '_ {
        move |error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::InvalidInput,
            };
            Error::new(kind, format!("`{path}`: {error}"))
        }
    }

    fn entry(name: String, metadata: &fs::Metadata) -> Entry {
        match metadata.is_dir() {
            true => Entry { name, kind: Kind::Folder, size: 0 },
            false => Entry { name, kind: Kind::File, size: metadata.len() },
        }
    }

    pub fn list(path: &str) -> Result<Vec<Entry>, Error> {
        if path.is_empty() {
            let folder = |name: &String| Entry { name: name.clone(), kind: Kind::Folder, size: 0 };
            return Ok(FOLDERS.with_borrow(|folders| folders.keys().map(folder).collect()));
        }
        let read = || {
            let mut entries = Vec::new();
            for found in fs::read_dir(locate(path).map_err(|error| io::Error::other(error.message))?)? {
                let found = found?;
                entries.push(entry(found.file_name().to_string_lossy().into_owned(), &found.metadata()?));
            }
            Ok(entries)
        };
        locate(path)?;
        let mut entries: Vec<Entry> = read().map_err(told(path))?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    pub fn stat(path: &str) -> Result<Entry, Error> {
        let metadata = fs::metadata(locate(path)?).map_err(told(path))?;
        Ok(entry(path.rsplit('/').next().unwrap_or(path).to_owned(), &metadata))
    }

    pub fn read(path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let content = fs::read(locate(path)?).map_err(told(path))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(length as usize).min(content.len());
        Ok(content[start..end].to_vec())
    }

    pub fn write(path: &str, content: &[u8]) -> Result<(), Error> {
        fs::write(locate(path)?, content).map_err(told(path))
    }

    pub fn create_folder(path: &str) -> Result<(), Error> {
        fs::create_dir_all(locate(path)?).map_err(told(path))
    }

    pub fn remove(path: &str) -> Result<(), Error> {
        let at = locate(path)?;
        let removed = if at.is_dir() { fs::remove_dir(&at) } else { fs::remove_file(&at) };
        removed.map_err(told(path))
    }
}
