//! Bytes that stay with the host.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use puna_core::{Error, Result};
use wasmtime::component::Resource;

use super::{GuestState, failure, scrub};
use crate::contract::bindings::puna::plugin::{blobs, types};

/// Most bytes that one read gives: a guest asks again.
const MAX_READ_BYTES: u32 = 1 << 20;

/// Where a blob's bytes are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobSource(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Bytes(Vec<u8>),
    File { file: Mutex<File>, size: u64 },
}

impl BlobSource {
    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Inner::Bytes(bytes.into())))
    }

    /// A file, read as the guest asks for it.
    ///
    /// # Errors
    /// Those of opening; invalid input for what is no file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::from_io("read", path, error))?;
        let metadata = file.metadata().map_err(|error| Error::from_io("read", path, error))?;
        if !metadata.is_file() {
            return Err(Error::invalid_input(format!("`{}` is not a file", path.display())));
        }
        Ok(Self(Arc::new(Inner::File { file: Mutex::new(file), size: metadata.len() })))
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        match &*self.0 {
            Inner::Bytes(bytes) => bytes.len() as u64,
            Inner::File { size, .. } => *size,
        }
    }

    fn read(&self, offset: u64, length: u32) -> std::io::Result<Vec<u8>> {
        let length = length.min(MAX_READ_BYTES);
        match &*self.0 {
            Inner::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(length as usize).min(bytes.len());
                Ok(bytes[start..end].to_vec())
            }
            Inner::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = Vec::new();
                Read::by_ref(&mut *file).take(length.into()).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

/// A blob in a guest's hands.
pub struct Blob(pub BlobSource);

impl blobs::Host for GuestState {}

impl blobs::HostBlob for GuestState {
    fn size(&mut self, blob: Resource<Blob>) -> wasmtime::Result<u64> {
        Ok(self.resources.get(&blob)?.0.size())
    }

    fn read(
        &mut self,
        blob: Resource<Blob>,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        let source = self.resources.get(&blob)?.0.clone();
        // A page that is in memory is read faster than a thread is changed, and one that is not takes no longer than
        // the guest would compute between two ticks.
        Ok(source.read(offset, length).map_err(|error| {
            failure(types::ErrorKind::Unavailable, scrub(&format!("the source cannot be read: {error}"), 300))
        }))
    }

    fn drop(&mut self, blob: Resource<Blob>) -> wasmtime::Result<()> {
        self.resources.delete(blob)?;
        Ok(())
    }
}
