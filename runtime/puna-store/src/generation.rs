use std::{
    fs::{self, File},
    io::{ErrorKind as IoKind, Write},
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};

use crate::files;

/// The file that names the generation; none for generation 0.
const POINTER_FILE: &str = "current";

/// The pointer's next content, before it takes the pointer's name.
const NEXT_POINTER_FILE: &str = "current.next";

/// What a generation's folder is called, before its number.
const FOLDER_PREFIX: &str = "generation-";

/// The longest pointer: a number and its checksum.
const MAX_POINTER_BYTES: u64 = 64;

/// Which of the folders within a store's folder has its data. Generation 0 lies in the store's folder itself, each
/// later one in a folder of its own, written as a whole before the pointer names it. Moving the pointer is one rename,
/// so that there is never a moment at which it is open which generation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The one that the pointer names.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when the pointer is damaged or lost, or its folder is.
    pub(crate) fn current(store: &Path) -> Result<Self> {
        let path = store.join(POINTER_FILE);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == IoKind::NotFound => return Self::zero(store),
            Err(error) => return Err(Error::from_io("read", &path, error)),
        };
        let text = match length <= MAX_POINTER_BYTES {
            true => fs::read(&path).map_err(|error| Error::from_io("read", &path, error))?,
            false => Vec::new(),
        };
        let generation = std::str::from_utf8(&text).ok().and_then(|text| {
            let number = text.split_once(' ')?.0.parse().ok()?;
            (pointer(Self(number)) == text).then_some(Self(number))
        });
        match generation {
            Some(found) if found.folder(store).is_dir() => Ok(found),
            _ => Err(damaged(store, &format!("its file `{POINTER_FILE}` names no generation of the data"))),
        }
    }

    /// Generation 0, unless the folder has had others.
    fn zero(store: &Path) -> Result<Self> {
        let lost = !store.join(files::LOG_FILE).exists() && !folders(store)?.is_empty();
        match lost {
            true => Err(damaged(store, &format!("its file `{POINTER_FILE}` is lost"))),
            false => Ok(Self(0)),
        }
    }

    /// Where its files are.
    pub(crate) fn folder(self, store: &Path) -> PathBuf {
        match self.0 {
            0 => store.to_owned(),
            number => store.join(format!("{FOLDER_PREFIX}{number}")),
        }
    }

    /// The one to write next.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Makes it the current one. It must be on the disk.
    ///
    /// # Errors
    /// After one it is open until the store is opened anew which generation is the current one; both are whole.
    pub(crate) fn point(self, store: &Path) -> Result<()> {
        let next = store.join(NEXT_POINTER_FILE);
        let write = || {
            let mut file = File::create(&next)?;
            file.write_all(pointer(self).as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| Error::from_io("write", &next, error))?;
        let path = store.join(POINTER_FILE);
        fs::rename(&next, &path).map_err(|error| Error::from_io("rename", &next, error))?;
        files::sync_folder(store)
    }

    /// Removes what is of no generation but this one: what an interrupted compaction left.
    pub(crate) fn discard_others(self, store: &Path) -> Result<()> {
        for folder in folders(store)?.into_iter().filter(|folder| *folder != self.folder(store)) {
            fs::remove_dir_all(&folder).map_err(|error| Error::from_io("remove", &folder, error))?;
        }
        if self != Self(0) {
            files::remove_data(store)?;
        }
        Ok(())
    }
}

fn pointer(generation: Generation) -> String {
    let number = generation.0.to_string();
    format!("{number} {:08x}\n", crc32fast::hash(number.as_bytes()))
}

/// The folders of generations.
fn folders(store: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::from_io("read", store, error);
    let mut folders = Vec::new();
    for entry in fs::read_dir(store).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER_PREFIX)) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn damaged(store: &Path, how: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the store in `{}` is damaged: {how}; restore the folder from a copy", store.display()),
    )
}
