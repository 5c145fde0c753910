//! Keys and values of the tokens that the model has seen, a row for each conversation.

use std::sync::atomic::{AtomicU64, Ordering};

use puna_core::{Error, Result};

use crate::{
    buffer::{Buffer, Place},
    layout::CacheTensor,
};

/// Positions a cache grows by at least: small enough that short conversations stay small, large enough
/// that growing, which copies the cache, is rare.
pub(crate) const CACHE_STEP: usize = 256;

/// The rows of a cache: one buffer for each tensor, of shape `[rows, kv_heads, capacity, head_dim]`, so that rows beside
/// each other are computed in one step.
pub(crate) struct Cache {
    tensors: Vec<CacheTensor>,
    rows: Vec<Row>,
    buffers: Vec<Buffer>,
    capacity: usize,
    place: Place,
    /// The most positions of a row.
    context: usize,
    /// How many times each position is there: once where a graph takes the buffers themselves.
    copies: u64,
    /// The most bytes that may hold keys and values.
    budget: u64,
    /// What other caches take of the budget, in bytes.
    elsewhere: u64,
    /// No other cache has it.
    id: u64,
    /// Counts changes other than appending.
    version: u64,
}

/// The next cache's number.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Row {
    /// The tokens whose keys and values are there.
    tokens: Vec<u32>,
    /// Positions that were ever written: pages that the operating system gave. A device gives all at once.
    touched: usize,
}

