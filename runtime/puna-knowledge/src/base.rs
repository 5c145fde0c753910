use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use async_trait::async_trait;
use puna_core::{Embedder, Error, ErrorKind, Result};
use puna_store::{Batch, Store};
use serde::{Deserialize, Serialize};

use crate::{
    DocumentRecord, Embedding, Metric, Precision, SplitOptions, Splitter,
    documents::{Documents, gone},
    index::terms,
    indexes::{Indexes, NewChunk},
    keys::{Kind, Prefix, SPACE, catalog},
    record::{BaseRecord, SCHEMA, digest, from_json, hex, now_ms, to_json, unreadable},
    snapshot::{self, Header},
};

/// Longest vector: it fits into one value of the store.
pub const MAX_DIMENSION: usize = 8_000;

/// The share of rows, as one in so many, with whose change a new snapshot is written. Fewer are made again on opening.
const SNAPSHOT_SHARE: usize = 8;

/// Knowledge bases are named in pages of so many.
const PAGE: usize = 1_000;

/// The knowledge bases of a store. Clones share it.
#[derive(Clone)]
pub struct Knowledge(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    /// Where snapshots lie.
    snapshots: Option<PathBuf>,
    /// Whoever opens a base a second time gets the same.
    open: tokio::sync::Mutex<HashMap<(String, String), Weak<Inner>>>,
}

/// How a knowledge base is opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaseOptions {
    /// How texts are split. An existing base keeps its own where this is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitOptions>,
    /// How near vectors are; decided when the base is made.
    pub metric: Metric,
    /// How exactly vectors are kept in memory.
    pub precision: Precision,
}

/// A knowledge base as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaseSummary {
    /// Its name.
    pub name: String,
    /// The model that its vectors are of.
    pub embedding: Embedding,
    /// How its texts are split.
    pub split: SplitOptions,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// How much a knowledge base holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaseStats {
    /// Documents.
    pub documents: usize,
    /// Chunks, each with a vector.
    pub chunks: usize,
    /// Bytes of the documents' texts.
    pub text_bytes: u64,
    /// Bytes of the indexes in memory, about.
    pub index_bytes: usize,
    /// The model that its vectors are of.
    pub embedding: Embedding,
    /// How its texts are split.
    pub split: SplitOptions,
}

/// Documents that can be searched. Clones share it.
#[derive(Clone)]
pub struct KnowledgeBase(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) documents: Documents,
    namespace: String,
    name: String,
    snapshot: Option<PathBuf>,
    precision: Precision,
    pub(crate) embedder: RwLock<Arc<dyn Embedder>>,
    /// The base's record and, with it, the right to write: one at a time.
    pub(crate) writer: tokio::sync::Mutex<BaseRecord>,
    /// What searches need of the record.
    pub(crate) embedding: RwLock<Embedding>,
    pub(crate) indexes: RwLock<Indexes>,
    /// The right to link rows: one at a time.
    pub(crate) linker: Arc<tokio::sync::Mutex<()>>,
}

