//! Keys and values of the tokens that the model has seen, a row for each conversation.

use ort::value::DynTensor;
use puna_core::{Error, ErrorKind, Result};

use crate::{
    buffer::{Buffer, bytes, bytes_mut},
    layout::CacheTensor,
};

/// Positions a cache grows by at least: small enough that short conversations stay small, large enough
/// that growing, which copies the cache, is rare.
pub(crate) const CACHE_STEP: usize = 256;

/// How a graph's cache is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheKind {
    /// One buffer is both past input and present output: nothing is copied.
    Shared,
    /// Every step gives a new, longer cache.
    Growing,
}

/// The rows of a cache.
///
/// A shared cache is one buffer for each tensor, of shape `[rows, kv_heads, capacity, head_dim]`, so that rows
/// beside each other are computed in one step. A growing one is a tensor of its own for each row.
pub(crate) struct Cache {
    tensors: Vec<CacheTensor>,
    rows: Vec<Row>,
    store: Store,
    /// The most positions of a row.
    context: usize,
    /// The most bytes that may hold keys and values.
    budget: u64,
}

#[derive(Default)]
struct Row {
    /// The tokens whose keys and values are there.
    tokens: Vec<u32>,
    /// Positions that were ever written: pages that the operating system gave.
    touched: usize,
}

pub(crate) enum Store {
    Shared {
        buffers: Vec<Buffer>,
        capacity: usize,
    },
    /// For each row its tensors.
    Growing(Vec<Vec<DynTensor>>),
}