impl Cache {
    pub(crate) fn new(
        tensors: &[CacheTensor],
        place: Place,
        copies: u64,
        rows: usize,
        context: usize,
        budget: u64,
    ) -> Self {
        Self {
            tensors: tensors.to_vec(),
            rows: (0..rows).map(|_| Row::default()).collect(),
            buffers: Vec::new(),
            capacity: 0,
            place,
            context,
            copies,
            budget,
            elsewhere: 0,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            version: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The tokens whose keys and values a row holds.
    pub(crate) fn tokens(&self, row: usize) -> &[u32] {
        &self.rows[row].tokens
    }

    /// The buffers, one for each tensor, and for how many positions of a row they have room.
    pub(crate) fn buffers(&mut self) -> (&mut [Buffer], usize) {
        (&mut self.buffers, self.capacity)
    }

    /// Where the buffers are.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The cache's number, which no other has.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// A number that is another after every change but [`append`](Self::append).
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What all keys and values take up, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_of(self.rows.iter().map(|row| row.touched).sum())
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Sets what other caches take of the budget, in bytes.
    pub(crate) fn set_elsewhere(&mut self, bytes: u64) {
        self.elsewhere = bytes;
    }

    /// What other caches take of the budget, in bytes.
    pub(crate) fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// What so many positions take up, in bytes.
    pub(crate) fn bytes_of(&self, positions: usize) -> u64 {
        self.bytes_per_token().saturating_mul(self.copies).saturating_mul(positions as u64)
    }

    fn bytes_per_token(&self) -> u64 {
        self.tensors.iter().map(CacheTensor::bytes_per_token).sum::<usize>() as u64
    }

    /// Whether `more` tokens in a row would need memory above the budget.
    pub(crate) fn exceeds(&self, row: usize, more: usize) -> bool {
        let needed = self.rows[row].tokens.len() + more;
        if self.place.is_device() {
            let capacity = if needed > self.capacity { self.grown(needed) } else { self.capacity };
            return self.bytes_of(capacity * self.rows.len()) + self.elsewhere > self.budget;
        }
        let grown = needed.saturating_sub(self.rows[row].touched);
        self.bytes() + self.bytes_of(grown) + self.elsewhere > self.budget
    }

    /// Whether room for `more` tokens in a row takes a larger buffer, which [`grow`](Self::grow) makes.
    pub(crate) fn is_full(&self, row: usize, more: usize) -> bool {
        self.rows[row].tokens.len() + more > self.capacity
    }

    /// Makes room for `more` tokens in a row. Nothing may be bound to the buffers meanwhile, or it keeps them.
    pub(crate) fn grow(&mut self, row: usize, more: usize) -> Result<()> {
        self.reallocate(self.grown(self.rows[row].tokens.len() + more))
    }

    /// Gives back the memory of what was forgotten. Nothing may be bound to the buffers meanwhile.
    pub(crate) fn shrink(&mut self) -> Result<()> {
        let longest = self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        // One more, because whoever is at work goes on.
        let longest = (longest + 1).max(self.least_length());
        let needed = if self.fixed_length().is_some() {
            self.capacity
        } else {
            longest.next_multiple_of(CACHE_STEP).min(self.capacity)
        };
        self.reallocate(needed)
    }

    /// The capacity for so many positions.
    fn grown(&self, needed: usize) -> usize {
        self.fixed_length()
            .unwrap_or_else(|| grown_capacity(self.capacity, needed, self.context).max(self.least_length()))
    }

    /// The capacity that a graph fixes, if it does.
    fn fixed_length(&self) -> Option<usize> {
        self.tensors.iter().filter_map(|tensor| tensor.fixed_length).min()
    }

    /// The fewest positions that every tensor may have room for.
    fn least_length(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.least_length).max().unwrap_or(0)
    }

    /// Copies what is valid into buffers of another capacity. All is as before when there is no memory for them.
    fn reallocate(&mut self, capacity: usize) -> Result<()> {
        let fresh = self.tensors.iter().map(|tensor| {
            Buffer::at(
                &self.place,
                tensor.element,
                &[self.rows.len(), tensor.heads, capacity, tensor.head_dim],
            )
        });
        let mut fresh = fresh.collect::<Result<Vec<_>>>()?;
        // One tensor after the other, so that the pages of one alone are there twice.
        for (tensor, (old, new)) in self.tensors.iter().zip(self.buffers.iter_mut().zip(&mut fresh)) {
            let position = tensor.bytes_per_head();
            for (number, row) in self.rows.iter().enumerate() {
                for head in 0..tensor.heads {
                    let part = number * tensor.heads + head;
                    new.copy_from(
                        part * capacity * position,
                        old,
                        part * self.capacity * position,
                        row.tokens.len() * position,
                    )?;
                }
            }
            if !self.place.is_device() {
                // What was copied is given back before the next is.
                std::mem::swap(old, new);
                *new = Buffer::new(tensor.element, &[0])?;
            }
        }
        if self.buffers.is_empty() || self.place.is_device() {
            self.buffers = fresh;
        }
        self.capacity = capacity;
        self.version += 1;
        for row in &mut self.rows {
            row.touched = if self.place.is_device() { capacity } else { row.tokens.len() };
        }
        Ok(())
    }

    /// Notes tokens whose keys and values a step has appended.
    pub(crate) fn append(&mut self, row: usize, tokens: &[u32]) {
        let row = &mut self.rows[row];
        row.tokens.extend_from_slice(tokens);
        row.touched = row.touched.max(row.tokens.len());
    }

    /// Forgets all but the first `length` tokens of a row. The memory stays, see [`shrink`](Self::shrink).
    pub(crate) fn rewind(&mut self, row: usize, length: usize) {
        if length < self.rows[row].tokens.len() {
            self.rows[row].tokens.truncate(length);
            self.version += 1;
        }
    }

    /// Makes a row begin as another does, for `length` tokens; what it held is forgotten. The buffers have room for
    /// them, because the other row holds them.
    pub(crate) fn copy(&mut self, from: usize, to: usize, length: usize) -> Result<()> {
        if from == to {
            self.rewind(to, length);
            return Ok(());
        }
        self.version += 1;
        // Should a copy fail, nothing of what is there is valid.
        self.rows[to].tokens.clear();
        for (tensor, buffer) in self.tensors.iter().zip(&mut self.buffers) {
            let position = tensor.bytes_per_head();
            for head in 0..tensor.heads {
                let start = |row: usize| (row * tensor.heads + head) * self.capacity * position;
                buffer.copy_within(start(from), start(to), length * position)?;
            }
        }
        let tokens = self.rows[from].tokens[..length].to_vec();
        self.append(to, &tokens);
        Ok(())
    }

    /// Makes a row begin as another cache's does, for `length` tokens; what it held is forgotten. There must be room.
    pub(crate) fn copy_from(&mut self, other: &Self, from: usize, to: usize, length: usize) -> Result<()> {
        self.version += 1;
        self.rows[to].tokens.clear();
        for ((tensor, buffer), source) in self.tensors.iter().zip(&mut self.buffers).zip(&other.buffers) {
            let position = tensor.bytes_per_head();
            for head in 0..tensor.heads {
                buffer.copy_from(
                    (to * tensor.heads + head) * self.capacity * position,
                    source,
                    (from * tensor.heads + head) * other.capacity * position,
                    length * position,
                )?;
            }
        }
        let tokens = other.rows[from].tokens[..length].to_vec();
        self.append(to, &tokens);
        Ok(())
    }

    /// Keys and values of the first `length` tokens of a row, tensor after tensor, head after head.
    pub(crate) fn read(&self, row: usize, length: usize) -> Result<Vec<u8>> {
        let mut values = Vec::new();
        for (tensor, buffer) in self.tensors.iter().zip(&self.buffers) {
            let position = tensor.bytes_per_head();
            for head in 0..tensor.heads {
                let start = (row * tensor.heads + head) * self.capacity * position;
                buffer.read(start, length * position, &mut values)?;
            }
        }
        Ok(values)
    }

    /// Makes a row hold tokens and the keys and values that [`read`](Self::read) gave of them. There must be room.
    pub(crate) fn write(&mut self, row: usize, tokens: &[u32], mut values: &[u8]) -> Result<()> {
        let needed = self.bytes_per_token() * tokens.len() as u64;
        if values.len() as u64 != needed {
            return Err(Error::internal(format!(
                "{} bytes are not the keys and values of {} tokens",
                values.len(),
                tokens.len()
            )));
        }
        self.rows[row].tokens.clear();
        self.version += 1;
        for (tensor, buffer) in self.tensors.iter().zip(&mut self.buffers) {
            let position = tensor.bytes_per_head();
            for head in 0..tensor.heads {
                let (part, rest) = values.split_at(tokens.len() * position);
                buffer.write((row * tensor.heads + head) * self.capacity * position, part)?;
                values = rest;
            }
        }
        self.append(row, tokens);
        Ok(())
    }

    /// Swaps what two rows hold.
    pub(crate) fn swap(&mut self, a: usize, b: usize) -> Result<()> {
        if a == b {
            return Ok(());
        }
        self.version += 1;
        let length = self.rows[a].tokens.len().max(self.rows[b].tokens.len());
        for (tensor, buffer) in self.tensors.iter().zip(&mut self.buffers) {
            let position = tensor.bytes_per_head();
            let mut other = Buffer::at(&self.place, tensor.element, &[length, tensor.head_dim])?;
            for head in 0..tensor.heads {
                let start = |row: usize| (row * tensor.heads + head) * self.capacity * position;
                let bytes = length * position;
                other.copy_from(0, buffer, start(a), bytes)?;
                buffer.copy_within(start(b), start(a), bytes)?;
                buffer.copy_from(start(b), &other, 0, bytes)?;
            }
        }
        self.rows.swap(a, b);
        // The longer one's pages are there in both now.
        for row in [a, b] {
            self.rows[row].touched = self.rows[row].touched.max(length);
        }
        Ok(())
    }
}

/// The capacity for `needed` positions: at least twice the present one, so that copying is amortised,
/// in whole steps, and never above the context.
fn grown_capacity(present: usize, needed: usize, context: usize) -> usize {
    needed.max(present.saturating_mul(2)).next_multiple_of(CACHE_STEP).min(context.max(needed))
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