impl Knowledge {
    /// The knowledge bases of a store. Their indexes are kept in the folder `snapshots`, if there is one; it can be deleted.
    pub fn new(store: Arc<dyn Store>, snapshots: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared { store, snapshots, open: tokio::sync::Mutex::default() }))
    }

    /// The knowledge bases of a namespace, by name.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list(&self, namespace: &str) -> Result<Vec<BaseSummary>> {
        let prefix = catalog(namespace, "")?;
        let (mut bases, mut from) = (Vec::new(), prefix.clone());
        loop {
            let page = self.0.store.scan(SPACE, &prefix, &from, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(bases) };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in page {
                let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                let BaseRecord { embedding, split, created_ms, .. } = read_record(&value)?;
                bases.push(BaseSummary { name, embedding, split, created_ms });
            }
        }
    }

    /// Opens a knowledge base, and makes it where it is missing. Loads its indexes.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for names and options that cannot be; the store's own.
    pub async fn open(
        &self,
        namespace: &str,
        name: &str,
        options: &BaseOptions,
        embedder: Arc<dyn Embedder>,
    ) -> Result<KnowledgeBase> {
        self.open_as(namespace, name, options, embedder, true).await
    }

    /// Opens a knowledge base that there is.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is none, and those of [`open`](Self::open).
    pub async fn open_existing(
        &self,
        namespace: &str,
        name: &str,
        options: &BaseOptions,
        embedder: Arc<dyn Embedder>,
    ) -> Result<KnowledgeBase> {
        self.open_as(namespace, name, options, embedder, false).await
    }

    /// Opens a knowledge base that there is without a model: for what needs none, as searches by words and removals.
    ///
    /// # Errors
    /// Those of [`open_existing`](Self::open_existing).
    pub async fn open_without_model(
        &self,
        namespace: &str,
        name: &str,
        options: &BaseOptions,
    ) -> Result<KnowledgeBase> {
        let found = self.0.store.get(SPACE, &catalog(namespace, name)?).await?;
        let dimension = match found {
            Some(value) => read_record(&value)?.embedding.dimension,
            // The error is that of opening.
            None => 1,
        };
        self.open_existing(namespace, name, options, Arc::new(NoModel(dimension))).await
    }

    async fn open_as(
        &self,
        namespace: &str,
        name: &str,
        options: &BaseOptions,
        embedder: Arc<dyn Embedder>,
        make: bool,
    ) -> Result<KnowledgeBase> {
        // Held while loading: who comes second waits for the same.
        let mut open = self.0.open.lock().await;
        open.retain(|_, base| base.strong_count() > 0);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(base) = open.get(&key).and_then(Weak::upgrade) {
            let base = KnowledgeBase(base);
            let fits = embedder.fingerprint() == base.embedding().fingerprint;
            if fits && base.matching_embedder().is_err() {
                *write(&base.0.embedder) = embedder;
            }
            if let Some(split) = &options.split {
                base.set_split(split).await?;
            }
            return Ok(base);
        }
        let prefix = Prefix::new(namespace, name)?;
        let documents = Documents { store: Arc::clone(&self.0.store), prefix };
        let record = record(&documents, namespace, name, options, &*embedder, make).await?;
        let snapshot = self.0.snapshots.as_ref().map(|folder| folder.join(file_name(namespace, name)));
        let embedding = record.embedding.clone();
        let header = Header::new(embedding.clone(), record.metric, options.precision);
        let indexes = load(&documents, snapshot.clone(), header).await?;
        let base = Arc::new(Inner {
            documents,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            snapshot,
            precision: options.precision,
            embedder: RwLock::new(embedder),
            writer: tokio::sync::Mutex::new(record),
            embedding: RwLock::new(embedding),
            indexes: RwLock::new(indexes),
            linker: Arc::default(),
        });
        open.insert(key, Arc::downgrade(&base));
        let base = KnowledgeBase(base);
        base.link_beside();
        base.clean().await?;
        Ok(base)
    }

    /// Removes a knowledge base with all that it has. Gives whether there was one.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) while it is open; the store's own. What an error or a kill leaves goes the next time.
    pub async fn remove(&self, namespace: &str, name: &str) -> Result<bool> {
        let open = self.0.open.lock().await;
        let key = (namespace.to_owned(), name.to_owned());
        if open.get(&key).is_some_and(|base| base.strong_count() > 0) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the knowledge base `{name}` is open; close it before it is removed"),
            ));
        }
        let prefix = Prefix::new(namespace, name)?;
        let record = catalog(namespace, name)?;
        let known = self.0.store.get(SPACE, &record).await?.is_some();
        if let Some(folder) = &self.0.snapshots {
            let path = folder.join(file_name(namespace, name));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from_io("remove the snapshot", &path, error));
                }
                _ => {}
            }
        }
        let documents = Documents { store: Arc::clone(&self.0.store), prefix };
        documents.remove_all(documents.prefix.all()).await?;
        // Last: until then it is there to be removed.
        self.0.store.commit(Batch::new().remove(SPACE, &record)).await?;
        Ok(known)
    }
}

