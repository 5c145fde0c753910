//! Reading and writing files at positions, and small files whole.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path},
};

use puna_core::{Error, Result};

/// Largest small file read whole, in bytes: the longest index of tensors published is a hundredth of it.
const MAX_BYTES: u64 = 16 << 20;

/// A small file's bytes, `None` where there is no file.
pub(crate) fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::from_io("read", path, error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        // A pipe or a device would be read without end.
        Ok(_) => return Err(Error::invalid_input(format!("`{}` is not a file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::invalid_input(format!("`{}` is larger than {MAX_BYTES} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// Whether a path is the name of a file and no way to another folder.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// Reads a file from a place on, as much as the buffer holds; several threads may.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes a file from a place on; several threads may.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, offset: u64, buffer: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, buffer, offset)
}

/// Reads a file from a place on, as much as the buffer holds; several threads may.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// Writes a file from a place on; several threads may.
#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut offset: u64, mut buffer: &[u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                buffer = &buffer[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}
