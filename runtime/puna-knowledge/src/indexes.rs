use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    DocumentRecord, Filter, Metric, Precision,
    index::{KeywordIndex, Row, RowSet, Rows, VectorIndex},
};

/// The least share of empty rows, as one in so many, with which the indexes are to be packed.
const PACK_SHARE: usize = 4;

/// Rows below which packing waits: it costs more than it frees.
const PACK_LEAST: usize = 256;

/// Everything that searches read: vectors, words and what is known of documents, all in memory.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) rows: Rows,
    pub(crate) vectors: VectorIndex,
    pub(crate) keywords: KeywordIndex,
    documents: HashMap<u64, Arc<DocumentRecord>>,
    /// When what ends, the soonest first.
    expiries: BTreeSet<(u64, u64)>,
    /// Rows added and removed since the last snapshot.
    pub(crate) changed: usize,
}

/// A chunk for the indexes.
#[derive(Clone, Debug)]
pub(crate) struct NewChunk {
    pub(crate) vector: Vec<f32>,
    pub(crate) terms: Vec<String>,
}

impl Indexes {
    pub(crate) fn new(dimension: usize, metric: Metric, precision: Precision) -> Self {
        let vectors = VectorIndex::new(dimension, metric, precision);
        Self::from_parts(Rows::default(), vectors, KeywordIndex::default())
    }

    /// Without documents: [`know`](Self::know) adds what is known of them.
    pub(crate) fn from_parts(rows: Rows, vectors: VectorIndex, keywords: KeywordIndex) -> Self {
        let (documents, expiries) = (HashMap::new(), BTreeSet::new());
        Self { rows, vectors, keywords, documents, expiries, changed: 0 }
    }

    pub(crate) fn add(&mut self, number: u64, record: Arc<DocumentRecord>, chunks: &[NewChunk]) {
        self.changed += chunks.len();
        self.rows.add(number, chunks.len() as u32);
        for chunk in chunks {
            self.vectors.add(&chunk.vector);
            self.keywords.add(&chunk.terms);
        }
        self.know(number, record);
    }

    pub(crate) fn know(&mut self, number: u64, record: Arc<DocumentRecord>) {
        if let Some(expires) = record.expires_ms {
            self.expiries.insert((expires, number));
        }
        self.documents.insert(number, record);
    }

    pub(crate) fn remove(&mut self, number: u64) {
        if let Some(record) = self.documents.remove(&number)
            && let Some(expires) = record.expires_ms
        {
            self.expiries.remove(&(expires, number));
        }
        let before = self.rows.alive().len();
        self.rows.remove(number);
        self.changed += before - self.rows.alive().len();
    }

    /// Rows of what was removed.
    pub(crate) fn empty(&self) -> usize {
        self.rows.len() - self.rows.alive().len()
    }

    /// Whether so much is empty that the indexes should be packed.
    pub(crate) fn is_sparse(&self) -> bool {
        self.empty() >= PACK_LEAST && self.empty() * PACK_SHARE > self.rows.len()
    }

    /// The same without what was removed.
    pub(crate) fn packed(&self) -> Self {
        let (mut rows, mut keywords) = (self.rows.clone(), self.keywords.clone());
        let kept = rows.pack();
        keywords.pack(&kept);
        Self {
            rows,
            vectors: self.vectors.packed(&kept),
            keywords,
            documents: self.documents.clone(),
            expiries: self.expiries.clone(),
            changed: self.changed,
        }
    }

    pub(crate) fn document(&self, number: u64) -> Option<&Arc<DocumentRecord>> {
        self.documents.get(&number)
    }

    pub(crate) fn documents(&self) -> impl Iterator<Item = (u64, &Arc<DocumentRecord>)> {
        self.documents.iter().map(|(number, record)| (*number, record))
    }

    /// The documents that have ended.
    pub(crate) fn expired(&self, now_ms: u64) -> Vec<(u64, String)> {
        let ended = self.expiries.iter().take_while(|(expires, _)| *expires <= now_ms);
        ended.filter_map(|(_, number)| Some((*number, self.documents.get(number)?.id.clone()))).collect()
    }

    /// The rows of the documents that a filter holds of; none without a filter.
    pub(crate) fn allowed(&self, filter: Option<&Filter>) -> Option<RowSet> {
        let filter = filter?;
        let mut allowed = RowSet::empty(self.rows.len());
        for (number, record) in &self.documents {
            if filter.holds(&record.described()) {
                self.rows.of(*number).for_each(|row| allowed.set(row, true));
            }
        }
        Some(allowed)
    }

    /// The document of a row, and the chunk's number within it.
    pub(crate) fn chunk(&self, row: Row) -> Option<(u64, u32, &Arc<DocumentRecord>)> {
        let (number, chunk) = self.rows.chunk(row);
        Some((number, chunk, self.documents.get(&number)?))
    }

    /// Bytes in memory, about: vectors and words.
    pub(crate) fn bytes(&self) -> usize {
        self.vectors.bytes() + self.keywords.bytes() + self.rows.len() * 12
    }
}
