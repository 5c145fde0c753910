//! Loaders: readers of documents. See [`loaders!`](crate::loaders!).

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::{Map, Value};

use crate::{Error, ErrorKind};

/// Bytes of one crossing to the host.
const PIECE_BYTES: u32 = 64 << 10;

/// A document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Identifies it within its source.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Title, author, page and whatever else is known.
    pub metadata: Map<String, Value>,
}

impl Document {
    /// A document with an id and a text alone.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), metadata: Map::new() }
    }

    /// The same with one more that is known of it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }
}

/// What a loader gives: documents one after the other, made as they are taken. After an error there are no more.
pub type Documents = Box<dyn Iterator<Item = Result<Document, Error>>>;

/// What is to be read.
#[derive(Debug)]
pub struct Source {
    /// The path or address, as the user gave it.
    pub uri: String,
    /// What it is said to be.
    pub media_type: Option<String>,
    /// The bytes behind it, where the host has them; a loader of addresses fetches them itself.
    pub content: Option<Blob>,
}

impl Source {
    /// A source in memory, for tests.
    pub fn of_bytes(uri: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { uri: uri.into(), media_type: None, content: Some(Blob::of_bytes(bytes)) }
    }

    /// The bytes behind it.
    ///
    /// # Errors
    /// Invalid-input when the host has none.
    pub fn blob(self) -> Result<Blob, Error> {
        let uri = self.uri;
        self.content.ok_or_else(|| Error::invalid_input(format!("`{uri}` comes without its bytes")))
    }

    /// All bytes behind it, at most `most`: for formats that can only be read whole.
    ///
    /// # Errors
    /// Too-large for more; those of [`blob`](Self::blob) and of reading.
    pub fn read_all(self, most: u64) -> Result<Vec<u8>, Error> {
        let uri = self.uri.clone();
        let mut blob = self.blob()?;
        if blob.size() > most {
            let message = format!("`{uri}` takes {} bytes; the most is {most}", blob.size());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size()).unwrap_or(0));
        blob.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The last part of its path, without the ending.
    pub fn stem(&self) -> &str {
        let name = self.uri.rsplit(['/', '\\']).next().unwrap_or(&self.uri);
        Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name)
    }
}

/// Bytes that stay with the host and are read in pieces, as a file is.
#[derive(Debug)]
pub struct Blob {
    bytes: host::Bytes,
    size: u64,
    position: u64,
    /// What was read last, and where it begins.
    piece: Vec<u8>,
    piece_start: u64,
}

impl Blob {
    fn new(bytes: host::Bytes) -> Self {
        Self { size: bytes.size(), bytes, position: 0, piece: Vec::new(), piece_start: 0 }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let within = self.position.wrapping_sub(self.piece_start);
        if self.position < self.piece_start || within >= self.piece.len() as u64 {
            if self.position >= self.size || buffer.is_empty() {
                return Ok(0);
            }
            self.piece = self.bytes.read(self.position, PIECE_BYTES).map_err(io::Error::other)?;
            self.piece_start = self.position;
        }
        let start = usize::try_from(self.position - self.piece_start).unwrap_or(usize::MAX);
        let rest = self.piece.get(start..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Blob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position =
            position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the beginning"))?;
        Ok(self.position)
    }
}

/// What was wrong with the host's bytes comes back as it was.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let message = format!("the source cannot be read: {error}");
        match error.into_inner().and_then(|inner| inner.downcast::<Error>().ok()) {
            Some(error) => *error,
            None => Self::invalid_input(message),
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod host {
    use crate::{Error, guest::bindings::loader::puna::plugin::blobs};

    #[derive(Debug)]
    pub struct Bytes(blobs::Blob);

    impl Bytes {
        pub fn size(&self) -> u64 {
            self.0.size()
        }

        pub fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
            Ok(self.0.read(offset, length)?)
        }
    }

    impl super::Blob {
        pub(crate) fn of_host(blob: blobs::Blob) -> Self {
            Self::new(Bytes(blob))
        }

        /// Bytes in memory, for tests: there are none in a component.
        pub fn of_bytes(_: impl Into<Vec<u8>>) -> Self {
            unreachable!("only tests make blobs")
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use crate::Error;

    #[derive(Debug)]
    pub struct Bytes(Vec<u8>);

    impl Bytes {
        pub fn size(&self) -> u64 {
            self.0.len() as u64
        }

        #[allow(clippy::unnecessary_wraps, reason = "the host's can fail")]
        pub fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
            let end = start.saturating_add(length as usize).min(self.0.len());
            Ok(self.0[start..end].to_vec())
        }
    }

    impl super::Blob {
        /// Bytes in memory, for tests.
        pub fn of_bytes(bytes: impl Into<Vec<u8>>) -> Self {
            Self::new(Bytes(bytes.into()))
        }
    }
}

/// Some documents of a source, and where to go on.
#[derive(Debug, Default)]
pub struct Page {
    /// The documents.
    pub documents: Vec<Document>,
    /// Where a later opening goes on; none at the end.
    pub resume: Option<String>,
}

/// An open source. Resuming skips as many documents as were given.
pub struct Cursor {
    documents: Documents,
    given: u64,
    /// An error that came after documents that are told first.
    failed: Option<Error>,
    /// The document that begins the next page, made to know whether there is one.
    next: Option<Document>,
}

impl Cursor {
    /// Begins at the start, or where a page before ended.
    pub fn new(mut documents: Documents, resume: Option<&str>) -> Result<Self, Error> {
        let mut given = 0;
        if let Some(resume) = resume {
            let skip: u64 = resume
                .parse()
                .map_err(|_| Error::invalid_input(format!("`{resume}` is no place to go on")))?;
            while given < skip {
                match documents.next() {
                    Some(document) => drop(document?),
                    None => {
                        return Err(Error::invalid_input(format!("the source ends before document {skip}")));
                    }
                }
                given += 1;
            }
        }
        Ok(Self { documents, given, failed: None, next: None })
    }

    /// The next documents: at most so many, and once they take so many bytes no more.
    pub fn page(&mut self, max_documents: u32, max_bytes: u64) -> Result<Page, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut page = Page::default();
        let mut bytes = 0;
        loop {
            let document = match self.next.take() {
                Some(document) => Some(Ok(document)),
                None => self.documents.next(),
            };
            match document {
                None => return Ok(page),
                Some(Err(error)) if page.documents.is_empty() => return Err(error),
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Some(Ok(document)) => {
                    if page.documents.len() >= max_documents.max(1) as usize || bytes >= max_bytes {
                        self.next = Some(document);
                        break;
                    }
                    bytes += document.text.len() as u64;
                    page.documents.push(document);
                    self.given += 1;
                }
            }
        }
        page.resume = Some(self.given.to_string());
        Ok(page)
    }
}
