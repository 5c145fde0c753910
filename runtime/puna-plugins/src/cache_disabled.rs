//! Where files have no owner and mode to trust, nothing is cached.

use std::path::{Path, PathBuf};

use wasmtime::Engine;

/// Never made: see [`Cache::open`].
pub enum Cache {}

/// An entry to trust; there is none.
pub enum Entry {}

impl Entry {
    /// A path of its file.
    pub fn path(&self) -> PathBuf {
        match *self {}
    }
}

impl Cache {
    /// None: loading compiled code is running it, and nothing here tells whose it is.
    pub fn open(_: &Path, _: &Engine) -> Option<Self> {
        None
    }

    /// The compiled code of the component with this digest, if there is any to trust.
    pub fn get(&self, _: &str) -> Option<Entry> {
        match *self {}
    }

    /// Stores compiled code.
    pub fn put(&self, _: &str, _: &[u8]) {
        match *self {}
    }
}
