use std::{borrow::Cow, ops::Range, path::Path};

use half::{bf16, f16};
use ort::{
    memory::Allocator,
    session::{Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::{DynTensor, Tensor, TensorElementType},
};
use puna_core::{Error, ErrorKind, Result};

use crate::{
    buffer::{Binding, Buffer, bytes, failed},
    cache::{Cache, CacheKind, Store},
    folder::Sizes,
    layout::{ATTENTION_MASK, INPUT_IDS, LOGITS, Layout, POSITION_IDS, USE_CACHE_BRANCH},
    runtime::{Runtime, log_level},
};

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
    /// Whether a step takes several rows of a token each.
    batches: bool,
    /// Whether a step of several tokens gives each of them the logits it gets alone.
    verifies: bool,
    /// The bindings of steps of one token a row and of those of more, each for what it ran last.
    narrow: Option<Bound>,
    wide: Option<Bound>,
    /// The last step's logits as 32-bit floats, where they are not read where the graph wrote them.
    logits: Vec<f32>,
    output: Output,
}

/// Which of a step's logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those after each row's last token.
    Last,
    /// Those after every token. A graph that gives the last ones only takes a token at a time.
    All,
}

/// What a step gave: rows of one number for each token of the vocabulary.
#[derive(Clone, Copy)]
pub(crate) struct Logits<'a> {
    values: &'a [f32],
    vocab_size: usize,
}

impl<'a> Logits<'a> {
    /// The logits after a step's `index`th row, or after its `index`th token where all were wanted of one row.
    pub(crate) fn row(self, index: usize) -> &'a [f32] {
        &self.values[index * self.vocab_size..][..self.vocab_size]
    }
}

/// Where the logits of the last step are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// In `Graph::logits`.
    Copied,
    /// In the output bound for one token a row.
    Narrow,
}

/// The tensors of a step and their binding. What is bound stays bound until its shape changes.
struct Bound {
    binding: Binding,
    rows: Range<usize>,
    width: usize,
    capacity: usize,
    wanted: Wanted,
    ids: Buffer,
    positions: Option<Buffer>,
    mask: Buffer,
    logits: Buffer,
}

impl Graph {
    pub(crate) fn open(runtime: &Runtime, options: GraphOptions<'_>) -> Result<Self> {
        let shown = options.file.display().to_string();
        let session = open_session(runtime, &options).map_err(|message| {
            // ONNX Runtime tells a truncated file from an unsupported one only in its words.
            Error::new(ErrorKind::Corrupt, format!("cannot load the model `{shown}`: {message}"))
        })?;
        let layout = Layout::of(&session, &shown, options.sizes)?;
        let fixed = layout.fixed_length();
        let context = fixed.map_or(options.context, |length| length.min(options.context));
        let mut graph = Self {
            session,
            layout,
            kind: CacheKind::Growing,
            context,
            batches: false,
            verifies: false,
            narrow: None,
            wide: None,
            logits: Vec::new(),
            output: Output::Copied,
        };
        if fixed.is_some() {
            graph.kind = CacheKind::Shared;
        } else {
            graph.probe(options.cache)?;
        }
        if graph.kind == CacheKind::Shared {
            graph.verifies = graph.probe_ahead();
            graph.batches = graph.probe_batch();
        }
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

    /// Whether one step takes several rows.
    pub(crate) fn batches(&self) -> bool {
        self.batches
    }

    /// Whether several tokens of a row are checked in one step, and wrong ones are forgotten at no cost.
    pub(crate) fn verifies(&self) -> bool {
        self.verifies
    }

    pub(crate) fn new_cache(&self, rows: usize, budget: u64) -> Result<Cache> {
        Cache::new(&self.layout.cache, self.kind, rows, self.context, budget)
    }

    /// What the last step gave.
    pub(crate) fn logits(&self) -> Logits<'_> {
        let values = match (self.output, &self.narrow) {
            (Output::Narrow, Some(bound)) => bound.logits.floats(),
            _ => &self.logits,
        };
        Logits { values, vocab_size: self.layout.vocab_size }
    }

