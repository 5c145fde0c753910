//! Measures for `tests/bench/index.py` how long opening a knowledge base takes: `index_reopen VECTORS DIMENSION`. The file
//! holds floats, little-endian, one vector behind the other; each becomes a chunk, 100 of them a document.

use std::{path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{Document, Embedder, Error, Result};
use puna_knowledge::{
    BaseOptions, Format, IngestOptions, Input, Knowledge, KnowledgeBase, SearchMode, SearchOptions, SplitBy,
    SplitOptions, Unit,
};
use puna_store::{SledStore, StoreOptions};

/// Chunks of a document, and words of a chunk.
const CHUNKS: usize = 100;
const WORDS: usize = 4;

/// Gives the vectors of a file: the number of its vector is a chunk's first word.
struct FromFile {
    vectors: Vec<f32>,
    dimension: usize,
}

#[async_trait]
impl Embedder for FromFile {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let vector = |text: &String| {
            let row = text.split_whitespace().next().and_then(|word| word.parse::<usize>().ok());
            let row =
                row.ok_or_else(|| Error::invalid_input(format!("`{text}` does not begin with a number")))?;
            Ok(self.vectors[row * self.dimension..][..self.dimension].to_vec())
        };
        texts.iter().map(vector).collect()
    }

    fn fingerprint(&self) -> String {
        "file".to_owned()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vectors, dimension] = &arguments[..] else {
        return Err(Error::invalid_input("usage: index_reopen VECTORS DIMENSION"));
    };
    let dimension =
        dimension.parse().map_err(|_| Error::invalid_input(format!("`{dimension}` is no dimension")))?;
    let bytes = std::fs::read(vectors).map_err(|error| Error::from_io("read", vectors, error))?;
    let vectors: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let rows = vectors.len() / dimension;
    let embedder = Arc::new(FromFile { vectors, dimension });
    let folder = tempfile::tempdir().map_err(|error| Error::from_io("make", "a folder", error))?;

    let begun = Instant::now();
    let base = open(folder.path(), &embedder).await?;
    let document = |first: usize| {
        let words = |row: usize| format!("{row}{}", " chunk".repeat(WORDS - 1));
        let text = (first..rows.min(first + CHUNKS)).map(words).collect::<Vec<_>>().join("\n\n");
        let document = Document { id: first.to_string(), text, metadata: Default::default() };
        Ok(Input { document, format: Format::Text })
    };
    let documents = stream::iter((0..rows).step_by(CHUNKS).map(document));
    let report = base.ingest(documents, &IngestOptions::default(), &|_| ()).await?;
    base.snapshot(true).await?;
    println!("{} chunks added and linked in {:.1} s", report.chunks, begun.elapsed().as_secs_f64());
    drop(base);

    let begun = Instant::now();
    let base = open(folder.path(), &embedder).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let options = SearchOptions { mode: SearchMode::Vector, ..Default::default() };
    let begun = Instant::now();
    let hits = base.search("77", 1, &options, None).await?;
    assert!(hits[0].text.starts_with("77 "), "row 77 is nearest to itself: {hits:?}");
    println!(
        "opened again in {seconds:.2} s, the store with it; the first search took {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    drop(base);

    std::fs::remove_dir_all(folder.path().join("indexes"))
        .map_err(|error| Error::from_io("remove", "indexes", error))?;
    let begun = Instant::now();
    open(folder.path(), &embedder).await?;
    println!("without the snapshot, from the store: {:.2} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn open(folder: &Path, embedder: &Arc<FromFile>) -> Result<KnowledgeBase> {
    let store = Arc::new(SledStore::open(&folder.join("store"), &StoreOptions::default())?);
    let knowledge = Knowledge::new(store, Some(folder.join("indexes")));
    let split = SplitOptions {
        by: SplitBy::Recursive,
        unit: Unit::Words,
        size: WORDS,
        overlap: 0,
        ..Default::default()
    };
    let options = BaseOptions { split: Some(split), ..Default::default() };
    let embedder: Arc<dyn Embedder> = embedder.clone();
    knowledge.open("bench", "rows", &options, embedder).await
}
