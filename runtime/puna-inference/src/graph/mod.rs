//! A model's graph: steps over the rows of a cache.

mod probe;
mod step;
#[cfg(test)]
mod tests;

use std::{ops::Range, path::Path, sync::Arc};

use ort::{
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{Session, builder::SessionBuilder},
    value::TensorElementType,
};
use puna_core::{Error, ErrorKind, Result};

use self::step::{Grown, Step, StepShape, take_rows};
use crate::{
    Device,
    adapter::Adapter,
    buffer::{COPY_GRAPH, Place, failed},
    cache::Cache,
    cuda::{self, CUDA_PROVIDER},
    folder::Sizes,
    layout::Layout,
    placement::{self, RECORD, placement},
    runtime::{Runtime, plain},
};

/// How a graph takes its cache.
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
    pub(crate) device: Device,
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
    /// Where the cache is.
    place: Place,
    context: usize,
    /// Whether a step takes several rows of a token each.
    batches: bool,
    /// Whether a step of several tokens gives each of them the logits it gets alone.
    verifies: bool,
    /// The bindings of steps of one token a row and of those of more, each for what it ran last.
    narrow: Option<Step>,
    wide: Option<Step>,
    /// The cache of a graph whose cache grows, as it takes it.
    grown: Grown,
    /// The last step's logits as 32-bit floats, where they are not read where the graph wrote them.
    logits: Vec<f32>,
    output: Output,
    /// What the next steps are changed by.
    adapter: Option<Arc<Adapter>>,
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

impl Graph {
    pub(crate) fn open(runtime: &Runtime, options: GraphOptions<'_>) -> Result<Self> {
        let shown = options.file.display().to_string();
        // First, because it tells a device that cannot be used from a graph that does not load.
        let place = match options.device {
            Device::Cpu => Place::Host,
            device => place_on(runtime, device, &options)?,
        };
        let session = open_session(runtime, &options).map_err(|message| {
            // ONNX Runtime tells a truncated file from an unsupported one only in its words.
            Error::new(ErrorKind::Corrupt, format!("cannot load the model `{shown}`: {message}"))
        })?;
        let placement = placement(&session)?;
        tracing::debug!(?placement, graph = shown, "placed");
        if let Device::Cuda { .. } = options.device {
            placement::check(&placement, CUDA_PROVIDER)
                .map_err(|error| error.context(format!("the model `{shown}` on `{}`", options.device)))?;
        }
        let layout = Layout::of(&session, &shown, options.sizes)?;
        let fixed = layout.fixed_length();
        let context = fixed.map_or(options.context, |length| length.min(options.context));
        let mut graph = Self {
            session,
            layout,
            kind: CacheKind::Growing,
            place,
            context,
            batches: false,
            verifies: false,
            narrow: None,
            wide: None,
            grown: Grown::default(),
            logits: Vec::new(),
            output: Output::Copied,
            adapter: None,
        };
        if fixed.is_some() {
            graph.kind = CacheKind::Shared;
        } else {
            graph.probe(options.cache)?;
        }
        graph.verifies = graph.probe_ahead();
        graph.batches = graph.probe_batch();
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

    pub(crate) fn new_cache(&self, rows: usize, budget: u64) -> Cache {
        // A cache that grows is there as past and as present too, while a step runs.
        let copies = if self.kind == CacheKind::Growing { 3 } else { 1 };
        Cache::new(&self.layout.cache, self.place.clone(), copies, rows, self.context, budget)
    }

    /// What the last step gave.
    pub(crate) fn logits(&self) -> Logits<'_> {
        let values = match (self.output, &self.narrow) {
            (Output::Narrow, Some(step)) => step.logits.floats(),
            _ => &self.logits,
        };
        Logits { values, vocab_size: self.layout.vocab_size }
    }

    /// Has the steps that follow changed by an adapter, or by none.
    pub(crate) fn use_adapter(&mut self, adapter: Option<&Arc<Adapter>>) {
        self.adapter = adapter.cloned();
    }

