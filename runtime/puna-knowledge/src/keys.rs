//! Where what lies in the store: `namespace | knowledge base | kind | id`, so that a namespace is a prefix of its keys and
//! never a filter.

use puna_core::{Error, Result};

/// The store's name for everything here.
pub(crate) const SPACE: &str = "knowledge";

/// Longest name of a namespace, in bytes: keys are kept in memory.
pub const MAX_NAMESPACE_BYTES: usize = 128;

/// Longest name of a knowledge base, in bytes.
pub const MAX_BASE_NAME_BYTES: usize = 64;

/// Longest id of a document, in bytes: paths and addresses fit, and keys stay within the store's limit.
pub const MAX_DOCUMENT_ID_BYTES: usize = 512;

/// The kinds of a knowledge base's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `id` of a document: its number.
    Id = b'd',
    /// `number` (8): what is known of a document.
    Document = b'n',
    /// `number | piece (4)`: a document's text.
    Text = b't',
    /// `number | block (4)`: a document's chunks.
    Chunks = b'c',
    /// `fingerprint (16) | digest of the text (16) | number`: a chunk's vector. In this order the key is the cache too: a
    /// text that any document has is not embedded again, and with its last document its vector goes.
    Vector = b'v',
    /// `expires (8) | number`: what ends when.
    Expiry = b'x',
}

/// The prefix of a knowledge base.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prefix(Vec<u8>);

impl Prefix {
    pub(crate) fn new(namespace: &str, base: &str) -> Result<Self> {
        check_name("namespace", namespace, MAX_NAMESPACE_BYTES)?;
        check_name("knowledge base", base, MAX_BASE_NAME_BYTES)?;
        let mut key = sized(namespace);
        key.extend(sized(base));
        Ok(Self(key))
    }

    pub(crate) fn key(&self, kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 64);
        key.extend_from_slice(&self.0);
        key.push(kind as u8);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    /// Every key of the knowledge base.
    pub(crate) fn all(&self) -> &[u8] {
        &self.0
    }

    /// What comes behind the kind.
    pub(crate) fn id<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.get(self.0.len() + 1..)
    }
}

/// Where the record of a knowledge base lies, beside those of its namespace: no base has a name of length 0.
pub(crate) fn catalog(namespace: &str, base: &str) -> Result<Vec<u8>> {
    check_name("namespace", namespace, MAX_NAMESPACE_BYTES)?;
    let mut key = sized(namespace);
    key.extend_from_slice(&[0, 0]);
    key.extend_from_slice(base.as_bytes());
    Ok(key)
}

/// The length in front: no name is the beginning of another's key.
fn sized(name: &str) -> Vec<u8> {
    // Names are at most some hundred bytes long.
    let mut key = (name.len() as u16).to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// Whether a name is 1 to `limit` bytes of letters, digits, blanks and `. _ - : / @ +`.
fn check_name(what: &str, name: &str, limit: usize) -> Result<()> {
    if name.is_empty() || name.trim() != name || name.len() > limit {
        return Err(Error::invalid_input(format!(
            "the {what}'s name has {} bytes; it has 1 to {limit}, without blanks around it",
            name.len()
        )));
    }
    match name.chars().find(|c| !(c.is_alphanumeric() || " ._-:/@+".contains(*c))) {
        None => Ok(()),
        Some(c) => Err(Error::invalid_input(format!(
            "the {what}'s name holds `{}`; letters, digits, blanks and . _ - : / @ + are allowed",
            c.escape_debug()
        ))),
    }
}

/// Whether a document may have this id.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_DOCUMENT_ID_BYTES || id.contains('\0') {
        return Err(Error::invalid_input(format!(
            "a document's id has {} bytes; it has 1 to {MAX_DOCUMENT_ID_BYTES}, and no NUL",
            id.len()
        )));
    }
    Ok(())
}