impl Cache {
    pub(crate) fn new(
        tensors: &[CacheTensor],
        kind: CacheKind,
        rows: usize,
        context: usize,
        budget: u64,
    ) -> Result<Self> {
        let store = match kind {
            CacheKind::Shared => Store::Shared { buffers: Vec::new(), capacity: 0 },
            CacheKind::Growing => {
                let empty = || {
                    tensors
                        .iter()
                        .map(|tensor| allocate(tensor, tensor.least_length))
                        .collect::<Result<Vec<_>>>()
                };
                Store::Growing((0..rows).map(|_| empty()).collect::<Result<_>>()?)
            }
        };
        let rows = (0..rows).map(|_| Row::default()).collect();
        Ok(Self { tensors: tensors.to_vec(), rows, store, context, budget })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The tokens whose keys and values a row holds.
    pub(crate) fn tokens(&self, row: usize) -> &[u32] {
        &self.rows[row].tokens
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// What all keys and values take up, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_of(self.rows.iter().map(|row| row.touched).sum())
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// What so many positions take up, in bytes.
    pub(crate) fn bytes_of(&self, positions: usize) -> u64 {
        let token: usize = self.tensors.iter().map(CacheTensor::bytes_per_token).sum();
        (token as u64).saturating_mul(positions as u64)
    }

    /// Whether `more` tokens in a row would need memory above the budget.
    pub(crate) fn exceeds(&self, row: usize, more: usize) -> bool {
        let row = &self.rows[row];
        let grown = (row.tokens.len() + more).saturating_sub(row.touched);
        self.bytes() + self.bytes_of(grown) > self.budget
    }

    /// Whether room for `more` tokens in a row takes a larger buffer, which [`grow`](Self::grow) makes.
    pub(crate) fn is_full(&self, row: usize, more: usize) -> bool {
        match &self.store {
            Store::Shared { capacity, .. } => self.rows[row].tokens.len() + more > *capacity,
            Store::Growing(_) => false,
        }
    }

    /// Makes room for `more` tokens in a row. Nothing may be bound to the buffers meanwhile, or it keeps them.
    pub(crate) fn grow(&mut self, row: usize, more: usize) -> Result<()> {
        let needed = self.rows[row].tokens.len() + more;
        let fixed = self.tensors.iter().filter_map(|tensor| tensor.fixed_length).min();
        match &self.store {
            Store::Shared { capacity, .. } => {
                let capacity = fixed.unwrap_or_else(|| {
                    grown_capacity(*capacity, needed, self.context).max(self.least_length())
                });
                self.reallocate(capacity)
            }
            Store::Growing(_) => Ok(()),
        }
    }

    /// Gives back the memory of what was forgotten. Nothing may be bound to the buffers meanwhile.
    pub(crate) fn shrink(&mut self) -> Result<()> {
        if let Store::Shared { capacity, .. } = self.store {
            let longest = self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
            let fixed = self.tensors.iter().any(|tensor| tensor.fixed_length.is_some());
            // One more, because whoever is at work goes on.
            let longest = (longest + 1).max(self.least_length());
            let needed = if fixed { capacity } else { longest.next_multiple_of(CACHE_STEP).min(capacity) };
            self.reallocate(needed)?;
        }
        Ok(())
    }

    /// The fewest positions that every tensor may have room for.
    fn least_length(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.least_length).max().unwrap_or(0)
    }

    /// Copies what is valid into buffers of another capacity. All is as before when there is no memory for them.
    fn reallocate(&mut self, capacity: usize) -> Result<()> {
        let Store::Shared { buffers, capacity: present } = &mut self.store else { return Ok(()) };
        let fresh = self.tensors.iter().map(|tensor| {
            Buffer::new(tensor.element, &[self.rows.len(), tensor.heads, capacity, tensor.head_dim])
        });
        let fresh = fresh.collect::<Result<Vec<_>>>()?;
        if buffers.is_empty() {
            *buffers = fresh;
            *present = capacity;
            return Ok(());
        }
        // One tensor after the other, so that the pages of one alone are there twice.
        for ((tensor, old), mut buffer) in self.tensors.iter().zip(buffers).zip(fresh) {
            let position = tensor.bytes_per_token() / tensor.heads.max(1);
            let (from, to) = (old.bytes_mut(), buffer.bytes_mut());
            for (number, row) in self.rows.iter().enumerate() {
                let count = row.tokens.len() * position;
                for head in 0..tensor.heads {
                    let part = number * tensor.heads + head;
                    let source = &from[part * *present * position..][..count];
                    to[part * capacity * position..][..count].copy_from_slice(source);
                }
            }
            *old = buffer;
        }
        *present = capacity;
        for row in &mut self.rows {
            row.touched = row.tokens.len();
        }
        Ok(())
    }

    /// Notes tokens whose keys and values a step has appended.
    pub(crate) fn append(&mut self, row: usize, tokens: &[u32]) {
        let row = &mut self.rows[row];
        row.tokens.extend_from_slice(tokens);
        row.touched = row.touched.max(row.tokens.len());
    }

    /// Forgets all but the first `length` tokens of a row. A shared cache is as large as before, see
    /// [`shrink`](Self::shrink).
    pub(crate) fn rewind(&mut self, row: usize, length: usize) -> Result<()> {
        let past = self.rows[row].tokens.len();
        if length >= past {
            return Ok(());
        }
        if let Store::Growing(rows) = &mut self.store {
            for (tensor, value) in self.tensors.iter().zip(&mut rows[row]) {
                *value = shortened(tensor, value, past, length)?;
            }
            self.rows[row].touched = length;
        }
        self.rows[row].tokens.truncate(length);
        Ok(())
    }

    /// Makes a row begin as another does, for `length` tokens; what it held is forgotten. The buffers have room for
    /// them, because the other row holds them.
    pub(crate) fn copy(&mut self, from: usize, to: usize, length: usize) -> Result<()> {
        if from == to {
            return self.rewind(to, length);
        }
        match &mut self.store {
            Store::Growing(rows) => {
                let past = self.rows[from].tokens.len();
                let copied = self.tensors.iter().zip(&rows[from]);
                rows[to] = copied
                    .map(|(tensor, value)| shortened(tensor, value, past, length))
                    .collect::<Result<_>>()?;
            }
            Store::Shared { buffers, capacity } => {
                for (tensor, buffer) in self.tensors.iter().zip(buffers) {
                    let position = tensor.bytes_per_token() / tensor.heads.max(1);
                    let bytes = buffer.bytes_mut();
                    for head in 0..tensor.heads {
                        let start = |row: usize| (row * tensor.heads + head) * *capacity * position;
                        bytes.copy_within(start(from)..start(from) + length * position, start(to));
                    }
                }
            }
        }
        let tokens = self.rows[from].tokens[..length].to_vec();
        self.rows[to].touched =
            if matches!(self.store, Store::Growing(_)) { length } else { self.rows[to].touched.max(length) };
        self.rows[to].tokens = tokens;
        Ok(())
    }

    /// Keys and values of the first `length` tokens of a row, tensor after tensor, head after head; none of a cache that
    /// grows, whose tensors belong to ONNX Runtime.
    pub(crate) fn read(&mut self, row: usize, length: usize) -> Option<Vec<u8>> {
        let Store::Shared { buffers, capacity } = &mut self.store else { return None };
        let mut values = Vec::new();
        for (tensor, buffer) in self.tensors.iter().zip(buffers) {
            let position = tensor.bytes_per_token() / tensor.heads.max(1);
            for head in 0..tensor.heads {
                let start = (row * tensor.heads + head) * *capacity * position;
                values.extend_from_slice(&buffer.bytes()[start..start + length * position]);
            }
        }
        Some(values)
    }

    /// Makes a row hold tokens and the keys and values that [`read`](Self::read) gave of them. There must be room. False
    /// where they are not as many as the tokens need.
    pub(crate) fn write(&mut self, row: usize, tokens: &[u32], mut values: &[u8]) -> bool {
        let needed = self.bytes_of(tokens.len());
        let Store::Shared { buffers, capacity } = &mut self.store else { return false };
        if values.len() as u64 != needed {
            return false;
        }
        self.rows[row].tokens.clear();
        for (tensor, buffer) in self.tensors.iter().zip(buffers) {
            let position = tensor.bytes_per_token() / tensor.heads.max(1);
            for head in 0..tensor.heads {
                let (part, rest) = values.split_at(tokens.len() * position);
                let start = (row * tensor.heads + head) * *capacity * position;
                buffer.bytes_mut()[start..start + part.len()].copy_from_slice(part);
                values = rest;
            }
        }
        self.append(row, tokens);
        true
    }

    /// Swaps what two rows hold.
    pub(crate) fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        match &mut self.store {
            Store::Growing(rows) => rows.swap(a, b),
            Store::Shared { buffers, capacity } => {
                let length = self.rows[a].tokens.len().max(self.rows[b].tokens.len());
                for (tensor, buffer) in self.tensors.iter().zip(buffers) {
                    let position = tensor.bytes_per_token() / tensor.heads.max(1);
                    let row = tensor.heads * *capacity * position;
                    let (low, high) = buffer.bytes_mut().split_at_mut(a.max(b) * row);
                    let low = &mut low[a.min(b) * row..];
                    for head in 0..tensor.heads {
                        let start = head * *capacity * position;
                        let part = start..start + length * position;
                        low[part.clone()].swap_with_slice(&mut high[part]);
                    }
                }
            }
        }
        self.rows.swap(a, b);
        if let Store::Shared { .. } = self.store {
            // The longer one's pages are there in both now.
            let touched = self.rows[a].tokens.len().max(self.rows[b].tokens.len());
            for row in [a, b] {
                self.rows[row].touched = self.rows[row].touched.max(touched);
            }
        }
    }
}

