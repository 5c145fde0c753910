use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{Error, ErrorKind, GenerateRequest, Model, ModelInfo, ModelStream, Result};
use puna_text::{ChatTemplate, Tokenizer};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    ModelFolder, Runtime, Sampler, TokenScore,
    cache::CacheKind,
    engine::{Engine, EngineStatus, Generate, Job, Score, Task},
    graph::{Graph, GraphOptions},
    worker::{Worker, WorkerOptions},
};

/// Requests computed at the same time unless told otherwise: each takes memory only for the tokens it holds.
const DEFAULT_SLOTS: usize = 8;

/// The most slots: a step's logits take up to half a megabyte for each.
const MAX_SLOTS: usize = 256;

/// Requests that wait unless told otherwise; more are refused, so that nobody waits without end.
const DEFAULT_QUEUE: usize = 64;

/// Tokens guessed ahead at most unless told otherwise: a step of a few tokens takes little more time than one of one.
const DEFAULT_DRAFT_TOKENS: usize = 8;

/// The share of the free memory that keys and values may take unless told otherwise, as a divisor: the host needs
/// memory too.
const MEMORY_SHARE: u64 = 2;

/// How a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadOptions {
    /// Threads for one step; without it, the machine's physical cores.
    pub threads: Option<usize>,
    /// Most tokens of prompt and answer together; without it, what the model holds.
    pub context_limit: Option<usize>,
    /// Whether idle threads wait in a loop: faster steps, and a busy processor between them.
    pub spinning: bool,
    /// Requests computed at the same time, from 1 to 256. More wait in the order they came.
    pub slots: usize,
    /// Requests that may wait; more are refused.
    pub queue: usize,
    /// The most bytes of keys and values; without it, half of the memory that is free when the model is loaded.
    pub cache_memory: Option<u64>,
    /// Whether an answer is the same to the bit whatever runs beside it and whatever is cached. Every answer is then
    /// computed in steps of its own, and a cached beginning is used in whole chunks of 128 tokens; several answers
    /// at a time then take as long as one after the other.
    pub deterministic: bool,
    /// The most tokens guessed ahead from what the conversation already holds, when a request runs alone; 0 is none.
    /// The answer is the same with and without.
    pub draft_tokens: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: None,
            context_limit: None,
            spinning: true,
            slots: DEFAULT_SLOTS,
            queue: DEFAULT_QUEUE,
            cache_memory: None,
            deterministic: false,
            draft_tokens: DEFAULT_DRAFT_TOKENS,
        }
    }
}

/// An ONNX Llama in this process. Requests are computed together, as many as there are slots; more wait in the order
/// they came.
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
    /// Whether answers are computed together in one step.
    pub batches: bool,
    /// Requests computed at the same time at most.
    pub slots: usize,
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
        if !(1..=MAX_SLOTS).contains(&options.slots) {
            return Err(Error::invalid_input(format!(
                "`slots` is `{}`; it must be from 1 to {MAX_SLOTS}",
                options.slots
            )));
        }
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
            last_logits_only: layout.last_logits_only || layout.logits_to_keep.is_some(),
            batches: graph.batches(),
            slots: options.slots,
            threads,
        };
        tracing::debug!(?details, "model loaded");
        let info = ModelInfo { name: details.name.clone(), context_length: details.context_length };
        let worker = WorkerOptions {
            slots: options.slots,
            budget: options.cache_memory.unwrap_or_else(|| free_memory() / MEMORY_SHARE),
            deterministic: options.deterministic,
            draft: options.draft_tokens,
        };
        let engine = Engine::start(options.queue, |shared| {
            Worker::new(graph, tokenizer.clone(), found.eos, worker, shared)
        })?;
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

    /// What the model is doing.
    pub fn status(&self) -> EngineStatus {
        self.engine.status()
    }

    /// The text as tokens, with the token that begins a text where the model has one.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_text(text)
    }

    /// Several answers to one request, each a stream of its own. The prompt is computed once. With a seed, the first
    /// answer has this seed and each further one the next number.
    ///
    /// # Errors
    /// Those of [`Model::generate`], and [`InvalidInput`](ErrorKind::InvalidInput) for no answer or more answers than
    /// slots.
    pub fn choices(&self, request: &GenerateRequest, count: usize) -> Result<Vec<ModelStream>> {
        if !(1..=self.details.slots).contains(&count) {
            return Err(Error::invalid_input(format!(
                "`{count}` answers are asked for; from 1 to {} are given at a time, as many as there are slots",
                self.details.slots
            )));
        }
        let prompt = self.prompt(request)?;
        (0..count)
            .map(|index| {
                let mut options = request.options.clone();
                options.seed = options.seed.map(|seed| seed.wrapping_add(index as u64));
                self.start(prompt.clone(), GenerateRequest { options, ..request.clone() })
            })
            .collect()
    }

    /// How likely the tokens from the `from`th on are, each after all before it, with the `top` likeliest tokens at
    /// each place.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when `from` is 0, beyond the tokens, or `top` above 20;
    /// [`ContextOverflow`](ErrorKind::ContextOverflow) for more tokens than the context.
    pub async fn score(&self, tokens: &[u32], from: usize, top: usize) -> Result<Vec<TokenScore>> {
        if from == 0 || from >= tokens.len() {
            return Err(Error::invalid_input(format!(
                "tokens are scored from `{from}` of {}; the first has nothing before it, and one must be left",
                tokens.len()
            )));
        }
        if top > MAX_TOP {
            return Err(Error::invalid_input(format!(
                "the `{top}` likeliest tokens are asked for; at most {MAX_TOP} are given"
            )));
        }
        let vocabulary = self.details.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::invalid_input(format!(
                "token `{token}` is beyond the model's vocabulary of {vocabulary}"
            )));
        }
        let context = self.info.context_length;
        if tokens.len() > context {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!(
                    "{} tokens do not fit the context of {context}; score them in windows, as `perplexity` does",
                    tokens.len()
                ),
            ));
        }
        let (reply, scores) = oneshot::channel();
        self.engine.submit(Job {
            prompt: tokens.to_vec(),
            cancel: puna_core::CancellationToken::default(),
            deadline: None,
            task: Task::Score(Score { from, top, scores: Vec::new(), reply }),
        })?;
        scores.await.map_err(|_| Error::internal("the inference thread has ended; load the model again"))?
    }

    /// Queues a request whose prompt is ready.
    fn start(&self, prompt: Vec<u32>, request: GenerateRequest) -> Result<ModelStream> {
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
            cancel: request.cancel,
            deadline: request.deadline,
            task: Task::Generate(Box::new(Generate {
                max_tokens: asked.unwrap_or(context - prompt.len()),
                asked: asked.is_some(),
                sampler,
                stop: request.options.stop,
                calls: !request.tools.is_empty(),
                events,
            })),
            prompt,
        })?;
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })))
    }
}

/// The most likely tokens that are told with a score, as in OpenAI's interface.
const MAX_TOP: usize = 20;

#[async_trait]
impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        self.start(self.prompt(&request)?, request)
    }
}

/// Physical cores that this process may use: a second thread on a core helps no matrix product.
fn default_threads() -> usize {
    num_cpus::get_physical().min(num_cpus::get()).max(1)
}

/// What is free on this machine, or in this process's control group, in bytes.
fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    system.cgroup_limits().map_or(free, |limits| limits.free_memory.min(free))
}
