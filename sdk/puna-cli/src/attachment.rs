//! Files that tools leave for the user, saved.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind as IoKind, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use puna::{Error, ErrorKind, Media, Result};

/// Longest name that is kept of a file's, in characters: file systems take 255 bytes.
const MAX_NAME_CHARS: usize = 60;

/// Most files of one name in a folder: finding a free one is a look each.
const MAX_NUMBER: u32 = 1_000;

/// Saves a file that a tool left in a folder, which is made where it is missing. The name is the tool's, without anything
/// that would lead elsewhere; no file that is there is written over: the name gets a number then. Gives the path.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for what is no data in line; those of writing.
pub(crate) fn save(folder: &Path, name: &str, media: &Media) -> Result<PathBuf> {
    let encoded = media.url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
    let (_, encoded) = encoded.ok_or_else(|| Error::invalid_input("the file is not in line as base64"))?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| Error::invalid_input("the file is no base64").with_source(error))?;
    fs::create_dir_all(folder).map_err(|error| Error::from_io("make", folder, error))?;
    let (mut file, path) = free(folder, &safe(name))?;
    file.write_all(&bytes).map_err(|error| Error::from_io("write", &path, error))?;
    Ok(path)
}

/// A name that is one, and no path: letters, digits and `. - _`, no dot in front.
fn safe(name: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let name: String = name.chars().map(kept).take(MAX_NAME_CHARS).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

/// A new file of this name, or of the name with a number before its ending.
fn free(folder: &Path, name: &str) -> Result<(File, PathBuf)> {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    for number in 1..=MAX_NUMBER {
        let path = match number {
            1 => folder.join(name),
            number => folder.join(format!("{stem}-{number}{ending}")),
        };
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == IoKind::AlreadyExists => {}
            Err(error) => return Err(Error::from_io("write", &path, error)),
        }
    }
    let message =
        format!("`{}` has {MAX_NUMBER} files named like `{name}`; take another folder", folder.display());
    Err(Error::new(ErrorKind::Conflict, message))
}

#[cfg(test)]
mod tests {
    use puna::Media;

    use super::save;

    #[test]
    fn files_stay_in_their_folder_and_none_is_written_over() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("files");
        let media = |text: &str| Media { media_type: "text/plain".to_owned(), url: text.to_owned() };
        let data = media("data:text/plain;base64,aGVsbG8=");
        for (name, wanted) in [
            ("chart.svg", "chart.svg"),
            ("chart.svg", "chart-2.svg"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("/home/.bashrc", "_home_.bashrc"),
            ("..", "file"),
            ("", "file-2"),
            ("a\u{1b}[2J\n.txt", "a__2J_.txt"),
            ("라마.png", "라마.png"),
        ] {
            let path = save(&folder, name, &data).expect("saved");
            assert_eq!(path, folder.join(wanted), "{name:?}");
            assert_eq!(std::fs::read(path).expect("a file"), b"hello");
        }
        let names = std::fs::read_dir(place.path()).expect("a folder").count();
        assert_eq!(names, 1, "nothing beside the folder");
        save(&folder, "x", &media("https://example.com/x")).expect_err("not in line");
        save(&folder, "x", &media("data:text/plain;base64,???")).expect_err("no base64");
    }
}
