//! Documents into a knowledge base: split, embedded and written, each whole or not at all.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt, stream};
use puna_core::{Document, Embedder, Error, ErrorKind, Result};
use puna_store::Batch;
use serde::Serialize;

use crate::{
    DocumentRecord, Embedding, Format, KnowledgeBase, Splitter,
    base::{read, write},
    documents::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_CHUNKS, MAX_METADATA_BYTES, NewDocument},
    index::terms,
    indexes::NewChunk,
    keys::check_id,
    record::{BaseRecord, ChunkRecord, Digest, digest, hex, now_ms},
};

/// Chunks that are embedded and written together: the embedder sorts them by length and fills its batches.
const GROUP_CHUNKS: usize = 256;

/// Most bytes of a document's vectors: with all else that it has they fit into a batch of the store.
const MAX_VECTOR_BYTES: usize = 64 << 20;

/// Documents of a group, for those that need no embedding.
const GROUP_DOCUMENTS: usize = 64;

/// Groups under way: while one is written the next is embedded.
const GROUPS: usize = 2;

/// A document to be added.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The document.
    pub document: Document,
    /// What its text is.
    pub format: Format,
}

/// What could not be added and why.
#[derive(Debug)]
pub struct Failure {
    /// The document, or the file that it would be in.
    pub id: String,
    /// Why.
    pub error: Error,
}

/// How documents are added.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestOptions {
    /// Where the documents are from: a path, an address or any other name.
    pub source: String,
    /// How long they stay.
    pub ttl: Option<Duration>,
    /// Whether documents of the same source go that were not among those given.
    pub prune: bool,
    /// Documents that are prepared at a time: bounds memory.
    pub parallel: usize,
}

impl Default for IngestOptions {
    fn default() -> Self {
        let parallel = std::thread::available_parallelism().map_or(1, usize::from);
        Self { source: String::new(), ttl: None, prune: false, parallel }
    }
}

/// How far an ingestion is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Documents that are done, whatever came of them.
    pub documents: usize,
    /// Chunks written.
    pub chunks: usize,
    /// The last document.
    pub id: String,
}

/// What an ingestion did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Documents that are new.
    pub added: usize,
    /// Documents that were there in another version.
    pub changed: usize,
    /// Documents that were there as they are.
    pub unchanged: usize,
    /// Documents that went because their source has them no more.
    pub removed: usize,
    /// What could not be added.
    pub failed: Vec<Failed>,
    /// Chunks written.
    pub chunks: usize,
    /// Chunks among them that the embedding model was asked for; of the others the vector was known.
    pub embedded: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long the embedding model was asked, in seconds.
    pub embedding_seconds: f64,
}

/// A document that could not be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The document, or the file that it would be in.
    pub id: String,
    /// The [`ErrorKind`] as text.
    pub kind: &'static str,
    /// Why.
    pub message: String,
}

/// A document on its way.
enum Step {
    Failed(Failure),
    Unchanged(String),
    Ready(Box<Ready>),
}

struct Ready {
    document: NewDocument,
    terms: Vec<Vec<String>>,
    /// The vectors that are known, in the order of the chunks.
    known: Vec<Option<Vec<f32>>>,
}

struct Group {
    steps: Vec<Step>,
    embedded: usize,
    /// From when to when the embedder was asked.
    asked: Range<Instant>,
}

