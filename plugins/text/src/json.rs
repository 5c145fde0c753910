//! JSON and JSON Lines: one document a value.
//!
//! Values are cut out of the stream by counting brackets and are parsed one at a time, so an array of any length and
//! lines of any number are read in bounded memory.

use std::io::{BufReader, Bytes, Read as _};

use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_decoding::Decoded;
use serde_json::Value;

use crate::Json;

/// Longest value: parsed, its empty objects take thirty times that in a loader's memory.
const MAX_VALUE_BYTES: usize = 2 << 20;

/// Bytes of one read: a decoded piece.
const BUFFER_BYTES: usize = 64 << 10;

/// The documents of a source.
pub struct Values {
    bytes: Bytes<BufReader<Decoded>>,
    uri: String,
    options: Json,
    /// A byte that was read and belongs to what comes next.
    peeked: Option<u8>,
    line: u64,
    count: u64,
    place: Place,
    failed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Before the first value.
    Start,
    /// Between values one after the other.
    Stream,
    /// In an array around the values, before one of them.
    Array,
    /// After a value of the array.
    ArrayNext,
    End,
}

impl Values {
    pub fn new(source: Source, options: Json) -> Result<Self, Error> {
        let pointers = [("/text", &options.text), ("/id", &options.id)];
        let single =
            pointers.iter().filter_map(|(path, pointer)| Some(((*path).to_owned(), pointer.as_ref()?)));
        let listed = options
            .metadata
            .iter()
            .enumerate()
            .map(|(index, pointer)| (format!("/metadata/{index}"), pointer));
        for (path, pointer) in single.chain(listed) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let message = format!("`{pointer}` is no JSON pointer; write `/{pointer}`");
                return Err(Error::invalid_input(message).at(path));
            }
        }
        let uri = source.uri.clone();
        let by_name = [".jsonl", ".ndjson"].iter().any(|ending| uri.to_ascii_lowercase().ends_with(ending));
        let by_type =
            source.media_type.as_deref().is_some_and(|it| it.contains("jsonl") || it.contains("ndjson"));
        let place = if options.lines.unwrap_or(by_name || by_type) { Place::Stream } else { Place::Start };
        let decoded = Decoded::new(source, options.encoding.as_deref())?;
        let bytes = BufReader::with_capacity(BUFFER_BYTES, decoded).bytes();
        Ok(Self { bytes, uri, options, peeked: None, line: 1, count: 0, place, failed: false })
    }

    fn byte(&mut self) -> Result<Option<u8>, Error> {
        if let Some(byte) = self.peeked.take() {
            return Ok(Some(byte));
        }
        let byte = self.bytes.next().transpose()?;
        self.line += u64::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn unspaced(&mut self) -> Result<Option<u8>, Error> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                byte => return Ok(byte),
            }
        }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        let (uri, line) = (&self.uri, self.line);
        Error::invalid_input(format!("`{uri}` is not valid JSON at line {line}: {what}"))
    }

    /// The bytes of the next value.
    fn value(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let byte = self.unspaced()?;
            match (self.place, byte) {
                (Place::End, Some(_)) => return Err(self.wrong("there is more after the array")),
                (Place::Start | Place::Stream | Place::End, None) => {
                    self.place = Place::End;
                    return Ok(None);
                }
                (Place::Start, Some(b'[')) => match self.unspaced()? {
                    Some(b']') => self.place = Place::End,
                    byte => {
                        self.peeked = byte;
                        self.place = Place::Array;
                    }
                },
                (Place::ArrayNext, Some(b']')) => self.place = Place::End,
                (Place::ArrayNext, Some(b',')) => self.place = Place::Array,
                (Place::ArrayNext, Some(_)) => return Err(self.wrong("a `,` or `]` is missing")),
                (Place::Array | Place::ArrayNext, None) => return Err(self.wrong("the array does not end")),
                (Place::Start | Place::Stream, Some(byte)) => {
                    self.place = Place::Stream;
                    return self.cut(byte).map(Some);
                }
                (Place::Array, Some(byte)) => {
                    self.place = Place::ArrayNext;
                    return self.cut(byte).map(Some);
                }
            }
        }
    }

    /// The value that begins with a byte: up to its last bracket or quote, or to what ends a number or a word.
    fn cut(&mut self, first: u8) -> Result<Vec<u8>, Error> {
        let mut value = vec![first];
        let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
        let mut byte = first;
        loop {
            if quoted {
                quoted = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                if !quoted && depth == 0 {
                    return Ok(value);
                }
            } else {
                match byte {
                    b'"' => quoted = true,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            return Ok(value);
                        }
                    }
                    _ => {}
                }
            }
            let Some(next) = self.byte()? else { return Ok(value) };
            if depth == 0 && !quoted && matches!(next, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}') {
                self.peeked = Some(next);
                return Ok(value);
            }
            if value.len() == MAX_VALUE_BYTES {
                let (uri, line) = (&self.uri, self.line);
                let message =
                    format!("a value of `{uri}` at line {line} is longer than {MAX_VALUE_BYTES} bytes");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            value.push(next);
            byte = next;
        }
    }

    fn document(&mut self) -> Result<Option<Document>, Error> {
        let line = self.line;
        let Some(bytes) = self.value()? else { return Ok(None) };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            self.line = self.line.max(line);
            self.wrong(error)
        })?;
        self.count += 1;
        let missing = |pointer: &str, option: &str| {
            let message = format!("value {} of `{}` has nothing at `{pointer}`", self.count, self.uri);
            Error::invalid_input(message).at(option)
        };
        let find = |pointer: &Option<String>, option| match pointer {
            Some(pointer) => value.pointer(pointer).map(Some).ok_or_else(|| missing(pointer, option)),
            None => Ok(None),
        };
        let text = find(&self.options.text, "/text")?.unwrap_or(&value);
        let id = find(&self.options.id, "/id")?.map_or_else(|| format!("value {}", self.count), shown);
        let mut document = Document::new(id, shown(text));
        for pointer in &self.options.metadata {
            // What only some values have is left out of the others.
            if let Some(found) = value.pointer(pointer) {
                let last = pointer.rsplit('/').next().unwrap_or_default();
                let short = last.replace("~1", "/").replace("~0", "~");
                let key = if document.metadata.contains_key(&short) { pointer.clone() } else { short };
                document.metadata.insert(key, found.clone());
            }
        }
        Ok(Some(document))
    }
}

impl Iterator for Values {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let document = self.document();
        self.failed = document.is_err();
        document.transpose()
    }
}

/// Text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
