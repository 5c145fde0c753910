//! Durable keys and values of this plugin alone. A plugin that keeps something asks for the grant `store`.
//!
//! ```
//! use puna_plugin::store;
//! store::set("greeting", "hello").unwrap();
//! assert_eq!(store::get("greeting").unwrap().as_deref(), Some(&b"hello"[..]));
//! assert_eq!(store::keys("gr", None, 10).unwrap(), ["greeting"]);
//! ```

use crate::Error;

/// A key's new value; none deletes it.
pub type Change = (String, Option<Vec<u8>>);

/// A key's value.
///
/// # Errors
/// Denied when the plugin was not granted the store, and those of the store.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(get_many(&[key.to_owned()])?.pop().flatten())
}

/// The values of keys, in their order.
///
/// # Errors
/// Denied when the plugin was not granted the store, and those of the store.
pub fn get_many(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    host::get(keys)
}

/// Sets a key; durable when it returns.
///
/// # Errors
/// Denied when the plugin was not granted the store, too-large above the host's limits, and those of the store.
pub fn set(key: &str, value: impl Into<Vec<u8>>) -> Result<(), Error> {
    write(vec![(key.to_owned(), Some(value.into()))])
}

/// Deletes a key.
///
/// # Errors
/// Denied when the plugin was not granted the store, and those of the store.
pub fn delete(key: &str) -> Result<(), Error> {
    write(vec![(key.to_owned(), None)])
}

/// Performs changes, all or none; durable when it returns.
///
/// # Errors
/// Denied when the plugin was not granted the store, too-large above the host's limits, and those of the store.
pub fn write(changes: Vec<Change>) -> Result<(), Error> {
    host::write(changes)
}

/// At most `limit` keys that begin with `prefix` and come after `after`, in order.
///
/// # Errors
/// Denied when the plugin was not granted the store, and those of the store.
pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    host::keys(prefix, after, limit)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Change;
    use crate::{Error, guest::bindings::host::puna::plugin::key_value};

    pub fn get(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(key_value::get(keys)?)
    }

    pub fn write(changes: Vec<Change>) -> Result<(), Error> {
        Ok(key_value::write(&changes)?)
    }

    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        Ok(key_value::list_keys(prefix, after, limit)?)
    }
}

/// Natively each thread has a store of its own, which is empty at first.
#[cfg(not(target_arch = "wasm32"))]
mod host {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::Change;
    use crate::Error;

    thread_local! {
        static STORE: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub fn get(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(STORE.with_borrow(|store| keys.iter().map(|key| store.get(key).cloned()).collect()))
    }

    pub fn write(changes: Vec<Change>) -> Result<(), Error> {
        STORE.with_borrow_mut(|store| {
            for (key, value) in changes {
                match value {
                    Some(value) => store.insert(key, value),
                    None => store.remove(&key),
                };
            }
        });
        Ok(())
    }

    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        let fits = |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
        Ok(STORE.with_borrow(|store| store.keys().filter(fits).take(limit as usize).cloned().collect()))
    }
}
