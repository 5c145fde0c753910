use puna_core::{Error, ErrorKind, Result};

use crate::{MAX_BATCH_OPERATIONS, MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// Writes and removals to perform together, if what was expected still holds.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) conditions: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// In order; a value of none removes the key.
    pub(crate) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key has this value (none: is not there).
    #[must_use]
    pub fn expect(mut self, namespace: &str, key: &[u8], value: Option<&[u8]>) -> Self {
        self.conditions.push((full_key(namespace, key), value.map(<[u8]>::to_vec)));
        self
    }

    /// Writes a value.
    #[must_use]
    pub fn put(mut self, namespace: &str, key: &[u8], value: Vec<u8>) -> Self {
        self.writes.push((full_key(namespace, key), Some(value)));
        self
    }

    /// Removes a key, whether it is there or not.
    #[must_use]
    pub fn remove(mut self, namespace: &str, key: &[u8]) -> Self {
        self.writes.push((full_key(namespace, key), None));
        self
    }

    /// Whether every part is within the store's limits.
    pub(crate) fn check(&self) -> Result<()> {
        let too_large = |what: &str, got: usize, limit: usize| {
            Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("{what} of {got} is over the store's limit of {limit}"),
            ))
        };
        let operations = self.conditions.len() + self.writes.len();
        if operations > MAX_BATCH_OPERATIONS {
            return too_large("a batch", operations, MAX_BATCH_OPERATIONS);
        }
        for (key, value) in self.conditions.iter().chain(&self.writes) {
            if key.len() > MAX_KEY_BYTES {
                return too_large("a key's length", key.len(), MAX_KEY_BYTES);
            }
            let length = value.as_ref().map_or(0, Vec::len);
            if length > MAX_VALUE_BYTES {
                return too_large("a value's length", length, MAX_VALUE_BYTES);
            }
        }
        Ok(())
    }
}

/// A key with its namespace in front. A namespace is a fixed word of a crate and holds no NUL, so none is the
/// beginning of another.
pub(crate) fn full_key(namespace: &str, key: &[u8]) -> Vec<u8> {
    debug_assert!(!namespace.is_empty() && !namespace.contains('\0'));
    let mut full = Vec::with_capacity(namespace.len() + 1 + key.len());
    full.extend_from_slice(namespace.as_bytes());
    full.push(0);
    full.extend_from_slice(key);
    full
}