    /// Lets go of the cache's buffers, so that they can be replaced.
    pub(crate) fn unbind(&mut self) {
        self.narrow = None;
        self.wide = None;
    }

    /// Appends tokens to one row of the cache and computes their logits. On an error the row is as before.
    ///
    /// The caller keeps within the context and has made room.
    pub(crate) fn step(
        &mut self,
        cache: &mut Cache,
        row: usize,
        tokens: &[u32],
        wanted: Wanted,
    ) -> Result<()> {
        self.check(tokens)?;
        self.logits.clear();
        self.output = Output::Copied;
        if wanted == Wanted::All && self.layout.last_logits_only && tokens.len() > 1 {
            let past = cache.tokens(row).len();
            for token in tokens {
                let ran = self.run(cache, row..row + 1, &[*token], wanted);
                self.copy_output();
                ran.or_else(|error| cache.rewind(row, past).and(Err(error)))?;
            }
            return Ok(());
        }
        self.run(cache, row..row + 1, tokens, wanted)
    }

    /// Appends a token to each of several rows beside each other, and computes the logits after each. On an error
    /// the rows are as before.
    ///
    /// The caller keeps within the context and has made room.
    pub(crate) fn step_rows(&mut self, cache: &mut Cache, first: usize, tokens: &[u32]) -> Result<()> {
        self.check(tokens)?;
        self.logits.clear();
        self.output = Output::Copied;
        let rows = first..first + tokens.len();
        if self.batches || tokens.len() == 1 {
            return self.run(cache, rows, tokens, Wanted::Last);
        }
        for (done, (row, token)) in rows.clone().zip(tokens).enumerate() {
            if let Err(error) = self.run(cache, row..row + 1, &[*token], Wanted::Last) {
                for row in rows.take(done) {
                    cache.rewind(row, cache.tokens(row).len() - 1)?;
                }
                return Err(error);
            }
            self.copy_output();
        }
        Ok(())
    }

    /// Copies logits that the next run would overwrite.
    fn copy_output(&mut self) {
        if let (Output::Narrow, Some(bound)) = (self.output, &self.narrow) {
            self.logits.extend_from_slice(bound.logits.floats());
            self.output = Output::Copied;
        }
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        match tokens.iter().find(|token| **token as usize >= self.layout.vocab_size) {
            None => Ok(()),
            Some(token) => Err(Error::invalid_input(format!(
                "token {token} is beyond the model's vocabulary of {}; the tokenizer belongs to another model",
                self.layout.vocab_size
            ))),
        }
    }

    /// One run: several tokens of one row, or one token of each of several rows. Adds to the logits.
    fn run(&mut self, cache: &mut Cache, rows: Range<usize>, tokens: &[u32], wanted: Wanted) -> Result<()> {
        match self.kind {
            CacheKind::Shared => self.run_shared(cache, rows.clone(), tokens, wanted)?,
            CacheKind::Growing => self.run_growing(cache, rows.start, tokens, wanted)?,
        }
        if rows.len() == 1 {
            cache.append(rows.start, tokens);
        } else {
            rows.zip(tokens).for_each(|(row, token)| cache.append(row, &[*token]));
        }
        Ok(())
    }

