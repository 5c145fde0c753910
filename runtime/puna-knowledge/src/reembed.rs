//! Another embedding model for a knowledge base, while the old one answers.

use std::{collections::HashMap, sync::Arc};

use puna_core::{Embedder, Error, ErrorKind, Result};
use puna_store::Batch;

use crate::{
    DocumentRecord, Embedding, KnowledgeBase,
    base::{MAX_DIMENSION, index_chunks, read, write},
    indexes::Indexes,
    ingest::{Progress, check_vectors},
    keys::{Kind, SPACE},
    record::{BaseRecord, ChunkRecord, Digest, to_json},
};

/// Chunks that are embedded at a time: bounds memory.
const GROUP_CHUNKS: usize = 256;

impl KnowledgeBase {
    /// Embeds every chunk again with another model. Searches and ingestions go on with the old one, where the base was
    /// opened with it, until all vectors are there; then the base changes over at once. After a kill the same call goes on
    /// where it was. Gives how many chunks were embedded.
    ///
    /// # Errors
    /// The embedder's and the store's own: the old model's vectors stay then.
    pub async fn reembed(
        &self,
        embedder: Arc<dyn Embedder>,
        progress: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<usize> {
        let embedding = Embedding { fingerprint: embedder.fingerprint(), dimension: embedder.dimension() };
        if embedding.dimension == 0 || embedding.dimension > MAX_DIMENSION {
            return Err(Error::invalid_input(format!(
                "the embedding model's vectors have {} numbers; 1 to {MAX_DIMENSION} are taken",
                embedding.dimension
            )));
        }
        let dropped = {
            let mut writer = self.0.writer.lock().await;
            if writer.embedding == embedding {
                *write(&self.0.embedder) = embedder;
                return Ok(0);
            }
            let dropped = writer.following.clone().filter(|following| *following != embedding);
            let record = BaseRecord { following: Some(embedding.clone()), ..writer.clone() };
            self.0.documents.store.commit(self.put_record(Batch::new(), &record)?).await?;
            *writer = record;
            dropped
        };
        if let Some(dropped) = dropped {
            self.remove_vectors(&dropped).await?;
        }
        let mut state = Progress::default();
        let mut embedded = 0;
        // What is added meanwhile is found in the next round.
        while self.embed_missing(&*embedder, &embedding, &mut state, &mut embedded, progress).await? {}
        let mut writer = self.0.writer.lock().await;
        while self.embed_missing(&*embedder, &embedding, &mut state, &mut embedded, progress).await? {}
        let indexes = self.indexes_of(&embedding, &writer).await?;
        let old = writer.embedding.clone();
        let record = BaseRecord { embedding: embedding.clone(), following: None, ..writer.clone() };
        self.0.documents.store.commit(self.put_record(Batch::new(), &record)?).await?;
        *writer = record;
        {
            // Under one lock, so that no search asks one model's vectors with another's.
            let mut all = write(&self.0.indexes);
            *write(&self.0.embedding) = embedding;
            *write(&self.0.embedder) = embedder;
            *all = indexes;
        }
        drop(writer);
        self.remove_vectors(&old).await?;
        if let Err(error) = self.snapshot(true).await {
            tracing::warn!(%error, "the indexes are not kept; they will be made again");
        }
        Ok(embedded)
    }

    async fn remove_vectors(&self, of: &Embedding) -> Result<()> {
        let documents = &self.0.documents;
        documents.remove_all(&documents.prefix.key(Kind::Vector, &[&of.digest()])).await?;
        Ok(())
    }

    /// Goes through all documents once. Gives whether there was anything to embed.
    async fn embed_missing(
        &self,
        embedder: &dyn Embedder,
        embedding: &Embedding,
        state: &mut Progress,
        embedded: &mut usize,
        progress: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<bool> {
        let documents = &self.0.documents;
        let model = embedding.digest();
        let (mut from, mut any) = (0, false);
        loop {
            let page = documents.page(from).await?;
            let Some((last, _)) = page.last() else { return Ok(any) };
            from = last + 1;
            for (number, record) in page {
                let mut missing = Vec::new();
                for chunk in documents.chunks(number).await? {
                    if documents.vector(model, chunk.digest, number, embedding.dimension).await?.is_none() {
                        missing.push(chunk);
                    }
                }
                state.documents += 1;
                state.id.clone_from(&record.id);
                if missing.is_empty() {
                    continue;
                }
                any = true;
                for group in missing.chunks(GROUP_CHUNKS) {
                    *embedded += self.embed_group(embedder, model, number, &record, group).await?;
                    state.chunks += group.len();
                    progress(state);
                }
            }
        }
    }

    /// Embeds chunks of a document, if it is still there when they are written. Gives how many the model was asked for.
    async fn embed_group(
        &self,
        embedder: &dyn Embedder,
        model: Digest,
        number: u64,
        record: &DocumentRecord,
        chunks: &[ChunkRecord],
    ) -> Result<usize> {
        let documents = &self.0.documents;
        let mut vectors: HashMap<Digest, Vec<f32>> = HashMap::new();
        let (mut texts, mut digests) = (Vec::new(), Vec::new());
        for chunk in chunks {
            if vectors.contains_key(&chunk.digest) || digests.contains(&chunk.digest) {
                continue;
            }
            match documents.known_vector(model, chunk.digest, embedder.dimension()).await? {
                Some(known) => {
                    vectors.insert(chunk.digest, known);
                }
                None => match documents.text(number, chunk.span.clone()).await {
                    Ok(text) => {
                        texts.push(text);
                        digests.push(chunk.digest);
                    }
                    // It was removed since.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
                    Err(error) => return Err(error),
                },
            }
        }
        let asked = texts.len();
        if asked > 0 {
            let made = embedder.embed(&texts).await?;
            check_vectors(&made, asked, embedder.dimension())?;
            vectors.extend(digests.into_iter().zip(made));
        }
        let key = documents.prefix.key(Kind::Document, &[&number.to_be_bytes()]);
        let mut batch = Batch::new().expect(SPACE, &key, Some(&to_json(record)?));
        for chunk in chunks {
            batch = documents.put_vector(batch, model, chunk.digest, number, &vectors[&chunk.digest]);
        }
        match documents.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(0),
            other => other.map(|()| asked),
        }
    }

    /// New indexes with another model's vectors.
    async fn indexes_of(&self, embedding: &Embedding, writer: &BaseRecord) -> Result<Indexes> {
        let mut live: Vec<(u64, Arc<DocumentRecord>)> = {
            let indexes = read(&self.0.indexes);
            indexes.documents().map(|(number, record)| (number, Arc::clone(record))).collect()
        };
        live.sort_unstable_by_key(|(number, _)| *number);
        let mut indexes = Indexes::new(embedding.dimension, writer.metric, self.precision());
        for (number, record) in live {
            let chunks = index_chunks(&self.0.documents, embedding, number, &record).await?;
            indexes.add(number, record, &chunks);
        }
        Ok(indexes)
    }
}
