//! Keys and values of the plugin alone.

use super::{GuestState, failure, from_core, spend};
use crate::{
    Grant, KeyValue,
    contract::bindings::puna::plugin::{key_value, types},
};
use std::sync::Arc;

/// Longest key.
const MAX_KEY_BYTES: usize = 512;

/// Most keys or changes in one call of a function.
const MAX_KEYS: usize = 10_000;

impl key_value::Host for GuestState {
    async fn get(
        &mut self,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<Vec<u8>>>, types::Error>> {
        Ok(self.get_values(keys).await)
    }

    async fn write(
        &mut self,
        changes: Vec<(String, Option<Vec<u8>>)>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.write_values(changes).await)
    }

    async fn list_keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, types::Error>> {
        Ok(self.keys(&prefix, after.as_deref(), limit).await)
    }
}

impl GuestState {
    async fn get_values(&mut self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, types::Error> {
        let store = self.store()?;
        check_keys(keys.iter())?;
        let values = store.get(&self.setup.space, &keys).await.map_err(|error| from_core(&error))?;
        self.spend_store(values.iter().flatten().map(Vec::len).sum())?;
        Ok(values)
    }

    async fn write_values(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), types::Error> {
        let store = self.store()?;
        check_keys(changes.iter().map(|(key, _)| key))?;
        let length =
            |(key, value): &(String, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        self.spend_store(changes.iter().map(length).sum())?;
        store.write(&self.setup.space, changes).await.map_err(|error| from_core(&error))
    }

    async fn keys(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, types::Error> {
        let store = self.store()?;
        let limit = (limit as usize).min(MAX_KEYS);
        let keys = store.keys(&self.setup.space, prefix, after, limit).await;
        let keys = keys.map_err(|error| from_core(&error))?;
        self.spend_store(keys.iter().map(String::len).sum())?;
        Ok(keys)
    }

    fn store(&self) -> Result<Arc<dyn KeyValue>, types::Error> {
        self.need(Grant::Store)?;
        self.setup.services.store.clone().ok_or_else(|| {
            failure(types::ErrorKind::Unavailable, "this host has no store for plugins; it keeps no data")
        })
    }

    fn spend_store(&mut self, bytes: usize) -> Result<(), types::Error> {
        let most = self.setup.limits.store_bytes;
        spend(&mut self.left.store_bytes, bytes as u64, &self.plugin, "store_bytes", most).map(drop)
    }
}

fn check_keys<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> Result<(), types::Error> {
    let wrong = |message| Err(failure(types::ErrorKind::TooLarge, message));
    if keys.len() > MAX_KEYS {
        return wrong(format!("{} keys at once; the most is {MAX_KEYS}", keys.len()));
    }
    for key in keys {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return wrong(format!("a key takes 1 to {MAX_KEY_BYTES} bytes; this one has {}", key.len()));
        }
    }
    Ok(())
}
