use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use flate2::read::DeflateDecoder;
use puna_plugin::{Error, ErrorKind, Source, loader::Blob};
use zip::{CompressionMethod, ZipArchive};

use crate::{Node, Xml};

/// Most parts of a package: large presentations and workbooks have hundreds. Bounds what the list of them takes.
const MAX_PARTS: u64 = 20_000;

/// Most relationships of a part: as many links as a long book has.
const MAX_RELATIONSHIPS: usize = 100_000;

/// Longest part that lists relationships, unpacked.
const MAX_RELATIONSHIPS_BYTES: u64 = 32 << 20;

/// Where the end of a ZIP file's directory is looked for: its record, and the longest comment after it.
const DIRECTORY_END_BYTES: u64 = 22 + 0xffff;

/// A file of several parts: a ZIP file with names and relationships as Office Open XML has them.
pub struct Package {
    uri: String,
    archive: ZipArchive<Shared>,
    bytes: Shared,
}

/// What a part refers to.
#[derive(Clone, Debug)]
pub struct Relationship {
    /// The last part of its type, as `worksheet` or `hyperlink`.
    pub kind: String,
    /// The name of another part, or an address outside.
    pub target: String,
}

impl Package {
    /// Opens a package.
    ///
    /// # Errors
    /// Invalid-input for what is none, with a word on what it is instead where that can be told; too-large for too many
    /// parts; those of reading.
    pub fn open(source: Source) -> Result<Self, Error> {
        let uri = source.uri.clone();
        let mut bytes = Shared { blob: Rc::new(RefCell::new(source.blob()?)), position: 0 };
        let mut head = [0; 8];
        let length = bytes.read(&mut head)?;
        if head == *b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" {
            let message =
                format!("`{uri}` is encrypted or of a version before 2007; save it anew, without a password");
            return Err(Error::invalid_input(message));
        }
        if !head[..length].starts_with(b"PK") {
            return Err(Error::invalid_input(format!("`{uri}` is no Office file: it does not begin as one")));
        }
        check_parts(&uri, &mut bytes)?;
        bytes.position = 0;
        let archive = ZipArchive::new(bytes.clone()).map_err(|error| broken(&uri, error))?;
        if archive.len() as u64 > MAX_PARTS {
            return Err(too_many(&uri));
        }
        Ok(Self { uri, archive, bytes })
    }

    /// The part of a name, of which at most `most` bytes are unpacked; none if there is none.
    ///
    /// # Errors
    /// Invalid-input for one that is encrypted or packed otherwise than Office does.
    pub fn part(&mut self, name: &str, most: u64) -> Result<Option<Part>, Error> {
        let uri = &self.uri;
        let Some(index) = self.archive.index_for_name(name.trim_start_matches('/')) else { return Ok(None) };
        let entry = self.archive.by_index_raw(index).map_err(|error| broken(uri, error))?;
        if entry.encrypted() {
            return Err(Error::invalid_input(format!("`{uri}` is encrypted; save it without a password")));
        }
        let start = entry.data_start().ok_or_else(|| broken(uri, format!("`{name}` begins nowhere")))?;
        let packed = Shared { position: start, ..self.bytes.clone() }.take(entry.compressed_size());
        let inner = match entry.compression() {
            CompressionMethod::Stored => Inner::Stored(packed),
            CompressionMethod::Deflated => Inner::Deflated(Box::new(DeflateDecoder::new(packed))),
            other => return Err(broken(uri, format!("`{name}` is packed as {other}"))),
        };
        Ok(Some(Part { name: format!("{name}` in `{uri}"), inner, left: most, most }))
    }

    /// The XML of a part that must be there.
    ///
    /// # Errors
    /// Invalid-input where it is not; those of [`part`](Self::part).
    pub fn xml(&mut self, name: &str, most: u64) -> Result<Xml, Error> {
        let missing = broken(&self.uri, format!("it has no part `{name}`"));
        self.part(name, most)?.map(Xml::new).ok_or(missing)
    }

    /// What a part refers to, by the identifiers that it uses; of the empty name, what the package holds.
    ///
    /// # Errors
    /// Those of reading XML; too-large for too many.
    pub fn relationships(&mut self, part: &str) -> Result<HashMap<String, Relationship>, Error> {
        let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
        let path = if folder.is_empty() {
            format!("_rels/{name}.rels")
        } else {
            format!("{folder}/_rels/{name}.rels")
        };
        let mut found = HashMap::new();
        let Some(part) = self.part(&path, MAX_RELATIONSHIPS_BYTES)? else { return Ok(found) };
        let mut xml = Xml::new(part);
        loop {
            match xml.node()? {
                Node::Done => return Ok(found),
                Node::Start(element) if element.name() == "Relationship" => {
                    let [id, kind, target] = ["Id", "Type", "Target"].map(|name| element.attribute(name));
                    let outside = element.attribute("TargetMode").is_some_and(|mode| mode == "External");
                    if let (Some(id), Some(kind), Some(target)) = (id, kind, target) {
                        let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                        let target = if outside { target } else { resolved(folder, &target) };
                        found.insert(id, Relationship { kind, target });
                    }
                    if found.len() > MAX_RELATIONSHIPS {
                        let message = format!("`{path}` lists more than {MAX_RELATIONSHIPS} relationships");
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                }
                _ => {}
            }
        }
    }

    /// The name of the part that the package is about.
    ///
    /// # Errors
    /// Invalid-input where it is about nothing.
    pub fn main(&mut self) -> Result<String, Error> {
        let mut found = self.relationships("")?.into_values();
        let main = found.find(|it| it.kind == "officeDocument").map(|it| it.target);
        main.ok_or_else(|| broken(&self.uri, "it is a ZIP file without a document"))
    }
}

