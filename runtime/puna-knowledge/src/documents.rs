//! Documents in the store: how they are written, read and taken out.

use std::{ops::Range, sync::Arc};

use puna_core::{Error, ErrorKind, Result};
use puna_store::{Batch, Entry, Store};

use crate::{
    DocumentRecord,
    keys::{Kind, Prefix, SPACE},
    record::{
        BLOCK_CHUNKS, ChunkRecord, Digest, PIECE_BYTES, decode_vector, encode_vector, from_json, to_json,
        unreadable,
    },
};

/// Entries read at a time: bounds memory.
const PAGE: usize = 1_000;

/// Most bytes of a document's text: what is larger is a collection, and is given in parts.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Most chunks of a document: with a change of its model and its old version, all fit into one batch of the store.
pub const MAX_DOCUMENT_CHUNKS: usize = 25_000;

/// Most bytes of a document's metadata as JSON: it fits into one value of the store.
pub const MAX_METADATA_BYTES: usize = 16 << 10;

/// The documents of a knowledge base.
#[derive(Clone)]
pub(crate) struct Documents {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prefix: Prefix,
}

/// A document that is about to be written.
#[derive(Clone, Debug)]
pub(crate) struct NewDocument {
    pub(crate) record: DocumentRecord,
    pub(crate) text: String,
    pub(crate) chunks: Vec<ChunkRecord>,
    pub(crate) vectors: Vec<Vec<f32>>,
}

