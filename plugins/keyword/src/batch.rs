use std::collections::BTreeMap;

use puna_plugin::{Error, ErrorKind, store};

/// Most keys that the host takes at once, to read and to write.
const MAX_KEYS: usize = 10_000;

/// Changes that are written at once in the end, and until then seen by whoever reads here.
#[derive(Default)]
pub struct Batch {
    changes: BTreeMap<String, Option<Vec<u8>>>,
}

impl Batch {
    /// The values of keys, in their order.
    pub fn get(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let stored: Vec<String> =
            keys.iter().filter(|key| !self.changes.contains_key(*key)).cloned().collect();
        let mut values = Vec::new();
        for keys in stored.chunks(MAX_KEYS) {
            values.extend(store::get_many(keys)?);
        }
        let mut values = values.into_iter();
        let value = |key: &String| match self.changes.get(key) {
            Some(changed) => changed.clone(),
            None => values.next().flatten(),
        };
        Ok(keys.iter().map(value).collect())
    }

    /// Sets a key, or deletes it.
    pub fn put(&mut self, key: String, value: Option<Vec<u8>>) {
        self.changes.insert(key, value);
    }

    /// Writes everything, or nothing.
    ///
    /// # Errors
    /// Too-large for more changes than can be made at once, and those of the store.
    pub fn commit(self) -> Result<(), Error> {
        if self.changes.len() > MAX_KEYS {
            let message = format!(
                "the document changes {} entries of the index; the most is {MAX_KEYS}: index it in parts",
                self.changes.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        store::write(self.changes.into_iter().collect())
    }
}