/// A part, unpacked as it is read.
pub struct Part {
    pub(crate) name: String,
    inner: Inner,
    left: u64,
    most: u64,
}

enum Inner {
    Stored(io::Take<Shared>),
    Deflated(Box<DeflateDecoder<io::Take<Shared>>>),
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Stored(inner) => inner.read(buffer),
            Inner::Deflated(inner) => inner.read(buffer),
        }?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let message = format!("`{}` takes more than {} bytes unpacked", self.name, self.most);
            io::Error::other(Error::new(ErrorKind::TooLarge, message))
        })?;
        Ok(read)
    }
}

/// The bytes of a file in several hands, each with its own place in them.
#[derive(Clone)]
struct Shared {
    blob: Rc<RefCell<Blob>>,
    position: u64,
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut blob = self.blob.borrow_mut();
        blob.seek(SeekFrom::Start(self.position))?;
        let read = blob.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut blob = self.blob.borrow_mut();
        blob.seek(SeekFrom::Start(self.position))?;
        self.position = blob.seek(to)?;
        Ok(self.position)
    }
}

/// Refuses too many parts before a list of them is made. What the records do not say is held against the list.
fn check_parts(uri: &str, bytes: &mut Shared) -> Result<(), Error> {
    let size = bytes.seek(SeekFrom::End(0))?;
    bytes.seek(SeekFrom::Start(size.saturating_sub(DIRECTORY_END_BYTES)))?;
    let mut end = Vec::new();
    bytes.read_to_end(&mut end)?;
    let number = |at: usize, length: usize| {
        let bytes = end.get(at..at + length).unwrap_or_default();
        bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    for at in 0..end.len().saturating_sub(4) {
        // Of the record at the end, and of that of large files.
        let parts = match &end[at..at + 4] {
            b"PK\x05\x06" => number(at + 10, 2),
            b"PK\x06\x06" => number(at + 32, 8),
            _ => continue,
        };
        if parts > MAX_PARTS {
            return Err(too_many(uri));
        }
    }
    Ok(())
}

fn too_many(uri: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("`{uri}` has more than {MAX_PARTS} parts"))
}

fn broken(uri: &str, what: impl std::fmt::Display) -> Error {
    Error::invalid_input(format!("`{uri}` is no sound Office file: {what}"))
}

/// The name of a part that another in a folder refers to.
fn resolved(folder: &str, target: &str) -> String {
    let whole = match target.strip_prefix('/') {
        Some(target) => target.to_owned(),
        None => format!("{folder}/{target}"),
    };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
