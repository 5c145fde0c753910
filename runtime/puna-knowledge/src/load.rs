//! Files to documents: plain text, Markdown, HTML, source code and JSON Lines here, other forms by loaders.

use std::{
    collections::HashMap,
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use puna_core::{Document, Error, ErrorKind, Loader, Result};
use serde_json::{Map, Value};

use crate::{Failure, Format, Input, MAX_DOCUMENT_BYTES, html};

/// Largest file read, in bytes: a collection of JSON Lines can have many documents.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Most files of one source: bounds what a mistaken folder costs.
pub const MAX_FILES: usize = 1_000_000;

/// Deepest folder that is gone into.
const MAX_DEPTH: usize = 64;

/// Longest name of a temporary file, in characters: with four bytes each it is what file systems take.
const MAX_NAME_CHARS: usize = 60;

/// Bytes that tell what a file is.
const HEAD: usize = 8 << 10;

/// Bytes at the end of a ZIP file that tell what it is: the directory of its parts is there.
const TAIL: u64 = 64 << 10;

/// What a file is, by its content first and its name where the content does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Text of a format.
    Text(Format),
    /// A document a line.
    JsonLines,
    /// PDF.
    Pdf,
    /// A ZIP file, which documents of Word, Excel and EPUB are too.
    Zip,
    /// Anything else that is no text.
    Binary,
}

/// Loaders for what is not read here, by the ending of a file's name in lower case, without the dot. A PDF file, a document of
/// Word and a workbook of Excel go to `pdf`, `docx` and `xlsx` whatever their names.
pub type Loaders = HashMap<String, Arc<dyn Loader>>;

/// Documents, and what became no document.
pub type Inputs = stream::BoxStream<'static, Result<Input, Failure>>;

/// Endings of programs' sources.
const CODE: [&str; 40] = [
    "rs", "py", "js", "ts", "jsx", "tsx", "mjs", "go", "java", "kt", "kts", "c", "h", "cc", "cpp", "hpp",
    "cs", "rb", "php", "swift", "scala", "sh", "bash", "sql", "lua", "pl", "r", "jl", "hs", "ml", "ex",
    "exs", "erl", "clj", "dart", "zig", "toml", "yaml", "yml", "wit",
];

/// Tells what a file is. `name` is only looked at where the content allows several answers.
pub fn detect(name: &str, head: &[u8]) -> FileKind {
    let ending = ending(name);
    if head.starts_with(b"%PDF-") {
        return FileKind::Pdf;
    }
    if head.starts_with(b"PK\x03\x04") {
        return FileKind::Zip;
    }
    let wide = head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]);
    // A character may be cut at the end of what was read.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) if wide => "",
        Err(_) => return FileKind::Binary,
    };
    if text.contains('\0') {
        return FileKind::Binary;
    }
    let begin = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |with: &str| begin.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins("<!doctype html") || begins("<html") {
        return FileKind::Text(Format::Html);
    }
    let line = begin.lines().next().unwrap_or_default();
    let object = line.starts_with('{')
        && (line.len() >= HEAD - 16 || serde_json::from_str::<Map<_, Value>>(line).is_ok());
    if object && (matches!(ending.as_str(), "jsonl" | "ndjson") || begin.contains("}\n{")) {
        return FileKind::JsonLines;
    }
    match ending.as_str() {
        "md" | "markdown" | "mdx" => FileKind::Text(Format::Markdown),
        "html" | "htm" | "xhtml" => FileKind::Text(Format::Html),
        "jsonl" | "ndjson" => FileKind::JsonLines,
        ending if CODE.contains(&ending) || line.starts_with("#!") => FileKind::Text(Format::Code),
        "txt" | "text" => FileKind::Text(Format::Text),
        _ if looks_like_markdown(begin) => FileKind::Text(Format::Markdown),
        _ => FileKind::Text(Format::Text),
    }
}

