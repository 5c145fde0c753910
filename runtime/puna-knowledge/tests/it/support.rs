//! What the tests share.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{Document, Embedder, Result};
use puna_knowledge::{
    BaseOptions, Format, IngestOptions, Input, Knowledge, KnowledgeBase, Precision, Report, SearchOptions,
    SplitOptions, Unit,
};
use puna_store::{SledStore, StoreOptions};
use serde_json::Value;

/// A real embedding, if a plain one: a text's words and their three-letter parts, hashed into a vector of unit length.
/// Texts with the same words are near each other, which is all that the tests need.
#[derive(Clone, Debug)]
pub(crate) struct HashEmbedder {
    pub(crate) dimension: usize,
    pub(crate) seed: u64,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self { dimension: 64, seed: 1 }
    }
}

impl HashEmbedder {
    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dimension];
        let lower = text.to_lowercase();
        let mut add = |part: &str, weight: f32| {
            let hash = part.bytes().fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let sign = if hash >> 63 == 0 { weight } else { -weight };
            vector[(hash >> 8) as usize % self.dimension] += sign;
        };
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            add(word, 1.0);
            let letters: Vec<char> = word.chars().collect();
            for part in letters.windows(3) {
                add(&part.iter().collect::<String>(), 0.3);
            }
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector
    }
}

#[async_trait]
impl Embedder for HashEmbedder {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }

    fn fingerprint(&self) -> String {
        format!("hash-{}-{}", self.dimension, self.seed)
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// A store in a folder, and the knowledge bases in it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn open(&self) -> Knowledge {
        open(self.folder.path())
    }

    pub(crate) fn snapshots(&self) -> std::path::PathBuf {
        self.folder.path().join("indexes")
    }
}

pub(crate) fn open(folder: &Path) -> Knowledge {
    let store = SledStore::open(&folder.join("store"), &StoreOptions::default()).expect("a store");
    Knowledge::new(Arc::new(store), Some(folder.join("indexes")))
}

/// Chunks of about a sentence.
pub(crate) fn small() -> BaseOptions {
    let split = SplitOptions { unit: Unit::Words, size: 12, overlap: 2, ..SplitOptions::default() };
    BaseOptions { split: Some(split), precision: Precision::F32, ..BaseOptions::default() }
}

pub(crate) async fn base(knowledge: &Knowledge, name: &str) -> KnowledgeBase {
    knowledge.open("tests", name, &small(), Arc::new(HashEmbedder::default())).await.expect("a base")
}

pub(crate) fn input(id: &str, text: &str, metadata: Value) -> Input {
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    Input { document: Document { id: id.to_owned(), text: text.to_owned(), metadata }, format: Format::Text }
}

pub(crate) async fn add(base: &KnowledgeBase, inputs: Vec<Input>) -> Report {
    add_as(base, inputs, &IngestOptions::default()).await
}

pub(crate) async fn add_as(base: &KnowledgeBase, inputs: Vec<Input>, options: &IngestOptions) -> Report {
    base.ingest(stream::iter(inputs.into_iter().map(Ok)), options, &|_| ()).await.expect("an ingestion")
}

/// Added, changed, unchanged, removed, failed.
pub(crate) fn counts(report: &Report) -> [usize; 5] {
    [report.added, report.changed, report.unchanged, report.removed, report.failed.len()]
}

pub(crate) async fn found(base: &KnowledgeBase, query: &str, options: &SearchOptions) -> Vec<String> {
    let hits = base.search(query, 10, options, None).await.expect("a search");
    hits.into_iter().map(|hit| hit.document).collect()
}

pub(crate) async fn check_sound(base: &KnowledgeBase) {
    let verification = base.verify().await.expect("everything reads");
    assert!(verification.is_sound(), "{verification:?}");
}
