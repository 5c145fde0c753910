use std::path::Path;

use async_trait::async_trait;
use puna_core::{Embedder, Result};
use puna_text::EncoderTokenizer;
use serde::Serialize;

use super::{
    EncoderOptions, EncoderStats, fingerprint,
    pooling::normalise,
    session::Wanted,
    worker::{Handle, Read},
};
use crate::{EncoderFolder, Runtime};

/// An embedding model in this process. Its thread computes one request after the other.
pub struct OnnxEmbedder {
    folder: EncoderFolder,
    handle: Handle,
    tokenizer: EncoderTokenizer,
    fingerprint: String,
}

/// A text's vector, and what was read for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Embedding {
    /// The vector.
    pub vector: Vec<f32>,
    /// The tokens that were read.
    pub tokens: usize,
    /// The parts that the text was read in.
    pub parts: usize,
    /// Whether its end was left out.
    pub truncated: bool,
}

impl OnnxEmbedder {
    /// Loads a model's folder. Blocks while it loads.
    ///
    /// # Errors
    /// Those of [`EncoderFolder::open`], and [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a graph that gives
    /// no embeddings.
    pub fn load(runtime: &Runtime, folder: &Path, options: &EncoderOptions) -> Result<Self> {
        let folder = EncoderFolder::open(folder, options.variant.as_deref())?;
        let handle = Handle::start(runtime, &folder, options, Wanted::Embedding)?;
        let tokenizer = EncoderTokenizer::from_folder(&folder.path)?;
        let limit = options.max_tokens.map_or(folder.max_tokens, |most| most.min(folder.max_tokens));
        let fingerprint = fingerprint::of(&folder, &format!("{limit} {:?}", options.long))?;
        Ok(Self { folder, handle, tokenizer, fingerprint })
    }

    /// What the folder's files say.
    pub fn folder(&self) -> &EncoderFolder {
        &self.folder
    }

    /// What it has done since it was loaded.
    pub fn stats(&self) -> EncoderStats {
        self.handle.stats()
    }

    /// The vectors of texts that are searched, with what was read for each.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a text that is too long;
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) when too many requests wait.
    pub async fn documents(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        self.read(&self.folder.document_prompt, texts).await
    }

    /// The vectors of questions, with what was read for each.
    ///
    /// # Errors
    /// Those of [`documents`](Self::documents).
    pub async fn queries(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        self.read(&self.folder.query_prompt, texts).await
    }

    async fn read(&self, prompt: &str, texts: &[String]) -> Result<Vec<Embedding>> {
        let read = self.handle.read(None, prompt, texts).await?;
        Ok(read.into_iter().map(|read| self.embedding(read)).collect())
    }

    /// The vectors of each text's tokens, scaled to a length of 1 and one behind the other: `[tokens, token_width]`.
    pub(super) async fn token_vectors(&self, texts: &[String], question: bool) -> Result<Vec<Vec<f32>>> {
        let prompt = if question { &self.folder.query_prompt } else { &self.folder.document_prompt };
        let read = self.handle.read_tokens(prompt, texts).await?;
        let whole = |read: Read| {
            let mut tokens: Vec<f32> = read.parts.into_iter().flat_map(|(tokens, _)| tokens).collect();
            tokens.chunks_exact_mut(self.handle.token_width).for_each(normalise);
            tokens
        };
        Ok(read.into_iter().map(whole).collect())
    }

    /// Numbers of a token's vector.
    pub(super) fn token_width(&self) -> usize {
        self.handle.token_width
    }

    /// The parts' vectors averaged, each by its tokens.
    fn embedding(&self, read: Read) -> Embedding {
        let tokens = read.parts.iter().map(|(_, tokens)| tokens).sum();
        let parts = read.parts.len();
        let mut vector = vec![0.0; self.handle.width];
        for (mut part, weight) in read.parts {
            if self.folder.normalise {
                normalise(&mut part);
            }
            let share = weight as f32 / tokens as f32;
            vector.iter_mut().zip(part).for_each(|(sum, value)| *sum += value * share);
        }
        if self.folder.normalise {
            normalise(&mut vector);
        }
        Embedding { vector, tokens, parts, truncated: read.truncated }
    }
}

#[async_trait]
impl Embedder for OnnxEmbedder {
    fn dimension(&self) -> usize {
        self.handle.width
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn token_ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        self.tokenizer.ends(text).map(Some)
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(self.documents(texts).await?.into_iter().map(|read| read.vector).collect())
    }

    async fn embed_queries(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(self.queries(texts).await?.into_iter().map(|read| read.vector).collect())
    }
}
