use std::{fs::File, io::Read, path::Path};

use puna_core::{Error, ErrorKind, Result};

/// Largest tokenizer or configuration file taken: the largest known tokenizer.json has 35 MB.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// A file's text, or none where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from_io("open", path, error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Error::invalid_input(format!("`{}` is not text in UTF-8", path.display()))
        }
        _ => Error::from_io("read", path, error),
    })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("`{}` is larger than {MAX_FILE_BYTES} bytes", path.display()),
        ));
    }
    Ok(Some(text))
}

/// A JSON file, or none where there is no such file.
pub(crate) fn read_json(path: &Path) -> Result<Option<serde_json::Value>> {
    let Some(text) = read(path)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::invalid_input(format!("`{}` is not JSON", path.display())).with_source(error))
}