impl KnowledgeBase {
    /// Adds documents as they come. A document is there whole or not at all, and counted only when it is on the disk;
    /// one that is there already in the same version is not embedded again, and after a kill the same call goes on. What
    /// is wrong with one document is in the report, and the others are added.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the base's vectors are of another model; the store's own. What was written
    /// before stays.
    pub async fn ingest(
        &self,
        documents: impl Stream<Item = Result<Input, Failure>> + Send,
        options: &IngestOptions,
        progress: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<Report> {
        let begun = Instant::now();
        let embedder = self.matching_embedder()?;
        let embedding = self.embedding();
        let splitter = self.splitter().await?;
        self.remove_expired(now_ms()).await?;
        let mut seen = HashSet::new();
        let prepared = documents
            .map(|item| {
                let item = item.and_then(|input| {
                    if seen.insert(digest(&[input.document.id.as_bytes()])) {
                        return Ok(input);
                    }
                    let error = Error::invalid_input("another document before it has the same id");
                    Err(Failure { id: input.document.id, error })
                });
                let (base, splitter, options) = (self.clone(), splitter.clone(), options.clone());
                // On its own, so that it goes on while something else is waited for.
                let task = tokio::spawn(async move {
                    match item {
                        Ok(input) => base.prepare(input, splitter, &options).await,
                        Err(failure) => Ok(Step::Failed(failure)),
                    }
                });
                async move {
                    task.await
                        .map_err(|error| Error::internal("a document's task broke").with_source(error))?
                }
            })
            .buffered(options.parallel.max(1));
        let groups = groups(prepared).map(|group| {
            let embedder = Arc::clone(&embedder);
            async move {
                match group {
                    Ok(steps) => embed(steps, &*embedder).await,
                    Err(error) => Err(error),
                }
            }
        });
        let mut groups = std::pin::pin!(groups.buffered(GROUPS));
        let (mut report, mut state) = (Report::default(), Progress::default());
        let mut present = HashSet::new();
        // Groups wait for the embedder one behind the other, which counts once.
        let mut counted = begun;
        while let Some(group) = groups.next().await {
            let group = group?;
            report.embedded += group.embedded;
            report.embedding_seconds +=
                group.asked.end.saturating_duration_since(group.asked.start.max(counted)).as_secs_f64();
            counted = group.asked.end;
            let mut ready = Vec::new();
            for step in group.steps {
                state.documents += 1;
                match step {
                    Step::Failed(Failure { id, error }) => {
                        present.insert(id.clone());
                        state.id.clone_from(&id);
                        report.failed.push(Failed {
                            id,
                            kind: error.kind().as_str(),
                            message: error.report(),
                        });
                    }
                    Step::Unchanged(id) => {
                        state.id.clone_from(&id);
                        report.unchanged += 1;
                        present.insert(id);
                    }
                    Step::Ready(one) => {
                        present.insert(one.document.record.id.clone());
                        ready.push(*one);
                    }
                }
            }
            if !ready.is_empty() {
                state.id.clone_from(&ready[ready.len() - 1].document.record.id);
                let (added, changed, chunks) = self.write(ready, &embedding).await?;
                report.added += added;
                report.changed += changed;
                report.chunks += chunks;
                state.chunks += chunks;
            }
            progress(&state);
        }
        if options.prune {
            let gone: Vec<String> = {
                let indexes = read(&self.0.indexes);
                let of_source = indexes.documents().filter(|(_, record)| record.source == options.source);
                // A file that could not be read keeps the documents that it gave before.
                let kept = |id: &str| {
                    present.contains(id) || id.split_once('#').is_some_and(|(file, _)| present.contains(file))
                };
                of_source
                    .filter(|(_, record)| !kept(&record.id))
                    .map(|(_, record)| record.id.clone())
                    .collect()
            };
            for id in gone {
                report.removed += usize::from(self.remove(&id).await?);
            }
        }
        if let Err(error) = self.snapshot(false).await {
            tracing::warn!(%error, "the indexes are not kept; they will be made again");
        }
        report.seconds = begun.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Splits a document that is new or changed and looks for vectors that are known.
    async fn prepare(&self, input: Input, splitter: Splitter, options: &IngestOptions) -> Result<Step> {
        let Input { document: Document { id, text, metadata }, format } = input;
        let fail = |id: &str, error| Ok(Step::Failed(Failure { id: id.to_owned(), error }));
        let encoded = crate::record::to_json(&metadata)?;
        if let Err(error) = check_id(&id).and_then(|()| check_size(&text, &encoded)) {
            return fail(&id, error);
        }
        let expires_ms = options
            .ttl
            .map(|ttl| now_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)));
        let how =
            crate::record::to_json(&(format, splitter.options(), options.ttl.is_some(), &options.source))?;
        let version = hex(&digest(&[text.as_bytes(), &encoded, &how]));
        let documents = &self.0.documents;
        if let Some(number) = documents.find(&id).await?
            && let Some(record) = documents.record(number).await?
            // What ends is written again, so that it ends later.
            && record.digest == version && options.ttl.is_none()
        {
            return Ok(Step::Unchanged(id));
        }
        let embedding = self.embedding();
        let most = MAX_DOCUMENT_CHUNKS.min(MAX_VECTOR_BYTES / (4 * embedding.dimension));
        let split = tokio::task::spawn_blocking(move || {
            let chunks = tokio::runtime::Handle::current().block_on(splitter.split(&text, format))?;
            if chunks.len() > most {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "the document has {} chunks; at most {most} are taken: give it in parts, or larger chunks",
                        chunks.len()
                    ),
                ));
            }
            let terms: Vec<_> = chunks.iter().map(|chunk| terms(&text[chunk.span.clone()])).collect();
            let chunks: Vec<_> = chunks.iter().map(|chunk| ChunkRecord::new(chunk, &text)).collect();
            Ok((text, chunks, terms))
        });
        let split =
            split.await.map_err(|error| Error::internal("splitting a document broke").with_source(error))?;
        let (text, chunks, terms) = match split {
            Ok(split) => split,
            Err(error) => return fail(&id, error),
        };
        let model = embedding.digest();
        let mut known = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            known.push(documents.known_vector(model, chunk.digest, embedding.dimension).await?);
        }
        let record = DocumentRecord {
            id,
            source: options.source.clone(),
            format,
            metadata,
            bytes: text.len() as u64,
            chunks: chunks.len() as u32,
            digest: version,
            added_ms: now_ms(),
            expires_ms,
        };
        let document = NewDocument { record, text, chunks, vectors: Vec::new() };
        Ok(Step::Ready(Box::new(Ready { document, terms, known })))
    }

    /// Writes documents in one batch, in the place of their versions before, and indexes them. Gives how many were new,
    /// how many changed, and their chunks.
    async fn write(&self, ready: Vec<Ready>, embedding: &Embedding) -> Result<(usize, usize, usize)> {
        let documents = &self.0.documents;
        let mut writer = self.0.writer.lock().await;
        if writer.embedding != *embedding {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the embedding model of knowledge base `{}` has changed; add the rest again",
                    self.name()
                ),
            ));
        }
        let model = writer.embedding.digest();
        let models = models(&writer);
        let mut record = writer.clone();
        let mut batch = Batch::new();
        let (mut added, mut changed, mut chunks) = (0, 0, 0);
        let mut moves = Vec::new();
        for one in ready {
            let old = documents.find(&one.document.record.id).await?;
            match old {
                Some(old) => {
                    batch = documents.remove(batch, old, &models, true).await?;
                    changed += 1;
                }
                None => added += 1,
            }
            chunks += one.document.chunks.len();
            batch = documents.put(batch, record.next, model, &one.document)?;
            moves.push((old, record.next, one));
            record.next += 1;
        }
        batch = self.put_record(batch, &record)?;
        documents.store.commit(batch).await?;
        *writer = record;
        {
            let mut indexes = write(&self.0.indexes);
            for (old, number, Ready { document, terms, .. }) in moves {
                if let Some(old) = old {
                    indexes.remove(old);
                }
                let chunks: Vec<NewChunk> = document
                    .vectors
                    .into_iter()
                    .zip(terms)
                    .map(|(vector, terms)| NewChunk { vector, terms })
                    .collect();
                indexes.add(number, Arc::new(document.record), &chunks);
            }
        }
        self.tidy(&writer).await?;
        Ok((added, changed, chunks))
    }

    /// Removes a document from the store and every index. Gives whether there was one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn remove(&self, id: &str) -> Result<bool> {
        let mut writer = self.0.writer.lock().await;
        let Some(number) = self.0.documents.find(id).await? else { return Ok(false) };
        self.remove_number(number, &mut writer).await?;
        Ok(true)
    }

    /// Removes the documents of a source. Gives how many.
    ///
    /// # Errors
    /// The store's own.
    pub async fn remove_source(&self, source: &str) -> Result<usize> {
        let ids: Vec<String> = {
            let indexes = read(&self.0.indexes);
            let of_source = indexes.documents().filter(|(_, record)| record.source == source);
            of_source.map(|(_, record)| record.id.clone()).collect()
        };
        let mut removed = 0;
        for id in ids {
            removed += usize::from(self.remove(&id).await?);
        }
        Ok(removed)
    }

    /// Removes the documents that have ended at a time in milliseconds since 1970. Searches and ingestions do so for the
    /// present. Gives how many.
    ///
    /// # Errors
    /// The store's own.
    pub async fn remove_expired(&self, now_ms: u64) -> Result<usize> {
        let ended = read(&self.0.indexes).expired(now_ms);
        if ended.is_empty() {
            return Ok(0);
        }
        let mut writer = self.0.writer.lock().await;
        let mut removed = 0;
        for (number, id) in ended {
            // It may have been renewed in the meantime.
            if self.0.documents.find(&id).await? == Some(number) {
                self.remove_number(number, &mut writer).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn remove_number(&self, number: u64, writer: &mut BaseRecord) -> Result<()> {
        let documents = &self.0.documents;
        let batch = documents.remove(Batch::new(), number, &models(writer), false).await?;
        documents.store.commit(batch).await?;
        write(&self.0.indexes).remove(number);
        self.tidy(writer).await
    }
}

/// The models that there may be vectors of.
pub(crate) fn models(record: &BaseRecord) -> Vec<Digest> {
    std::iter::once(&record.embedding).chain(&record.following).map(|embedding| embedding.digest()).collect()
}

fn check_size(text: &str, metadata: &[u8]) -> Result<()> {
    let too_large = |what: &str, got: usize, most: usize| {
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("the document's {what} has {got} bytes; at most {most} are taken: give it in parts"),
        ))
    };
    if text.len() > MAX_DOCUMENT_BYTES {
        return too_large("text", text.len(), MAX_DOCUMENT_BYTES);
    }
    if metadata.len() > MAX_METADATA_BYTES {
        return too_large("metadata", metadata.len(), MAX_METADATA_BYTES);
    }
    Ok(())
}

