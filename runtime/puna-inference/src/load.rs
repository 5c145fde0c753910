use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use puna_core::{Error, ErrorKind, GenerateOptions, Result};
use puna_text::{ChatTemplate, Dialect, Tokenizer};
use serde::Serialize;

use crate::{
    CompanionUse, Device, FolderOptions, ModelFolder, Runtime,
    adapter::Openings,
    cuda,
    graph::{CacheKind, Graph, GraphOptions},
    graphs::Graphs,
    layout::CacheTensor,
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
    /// What the model is computed on. The runtime that is given must have been [got for it](Runtime::get_for).
    pub device: Device,
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
    /// The most bytes of keys and values; without it, half of the memory that is free on the device when the model is
    /// loaded.
    pub cache_memory: Option<u64>,
    /// Whether an answer is the same to the bit whatever runs beside it and whatever is cached. Every answer is then
    /// computed in steps of its own, and a cached beginning is used in whole chunks of 128 tokens; several answers
    /// at a time then take as long as one after the other.
    pub deterministic: bool,
    /// The most tokens guessed ahead from what the conversation already holds, when a request runs alone; 0 is none.
    /// The answer is the same with and without.
    pub draft_tokens: usize,
    /// Whether tool calls are held to their schemas while they are written. Answers whose form is asked for are in any
    /// case.
    pub constrain_calls: bool,
    /// Which of a folder's graphs to take.
    pub folder: FolderOptions,
    /// What a folder's second graph, its companion, is used for. Without it, prompts go through the companion where
    /// there is one, where memory allows and where it is measured to be faster.
    pub companion: Option<CompanionUse>,
    /// Whether a folder without a chat template is refused. Texts can be continued and scored without one.
    pub needs_template: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: Device::default(),
            threads: None,
            context_limit: None,
            spinning: true,
            slots: DEFAULT_SLOTS,
            queue: DEFAULT_QUEUE,
            cache_memory: None,
            deterministic: false,
            draft_tokens: DEFAULT_DRAFT_TOKENS,
            constrain_calls: true,
            folder: FolderOptions::default(),
            companion: None,
            needs_template: true,
        }
    }
}

/// What a loaded model turned out to be.
#[derive(Clone, Debug, Serialize)]
pub struct ModelDetails {
    /// Its name.
    pub name: String,
    /// What it is computed on.
    pub device: Device,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Whether past and present keys and values are the same memory.
    pub cache_in_place: bool,
    /// What a token's keys and values take up, in bytes.
    pub cache_bytes_per_token: usize,
    /// The type of keys and values, `f32`, and where layers differ of the first.
    pub cache_type: String,
    /// The type of the logits.
    pub logits_type: String,
    /// Whether there is a chat template, and whether it has a place for tools.
    pub template: TemplateKind,
    /// The form in which tool calls are read: what the template or the vocabulary shows, else Llama's JSON.
    pub dialect: Dialect,
    /// Whether a prompt's step gives logits for its last position alone.
    pub last_logits_only: bool,
    /// Whether answers are computed together in one step.
    pub batches: bool,
    /// Whether tokens that were guessed ahead are checked in one step.
    pub guesses: bool,
    /// How its authors generate: what requests do not say.
    pub generation: GenerateOptions,
    /// Whether requests may be answered with adapters.
    pub takes_adapters: bool,
    /// Requests computed at the same time at most.
    pub slots: usize,
    /// Threads for one step.
    pub threads: usize,
    /// The graph that answers are computed with.
    pub graph: PathBuf,
    /// The graph that prompts go through, where it is another.
    pub prefill_graph: Option<PathBuf>,
    /// How many times as fast as the other graph that one was when the model was loaded.
    pub prefill_speedup: Option<f64>,
}

/// What a model's chat template takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateKind {
    /// There is none.
    Missing,
    /// Conversations.
    Chat,
    /// Conversations with tools.
    ChatWithTools,
}

/// What a folder's files gave.
pub(crate) struct Loaded {
    pub graphs: Graphs,
    pub tokenizer: Tokenizer,
    pub template: Option<ChatTemplate>,
    pub eos: Vec<u32>,
    pub details: ModelDetails,
    /// The graph's inputs for adapters.
    pub openings: Arc<Openings>,
    /// The version of ONNX Runtime, and the tokenizer's file: what keys and values depend on beside the graphs.
    pub origin: (String, PathBuf),
}