/// Stands where there is no model.
struct NoModel(usize);

#[async_trait]
impl Embedder for NoModel {
    fn dimension(&self) -> usize {
        self.0
    }

    async fn embed(&self, _: &[String]) -> Result<Vec<Vec<f32>>> {
        Err(Error::new(ErrorKind::Unavailable, "the knowledge base was opened without an embedding model"))
    }

    fn fingerprint(&self) -> String {
        "none".to_owned()
    }
}

/// A file's name that tells nothing, and is one whatever the names hold.
fn file_name(namespace: &str, name: &str) -> String {
    format!("{}.index", hex(&digest(&[namespace.as_bytes(), name.as_bytes()])))
}

fn read_record(value: &[u8]) -> Result<BaseRecord> {
    let record: BaseRecord = from_json(value, "the record of a knowledge base")?;
    if record.schema != SCHEMA {
        return Err(Error::invalid_input(format!(
            "the knowledge base has schema version {}, and this version of Puna reads {SCHEMA}; use a newer Puna",
            record.schema
        )));
    }
    Ok(record)
}

/// The record of a base, made where it is missing.
async fn record(
    documents: &Documents,
    namespace: &str,
    name: &str,
    options: &BaseOptions,
    embedder: &dyn Embedder,
    make: bool,
) -> Result<BaseRecord> {
    let key = catalog(namespace, name)?;
    let found = documents.store.get(SPACE, &key).await?;
    if let Some(split) = &options.split {
        split.check()?;
    }
    let dimension = embedder.dimension();
    if dimension == 0 || dimension > MAX_DIMENSION {
        return Err(Error::invalid_input(format!(
            "the embedding model's vectors have {dimension} numbers; 1 to {MAX_DIMENSION} are taken"
        )));
    }
    let (record, old) = match &found {
        Some(value) => {
            let old = read_record(value)?;
            let split = options.split.clone().unwrap_or_else(|| old.split.clone());
            (BaseRecord { split, ..old.clone() }, Some(old))
        }
        None if !make => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no knowledge base `{name}`; `puna knowledge list` shows them"),
            ));
        }
        None => {
            let record = BaseRecord {
                schema: SCHEMA,
                next: 1,
                split: options.split.clone().unwrap_or_default(),
                metric: options.metric,
                embedding: Embedding { fingerprint: embedder.fingerprint(), dimension },
                following: None,
                created_ms: now_ms(),
            };
            (record, None)
        }
    };
    if old.as_ref() != Some(&record) {
        let batch = Batch::new().expect(SPACE, &key, found.as_deref()).put(SPACE, &key, to_json(&record)?);
        documents.store.commit(batch).await?;
    }
    Ok(record)
}

