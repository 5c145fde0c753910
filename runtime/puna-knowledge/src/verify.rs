//! Whether the store has what a knowledge base must have, and the indexes what the store has.

use std::collections::{HashMap, HashSet};

use puna_core::Result;
use serde::Serialize;

use crate::{
    KnowledgeBase,
    base::read,
    documents::number,
    keys::Kind,
    record::{BLOCK_CHUNKS, PIECE_BYTES, unreadable},
};

/// What a check found. All is well where [`is_sound`](Self::is_sound).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Documents that were looked at.
    pub documents: usize,
    /// Chunks that were looked at.
    pub chunks: usize,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// Most problems told.
const MAX_PROBLEMS: usize = 100;

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn say(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

impl KnowledgeBase {
    /// Reads everything: each document is whole, nothing belongs to none, and the indexes have exactly its chunks with
    /// their vectors. Nothing must be written meanwhile; it waits for what is.
    ///
    /// # Errors
    /// [`Corrupt`](puna_core::ErrorKind::Corrupt) for what does not read back as it was written; the store's own.
    pub async fn verify(&self) -> Result<Verification> {
        let writer = self.0.writer.lock().await;
        let documents = &self.0.documents;
        let mut found = Verification::default();
        let mut wanted: HashSet<Vec<u8>> = HashSet::new();
        let mut live: HashMap<u64, u32> = HashMap::new();
        let mut from = 0;
        loop {
            let page = documents.page(from).await?;
            let Some((last, _)) = page.last() else { break };
            from = last + 1;
            for (name, record) in page {
                let key = name.to_be_bytes();
                found.documents += 1;
                live.insert(name, record.chunks);
                if documents.find(&record.id).await? != Some(name) {
                    found.say(format!("document {name} is not found under its id"));
                }
                wanted.insert(documents.prefix.key(Kind::Id, &[record.id.as_bytes()]));
                wanted.insert(documents.prefix.key(Kind::Document, &[&key]));
                let text = documents.text(name, 0..record.bytes as u32).await?;
                for piece in 0..text.len().div_ceil(PIECE_BYTES) as u32 {
                    wanted.insert(documents.prefix.key(Kind::Text, &[&key, &piece.to_be_bytes()]));
                }
                let chunks = documents.chunks(name).await?;
                if chunks.len() != record.chunks as usize {
                    found.say(format!("document {name} has {} chunks of {}", chunks.len(), record.chunks));
                }
                for block in 0..chunks.len().div_ceil(BLOCK_CHUNKS) as u32 {
                    wanted.insert(documents.prefix.key(Kind::Chunks, &[&key, &block.to_be_bytes()]));
                }
                if let Some(expires) = record.expires_ms {
                    wanted.insert(documents.prefix.key(Kind::Expiry, &[&expires.to_be_bytes(), &key]));
                }
                let embedding = &writer.embedding;
                let first = read(&self.0.indexes).rows.of(name).start;
                for (row, chunk) in (first..).zip(chunks) {
                    found.chunks += 1;
                    let model = embedding.digest();
                    let vector = documents.vector(model, chunk.digest, name, embedding.dimension).await?;
                    let vector = vector.ok_or_else(|| unreadable("a chunk's vector"))?;
                    for model in crate::ingest::models(&writer) {
                        wanted.insert(documents.prefix.key(Kind::Vector, &[&model, &chunk.digest, &key]));
                    }
                    let indexes = read(&self.0.indexes);
                    if !indexes.rows.alive().has(row) || indexes.rows.chunk(row).0 != name {
                        found.say(format!("document {name} is not in the indexes"));
                        break;
                    }
                    let (own, wanted) = indexes.vectors.likeness(&vector, row);
                    if (own - wanted).abs() > 0.02 * wanted.max(1.0) {
                        found.say(format!("a chunk of document {name} has another's vector in the index"));
                    }
                }
            }
        }
        let indexed: HashMap<u64, u32> = read(&self.0.indexes).rows.documents().collect();
        if indexed != live {
            let more = indexed.keys().filter(|number| !live.contains_key(number)).count();
            let fewer = live.keys().filter(|number| !indexed.contains_key(number)).count();
            found.say(format!("the indexes have {more} documents more and {fewer} fewer than the store"));
        }
        {
            let indexes = read(&self.0.indexes);
            let rows = [indexes.rows.len(), indexes.vectors.rows(), indexes.keywords.rows()];
            if rows.iter().any(|one| *one != rows[0]) {
                found.say(format!("the indexes differ in their rows: {rows:?}"));
            }
        }
        let mut from = documents.prefix.all().to_vec();
        loop {
            let page = documents.keys(&from).await?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, _) in page.iter().filter(|(key, _)| !wanted.contains(key)) {
                let id = documents.prefix.id(key).unwrap_or_default();
                let kind = key[documents.prefix.all().len()] as char;
                let owner = id.len().checked_sub(8).and_then(|at| number(&id[at..]).ok());
                found.say(format!("an entry of kind `{kind}` belongs to no document (of {owner:?})"));
            }
        }
        Ok(found)
    }
}