/// The capacity for `needed` positions: at least twice the present one, so that copying is amortised,
/// in whole steps, and never above the context.
fn grown_capacity(present: usize, needed: usize, context: usize) -> usize {
    needed.max(present.saturating_mul(2)).next_multiple_of(CACHE_STEP).min(context.max(needed))
}

/// An empty tensor of shape `[1, kv_heads, length, head_dim]`.
fn allocate(tensor: &CacheTensor, length: usize) -> Result<DynTensor> {
    DynTensor::new(
        &ort::memory::Allocator::default(),
        tensor.element,
        [1_usize, tensor.heads, length, tensor.head_dim],
    )
    .map_err(|error| {
        Error::new(
            ErrorKind::ResourceExhausted,
            format!("cannot allocate a cache of {length} tokens: {}", error.message()),
        )
    })
}

/// A copy of the first `length` of a tensor's `past` positions.
fn shortened(tensor: &CacheTensor, value: &DynTensor, past: usize, length: usize) -> Result<DynTensor> {
    let mut shorter = allocate(tensor, length)?;
    let position = tensor.bytes_per_token() / tensor.heads.max(1);
    let (from, to) = (bytes(value), bytes_mut(&mut shorter));
    for head in 0..tensor.heads {
        let source = &from[head * past * position..][..length * position];
        to[head * length * position..][..length * position].copy_from_slice(source);
    }
    Ok(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_in_steps_and_stops_at_the_context() {
        assert_eq!(grown_capacity(0, 1, 4096), CACHE_STEP);
        assert_eq!(grown_capacity(256, 257, 4096), 512);
        assert_eq!(grown_capacity(256, 1000, 4096), 1024);
        assert_eq!(grown_capacity(512, 513, 700), 700);
        assert_eq!(grown_capacity(0, 64, 100), 100);
    }
}
