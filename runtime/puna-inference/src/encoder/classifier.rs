use std::path::Path;

use async_trait::async_trait;
use puna_core::{Classifier, Error, LabelScore, Result};

use super::{EncoderOptions, EncoderStats, activate, session::Wanted, worker::Handle};
use crate::{EncoderFolder, Runtime};

/// A classifier in this process.
pub struct OnnxClassifier {
    folder: EncoderFolder,
    handle: Handle,
}

impl OnnxClassifier {
    /// Loads a model's folder. Blocks while it loads.
    ///
    /// # Errors
    /// Those of [`EncoderFolder::open`], and [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a graph that gives
    /// no logits, or another number of them than there are labels.
    pub fn load(runtime: &Runtime, folder: &Path, options: &EncoderOptions) -> Result<Self> {
        let folder = EncoderFolder::open(folder, options.variant.as_deref())?;
        let handle = Handle::start(runtime, &folder, options, Wanted::Logits)?;
        if handle.width != folder.labels.len() {
            return Err(Error::invalid_input(format!(
                "the model in `{}` gives {} logits, and `id2label` has {} labels",
                folder.path.display(),
                handle.width,
                folder.labels.len()
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
impl Classifier for OnnxClassifier {
    fn labels(&self) -> &[String] {
        &self.folder.labels
    }

    /// Of a text that is read in parts each label has its highest score of any part: what is hidden in one part shows.
    async fn classify(&self, texts: &[String]) -> Result<Vec<Vec<LabelScore>>> {
        let read = self.handle.read(None, "", texts).await?;
        let classified = read.into_iter().map(|read| {
            let mut highest = vec![f32::NEG_INFINITY; self.folder.labels.len()];
            for (mut scores, _) in read.parts {
                activate(&mut scores, self.folder.activation);
                highest.iter_mut().zip(scores).for_each(|(most, score)| *most = most.max(score));
            }
            let named = self.folder.labels.iter().zip(highest);
            named.map(|(label, score)| LabelScore { label: label.clone(), score }).collect()
        });
        Ok(classified.collect())
    }
}
