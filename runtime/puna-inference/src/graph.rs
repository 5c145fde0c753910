use std::{borrow::Cow, path::Path};

use half::{bf16, f16};
use ort::{
    memory::Allocator,
    session::{IoBinding, Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::{DynTensor, Tensor, TensorElementType},
};
use puna_core::{Error, ErrorKind, Result};

use crate::{
    cache::{allocate, copy_positions, grown_capacity},
    folder::Sizes,
    layout::{ATTENTION_MASK, INPUT_IDS, LOGITS, Layout, POSITION_IDS, USE_CACHE_BRANCH},
    runtime::Runtime,
};

/// How a graph's cache is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheKind {
    /// One buffer is both past input and present output: nothing is copied.
    Shared,
    /// Every step gives a new, longer cache.
    Growing,
}

/// What a graph needs to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphOptions<'a> {
    pub(crate) file: &'a Path,
    pub(crate) threads: usize,
    pub(crate) spinning: bool,
    pub(crate) context: usize,
    pub(crate) sizes: Sizes,
    /// What the exporter says. A probe decides where it says nothing, and where what it says cannot be.
    pub(crate) cache: Option<CacheKind>,
}

/// A loaded Llama graph.
pub(crate) struct Graph {
    session: Session,
    layout: Layout,
    kind: CacheKind,
    context: usize,
    /// Whether a run of several tokens gives one row of logits.
    last_logits_only: bool,
}

/// The tokens a graph has seen in one conversation, and their keys and values.
pub(crate) struct Slot {
    tokens: Vec<u32>,
    cache: Cache,
    /// The logits after the last token, `[vocabulary]`.
    logits: Vec<f32>,
}

enum Cache {
    Shared(Box<Shared>),
    Growing(Vec<DynTensor>),
}

/// The buffers of a shared cache and their binding. What is bound stays bound until its shape changes.
struct Shared {
    binding: IoBinding,
    buffers: Vec<DynTensor>,
    capacity: usize,
    ids: Tensor<i64>,
    positions: Option<Tensor<i64>>,
    logits: DynTensor,
    /// How many tokens the bound `ids`, `positions` and `logits` are shaped for.
    width: usize,
}

