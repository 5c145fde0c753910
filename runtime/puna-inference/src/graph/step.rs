//! The tensors of one step, and what they are bound to.

use std::ops::Range;

use half::{bf16, f16};
use ort::{session::Session, value::TensorElementType};
use puna_core::Result;

use super::{CacheKind, Wanted};
use crate::{
    adapter::Adapter,
    buffer::{Binding, Buffer},
    cache::Cache,
    layout::{ATTENTION_MASK, CacheTensor, INPUT_IDS, LOGITS, Layout, POSITION_IDS, USE_CACHE_BRANCH},
};

/// The tensors of a step and their binding. What is bound stays bound until its shape changes.
pub(super) struct Step {
    binding: Binding,
    shape: StepShape,
    ids: Buffer,
    positions: Option<Buffer>,
    mask: Buffer,
    pub(super) logits: Buffer,
}

/// What a step computes, as far as its tensors depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepShape {
    /// The cache's number.
    pub cache: u64,
    pub rows: Range<usize>,
    /// Tokens of each row.
    pub width: usize,
    /// Positions that a row of the cache has room for.
    pub capacity: usize,
    pub wanted: Wanted,
    /// The number of the adapter whose tensors are bound; 0 is none.
    pub adapter: u64,
}

impl Step {
    /// Binds what a step of this shape has. Of a cache in place too.
    pub(super) fn new(
        session: &Session,
        layout: &Layout,
        kind: CacheKind,
        cache: &mut Cache,
        shape: StepShape,
        adapter: Option<&Adapter>,
    ) -> Result<Self> {
        let StepShape { ref rows, width, capacity, wanted, .. } = shape;
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
        let outputs = [n, if one { 1 } else { width }, layout.vocab_size];
        let logits = Buffer::new(layout.logits_type, &outputs)?;
        binding.output(LOGITS, &logits, 0, &outputs)?;
        if kind == CacheKind::Shared {
            assert!(rows.end <= cache.rows(), "rows of the cache: {rows:?} of {}", cache.rows());
            let (buffers, _) = cache.buffers();
            for (tensor, buffer) in layout.cache.iter().zip(buffers) {
                let row = tensor.heads * capacity * tensor.head_dim;
                let (first, shape) = (rows.start * row, [n, tensor.heads, capacity, tensor.head_dim]);
                binding.input(&tensor.past, buffer, first, &shape)?;
                binding.output(&tensor.present, buffer, first, &shape)?;
            }
        }
        for (name, buffer, shape) in adapter.iter().flat_map(|adapter| &adapter.tensors) {
            binding.input(name, buffer, 0, shape)?;
        }
        Ok(Self { binding, shape, ids, positions, mask, logits })
    }

    pub(super) fn has_shape(&self, shape: &StepShape) -> bool {
        self.shape == *shape
    }

    /// Runs the graph for these tokens, behind so many of each row.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        layout: &Layout,
        tokens: &[u32],
        pasts: &[usize],
        grown: Option<&mut Grown>,
    ) -> Result<()> {
        let width = self.shape.width;
        for (place, token) in self.ids.int64_mut().iter_mut().zip(tokens) {
            *place = i64::from(*token);
        }
        if let Some(positions) = &mut self.positions {
            let values = pasts.iter().flat_map(|past| *past..past + width);
            for (place, position) in positions.int64_mut().iter_mut().zip(values) {
                *place = i64::try_from(position).unwrap_or(i64::MAX);
            }
        }
        let longest = pasts.iter().max().copied().unwrap_or(0) + width;
        if layout.attention_mask {
            if pasts.len() > 1 {
                let mask = self.mask.int64_mut();
                for (row, past) in mask.chunks_exact_mut(longest).zip(pasts) {
                    let valid = past + width;
                    row.fill(0);
                    match grown {
                        // A row's sum is how the graph learns how much of the buffer is valid.
                        None => row[..valid].fill(1),
                        // What is there ends where the new tokens begin.
                        Some(_) => row[longest - valid..].fill(1),
                    }
                }
            }
            self.binding.input(ATTENTION_MASK, &self.mask, 0, &[pasts.len(), longest])?;
        }
        if let Some(grown) = &grown {
            grown.bind(&mut self.binding, layout, width)?;
        }
        self.binding.run(session)?;
        if let Some(grown) = grown {
            grown.ran(width);
        }
        Ok(())
    }
}

