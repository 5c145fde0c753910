//! Files in granted folders. Paths are resolved by `cap_std`, beneath the folder that was opened when the plugin was
//! set up: neither `..` nor a link leads out of it.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    sync::Arc,
};

use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions},
};
use puna_core::{Error, Result as CoreResult};

use super::{GuestState, failure, scrub, spend};
use crate::{
    FolderGrant, Grant,
    contract::bindings::puna::plugin::{
        files::{self, Entry, Kind},
        types,
    },
};

/// Longest path.
const MAX_PATH_BYTES: usize = 1 << 10;

/// Most entries that a folder shows.
const MAX_ENTRIES: usize = 10_000;

/// Most bytes that one read gives: a guest asks again.
const MAX_READ_BYTES: u32 = 1 << 20;

/// A folder that a guest may use.
#[derive(Clone)]
pub struct Folder {
    dir: Arc<Dir>,
    write: bool,
}

/// The granted folders by name, opened.
pub type Folders = BTreeMap<String, Folder>;

/// Opens the granted folders.
///
/// # Errors
/// Those of opening, naming the folder.
pub fn open_folders(grants: &BTreeMap<String, FolderGrant>) -> CoreResult<Folders> {
    grants
        .iter()
        .map(|(name, grant)| {
            if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(Error::invalid_input(format!("`{name}` is no name for a folder of a plugin")));
            }
            let dir = Dir::open_ambient_dir(&grant.path, ambient_authority())
                .map_err(|error| Error::from_io("open the granted folder", &grant.path, error))?;
            Ok((name.clone(), Folder { dir: Arc::new(dir), write: grant.write }))
        })
        .collect()
}

impl files::Host for GuestState {
    async fn list_entries(&mut self, path: String) -> wasmtime::Result<Result<Vec<Entry>, types::Error>> {
        Ok(self.list_folder(path).await)
    }

    async fn stat(&mut self, path: String) -> wasmtime::Result<Result<Entry, types::Error>> {
        Ok(self.on_path(path, false, entry_of).await)
    }

    async fn read(
        &mut self,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        let length = length.min(MAX_READ_BYTES);
        let read = self.on_path(path, false, move |dir, path| {
            let mut file = open_file(dir, path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length.into()).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let read = read.await;
        Ok(read.and_then(|bytes| self.spend_files(bytes.len()).map(|()| bytes)))
    }

    async fn write(&mut self, path: String, content: Vec<u8>) -> wasmtime::Result<Result<(), types::Error>> {
        if let Err(reached) = self.need(Grant::Files).and_then(|()| self.spend_files(content.len())) {
            return Ok(Err(reached));
        }
        Ok(self.on_path(path, true, move |dir, path| write_whole(dir, path, &content)).await)
    }

    async fn create_folder(&mut self, path: String) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.on_path(path, true, |dir, path| dir.create_dir_all(path)).await)
    }

    async fn remove(&mut self, path: String) -> wasmtime::Result<Result<(), types::Error>> {
        let remove = |dir: &Dir, path: &str| match dir.symlink_metadata(path)?.is_dir() {
            true => dir.remove_dir(path),
            false => dir.remove_file(path),
        };
        Ok(self.on_path(path, true, remove).await)
    }
}

impl GuestState {
    async fn list_folder(&mut self, path: String) -> Result<Vec<Entry>, types::Error> {
        if path.is_empty() {
            self.need(Grant::Files)?;
            let folder = |name: &String| Entry { name: name.clone(), kind: Kind::Folder, size: 0 };
            return Ok(self.setup.folders.keys().map(folder).collect());
        }
        let read = |dir: &Dir, path: &str| {
            let mut entries = Vec::new();
            for entry in dir.read_dir(path)?.take(MAX_ENTRIES) {
                let entry = entry?;
                let metadata = entry.metadata()?;
                // What is neither has no place here, and a name that is no text cannot be asked for.
                if let Ok(name) = entry.file_name().into_string()
                    && (metadata.is_file() || metadata.is_dir())
                {
                    entries.push(entry_with(name, &metadata));
                }
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        };
        self.on_path(path, false, read).await
    }

    /// Does something with a path, on a thread where it may block.
    async fn on_path<T: Send + 'static>(
        &mut self,
        path: String,
        write: bool,
        work: impl FnOnce(&Dir, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T, types::Error> {
        self.need(Grant::Files)?;
        if path.len() > MAX_PATH_BYTES || path.contains('\0') {
            return Err(failure(types::ErrorKind::InvalidInput, "the path is too long or holds a NUL"));
        }
        let shown = scrub(&path, 200);
        let (name, rest) = path.split_once('/').unwrap_or((&path, ""));
        let Some(folder) = self.setup.folders.get(name).cloned() else {
            let known: Vec<&str> = self.setup.folders.keys().map(String::as_str).collect();
            return Err(failure(
                types::ErrorKind::Denied,
                format!("no folder for `{shown}` was granted; there are `{}`", known.join("`, `")),
            ));
        };
        if write && (!folder.write || rest.is_empty()) {
            return Err(failure(
                types::ErrorKind::Denied,
                format!("`{name}` was granted for reading, and `{shown}` would be written"),
            ));
        }
        let rest = if rest.is_empty() { ".".to_owned() } else { rest.to_owned() };
        let done = tokio::task::spawn_blocking(move || work(&folder.dir, &rest)).await;
        match done {
            Ok(outcome) => outcome.map_err(|error| io_failure(&shown, &error)),
            Err(_) => Err(failure(types::ErrorKind::Internal, "the host broke while it used a file")),
        }
    }

    fn spend_files(&mut self, bytes: usize) -> Result<(), types::Error> {
        let most = self.setup.limits.file_bytes;
        spend(&mut self.left.file_bytes, bytes as u64, &self.plugin, "file_bytes", most).map(drop)
    }
}

/// Opens a file that is one: a pipe or device could hold the thread for ever.
fn open_file(dir: &Dir, path: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt as _;
        // Opening a pipe waits for its other end otherwise.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = dir.open_with(path, &options)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok(file)
}

/// Writes beside the file and renames.
fn write_whole(dir: &Dir, path: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{path}.writing");
    let mut file = dir.create(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_data());
    drop(file);
    let renamed = written.and_then(|()| dir.rename(&temporary, dir, path));
    if renamed.is_err() {
        // The error of the writing is the one to tell.
        let _ = dir.remove_file(&temporary);
    }
    renamed
}

fn entry_of(dir: &Dir, path: &str) -> io::Result<Entry> {
    let metadata = dir.metadata(path)?;
    let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path);
    Ok(entry_with(name.to_owned(), &metadata))
}

fn entry_with(name: String, metadata: &cap_std::fs::Metadata) -> Entry {
    let folder = metadata.is_dir();
    let kind = if folder { Kind::Folder } else { Kind::File };
    Entry { name, kind, size: if folder { 0 } else { metadata.len() } }
}

fn io_failure(path: &str, error: &io::Error) -> types::Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => types::ErrorKind::NotFound,
        // What leads out of the folder is refused so.
        io::ErrorKind::PermissionDenied => types::ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => types::ErrorKind::TooLarge,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::AlreadyExists => types::ErrorKind::InvalidInput,
        _ => types::ErrorKind::Unavailable,
    };
    failure(kind, format!("`{path}`: {error}"))
}
