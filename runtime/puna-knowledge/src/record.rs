//! What is kept of a knowledge base and its documents, and how it is written.

use std::ops::Range;

use puna_core::{Described, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{Chunk, Format, Metric, SplitOptions};

/// The form of a knowledge base's data that this version writes and reads.
pub(crate) const SCHEMA: u32 = 1;

/// Bytes of a document's text in one value: below what the store takes.
pub(crate) const PIECE_BYTES: usize = 24 << 10;

/// Chunks in one value.
pub(crate) const BLOCK_CHUNKS: usize = 512;

/// The first half of a SHA-256.
pub(crate) type Digest = [u8; 16];

pub(crate) fn digest(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(&hasher.finalize()[..16]);
    digest
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A knowledge base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BaseRecord {
    pub(crate) schema: u32,
    /// What the next document is called. Numbers are not used twice: each version of a document has its own.
    pub(crate) next: u64,
    pub(crate) split: SplitOptions,
    pub(crate) metric: Metric,
    /// The vectors that searches use.
    pub(crate) embedding: Embedding,
    /// The vectors of another model that are being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) following: Option<Embedding>,
    pub(crate) created_ms: u64,
}

/// The model that vectors are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// Tells the model's vectors from others.
    pub fingerprint: String,
    /// Length of a vector.
    pub dimension: usize,
}

impl Embedding {
    /// What stands in keys.
    pub(crate) fn digest(&self) -> Digest {
        digest(&[self.fingerprint.as_bytes(), &(self.dimension as u64).to_be_bytes()])
    }
}

/// What is known of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// Identifies the document in its knowledge base.
    pub id: String,
    /// Which source it came from.
    pub source: String,
    /// What its text is.
    pub format: Format,
    /// Title, author and whatever else the loader knows.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Bytes of its text.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u32,
    /// Of text, metadata and the way it was split: what does not change is not read again.
    pub digest: String,
    /// When it was added, in milliseconds since 1970.
    pub added_ms: u64,
    /// When it ends, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

impl DocumentRecord {
    /// What filters look at.
    pub(crate) fn described(&self) -> Described<'_> {
        Described { id: &self.id, source: &self.source, metadata: &self.metadata }
    }
}

/// A chunk as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    pub(crate) span: Range<u32>,
    pub(crate) parent: Range<u32>,
    /// Of its text.
    pub(crate) digest: Digest,
}

/// Bytes of a chunk's record.
const CHUNK_BYTES: usize = 32;

impl ChunkRecord {
    /// Documents are smaller than 4 GiB.
    pub(crate) fn new(chunk: &Chunk, text: &str) -> Self {
        let short = |range: &Range<usize>| range.start as u32..range.end as u32;
        Self {
            span: short(&chunk.span),
            parent: short(&chunk.parent),
            digest: digest(&[text[chunk.span.clone()].as_bytes()]),
        }
    }

    pub(crate) fn encode(chunks: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(chunks.len() * CHUNK_BYTES);
        for chunk in chunks {
            for number in [chunk.span.start, chunk.span.end, chunk.parent.start, chunk.parent.end] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.extend_from_slice(&chunk.digest);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Self>> {
        let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
        if !rest.is_empty() {
            return Err(unreadable("a document's chunks"));
        }
        let read = |bytes: &[u8; CHUNK_BYTES]| {
            let number =
                |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let mut digest = Digest::default();
            digest.copy_from_slice(&bytes[16..]);
            Self { span: number(0)..number(4), parent: number(8)..number(12), digest }
        };
        Ok(chunks.iter().map(read).collect())
    }
}

pub(crate) fn encode_vector(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) fn decode_vector(bytes: &[u8], dimension: usize) -> Result<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() || numbers.len() != dimension {
        return Err(unreadable("a chunk's vector"));
    }
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("a record does not serialise").with_source(error))
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(what).with_source(error))
}

pub(crate) fn unreadable(what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("{what} does not read back as it was written; restore the data folder from a copy"),
    )
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
