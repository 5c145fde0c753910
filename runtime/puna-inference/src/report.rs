use std::path::{Path, PathBuf};

use puna_core::Result;
use puna_text::{ChatTemplate, Tokenizer};
use serde::Serialize;

use crate::ModelFolder;

/// What a model's folder holds, read without loading it.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// The folder.
    pub path: PathBuf,
    /// The graph's file.
    pub graph: PathBuf,
    /// What the graph's file and the weights beside it take up, in bytes.
    pub graph_bytes: u64,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// Tokens in the tokenizer's vocabulary.
    pub vocabulary: usize,
}

/// Reads a model's folder without loading the graph.
///
/// # Errors
/// Whatever is missing or not sound.
pub fn examine(folder: &Path) -> Result<ModelReport> {
    let found = ModelFolder::open(folder)?;
    let tokenizer = Tokenizer::from_folder(folder)?;
    ChatTemplate::from_folder(folder, &tokenizer)?;
    Ok(ModelReport {
        path: found.path,
        graph: found.graph,
        graph_bytes: found.graph_bytes,
        context_length: found.context_length,
        vocabulary: tokenizer.vocabulary_size(),
    })
}