impl Documents {
    /// The number that a document has.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<u64>> {
        let key = self.prefix.key(Kind::Id, &[id.as_bytes()]);
        self.store.get(SPACE, &key).await?.map(|value| number(&value)).transpose()
    }

    pub(crate) async fn record(&self, number: u64) -> Result<Option<DocumentRecord>> {
        let key = self.prefix.key(Kind::Document, &[&number.to_be_bytes()]);
        let value = self.store.get(SPACE, &key).await?;
        value.map(|value| from_json(&value, "a document's record")).transpose()
    }

    /// The documents with numbers from `from` on, at most a page of them.
    pub(crate) async fn page(&self, from: u64) -> Result<Vec<(u64, DocumentRecord)>> {
        let prefix = self.prefix.key(Kind::Document, &[]);
        let from = self.prefix.key(Kind::Document, &[&from.to_be_bytes()]);
        let entries = self.store.scan(SPACE, &prefix, &from, PAGE).await?;
        let read = |(key, value): Entry| {
            let id = self.prefix.id(&key).ok_or_else(|| unreadable("a document's key"))?;
            Ok((number(id)?, from_json(&value, "a document's record")?))
        };
        entries.into_iter().map(read).collect()
    }

    /// A part of a document's text. Where it would cut a character, nothing is given.
    pub(crate) async fn text(&self, number: u64, range: Range<u32>) -> Result<String> {
        let (start, end) = (range.start as usize, range.end as usize);
        let mut bytes = Vec::with_capacity(end - start);
        for piece in start / PIECE_BYTES..end.div_ceil(PIECE_BYTES) {
            let key = self.prefix.key(Kind::Text, &[&number.to_be_bytes(), &(piece as u32).to_be_bytes()]);
            let value = self.store.get(SPACE, &key).await?.ok_or_else(gone)?;
            let first = piece * PIECE_BYTES;
            let part = start.saturating_sub(first)..(end - first).min(value.len());
            bytes.extend_from_slice(value.get(part).ok_or_else(|| unreadable("a document's text"))?);
        }
        if bytes.len() != end - start {
            return Err(unreadable("a document's text"));
        }
        String::from_utf8(bytes).map_err(|_| unreadable("a document's text"))
    }

    pub(crate) async fn chunks(&self, number: u64) -> Result<Vec<ChunkRecord>> {
        let prefix = self.prefix.key(Kind::Chunks, &[&number.to_be_bytes()]);
        // A block is far below a page's entries.
        let blocks =
            self.store.scan(SPACE, &prefix, &prefix, MAX_DOCUMENT_CHUNKS.div_ceil(BLOCK_CHUNKS)).await?;
        let mut chunks = Vec::new();
        for (_, block) in blocks {
            chunks.extend(ChunkRecord::decode(&block)?);
        }
        Ok(chunks)
    }

    /// One chunk.
    pub(crate) async fn chunk(&self, number: u64, chunk: u32) -> Result<ChunkRecord> {
        let (block, within) = (chunk as usize / BLOCK_CHUNKS, chunk as usize % BLOCK_CHUNKS);
        let key = self.prefix.key(Kind::Chunks, &[&number.to_be_bytes(), &(block as u32).to_be_bytes()]);
        let value = self.store.get(SPACE, &key).await?.ok_or_else(gone)?;
        ChunkRecord::decode(&value)?.into_iter().nth(within).ok_or_else(|| unreadable("a document's chunks"))
    }

    /// A chunk's vector.
    pub(crate) async fn vector(
        &self,
        model: Digest,
        text: Digest,
        document: u64,
        dimension: usize,
    ) -> Result<Option<Vec<f32>>> {
        let key = self.prefix.key(Kind::Vector, &[&model, &text, &document.to_be_bytes()]);
        let value = self.store.get(SPACE, &key).await?;
        value.map(|value| decode_vector(&value, dimension)).transpose()
    }

    /// A vector of the same text in any document.
    pub(crate) async fn known_vector(
        &self,
        model: Digest,
        text: Digest,
        dimension: usize,
    ) -> Result<Option<Vec<f32>>> {
        let prefix = self.prefix.key(Kind::Vector, &[&model, &text]);
        let found = self.store.scan(SPACE, &prefix, &prefix, 1).await?;
        found.first().map(|(_, value)| decode_vector(value, dimension)).transpose()
    }

    pub(crate) fn put_vector(
        &self,
        batch: Batch,
        model: Digest,
        text: Digest,
        document: u64,
        vector: &[f32],
    ) -> Batch {
        let key = self.prefix.key(Kind::Vector, &[&model, &text, &document.to_be_bytes()]);
        batch.put(SPACE, &key, encode_vector(vector))
    }

    /// Adds a document's parts to a batch.
    pub(crate) fn put(
        &self,
        mut batch: Batch,
        number: u64,
        model: Digest,
        document: &NewDocument,
    ) -> Result<Batch> {
        let NewDocument { record, text, chunks, vectors } = document;
        let name = number.to_be_bytes();
        batch = batch.put(SPACE, &self.prefix.key(Kind::Id, &[record.id.as_bytes()]), name.to_vec()).put(
            SPACE,
            &self.prefix.key(Kind::Document, &[&name]),
            to_json(record)?,
        );
        for (piece, bytes) in text.as_bytes().chunks(PIECE_BYTES).enumerate() {
            let key = self.prefix.key(Kind::Text, &[&name, &(piece as u32).to_be_bytes()]);
            batch = batch.put(SPACE, &key, bytes.to_vec());
        }
        for (block, chunks) in chunks.chunks(BLOCK_CHUNKS).enumerate() {
            let key = self.prefix.key(Kind::Chunks, &[&name, &(block as u32).to_be_bytes()]);
            batch = batch.put(SPACE, &key, ChunkRecord::encode(chunks));
        }
        for (chunk, vector) in chunks.iter().zip(vectors) {
            batch = self.put_vector(batch, model, chunk.digest, number, vector);
        }
        if let Some(expires) = record.expires_ms {
            batch = batch.put(
                SPACE,
                &self.prefix.key(Kind::Expiry, &[&expires.to_be_bytes(), &name]),
                Vec::new(),
            );
        }
        Ok(batch)
    }

    /// Adds the removal of everything that a document has to a batch, its id excepted where a new version takes it.
    pub(crate) async fn remove(
        &self,
        mut batch: Batch,
        number: u64,
        models: &[Digest],
        keep_id: bool,
    ) -> Result<Batch> {
        let name = number.to_be_bytes();
        let Some(record) = self.record(number).await? else { return Ok(batch) };
        let chunks = self.chunks(number).await?;
        for piece in 0..(record.bytes as usize).div_ceil(PIECE_BYTES) {
            let key = self.prefix.key(Kind::Text, &[&name, &(piece as u32).to_be_bytes()]);
            batch = batch.remove(SPACE, &key);
        }
        for block in 0..chunks.len().div_ceil(BLOCK_CHUNKS) {
            let key = self.prefix.key(Kind::Chunks, &[&name, &(block as u32).to_be_bytes()]);
            batch = batch.remove(SPACE, &key);
        }
        for chunk in &chunks {
            for model in models {
                let key = self.prefix.key(Kind::Vector, &[model, &chunk.digest, &name]);
                batch = batch.remove(SPACE, &key);
            }
        }
        if let Some(expires) = record.expires_ms {
            batch = batch.remove(SPACE, &self.prefix.key(Kind::Expiry, &[&expires.to_be_bytes(), &name]));
        }
        if !keep_id {
            batch = batch.remove(SPACE, &self.prefix.key(Kind::Id, &[record.id.as_bytes()]));
        }
        Ok(batch.remove(SPACE, &self.prefix.key(Kind::Document, &[&name])))
    }

    /// Removes every key with a prefix, some at a time. A kill leaves the rest for the next time.
    pub(crate) async fn remove_all(&self, prefix: &[u8]) -> Result<u64> {
        let mut removed = 0;
        loop {
            let page = self.store.scan(SPACE, prefix, prefix, PAGE).await?;
            if page.is_empty() {
                return Ok(removed);
            }
            removed += page.len() as u64;
            let batch = page.iter().fold(Batch::new(), |batch, (key, _)| batch.remove(SPACE, key));
            self.store.commit(batch).await?;
        }
    }

    /// Every key of the knowledge base, page by page.
    pub(crate) async fn keys(&self, from: &[u8]) -> Result<Vec<Entry>> {
        self.store.scan(SPACE, self.prefix.all(), from, PAGE).await
    }
}

pub(crate) fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| unreadable("a document's number"))
}

/// A search found a document that has just been removed.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "the document has just been removed")
}