fn looks_like_markdown(text: &str) -> bool {
    let heading = |line: &str| {
        let marks = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=6).contains(&marks) && line[marks..].starts_with(' ')
    };
    text.lines().any(heading)
        && (text.contains("](")
            || text.contains("```")
            || text.lines().filter(|line| heading(line)).count() > 1)
}

fn ending(name: &str) -> String {
    Path::new(name).extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The files that a path, a folder or a pattern such as `docs/**/*.md` names, in order of their names. Of a folder every
/// file, also in folders within it, but none whose name, or whose folder's, begins with a dot; links to folders are not
/// followed.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) when there is none; [`InvalidInput`](ErrorKind::InvalidInput) for a pattern that is
/// none; those of reading folders.
pub fn find_files(source: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(source);
    let mut files = Vec::new();
    if path.is_dir() {
        walk(path, 0, &mut files)?;
    } else if path.exists() {
        files.push(path.to_owned());
    } else if source.contains(['*', '?', '[']) {
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let found = glob::glob_with(source, options).map_err(|error| {
            Error::invalid_input(format!("`{source}` is no pattern of file names")).with_source(error)
        })?;
        for path in found {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                Error::from_io("read", path, error.into())
            })?;
            if path.is_file() {
                files.push(path);
            }
            check_count(&files)?;
        }
    }
    if files.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("`{source}` names no file")));
    }
    files.sort_unstable();
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Error::from_io("read the folder", folder, error);
    if depth > MAX_DEPTH {
        return Err(Error::invalid_input(format!(
            "`{}` is more than {MAX_DEPTH} folders deep",
            folder.display()
        )));
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
        if kind.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if path.is_file() {
            files.push(path);
        }
        check_count(files)?;
    }
    Ok(())
}

fn check_count(files: &[PathBuf]) -> Result<()> {
    if files.len() <= MAX_FILES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!("the source has more than {MAX_FILES} files; give it in parts"),
    ))
}

/// The documents of files, read as the stream is polled. A document's id is its file's path; of a file with several it is
/// the path, `#` and what identifies it there.
pub fn load_files(files: Vec<PathBuf>, loaders: Loaders) -> Inputs {
    let loaders = Arc::new(loaders);
    let documents = stream::iter(files).flat_map(move |path| {
        let loaders = Arc::clone(&loaders);
        stream::once(async move { load_file(path, &loaders).await }).flatten()
    });
    documents.boxed()
}

async fn load_file(path: PathBuf, loaders: &Arc<Loaders>) -> Inputs {
    let name = path.display().to_string();
    let fail = |error| stream::iter([Err(Failure { id: name.clone(), error })]).boxed();
    if let Some(loader) = loader_of_file(&path, loaders).await {
        return load_by(loader, &name, &name).await;
    }
    let opened = path.clone();
    let read = tokio::task::spawn_blocking(move || read_file(&opened)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return fail(error),
        Err(error) => return fail(Error::internal("reading a file broke").with_source(error)),
    };
    read_bytes(name.clone(), &name, bytes)
}

/// What a loader gives of the file at `path`, which is known as `name`.
async fn load_by(loader: &Arc<dyn Loader>, path: &str, name: &str) -> Inputs {
    let (path, name) = (path.to_owned(), name.to_owned());
    match loader.load(&path, &Value::Null).await {
        Ok(documents) => documents
            .map(move |document| match document {
                Ok(document) => {
                    let id = if document.id.is_empty() || document.id == path {
                        name.clone()
                    } else {
                        format!("{name}#{}", document.id)
                    };
                    // What loaders give is structured by lines and headings, if at all.
                    Ok(Input { document: Document { id, ..document }, format: Format::Markdown })
                }
                Err(error) => Err(Failure { id: name.clone(), error }),
            })
            .boxed(),
        Err(error) => stream::iter([Err(Failure { id: name, error })]).boxed(),
    }
}