/// Loads a folder's files, the cheap ones first: what is missing is told before a large graph is read.
pub(crate) fn load(runtime: &Runtime, folder: &Path, options: &LoadOptions) -> Result<Loaded> {
    if !(1..=MAX_SLOTS).contains(&options.slots) {
        return Err(Error::invalid_input(format!(
            "`slots` is `{}`; it must be from 1 to {MAX_SLOTS}",
            options.slots
        )));
    }
    let half_precision = options.folder.half_precision || options.device != Device::Cpu;
    let found = ModelFolder::open_with(folder, &FolderOptions { half_precision, ..options.folder.clone() })?;
    let tokenizer = Tokenizer::from_folder(folder)?;
    let template = match ChatTemplate::from_folder(folder, &tokenizer) {
        Ok(template) => Some(template),
        Err(error) if error.kind() == ErrorKind::NotFound && !options.needs_template => None,
        Err(error) => return Err(error),
    };
    let threads = options.threads.unwrap_or_else(default_threads);
    let context = options.context_limit.unwrap_or(usize::MAX).min(found.context_length);
    let open = |file: &Path| {
        let cache = |share| if share { CacheKind::Shared } else { CacheKind::Growing };
        let spinning = options.spinning;
        let cache = found.share_buffer.map(cache);
        let device = options.device;
        Graph::open(
            runtime,
            GraphOptions { file, device, threads, spinning, context, sizes: found.sizes, cache },
        )
    };

    let named = companion(&found, options)?;
    let (file, companion) = match (&named, options.companion) {
        (Some(companion), Some(CompanionUse::Always)) => (companion.clone(), None),
        _ => (found.graph.clone(), named),
    };
    let mut graph = open(&file)?;
    let layout = graph.layout();
    if tokenizer.vocabulary_size() > layout.vocab_size {
        return Err(Error::invalid_input(format!(
            "the tokenizer in `{}` has {} tokens and the graph {}: they belong to different models",
            folder.display(),
            tokenizer.vocabulary_size(),
            layout.vocab_size
        )));
    }
    let openings = Arc::clone(&layout.openings);
    let mut details = ModelDetails {
        name: found.name(),
        device: options.device,
        context_length: graph.context(),
        vocabulary: layout.vocab_size,
        cache_in_place: graph.kind() == CacheKind::Shared,
        cache_bytes_per_token: layout.cache.iter().map(CacheTensor::bytes_per_token).sum(),
        cache_type: layout.cache.first().map(|tensor| tensor.element.to_string()).unwrap_or_default(),
        logits_type: layout.logits_type.to_string(),
        template: match &template {
            None => TemplateKind::Missing,
            Some(template) if template.takes_tools() => TemplateKind::ChatWithTools,
            Some(_) => TemplateKind::Chat,
        },
        dialect: template.as_ref().and_then(ChatTemplate::dialect).unwrap_or_default(),
        last_logits_only: layout.last_logits_only || layout.logits_to_keep.is_some(),
        batches: graph.batches(),
        guesses: graph.verifies(),
        generation: found.generation.options(),
        takes_adapters: !openings.is_empty(),
        slots: options.slots,
        threads,
        graph: file,
        prefill_graph: None,
        prefill_speedup: None,
    };
    let mut prefill = None;
    if let Some(file) = companion {
        let mut companion = open(&file).map_err(|error| error.context("the companion graph"))?;
        if let Some(mismatch) = Graphs::mismatch(&graph, &companion) {
            return Err(Error::invalid_input(format!(
                "the companion graph `{}` {mismatch} than `{}`: they are not of one model",
                file.display(),
                details.graph.display()
            )));
        }
        let speedup = Graphs::speedup(&mut graph, &mut companion)?;
        tracing::debug!(file = %file.display(), speedup, "companion measured");
        if options.companion.is_some() || Graphs::is_worth(speedup) {
            details.prefill_graph = Some(file);
            details.prefill_speedup = Some(speedup);
            prefill = Some(companion);
        }
    }
    tracing::debug!(?details, "model loaded");
    let origin = (runtime.library().version.to_string(), folder.join("tokenizer.json"));
    Ok(Loaded {
        graphs: Graphs::new(graph, prefill),
        tokenizer,
        template,
        eos: found.eos,
        details,
        openings,
        origin,
    })
}

/// The second graph, where it is to be loaded.
fn companion(found: &ModelFolder, options: &LoadOptions) -> Result<Option<PathBuf>> {
    let Some(file) = found.companion.clone() else {
        return match options.companion {
            None | Some(CompanionUse::Never) => Ok(None),
            Some(_) => Err(Error::new(
                ErrorKind::NotFound,
                format!("`{}` has no companion graph", found.path.display()),
            )),
        };
    };
    if options.companion == Some(CompanionUse::Never) {
        return Ok(None);
    }
    if options.companion.is_none() && options.device != Device::Cpu {
        // The kernels that make it worth its memory are the processor's.
        return Ok(None);
    }
    if options.companion.is_none() {
        // Its weights, and as much again for the form its kernels want them in. What it shares with the graph is there
        // already.
        let needed = found.total_bytes.saturating_sub(found.graph_bytes).saturating_mul(2);
        let free = free_memory() / MEMORY_SHARE;
        if needed > free {
            tracing::info!(file = %file.display(), needed, free, "too little memory is free for the companion");
            return Ok(None);
        }
    }
    Ok(Some(file))
}

/// Physical cores that this process may use: a second thread on a core helps no matrix product.
pub(crate) fn default_threads() -> usize {
    num_cpus::get_physical().min(num_cpus::get()).max(1)
}

/// The bytes of keys and values that a model may have where nobody says.
pub(crate) fn default_budget(device: Device) -> Result<u64> {
    let free = match device {
        Device::Cpu => free_memory(),
        Device::Cuda { index } => cuda::free_memory(index)?,
    };
    Ok(free / MEMORY_SHARE)
}

/// What is free on this machine, or in this process's control group, in bytes.
fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    system.cgroup_limits().map_or(free, |limits| limits.free_memory.min(free))
}
