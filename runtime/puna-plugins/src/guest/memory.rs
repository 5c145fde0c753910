use wasmtime::ResourceLimiter;

use crate::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// Bounds the memory of a guest in the sum: a bound for each memory alone would let fifty of them pass.
pub struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// The growth that was allowed last, to take back if it then fails.
    asked: usize,
    table_elements: usize,
    /// Whether the guest was ever refused memory: explains the trap that mostly follows.
    pub refused: bool,
}

impl MemoryLimiter {
    /// A limiter for so many bytes.
    pub fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, used: 0, asked: 0, table_elements: 0, refused: false }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        match self.used.checked_add(growth) {
            Some(used) if used <= self.limit => {
                self.used = used;
                self.asked = growth;
                Ok(true)
            }
            _ => {
                self.refused = true;
                self.asked = 0;
                Ok(false)
            }
        }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.used -= self.asked;
        self.asked = 0;
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        let allowed = elements <= MAX_TABLE_ELEMENTS;
        if allowed {
            // Not taken back if the growth fails: that only makes the bound stricter.
            self.table_elements = elements;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