/// The ending of a loader of a file: of what its content tells beyond doubt, else of its name's ending.
fn loader_ending(content: impl Read + Seek, name: &str, loaders: &Loaders) -> Option<String> {
    [content_ending(content).map(str::to_owned), Some(ending(name))]
        .into_iter()
        .flatten()
        .find(|ending| loaders.contains_key(ending))
}

async fn loader_of_file<'a>(path: &Path, loaders: &'a Arc<Loaders>) -> Option<&'a Arc<dyn Loader>> {
    if loaders.is_empty() {
        return None;
    }
    let (path, known) = (path.to_owned(), Arc::clone(loaders));
    let ending = tokio::task::spawn_blocking(move || {
        // What does not open is told by whoever reads it.
        loader_ending(File::open(&path).ok()?, &path.display().to_string(), &known)
    });
    loaders.get(&ending.await.ok()??)
}

/// What the name of a file with this content ends in, where the content tells.
fn content_ending(mut file: impl Read + Seek) -> Option<&'static str> {
    let mut head = Vec::new();
    file.by_ref().take(HEAD as u64).read_to_end(&mut head).ok()?;
    match detect("", &head) {
        FileKind::Pdf => Some("pdf"),
        FileKind::Zip => {
            let length = file.seek(SeekFrom::End(0)).ok()?;
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
            let mut tail = Vec::new();
            file.take(TAIL).read_to_end(&mut tail).ok()?;
            let holds = |part: &str| tail.windows(part.len()).any(|window| window == part.as_bytes());
            let parts = [("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx")];
            parts.into_iter().find(|(part, _)| holds(part)).map(|(_, ending)| ending)
        }
        _ => None,
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::from_io("read", path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("`{}` has more than {MAX_FILE_BYTES} bytes; give it in parts", path.display()),
        ));
    }
    Ok(bytes)
}

/// The documents in a file's bytes, as from standard input or the network. `name` identifies them; `file` is what a file of
/// them would be named. Loaders read files: what is theirs lies in a temporary one while they do.
pub fn load_bytes(name: String, file: String, bytes: Vec<u8>, loaders: Loaders) -> Inputs {
    let Some(ending) = loader_ending(Cursor::new(&bytes), &file, &loaders) else {
        return read_bytes(name, &file, bytes);
    };
    let documents = async move {
        let copy_name = copy_name(&name, &ending);
        let copied = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
            let folder = tempfile::tempdir()?;
            let copy = folder.path().join(copy_name);
            std::fs::write(&copy, &bytes)?;
            Ok((folder, copy))
        });
        let failed = |error| stream::iter([Err(Failure { id: name.clone(), error })]).boxed();
        let (folder, copy) = match copied.await {
            Ok(Ok(copied)) => copied,
            Ok(Err(error)) => return failed(Error::from_io("write", std::env::temp_dir(), error)),
            Err(error) => return failed(Error::internal("writing a file broke").with_source(error)),
        };
        let documents = load_by(&loaders[&ending], &copy.display().to_string(), &name).await;
        documents
            .inspect(move |_| {
                // It is there until the last document is.
                let _ = &folder;
            })
            .boxed()
    };
    stream::once(documents).flatten().boxed()
}

/// A file's name for what `name` identifies, from which loaders make titles.
fn copy_name(name: &str, ending: &str) -> String {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    let stem = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
    let stem: String = stem.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    format!("{stem}.{ending}")
}

