use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use puna_core::{Error, ErrorKind, Result};

/// Holds a data folder for this process; released when dropped, and by the system when the process dies.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::from_io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The number is a courtesy: without it the message is still right.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "the data folder `{}` is in use by {holder}; wait for it, or name another folder with `--data`",
                        folder.display()
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::from_io("lock", &path, error)),
        }
        // As above: only for the message that a second process prints.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Not only by closing the file: a process that is being started shares it for an instant, and would keep the lock.
        // Where it fails, closing lets go of it.
        let _ = self.0.unlock();
    }
}