/// The indexes from the snapshot, brought to what the store has; all from the store where there is no sound snapshot.
async fn load(documents: &Documents, path: Option<PathBuf>, header: Header) -> Result<Indexes> {
    let embedding = header.embedding.clone();
    let empty = Indexes::new(embedding.dimension, header.metric, header.precision);
    let mut indexes = match path {
        Some(path) => {
            let shown = path.clone();
            let read = tokio::task::spawn_blocking(move || snapshot::read(&path, &header));
            match read
                .await
                .map_err(|error| Error::internal("reading a snapshot broke").with_source(error))?
            {
                Ok((indexes, _)) => indexes,
                Err(reason) => {
                    tracing::debug!(path = %shown.display(), reason, "the indexes are made anew");
                    empty
                }
            }
        }
        None => empty,
    };
    let mut live: HashMap<u64, Arc<DocumentRecord>> = HashMap::new();
    let mut from = 0;
    loop {
        let page = documents.page(from).await?;
        let Some((last, _)) = page.last() else { break };
        from = last + 1;
        live.extend(page.into_iter().map(|(number, record)| (number, Arc::new(record))));
    }
    let known: Vec<(u64, u32)> = indexes.rows.documents().collect();
    for (number, chunks) in known {
        match live.get(&number) {
            Some(record) if record.chunks == chunks => indexes.know(number, Arc::clone(record)),
            // Removed, or never as the snapshot has it.
            _ => indexes.remove(number),
        }
    }
    let mut missing: Vec<(u64, Arc<DocumentRecord>)> =
        live.into_iter().filter(|(number, _)| indexes.document(*number).is_none()).collect();
    missing.sort_unstable_by_key(|(number, _)| *number);
    for (number, record) in missing {
        let chunks = index_chunks(documents, &embedding, number, &record).await?;
        indexes.add(number, record, &chunks);
    }
    Ok(if indexes.is_sparse() { indexes.packed() } else { indexes })
}

/// What the indexes need of a document, from the store.
pub(crate) async fn index_chunks(
    documents: &Documents,
    embedding: &Embedding,
    number: u64,
    record: &DocumentRecord,
) -> Result<Vec<NewChunk>> {
    let text = documents.text(number, 0..record.bytes as u32).await?;
    let model = embedding.digest();
    let mut chunks = Vec::with_capacity(record.chunks as usize);
    for chunk in documents.chunks(number).await? {
        let vector = documents.vector(model, chunk.digest, number, embedding.dimension).await?;
        let vector = vector.ok_or_else(|| unreadable("a chunk's vector"))?;
        let said = text.get(chunk.span.start as usize..chunk.span.end as usize);
        chunks
            .push(NewChunk { vector, terms: terms(said.ok_or_else(|| unreadable("a document's chunks"))?) });
    }
    if chunks.len() != record.chunks as usize {
        return Err(unreadable("a document's chunks"));
    }
    Ok(chunks)
}

impl KnowledgeBase {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The namespace that it lies in.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The model that its vectors are of.
    pub fn embedding(&self) -> Embedding {
        read(&self.0.embedding).clone()
    }

    /// The embedding model that it was opened with.
    pub fn embedder(&self) -> Arc<dyn Embedder> {
        Arc::clone(&read(&self.0.embedder))
    }

    pub(crate) fn precision(&self) -> Precision {
        self.0.precision
    }

