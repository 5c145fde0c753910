//! Values as they stand in sled: behind a checksum.

use puna_core::{Error, ErrorKind, Result};

/// Bytes of the checksum in front of every value.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// A value with the checksum of key and value in front: a value that lands under a wrong key is found too.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    sealed.extend_from_slice(&checksum(key, value).to_be_bytes());
    sealed.extend_from_slice(value);
    sealed
}

/// The value that was sealed.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) when it does not read back as it was written.
pub(crate) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8]> {
    let (sum, value) = sealed.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| corrupt(key))?;
    if u32::from_be_bytes(*sum) != checksum(key, value) {
        return Err(corrupt(key));
    }
    Ok(value)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

pub(crate) fn corrupt(key: &[u8]) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the value of key `{}` does not read back as it was written; restore the data folder from a copy",
            key.escape_ascii()
        ),
    )
}
