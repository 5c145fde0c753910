use std::path::Path;

use async_trait::async_trait;
use puna_core::{Error, Reranker, Result};

use super::{EncoderOptions, EncoderStats, activate, session::Wanted, worker::Handle};
use crate::{EncoderFolder, Runtime};

/// A cross-encoder in this process: question and document are read together.
pub struct OnnxReranker {
    folder: EncoderFolder,
    handle: Handle,
}

impl OnnxReranker {
    /// Loads a model's folder. Blocks while it loads.
    ///
    /// # Errors
    /// Those of [`EncoderFolder::open`], and [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a model that does
    /// not give one logit.
    pub fn load(runtime: &Runtime, folder: &Path, options: &EncoderOptions) -> Result<Self> {
        let folder = EncoderFolder::open(folder, options.variant.as_deref())?;
        let handle = Handle::start(runtime, &folder, options, Wanted::Logits)?;
        if handle.width != 1 {
            return Err(Error::invalid_input(format!(
                "the model in `{}` has {} labels; a reranker has one",
                folder.path.display(),
                handle.width
            )));
        }
        Ok(Self { folder, handle })
    }

    /// What the folder's files say.
    pub fn folder(&self) -> &EncoderFolder {
        &self.folder
    }

    /// What it has done since it was loaded.
    pub fn stats(&self) -> EncoderStats {
        self.handle.stats()
    }
}

#[async_trait]
impl Reranker for OnnxReranker {
    /// Of a document that is read in parts the best part's score counts.
    async fn rerank(&self, query: &str, documents: &[String]) -> Result<Vec<f32>> {
        let read = self.handle.read(Some(query), "", documents).await?;
        let mut scores: Vec<f32> = read
            .iter()
            .map(|read| read.parts.iter().map(|(logits, _)| logits[0]).fold(f32::NEG_INFINITY, f32::max))
            .collect();
        for score in &mut scores {
            activate(std::slice::from_mut(score), self.folder.rerank_activation);
        }
        Ok(scores)
    }
}