/// Steps in groups that are worth a call of the embedder. An error ends its group, and the stream.
fn groups<'a>(
    steps: impl Stream<Item = Result<Step>> + Send + 'a,
) -> impl Stream<Item = Result<Vec<Step>>> + Send + 'a {
    stream::unfold(Some(Box::pin(steps)), |state| async move {
        let mut steps = state?;
        let (mut group, mut chunks) = (Vec::new(), 0);
        while chunks < GROUP_CHUNKS && group.len() < GROUP_DOCUMENTS {
            match steps.next().await {
                Some(Ok(step)) => {
                    if let Step::Ready(ready) = &step {
                        chunks += ready.known.len();
                    }
                    group.push(step);
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None if group.is_empty() => return None,
                None => return Some((Ok(group), None)),
            }
        }
        Some((Ok(group), Some(steps)))
    })
}

/// Gives every chunk of a group its vector. Where the embedder does not take a group, its documents are tried one by one.
async fn embed(steps: Vec<Step>, embedder: &dyn Embedder) -> Result<Group> {
    let begun = Instant::now();
    let (mut done, mut embedded) = (Vec::with_capacity(steps.len()), 0);
    let wanted =
        steps.iter().filter_map(|step| if let Step::Ready(ready) = step { Some(&**ready) } else { None });
    let vectors = vectors(wanted, embedder).await;
    let whole = match vectors {
        Ok(vectors) => Some(vectors),
        Err(error) if error.kind() == ErrorKind::InvalidInput => None,
        Err(error) => return Err(error),
    };
    for step in steps {
        let Step::Ready(mut ready) = step else {
            done.push(step);
            continue;
        };
        let own = match &whole {
            Some(_) => HashMap::new(),
            None => match vectors_of(&ready, embedder).await {
                Ok(vectors) => vectors,
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    done.push(Step::Failed(Failure { id: ready.document.record.id, error }));
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        let made = whole.as_ref().unwrap_or(&own);
        for (chunk, known) in ready.document.chunks.iter().zip(ready.known.drain(..)) {
            embedded += usize::from(known.is_none());
            let vector = known.or_else(|| made.get(&chunk.digest).cloned());
            let vector = vector.ok_or_else(|| Error::internal("the embedder gave too few vectors"))?;
            ready.document.vectors.push(vector);
        }
        done.push(Step::Ready(ready));
    }
    Ok(Group { steps: done, embedded, asked: begun..Instant::now() })
}

async fn vectors_of(ready: &Ready, embedder: &dyn Embedder) -> Result<HashMap<Digest, Vec<f32>>> {
    vectors(std::iter::once(ready), embedder).await
}

/// The vectors that are not known yet, by their texts.
async fn vectors(
    wanted: impl Iterator<Item = &Ready>,
    embedder: &dyn Embedder,
) -> Result<HashMap<Digest, Vec<f32>>> {
    let (mut texts, mut digests, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for Ready { document, known, .. } in wanted {
        for (chunk, _) in document.chunks.iter().zip(known).filter(|(_, known)| known.is_none()) {
            if seen.insert(chunk.digest) {
                digests.push(chunk.digest);
                texts.push(document.text[chunk.span.start as usize..chunk.span.end as usize].to_owned());
            }
        }
    }
    if texts.is_empty() {
        return Ok(HashMap::new());
    }
    let vectors = embedder.embed(&texts).await?;
    check_vectors(&vectors, texts.len(), embedder.dimension())?;
    Ok(digests.into_iter().zip(vectors).collect())
}

/// Whether an embedder gave what it promised.
pub(crate) fn check_vectors(vectors: &[Vec<f32>], texts: usize, dimension: usize) -> Result<()> {
    let sound = |vector: &Vec<f32>| vector.len() == dimension && vector.iter().all(|x| x.is_finite());
    if vectors.len() == texts && vectors.iter().all(sound) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the embedding model gave {} vectors for {texts} texts, or some that are not {dimension} finite numbers",
        vectors.len()
    )))
}