    fn run_shared(
        &mut self,
        cache: &mut Cache,
        rows: Range<usize>,
        tokens: &[u32],
        wanted: Wanted,
    ) -> Result<()> {
        let width = tokens.len() / rows.len();
        let pasts: Vec<usize> = rows.clone().map(|row| cache.tokens(row).len()).collect();
        let longest = pasts.iter().max().copied().unwrap_or(0) + width;
        let count = cache.rows();
        let Store::Shared { buffers, capacity } = cache.store() else {
            return Err(Error::internal("the cache is of another kind than the graph's"));
        };
        if longest > *capacity {
            return Err(Error::internal(format!("no room was made for {longest} tokens in {capacity}")));
        }
        let place = if width == 1 { &mut self.narrow } else { &mut self.wide };
        let fits = place.as_ref().is_some_and(|bound| {
            (&bound.rows, bound.width, bound.capacity, bound.wanted) == (&rows, width, *capacity, wanted)
        });
        if !fits {
            // What was bound is let go of first: its logits can be large.
            *place = None;
            *place = Some(Bound::new(
                &self.session,
                &self.layout,
                buffers,
                BoundShape { rows: rows.clone(), width, capacity: *capacity, count, wanted },
            )?);
        }
        let Some(bound) = place else { return Err(Error::internal("nothing is bound")) };
        for (place, token) in bound.ids.int64_mut().iter_mut().zip(tokens) {
            *place = i64::from(*token);
        }
        if let Some(positions) = &mut bound.positions {
            let values = pasts.iter().flat_map(|past| positions_of(*past, past + width));
            for (place, position) in positions.int64_mut().iter_mut().zip(values) {
                *place = position;
            }
        }
        if self.layout.attention_mask {
            // A row's sum is how the graph learns how much of the buffer is valid.
            if rows.len() > 1 {
                let mask = bound.mask.int64_mut();
                for (row, past) in mask.chunks_exact_mut(longest).zip(&pasts) {
                    row.fill(0);
                    row[..past + width].fill(1);
                }
            }
            bound.binding.input(ATTENTION_MASK, &bound.mask, 0, &[rows.len(), longest])?;
        }
        bound.binding.run(&mut self.session)?;
        let element = bound.logits.element();
        if width == 1 && self.logits.is_empty() && element == TensorElementType::Float32 {
            // A large vocabulary's logits are half a megabyte a row.
            self.output = Output::Narrow;
        } else {
            let bytes = bound.logits.bytes();
            take_rows(element, bytes, self.layout.vocab_size, wanted, rows.len(), &mut self.logits);
        }
        Ok(())
    }

