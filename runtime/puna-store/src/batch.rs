use puna_core::{Error, ErrorKind, Result};

use crate::{MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_VALUE_BYTES};

/// The store's own records, which nobody else reads or writes and no export carries: each store counts for itself.
pub(crate) const OWN_NAMESPACE: &str = "meta";

/// Writes and removals to perform together, if what was expected still holds.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) conditions: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// In order; a value of none removes the key.
    pub(crate) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Bytes of everything above.
    bytes: usize,
    /// The first namespace that is none, told when the batch is committed.
    refused: Option<String>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key has this value (none: is not there).
    #[must_use]
    pub fn expect(mut self, namespace: &str, key: &[u8], value: Option<&[u8]>) -> Self {
        if let Some(key) = self.key(namespace, key, value.map_or(0, <[u8]>::len)) {
            self.conditions.push((key, value.map(<[u8]>::to_vec)));
        }
        self
    }

    /// Writes a value.
    #[must_use]
    pub fn put(mut self, namespace: &str, key: &[u8], value: Vec<u8>) -> Self {
        if let Some(key) = self.key(namespace, key, value.len()) {
            self.writes.push((key, Some(value)));
        }
        self
    }

    /// Removes a key, whether it is there or not.
    #[must_use]
    pub fn remove(mut self, namespace: &str, key: &[u8]) -> Self {
        if let Some(key) = self.key(namespace, key, 0) {
            self.writes.push((key, None));
        }
        self
    }

    /// Whether it does and expects nothing.
    pub fn is_empty(&self) -> bool {
        self.operations() == 0 && self.refused.is_none()
    }

    /// Conditions, writes and removals so far, of [`MAX_BATCH_OPERATIONS`].
    pub fn operations(&self) -> usize {
        self.conditions.len() + self.writes.len()
    }

    /// Bytes of keys and values so far, of [`MAX_BATCH_BYTES`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The full key, counted with its value.
    fn key(&mut self, namespace: &str, key: &[u8], value_bytes: usize) -> Option<Vec<u8>> {
        match full_key(namespace, key) {
            Ok(key) => {
                self.bytes = self.bytes.saturating_add(key.len() + value_bytes);
                Some(key)
            }
            Err(_) => {
                self.refused.get_or_insert_with(|| namespace.to_owned());
                None
            }
        }
    }

    /// Whether every part is within the store's limits.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(namespace) = &self.refused {
            check_namespace(namespace)?;
        }
        for (what, got, limit) in [
            ("the number of operations of a batch", self.operations(), MAX_BATCH_OPERATIONS),
            ("the size of a batch", self.bytes, MAX_BATCH_BYTES),
        ] {
            within(what, got, limit)?;
        }
        for (key, value) in self.conditions.iter().chain(&self.writes) {
            within("a key's length", key.len(), MAX_KEY_BYTES)?;
            within("a value's length", value.as_ref().map_or(0, Vec::len), MAX_VALUE_BYTES)?;
        }
        Ok(())
    }
}

fn within(what: &str, got: usize, limit: usize) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!("{what}, {got}, is over the store's limit of {limit}"),
    ))
}

/// Whether a namespace may have this name: not empty, at most [`MAX_NAMESPACE_BYTES`], without NUL, which ends it in a
/// key, and not the store's own.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) telling what is wrong.
pub(crate) fn check_namespace(namespace: &str) -> Result<()> {
    let wrong = match namespace {
        "" => "is empty".to_owned(),
        OWN_NAMESPACE => "is the store's own".to_owned(),
        long if long.len() > MAX_NAMESPACE_BYTES => {
            format!("has {} bytes, at most {MAX_NAMESPACE_BYTES} are allowed", long.len())
        }
        name if name.contains('\0') => "holds a NUL".to_owned(),
        _ => return Ok(()),
    };
    // A name that is too long is not repeated as a whole.
    let shown: String = namespace.chars().take(MAX_NAMESPACE_BYTES).collect();
    Err(Error::invalid_input(format!("the namespace `{}` {wrong}", shown.escape_debug())))
}

/// A key with its namespace in front. A namespace holds no NUL, so none is the beginning of another.
///
/// # Errors
/// Those of [`check_namespace`].
pub(crate) fn full_key(namespace: &str, key: &[u8]) -> Result<Vec<u8>> {
    check_namespace(namespace)?;
    let mut full = Vec::with_capacity(namespace.len() + 1 + key.len());
    full.extend_from_slice(namespace.as_bytes());
    full.push(0);
    full.extend_from_slice(key);
    Ok(full)
}

/// Namespace and key of a full key.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) for what no [`full_key`] is.
pub(crate) fn split_key(full: &[u8]) -> Result<(&str, &[u8])> {
    let end = full.iter().position(|byte| *byte == 0);
    end.and_then(|end| Some((std::str::from_utf8(&full[..end]).ok()?, &full[end + 1..]))).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("the key `{}` has no namespace", full.escape_ascii()))
    })
}

/// The first key above this one.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
