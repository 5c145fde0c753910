use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{Error, ErrorKind, GenerateRequest, Model, ModelInfo, ModelStream, Result};
use puna_text::{ChatTemplate, Tokenizer};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    ModelFolder, Runtime, Sampler,
    engine::{Engine, Job},
    graph::{CacheKind, Graph, GraphOptions},
};

/// How a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadOptions {
    /// Threads for one step; without it, the machine's physical cores.
    pub threads: Option<usize>,
    /// Most tokens of prompt and answer together; without it, what the model holds.
    pub context_limit: Option<usize>,
    /// Whether idle threads wait in a loop: faster steps, and a busy processor between them.
    pub spinning: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { threads: None, context_limit: None, spinning: true }
    }
}

/// An ONNX Llama in this process. Requests are served one after the other, in the order they came.
pub struct OnnxModel {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    engine: Engine,
    details: ModelDetails,
}

/// What a loaded model turned out to be.
#[derive(Clone, Debug, Serialize)]
pub struct ModelDetails {
    /// Its name.
    pub name: String,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Whether past and present keys and values are the same memory.
    pub cache_in_place: bool,
    /// What a token's keys and values take up, in bytes.
    pub cache_bytes_per_token: usize,
    /// Whether a prompt's step gives logits for its last position alone.
    pub last_logits_only: bool,
    /// Threads for one step.
    pub threads: usize,
}

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
    let graph_bytes =
        graph_bytes(&found.graph).map_err(|error| Error::from_io("read", &found.graph, error))?;
    Ok(ModelReport {
        path: found.path,
        graph: found.graph,
        graph_bytes,
        context_length: found.context_length,
        vocabulary: tokenizer.vocabulary_size(),
    })
}

/// Exporters name the files of weights after the graph: `model.onnx.data`, `model.onnx_data`.
fn graph_bytes(graph: &Path) -> std::io::Result<u64> {
    let name = graph.file_name().unwrap_or_default().to_string_lossy();
    let mut bytes = 0;
    for entry in std::fs::read_dir(graph.parent().unwrap_or(graph))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

impl OnnxModel {
    /// Loads a model's folder: the graph, its tokenizer and its chat template. Blocks while it loads.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for files that are missing, [`Corrupt`](ErrorKind::Corrupt) for a graph
    /// that does not load, [`InvalidInput`](ErrorKind::InvalidInput) for files that do not belong together.
    pub fn load(runtime: &Runtime, folder: &Path, options: LoadOptions) -> Result<Self> {
        let found = ModelFolder::open(folder)?;
        // The cheap parts first: what is missing is told before a large graph is read.
        let tokenizer = Tokenizer::from_folder(folder)?;
        let template = ChatTemplate::from_folder(folder, &tokenizer)?;
        let context =
            options.context_limit.map_or(found.context_length, |limit| limit.min(found.context_length));
        let threads = options.threads.unwrap_or_else(default_threads);
        let graph = Graph::open(
            runtime,
            GraphOptions {
                file: &found.graph,
                threads,
                spinning: options.spinning,
                context,
                sizes: found.sizes,
                cache: found
                    .share_buffer
                    .map(|share| if share { CacheKind::Shared } else { CacheKind::Growing }),
            },
        )?;
        let layout = graph.layout();
        if tokenizer.vocabulary_size() > layout.vocab_size {
            return Err(Error::invalid_input(format!(
                "the tokenizer in `{}` has {} tokens and the graph {}: they belong to different models",
                folder.display(),
                tokenizer.vocabulary_size(),
                layout.vocab_size
            )));
        }
        let details = ModelDetails {
            name: found.name(),
            context_length: graph.context(),
            vocabulary: layout.vocab_size,
            cache_in_place: graph.kind() == CacheKind::Shared,
            cache_bytes_per_token: layout.cache.iter().map(crate::layout::CacheTensor::bytes_per_token).sum(),
            last_logits_only: graph.last_logits_only(),
            threads,
        };
        tracing::debug!(?details, "model loaded");
        let info = ModelInfo { name: details.name.clone(), context_length: details.context_length };
        let engine = Engine::start(graph, tokenizer.clone(), found.eos)?;
        Ok(Self { info, tokenizer, template, engine, details })
    }

    /// What the model turned out to be.
    pub fn details(&self) -> &ModelDetails {
        &self.details
    }

    /// The prompt of a request, as tokens.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for messages that the model's template does not take.
    pub fn prompt(&self, request: &GenerateRequest) -> Result<Vec<u32>> {
        let prompt = self.template.render(&request.messages, &request.tools)?;
        self.tokenizer.encode_prompt(&prompt)
    }
}

#[async_trait]
impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        let prompt = self.prompt(&request)?;
        if prompt.is_empty() {
            return Err(Error::invalid_input("the prompt is empty: there is no message"));
        }
        let context = self.info.context_length;
        let asked = request.options.max_tokens.map(|tokens| (tokens as usize).max(1));
        let needed = prompt.len() + asked.unwrap_or(1);
        if needed > context {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!(
                    "the prompt of {} tokens and {} for the answer do not fit the context of {context}; shorten the conversation, or lower `max_tokens`",
                    prompt.len(),
                    asked.unwrap_or(1)
                ),
            ));
        }
        let sampler = Sampler::new(&request.options, &prompt)?;
        let (events, receiver) = mpsc::unbounded_channel();
        self.engine.submit(Job {
            max_tokens: asked.unwrap_or(context - prompt.len()),
            asked: asked.is_some(),
            prompt,
            sampler,
            stop: request.options.stop,
            calls: !request.tools.is_empty(),
            cancel: request.cancel,
            deadline: request.deadline,
            events,
        })?;
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })))
    }
}

/// Physical cores that this process may use: a second thread on a core helps no matrix product.
fn default_threads() -> usize {
    num_cpus::get_physical().min(num_cpus::get()).max(1)
}