fn read_bytes(name: String, file: &str, bytes: Vec<u8>) -> Inputs {
    let kind = detect(file, &bytes[..bytes.len().min(HEAD)]);
    let fail = |id: String, error| stream::iter([Err(Failure { id, error })]).boxed();
    let refuse = |name: String, what: &str| {
        let error = Error::invalid_input(format!("`{name}` is {what}; a loader plugin can read it"));
        fail(name, error)
    };
    let format = match kind {
        FileKind::Pdf => return refuse(name, "a PDF"),
        FileKind::Zip => return refuse(name, "a ZIP file, such as a document of Word or EPUB"),
        FileKind::Binary => return refuse(name, "no text"),
        FileKind::JsonLines => Format::Text,
        FileKind::Text(format) => format,
    };
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(error) => return fail(name.clone(), error.context(format!("`{name}`"))),
    };
    if kind == FileKind::JsonLines {
        return json_lines(name, text);
    }
    let mut metadata = Map::new();
    let (text, format) = match format {
        Format::Html => {
            let page = html::text(&text);
            if let Some(title) = page.title {
                metadata.insert("title".to_owned(), title.into());
            }
            // Its headings are written as Markdown's.
            (page.text, Format::Markdown)
        }
        Format::Markdown => {
            let title = text.lines().find_map(|line| line.strip_prefix("# "));
            if let Some(title) = title {
                metadata.insert("title".to_owned(), title.trim().into());
            }
            (text, format)
        }
        _ => (text, format),
    };
    stream::iter([Ok(Input { document: Document { id: name, text, metadata }, format })]).boxed()
}

/// UTF-8, or UTF-16 with a mark in front.
fn decode(bytes: Vec<u8>) -> Result<String> {
    let wide = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let (units, _) = bytes.as_chunks::<2>();
        char::decode_utf16(units.iter().map(|unit| read(*unit))).collect::<Result<String, _>>()
    };
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid_input("the text is neither UTF-8 nor UTF-16").with_source(error)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes).map_err(|error| broken(error.into())),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes).map_err(|error| broken(error.into())),
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            String::from_utf8(rest.to_vec()).map_err(|error| broken(error.into()))
        }
        _ => String::from_utf8(bytes).map_err(|error| broken(error.into())),
    }
}

/// A document a line: an object with `text` (or `content`, `body`), and perhaps `id` (or `_id`), `title` and `metadata`;
/// what else it has is metadata too.
fn json_lines(name: String, text: String) -> Inputs {
    let mut at = 0;
    let mut number = 0;
    stream::iter(std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let line = rest.split_inclusive('\n').next()?;
            at += line.len();
            number += 1;
            if !line.trim().is_empty() {
                return Some(json_line(&name, number, line));
            }
        }
    }))
    .boxed()
}

fn json_line(name: &str, number: usize, line: &str) -> Result<Input, Failure> {
    let fail = |message: &str| Failure {
        id: format!("{name}#{number}"),
        error: Error::invalid_input(format!("line {number} of `{name}` {message}")),
    };
    if line.len() > 2 * MAX_DOCUMENT_BYTES {
        return Err(fail("is longer than a document may be"));
    }
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|error| Failure {
        id: format!("{name}#{number}"),
        error: fail("is no JSON object").error.with_source(error),
    })?;
    let mut take = |keys: &[&str]| {
        keys.iter().find_map(|key| match object.get(*key) {
            Some(Value::String(_)) => match object.shift_remove(*key) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            },
            Some(Value::Number(number)) => {
                let number = number.to_string();
                object.shift_remove(*key);
                Some(number)
            }
            _ => None,
        })
    };
    let own = take(&["id", "_id"]);
    let text = take(&["text", "content", "body"]).ok_or_else(|| fail("has no `text`"))?;
    let title = take(&["title"]).filter(|title| !title.is_empty());
    let mut metadata = match object.shift_remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
        None => Map::new(),
    };
    metadata.extend(object);
    let text = match &title {
        // The title is searched with the text.
        Some(title) if !text.starts_with(title.as_str()) => format!("{title}\n\n{text}"),
        _ => text,
    };
    if let Some(title) = title {
        metadata.insert("title".to_owned(), title.into());
    }
    let id = own.map_or_else(|| format!("{name}#{number}"), |own| format!("{name}#{own}"));
    Ok(Input { document: Document { id, text, metadata }, format: Format::Text })
}