    fn run_growing(&mut self, cache: &mut Cache, row: usize, tokens: &[u32], wanted: Wanted) -> Result<()> {
        let past = cache.tokens(row).len();
        let total = past + tokens.len();
        let Store::Growing(rows) = cache.store() else {
            return Err(Error::internal("the cache is of another kind than the graph's"));
        };
        let mut ids = int64(&[1, tokens.len()])?;
        fill(&mut ids, tokens.iter().map(|token| i64::from(*token)))?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![(INPUT_IDS.into(), ids.into())];
        if self.layout.attention_mask {
            let mut mask = int64(&[1, total])?;
            fill(&mut mask, std::iter::repeat(1))?;
            inputs.push((ATTENTION_MASK.into(), mask.into()));
        }
        if self.layout.position_ids {
            let mut positions = int64(&[1, tokens.len()])?;
            fill(&mut positions, positions_of(past, total))?;
            inputs.push((POSITION_IDS.into(), positions.into()));
        }
        if let Some(name) = &self.layout.logits_to_keep {
            let mut number = int64(&[])?;
            fill(&mut number, std::iter::once(logits_to_keep(wanted)))?;
            inputs.push((name.into(), number.into()));
        }
        if self.layout.use_cache_branch {
            inputs.push((USE_CACHE_BRANCH.into(), yes()?.into()));
        }
        for (tensor, value) in self.layout.cache.iter().zip(rows[row].iter()) {
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
        let vocab_size = self.layout.vocab_size;
        take_rows(*scores.data_type(), bytes(&scores), vocab_size, wanted, 1, &mut self.logits);
        rows[row] = present;
        Ok(())
    }

    /// Runs a few tokens, which shows that the graph runs at all, and whether its cache can be shared.
    fn probe(&mut self, wanted: Option<CacheKind>) -> Result<()> {
        self.kind = CacheKind::Growing;
        let mut cache = self.new_cache(1, u64::MAX)?;
        self.step(&mut cache, 0, &[0; 2], Wanted::All)?;
        // Exporters that prune the head leave the number of positions open in the graph.
        self.layout.last_logits_only |= self.logits().values.len() == self.layout.vocab_size;
        let growing = self.probe_rows(1)?;
        let least = self.layout.least_length();
        if wanted == Some(CacheKind::Growing) && least == 0 {
            return Ok(());
        }
        self.kind = CacheKind::Shared;
        let works = match (self.probe_rows(1), wanted) {
            (Ok(shared), None) => shared == growing,
            (Ok(_), Some(_)) => true,
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
        self.unbind();
        if least > 0 && !works {
            return Err(Error::invalid_input(format!(
                "the graph takes caches of {least} positions and more, and they cannot be shared; export it with `windowed_kv_cache=false`"
            )));
        }
        Ok(())
    }

    /// Whether rows of different lengths, computed in one step, get the logits they get alone.
    fn probe_batch(&mut self) -> bool {
        if self.layout.single_row || !self.layout.attention_mask {
            return false;
        }
        let rows = |graph: &mut Self, batches| {
            graph.batches = batches;
            graph.probe_rows(2)
        };
        let together = rows(self, true);
        let alone = rows(self, false);
        self.unbind();
        alike("several rows in one step", alone, together)
    }

    /// Whether tokens computed in one step get the logits they get one after the other.
    fn probe_ahead(&mut self) -> bool {
        if self.layout.last_logits_only {
            return false;
        }
        let tokens = self.probe_tokens();
        let mut steps = |width: usize| {
            let mut cache = self.new_cache(1, u64::MAX)?;
            cache.grow(0, tokens.len())?;
            let mut all = Vec::new();
            for step in tokens.chunks(width) {
                self.step(&mut cache, 0, step, Wanted::All)?;
                all.extend_from_slice(self.logits().values);
            }
            self.unbind();
            Ok(all)
        };
        let (together, alone) = (steps(tokens.len()), steps(1));
        alike("several tokens in one step", alone, together)
    }

    /// The logits of a last token for each of so many rows, after prompts of different lengths.
    fn probe_rows(&mut self, rows: usize) -> Result<Vec<f32>> {
        let mut cache = self.new_cache(rows, u64::MAX)?;
        let tokens = self.probe_tokens();
        cache.grow(0, tokens.len())?;
        for row in 0..rows {
            self.step(&mut cache, row, &tokens[row..tokens.len() - 1], Wanted::Last)?;
        }
        let last = vec![tokens[tokens.len() - 1]; rows];
        let ran = self.step_rows(&mut cache, 0, &last);
        let logits = self.logits().values.to_vec();
        // The next probe has a cache of its own.
        self.unbind();
        ran.map(|()| logits)
    }

    fn probe_tokens(&self) -> Vec<u32> {
        let vocab = u32::try_from(self.layout.vocab_size).unwrap_or(u32::MAX);
        (0..PROBE_TOKENS).map(|token| token % vocab).collect()
    }
}

/// Tokens of the probe at load: a few, because its time is load time, and more than one step.
const PROBE_TOKENS: u32 = 4;

/// Whether logits computed in two ways are the same but for rounding.
fn alike(what: &str, alone: Result<Vec<f32>>, together: Result<Vec<f32>>) -> bool {
    match (alone, together) {
        (Ok(alone), Ok(together)) => {
            let scale = alone.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
            let difference =
                alone.iter().zip(&together).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            tracing::debug!(what, scale, difference, "probed");
            alone.len() == together.len() && difference <= PROBE_TOLERANCE * scale
        }
        (_, Err(error)) | (Err(error), _) => {
            tracing::debug!(what, %error, "cannot be computed");
            false
        }
    }
}

/// What logits computed in two ways may differ by, as a share of the largest: what another order of adding 32-bit
/// floats makes. A graph that differs by more, as one that quantises all rows of a step by one scale does, is computed
/// row by row: what runs beside a request must not change its answer.
const PROBE_TOLERANCE: f32 = 1e-4;

/// What a binding is for.
struct BoundShape {
    rows: Range<usize>,
    /// Tokens of each row.
    width: usize,
    capacity: usize,
    /// Rows of the whole cache.
    count: usize,
    wanted: Wanted,
}

impl Bound {
    fn new(session: &Session, layout: &Layout, buffers: &[Buffer], shape: BoundShape) -> Result<Self> {
        let BoundShape { rows, width, capacity, count, wanted } = shape;
        let n = rows.len();
        let mut binding = Binding::new(session)?;
        let numbers = |shape: &[usize]| Buffer::new(TensorElementType::Int64, shape);
        let ids = numbers(&[n, width])?;
        binding.input(INPUT_IDS, &ids, 0, &[n, width])?;
        let mut positions = None;
        if layout.position_ids {
            let buffer = numbers(&[n, width])?;
            binding.input(POSITION_IDS, &buffer, 0, &[n, width])?;
            positions = Some(buffer);
        }
        if let Some(name) = &layout.logits_to_keep {
            let mut number = numbers(&[])?;
            number.int64_mut().fill(logits_to_keep(wanted));
            binding.input(name, &number, 0, &[])?;
        }
        if layout.use_cache_branch {
            let mut branch = Buffer::new(TensorElementType::Bool, &[1])?;
            branch.bytes_mut().fill(1);
            binding.input(USE_CACHE_BRANCH, &branch, 0, &[1])?;
        }
        let mut mask = numbers(&[n, capacity])?;
        mask.int64_mut().fill(1);
        let one = layout.last_logits_only || (layout.logits_to_keep.is_some() && wanted == Wanted::Last);
        let shape = [n, if one { 1 } else { width }, layout.vocab_size];
        let logits = Buffer::new(layout.logits_type, &shape)?;
        binding.output(LOGITS, &logits, 0, &shape)?;
        for (tensor, buffer) in layout.cache.iter().zip(buffers) {
            let row = tensor.heads * capacity * tensor.head_dim;
            let (first, shape) = (rows.start * row, [n, tensor.heads, capacity, tensor.head_dim]);
            assert!(rows.end <= count, "rows of the cache: {rows:?} of {count}");
            binding.input(&tensor.past, buffer, first, &shape)?;
            binding.output(&tensor.present, buffer, first, &shape)?;
        }
        Ok(Self { binding, rows, width, capacity, wanted, ids, positions, mask, logits })
    }
}

/// How many positions' logits to ask for; 0 is all.
fn logits_to_keep(wanted: Wanted) -> i64 {
    match wanted {
        Wanted::Last => 1,
        Wanted::All => 0,
    }
}

fn open_session(runtime: &Runtime, options: &GraphOptions<'_>) -> Result<Session, String> {
    let configured = || -> Result<_, ort::Error> {
        let builder = Session::builder(runtime.environment())?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(plain)?;
        let builder = builder.with_intra_threads(options.threads).map_err(plain)?;
        // Shapes change with every step: a plan for one of them helps no other.
        let builder = builder.with_memory_pattern(false).map_err(plain)?;
        let builder = builder.with_log_level(log_level()).map_err(plain)?;
        builder.with_intra_op_spinning(options.spinning).map_err(plain)
    };
    let mut builder = configured().map_err(|error| error.message().to_owned())?;
    builder.commit_from_file(options.file).map_err(|error| error.message().to_owned())
}

/// Drops the builder that a failed option hands back.
fn plain<R>(error: ort::Error<R>) -> ort::Error {
    ort::Error::new_with_code(error.code(), error.message())
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

/// Adds the wanted rows of `[rows, positions, vocabulary]` to `out`, as 32-bit floats.
fn take_rows(
    element: TensorElementType,
    bytes: &[u8],
    vocab_size: usize,
    wanted: Wanted,
    rows: usize,
    out: &mut Vec<f32>,
) {
    let size = element.byte_size(1).unwrap_or(1);
    let skipped = match wanted {
        Wanted::All => 0,
        // Several rows have one position each.
        Wanted::Last => bytes.len().saturating_sub(rows * vocab_size * size),
    };
    let bytes = &bytes[skipped..];
    match element {
        TensorElementType::Float16 => {
            let (values, _) = bytes.as_chunks();
            out.extend(values.iter().map(|value| f16::from_ne_bytes(*value).to_f32()));
        }
        TensorElementType::Bfloat16 => {
            let (values, _) = bytes.as_chunks();
            out.extend(values.iter().map(|value| bf16::from_ne_bytes(*value).to_f32()));
        }
        _ => {
            let (values, _) = bytes.as_chunks();
            out.extend(values.iter().map(|value| f32::from_ne_bytes(*value)));
        }
    }
}