    /// Lets go of the cache's buffers, so that they can be replaced.
    pub(crate) fn unbind(&mut self) {
        self.narrow = None;
        self.wide = None;
        self.grown = Grown::default();
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
                ran.inspect_err(|_| cache.rewind(row, past))?;
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
                    cache.rewind(row, cache.tokens(row).len() - 1);
                }
                return Err(error);
            }
            self.copy_output();
        }
        Ok(())
    }

    /// Copies logits that the next run would overwrite.
    fn copy_output(&mut self) {
        if let (Output::Narrow, Some(step)) = (self.output, &self.narrow) {
            self.logits.extend_from_slice(step.logits.floats());
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
        let width = tokens.len() / rows.len();
        let pasts: Vec<usize> = rows.clone().map(|row| cache.tokens(row).len()).collect();
        let longest = pasts.iter().max().copied().unwrap_or(0) + width;
        let (_, capacity) = cache.buffers();
        if longest > capacity {
            return Err(Error::internal(format!("no room was made for {longest} tokens in {capacity}")));
        }
        let place = if width == 1 { &mut self.narrow } else { &mut self.wide };
        let adapter = self.adapter.as_deref();
        let id = adapter.map_or(0, |adapter| adapter.id);
        let shape = StepShape { cache: cache.id(), rows: rows.clone(), width, capacity, wanted, adapter: id };
        if !place.as_ref().is_some_and(|step| step.has_shape(&shape)) {
            // What was bound is let go of first: its logits can be large.
            *place = None;
            *place = Some(Step::new(&self.session, &self.layout, self.kind, cache, shape, adapter)?);
        }
        let Some(step) = place else { return Err(Error::internal("nothing is bound")) };
        let tensors = &self.layout.cache;
        let grown = match self.kind {
            CacheKind::Shared => None,
            CacheKind::Growing => {
                self.grown.prepare(cache, tensors, &rows, &pasts, width)?;
                Some(&mut self.grown)
            }
        };
        step.run(&mut self.session, &self.layout, tokens, &pasts, grown)?;
        if self.kind == CacheKind::Growing {
            self.grown.give(cache, tensors, width)?;
        }
        if width == 1 && self.logits.is_empty() && step.logits.element() == TensorElementType::Float32 {
            // A large vocabulary's logits are half a megabyte a row.
            self.output = Output::Narrow;
        } else {
            take_rows(&step.logits, self.layout.vocab_size, wanted, rows.len(), &mut self.logits);
        }
        for (row, tokens) in rows.zip(tokens.chunks(width)) {
            cache.append(row, tokens);
        }
        Ok(())
    }
}

/// Where a graph on a device keeps its cache.
fn place_on(runtime: &Runtime, device: Device, options: &GraphOptions<'_>) -> Result<Place> {
    let name = match device {
        Device::Cpu => AllocationDevice::CPU,
        Device::Cuda { .. } => AllocationDevice::CUDA,
    };
    let index = match device {
        Device::Cpu => 0,
        Device::Cuda { index } => i32::try_from(index).unwrap_or(i32::MAX),
    };
    let info = MemoryInfo::new(name, index, AllocatorType::Device, MemoryType::Default);
    let copier = configured(runtime, options)
        .and_then(|mut builder| builder.commit_from_memory(COPY_GRAPH))
        .map_err(|error| {
            let message = format!("the device `{device}` cannot be used: {}", error.message());
            Error::new(ErrorKind::Unavailable, message)
        })?;
    Place::device(copier, info.map_err(failed("name the device's memory"))?)
}

fn open_session(runtime: &Runtime, options: &GraphOptions<'_>) -> Result<Session, String> {
    configured(runtime, options)
        .and_then(|mut builder| builder.commit_from_file(options.file))
        .map_err(|error| error.message().to_owned())
}

fn configured(runtime: &Runtime, options: &GraphOptions<'_>) -> ort::Result<SessionBuilder> {
    let builder = runtime.session(options.threads, options.file)?;
    let builder = builder.with_config_entry(RECORD.0, RECORD.1).map_err(plain)?;
    let builder = match options.device {
        Device::Cpu => builder,
        Device::Cuda { index } => cuda::add_to(builder, index)?,
    };
    builder.with_intra_op_spinning(options.spinning).map_err(plain)
}