impl Graph {
    pub(crate) fn open(runtime: &Runtime, options: GraphOptions<'_>) -> Result<Self> {
        let shown = options.file.display().to_string();
        let session = open_session(runtime, &options).map_err(|message| {
            // ONNX Runtime tells a truncated file from an unsupported one only in its words.
            Error::new(ErrorKind::Corrupt, format!("cannot load the model `{shown}`: {message}"))
        })?;
        let layout = Layout::of(&session, &shown, options.sizes)?;
        let last_logits_only = layout.last_logits_only || layout.logits_to_keep.is_some();
        let fixed = layout.fixed_length();
        let context = fixed.map_or(options.context, |length| length.min(options.context));
        let mut graph = Self { session, layout, kind: CacheKind::Growing, context, last_logits_only };
        if fixed.is_some() {
            graph.kind = CacheKind::Shared;
            return Ok(graph);
        }
        graph.probe(options.cache)?;
        Ok(graph)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn kind(&self) -> CacheKind {
        self.kind
    }

    /// Prompt and answer together, in tokens.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Whether a run of several tokens gives one row of logits.
    pub(crate) fn last_logits_only(&self) -> bool {
        self.last_logits_only
    }

    pub(crate) fn new_slot(&self) -> Result<Slot> {
        let cache = match self.kind {
            CacheKind::Growing => Cache::Growing(self.empty_cache()?),
            CacheKind::Shared => Cache::Shared(Box::new(Shared {
                binding: self.session.create_binding().map_err(failed("bind the model's inputs"))?,
                buffers: Vec::new(),
                capacity: 0,
                ids: int64(&[1, 0])?,
                positions: None,
                logits: self.logits_tensor(0)?,
                width: 0,
            })),
        };
        Ok(Slot { tokens: Vec::new(), cache, logits: Vec::new() })
    }

    /// Appends tokens to the slot and computes the logits after the last one. On an error the slot
    /// is as before.
    ///
    /// The caller keeps within the context.
    pub(crate) fn forward(&mut self, slot: &mut Slot, tokens: &[u32]) -> Result<()> {
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.layout.vocab_size) {
            return Err(Error::invalid_input(format!(
                "token {token} is beyond the model's vocabulary of {}; the tokenizer belongs to another model",
                self.layout.vocab_size
            )));
        }
        let past = slot.tokens.len();
        match &mut slot.cache {
            Cache::Shared(shared) => self.run_shared(shared, past, tokens, &mut slot.logits)?,
            Cache::Growing(values) => self.run_growing(values, past, tokens, &mut slot.logits)?,
        }
        slot.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Forgets all but the first `length` tokens.
    pub(crate) fn rewind(&self, slot: &mut Slot, length: usize) -> Result<()> {
        let past = slot.tokens.len();
        if length >= past {
            return Ok(());
        }
        if let Cache::Growing(values) = &mut slot.cache {
            for (tensor, value) in self.layout.cache.iter().zip(values) {
                let mut shorter = allocate(tensor, length)?;
                copy_positions(tensor, length, (value, past), (&mut shorter, length))?;
                *value = shorter;
            }
        }
        slot.tokens.truncate(length);
        Ok(())
    }

    fn run_shared(
        &mut self,
        shared: &mut Shared,
        past: usize,
        tokens: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let total = past + tokens.len();
        self.reserve(shared, past, total)?;
        if shared.width != tokens.len() {
            self.bind_width(shared, tokens.len())?;
        }
        fill(&mut shared.ids, tokens.iter().map(|token| i64::from(*token)))?;
        if let Some(positions) = &mut shared.positions {
            fill(positions, positions_of(past, total))?;
        }
        if self.layout.attention_mask {
            // Its length is how the graph learns how much of the buffer is valid.
            let mask = ones(total)?;
            shared.binding.bind_input(ATTENTION_MASK, &mask).map_err(failed("bind the mask"))?;
        }
        self.session.run_binding(&shared.binding).map_err(failed("run the model"))?;
        last_row(&shared.logits, self.layout.vocab_size, logits)
    }

    /// Makes room for `total` positions, the first `past` of which are valid.
    fn reserve(&self, shared: &mut Shared, past: usize, total: usize) -> Result<()> {
        if total <= shared.capacity {
            return Ok(());
        }
        let capacity = self
            .layout
            .fixed_length()
            .unwrap_or_else(|| grown_capacity(shared.capacity, total, self.context));
        let mut buffers = Vec::with_capacity(self.layout.cache.len());
        for (index, tensor) in self.layout.cache.iter().enumerate() {
            let mut buffer = allocate(tensor, capacity)?;
            if past > 0 {
                copy_positions(
                    tensor,
                    past,
                    (&shared.buffers[index], shared.capacity),
                    (&mut buffer, capacity),
                )?;
            }
            buffers.push(buffer);
        }
        for (tensor, buffer) in self.layout.cache.iter().zip(&mut buffers) {
            shared.binding.bind_input(&tensor.past, buffer).map_err(failed("bind the cache"))?;
            shared.binding.bind_output(&tensor.present, buffer).map_err(failed("bind the cache"))?;
        }
        shared.buffers = buffers;
        shared.capacity = capacity;
        Ok(())
    }

    /// Shapes and binds the tensors that depend on how many tokens a run takes.
    fn bind_width(&self, shared: &mut Shared, width: usize) -> Result<()> {
        shared.width = 0;
        let binding = &mut shared.binding;
        shared.ids = int64(&[1, width])?;
        binding.bind_input(INPUT_IDS, &shared.ids).map_err(failed("bind the tokens"))?;
        if self.layout.position_ids {
            let positions = int64(&[1, width])?;
            binding.bind_input(POSITION_IDS, &positions).map_err(failed("bind the positions"))?;
            shared.positions = Some(positions);
        }
        if let Some(name) = &self.layout.logits_to_keep {
            binding.bind_input(name, &one()?).map_err(failed("bind the logits' number"))?;
        }
        if self.layout.use_cache_branch {
            binding.bind_input(USE_CACHE_BRANCH, &yes()?).map_err(failed("bind the branch"))?;
        }
        shared.logits = self.logits_tensor(if self.last_logits_only { 1 } else { width })?;
        binding.bind_output(LOGITS, &mut shared.logits).map_err(failed("bind the logits"))?;
        shared.width = width;
        Ok(())
    }

    fn run_growing(
        &mut self,
        values: &mut Vec<DynTensor>,
        past: usize,
        tokens: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let total = past + tokens.len();
        let mut ids = int64(&[1, tokens.len()])?;
        fill(&mut ids, tokens.iter().map(|token| i64::from(*token)))?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![(INPUT_IDS.into(), ids.into())];
        if self.layout.attention_mask {
            inputs.push((ATTENTION_MASK.into(), ones(total)?.into()));
        }
        if self.layout.position_ids {
            let mut positions = int64(&[1, tokens.len()])?;
            fill(&mut positions, positions_of(past, total))?;
            inputs.push((POSITION_IDS.into(), positions.into()));
        }
        if let Some(name) = &self.layout.logits_to_keep {
            inputs.push((name.into(), one()?.into()));
        }
        if self.layout.use_cache_branch {
            inputs.push((USE_CACHE_BRANCH.into(), yes()?.into()));
        }
        for (tensor, value) in self.layout.cache.iter().zip(values.iter()) {
            inputs.push(((&tensor.past).into(), value.into()));
        }
        let mut outputs = self.session.run(inputs).map_err(failed("run the model"))?;
        let mut take = |name: &str| -> Result<DynTensor> {
            let value =
                outputs.remove(name).ok_or_else(|| Error::internal(format!("the model gave no `{name}`")))?;
            value.downcast().map_err(|error| Error::internal(format!("`{name}`: {}", error.message())))
        };
        let scores = take(LOGITS)?;
        let present =
            self.layout.cache.iter().map(|tensor| take(&tensor.present)).collect::<Result<Vec<_>>>()?;
        last_row(&scores, self.layout.vocab_size, logits)?;
        *values = present;
        Ok(())
    }

    /// Runs a few tokens, which shows that the graph runs at all, how many rows of logits it gives, and
    /// whether its cache can be shared.
    fn probe(&mut self, wanted: Option<CacheKind>) -> Result<()> {
        let vocab = u32::try_from(self.layout.vocab_size).unwrap_or(u32::MAX);
        let tokens: Vec<u32> = (0..PROBE_TOKENS).map(|token| token % vocab).collect();
        let (prompt, rest) = tokens.split_at(tokens.len() - 1);
        self.kind = CacheKind::Growing;
        let mut growing = self.new_slot()?;
        self.forward(&mut growing, prompt)?;
        self.forward(&mut growing, rest)?;
        if wanted == Some(CacheKind::Growing) {
            return Ok(());
        }
        self.kind = CacheKind::Shared;
        let mut shared = self.new_slot()?;
        let ran = self.forward(&mut shared, prompt).and_then(|()| self.forward(&mut shared, rest));
        let works = match (&ran, wanted) {
            (Ok(()), None) => shared.logits == growing.logits,
            (Ok(()), Some(_)) => true,
            (Err(error), None) => {
                tracing::debug!(%error, "the cache is not shared");
                false
            }
            // Slower and right, where the exporter is wrong.
            (Err(error), Some(_)) => {
                tracing::warn!(%error, "the cache cannot be shared, though the model's configuration says so");
                false
            }
        };
        if !works {
            self.kind = CacheKind::Growing;
        }
        Ok(())
    }

    fn empty_cache(&self) -> Result<Vec<DynTensor>> {
        self.layout.cache.iter().map(|tensor| allocate(tensor, 0)).collect()
    }

    fn logits_tensor(&self, rows: usize) -> Result<DynTensor> {
        DynTensor::new(&Allocator::default(), self.layout.logits_type, [1, rows, self.layout.vocab_size])
            .map_err(failed("allocate the logits"))
    }
}

impl Slot {
    /// The tokens seen.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The logits after the last token, `[vocabulary]`.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Tokens of the probe at load: a few, because its time is load time, and more than one step.
const PROBE_TOKENS: u32 = 4;

fn open_session(runtime: &Runtime, options: &GraphOptions<'_>) -> Result<Session, String> {
    let configured = || -> Result<_, ort::Error> {
        let builder = Session::builder(runtime.environment())?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(plain)?;
        let builder = builder.with_intra_threads(options.threads).map_err(plain)?;
        // Shapes change with every step: a plan for one of them helps no other.
        let builder = builder.with_memory_pattern(false).map_err(plain)?;
        builder.with_intra_op_spinning(options.spinning).map_err(plain)
    };
    let mut builder = configured().map_err(|error| error.message().to_owned())?;
    builder.commit_from_file(options.file).map_err(|error| error.message().to_owned())
}

/// Drops the builder that a failed option hands back.
fn plain<R>(error: ort::Error<R>) -> ort::Error {
    ort::Error::new_with_code(error.code(), error.message())
}

fn failed(what: &'static str) -> impl Fn(ort::Error) -> Error {
    move |error| Error::internal(format!("cannot {what}: {}", error.message()))
}

fn int64(shape: &[usize]) -> Result<Tensor<i64>> {
    Tensor::new(&Allocator::default(), shape).map_err(failed("allocate an input"))
}

fn fill(tensor: &mut Tensor<i64>, values: impl Iterator<Item = i64>) -> Result<()> {
    let (_, data) = tensor.try_extract_tensor_mut::<i64>().map_err(failed("fill an input"))?;
    for (place, value) in data.iter_mut().zip(values) {
        *place = value;
    }
    Ok(())
}

fn ones(length: usize) -> Result<Tensor<i64>> {
    let mut mask = int64(&[1, length])?;
    fill(&mut mask, std::iter::repeat(1))?;
    Ok(mask)
}

fn one() -> Result<Tensor<i64>> {
    let mut one = int64(&[])?;
    fill(&mut one, std::iter::once(1))?;
    Ok(one)
}

fn yes() -> Result<Tensor<bool>> {
    let mut yes =
        Tensor::<bool>::new(&Allocator::default(), [1_usize]).map_err(failed("allocate an input"))?;
    let (_, data) = yes.try_extract_tensor_mut::<bool>().map_err(failed("fill an input"))?;
    data.fill(true);
    Ok(yes)
}

fn positions_of(past: usize, total: usize) -> impl Iterator<Item = i64> {
    (past..total).map(|position| i64::try_from(position).unwrap_or(i64::MAX))
}

/// Copies the last row of `[1, rows, vocabulary]` as 32-bit floats.
fn last_row(logits: &DynTensor, vocab_size: usize, out: &mut Vec<f32>) -> Result<()> {
    out.clear();
    let tail = |length: usize| length.saturating_sub(vocab_size);
    match logits.data_type() {
        TensorElementType::Float16 => {
            let (_, data) = logits.try_extract_tensor::<f16>().map_err(failed("read the logits"))?;
            out.extend(data[tail(data.len())..].iter().map(|value| value.to_f32()));
        }
        TensorElementType::Bfloat16 => {
            let (_, data) = logits.try_extract_tensor::<bf16>().map_err(failed("read the logits"))?;
            out.extend(data[tail(data.len())..].iter().map(|value| value.to_f32()));
        }
        _ => {
            let (_, data) = logits.try_extract_tensor::<f32>().map_err(failed("read the logits"))?;
            out.extend_from_slice(&data[tail(data.len())..]);
        }
    }
    Ok(())
}