/// Past and present of a graph whose cache grows, for some rows of different lengths: `[rows, kv_heads, length,
/// head_dim]` each, a row's positions at the end of it. A step's present is the next one's past.
#[derive(Default)]
pub(super) struct Grown {
    past: Vec<Buffer>,
    present: Vec<Buffer>,
    rows: Range<usize>,
    /// How many positions each row has in `past`.
    pasts: Vec<usize>,
    longest: usize,
    /// The cache's number and version when they were the same.
    version: (u64, u64),
}

impl Grown {
    /// Makes `past` what the cache holds of the rows, with room for `width` more positions in `present`.
    pub(super) fn prepare(
        &mut self,
        cache: &mut Cache,
        tensors: &[CacheTensor],
        rows: &Range<usize>,
        pasts: &[usize],
        width: usize,
    ) -> Result<()> {
        let version = (cache.id(), cache.version());
        let known = (&self.rows, &self.pasts[..], self.version) == (rows, pasts, version);
        let (present, past) = (std::mem::take(&mut self.present), std::mem::take(&mut self.past));
        if !known {
            *self = Self {
                rows: rows.clone(),
                pasts: pasts.to_vec(),
                longest: pasts.iter().max().copied().unwrap_or(0),
                version,
                ..Self::default()
            };
        }
        let place = cache.place().clone();
        let (buffers, capacity) = cache.buffers();
        let room = |old: Option<Buffer>, tensor: &CacheTensor| {
            let needed = rows.len() * tensor.heads * (self.longest + width);
            let bytes = needed * tensor.bytes_per_head();
            match old.filter(|old| old.size() >= bytes) {
                Some(old) => Ok(old),
                // As much as the cache itself has room for, so that this is rare.
                None => {
                    Buffer::at(&place, tensor.element, &[rows.len(), tensor.heads, capacity, tensor.head_dim])
                }
            }
        };
        let (mut past, mut present) = (past.into_iter(), present.into_iter());
        for (tensor, buffer) in tensors.iter().zip(buffers) {
            let next = room(present.next(), tensor)?;
            let mut before = match (past.next(), known) {
                (Some(before), true) => before,
                (before, _) => room(before, tensor)?,
            };
            if !known {
                let position = tensor.bytes_per_head();
                for (row, past) in pasts.iter().enumerate() {
                    for head in 0..tensor.heads {
                        let from = ((rows.start + row) * tensor.heads + head) * capacity * position;
                        let to = ((row * tensor.heads + head + 1) * self.longest - past) * position;
                        before.copy_from(to, buffer, from, past * position)?;
                    }
                }
            }
            self.past.push(before);
            self.present.push(next);
        }
        Ok(())
    }

    fn bind(&self, binding: &mut Binding, layout: &Layout, width: usize) -> Result<()> {
        for ((tensor, past), present) in layout.cache.iter().zip(&self.past).zip(&self.present) {
            let shape = |length| [self.rows.len(), tensor.heads, length, tensor.head_dim];
            binding.input(&tensor.past, past, 0, &shape(self.longest))?;
            binding.output(&tensor.present, present, 0, &shape(self.longest + width))?;
        }
        Ok(())
    }

    /// What was present is past.
    fn ran(&mut self, width: usize) {
        std::mem::swap(&mut self.past, &mut self.present);
        self.longest += width;
        self.pasts.iter_mut().for_each(|past| *past += width);
    }

    /// Copies the positions that a step has appended to the cache, which notes them after this.
    pub(super) fn give(&self, cache: &mut Cache, tensors: &[CacheTensor], width: usize) -> Result<()> {
        let (buffers, capacity) = cache.buffers();
        for ((tensor, buffer), grown) in tensors.iter().zip(buffers).zip(&self.past) {
            let position = tensor.bytes_per_head();
            for (row, past) in self.pasts.iter().enumerate() {
                for head in 0..tensor.heads {
                    let from = ((row * tensor.heads + head + 1) * self.longest - width) * position;
                    let to = (self.rows.start + row) * tensor.heads + head;
                    let to = (to * capacity + past - width) * position;
                    buffer.copy_from(to, grown, from, width * position)?;
                }
            }
        }
        Ok(())
    }
}

/// How many positions' logits to ask for; 0 is all.
fn logits_to_keep(wanted: Wanted) -> i64 {
    match wanted {
        Wanted::Last => 1,
        Wanted::All => 0,
    }
}

/// Adds the wanted rows of `[rows, positions, vocabulary]` to `out`, as 32-bit floats.
pub(super) fn take_rows(logits: &Buffer, vocab_size: usize, wanted: Wanted, rows: usize, out: &mut Vec<f32>) {
    let element = logits.element();
    let size = element.byte_size(1).unwrap_or(1);
    let bytes = logits.bytes();
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