    /// Its embedder, where that is the one its vectors are of.
    pub(crate) fn matching_embedder(&self) -> Result<Arc<dyn Embedder>> {
        let (embedder, embedding) = (self.embedder(), self.embedding());
        if embedder.fingerprint() == embedding.fingerprint && embedder.dimension() == embedding.dimension {
            return Ok(embedder);
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the vectors of knowledge base `{}` are of another embedding model than the one it was opened with; open it with its own, or have it embedded again",
                self.0.name
            ),
        ))
    }

    /// How its texts are split now.
    pub(crate) async fn splitter(&self) -> Result<Splitter> {
        let split = self.0.writer.lock().await.split.clone();
        Splitter::for_embedder(split, self.embedder())
    }

    async fn set_split(&self, split: &SplitOptions) -> Result<()> {
        split.check()?;
        let mut writer = self.0.writer.lock().await;
        if writer.split != *split {
            let record = BaseRecord { split: split.clone(), ..writer.clone() };
            let batch = self.put_record(Batch::new(), &record)?;
            self.0.documents.store.commit(batch).await?;
            *writer = record;
        }
        Ok(())
    }

    pub(crate) fn put_record(&self, batch: Batch, record: &BaseRecord) -> Result<Batch> {
        Ok(batch.put(SPACE, &catalog(&self.0.namespace, &self.0.name)?, to_json(record)?))
    }

    /// What it holds.
    pub async fn stats(&self) -> BaseStats {
        let split = self.0.writer.lock().await.split.clone();
        let indexes = read(&self.0.indexes);
        BaseStats {
            documents: indexes.documents().count(),
            chunks: indexes.rows.alive().len(),
            text_bytes: indexes.documents().map(|(_, record)| record.bytes).sum(),
            index_bytes: indexes.bytes(),
            embedding: self.embedding(),
            split,
        }
    }

    /// What is known of its documents, by id.
    pub fn documents(&self) -> Vec<Arc<DocumentRecord>> {
        let indexes = read(&self.0.indexes);
        let mut documents: Vec<_> = indexes.documents().map(|(_, record)| Arc::clone(record)).collect();
        documents.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        documents
    }

    /// What is known of a document; none where there is no such document.
    ///
    /// # Errors
    /// The store's own.
    pub async fn document(&self, id: &str) -> Result<Option<DocumentRecord>> {
        match self.0.documents.find(id).await? {
            Some(number) => self.0.documents.record(number).await,
            None => Ok(None),
        }
    }

    /// A document's text.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such document; the store's own.
    pub async fn text(&self, id: &str) -> Result<String> {
        let documents = &self.0.documents;
        let none = || {
            Error::new(ErrorKind::NotFound, format!("no document `{id}` in knowledge base `{}`", self.0.name))
        };
        let number = documents.find(id).await?.ok_or_else(none)?;
        let record = documents.record(number).await?.ok_or_else(gone)?;
        documents.text(number, 0..record.bytes as u32).await
    }

    /// Writes the indexes to their file, where enough of them is new (`always`: in any case).
    ///
    /// # Errors
    /// Those of writing. The indexes are made again from the store then.
    pub async fn snapshot(&self, always: bool) -> Result<()> {
        self.link().await?;
        let writer = self.0.writer.lock().await;
        let header = Header::new(writer.embedding.clone(), writer.metric, self.0.precision);
        let Some(path) = self.0.snapshot.clone() else { return Ok(()) };
        let (base, next) = (Arc::clone(&self.0), writer.next);
        let written = tokio::task::spawn_blocking(move || {
            let changed = {
                let indexes = read(&base.indexes);
                let enough = indexes.changed * SNAPSHOT_SHARE >= indexes.rows.len().max(1);
                if indexes.changed == 0 || !(always || enough) {
                    return Ok(());
                }
                indexes.changed
            };
            // Nobody changes them: the right to write is held.
            base.pack();
            snapshot::write(&path, &header, next, &read(&base.indexes))?;
            write(&base.indexes).changed -= changed;
            Ok(())
        });
        written.await.map_err(|error| Error::internal("writing a snapshot broke").with_source(error))?
    }

    /// Removes vectors of models that are no longer used: what an interrupted change left.
    async fn clean(&self) -> Result<()> {
        let writer = self.0.writer.lock().await;
        let mut kept: Vec<_> =
            std::iter::once(&writer.embedding).chain(&writer.following).map(Embedding::digest).collect();
        kept.sort_unstable();
        let documents = &self.0.documents;
        let all = documents.prefix.key(Kind::Vector, &[]);
        let mut from = all.clone();
        loop {
            let found = documents.store.scan(SPACE, &all, &from, 1).await?;
            let Some((key, _)) = found.first() else { return Ok(()) };
            let model = key.get(all.len()..all.len() + 16).ok_or_else(|| unreadable("a vector's key"))?;
            let prefix = [all.as_slice(), model].concat();
            if kept.iter().any(|kept| kept == model) {
                // Behind all of them: the first key that does not begin so.
                from = prefix;
                while let Some(last) = from.last_mut() {
                    if *last < u8::MAX {
                        *last += 1;
                        break;
                    }
                    from.pop();
                }
            } else {
                documents.remove_all(&prefix).await?;
            }
        }
    }
}

/// What a panic in a search would poison is only read there.
pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`read`].
pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
