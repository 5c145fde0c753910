//! Which request gets which row, and the memory for it.

use std::sync::atomic::Ordering;

use puna_core::{Error, ErrorKind, Result};

use super::{PREFILL_CHUNK, Slot, Worker, active::Active, common_prefix, whole_chunks};
use crate::engine::{Job, Stopped, Task};

/// Positions kept free for a request's answer before it starts: few answers are longer, and one that is takes what is
/// free then.
const ANSWER_RESERVE: usize = 256;

/// Where a request goes.
enum Place {
    /// To a row that holds so many of its tokens.
    At { row: usize, cached: usize },
    /// It waits for another to compute what both begin with; later ones may go before it.
    Soon,
    /// It waits for a row or memory, and all after it wait too.
    Full,
}

impl Worker {
    /// Gives rows to waiting requests, in their order.
    pub(super) fn admit(&mut self) {
        let mut blocked = false;
        for job in std::mem::take(&mut self.queue) {
            if blocked {
                self.queue.push_back(job);
                continue;
            }
            match self.place(&job) {
                Ok(Place::At { row, cached }) => {
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    let adapter = job.adapter_id();
                    if let Job { prompt, task: Task::Restore(values, reply), .. } = job {
                        self.slots[row].used = self.clock;
                        self.slots[row].adapter = adapter;
                        let _ = reply.send(self.restore(row, &prompt, &values));
                        continue;
                    }
                    let mut active = Active::new(job, &self.tokenizer);
                    if let Some(answer) = &mut active.answer {
                        answer.usage.prompt_tokens = active.job.prompt.len() as u64;
                        answer.usage.cached_tokens = cached as u64;
                    }
                    self.slots[row] = Slot { active: Some(active), used: self.clock, adapter };
                }
                Ok(place) => {
                    blocked = matches!(place, Place::Full);
                    self.queue.push_back(job);
                }
                Err(error) => {
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    Active::new(job, &self.tokenizer).end(Stopped::Failed(error));
                }
            }
        }
    }

    /// A row for a request.
    fn place(&mut self, job: &Job) -> Result<Place> {
        let idle = |slot: &Slot| slot.active.is_none();
        if !self.slots.iter().any(idle) {
            return Ok(Place::Full);
        }
        let shared: Vec<usize> = (0..self.slots.len()).map(|row| self.reusable(row, job)).collect();
        let source = (0..shared.len()).max_by_key(|row| shared[*row]).unwrap_or_default();
        // A prompt that is being computed and begins alike is worth waiting for: its tokens are copied then.
        let soon = |active: &Active| {
            active.is_prompting()
                && active.job.adapter_id() == job.adapter_id()
                && common_prefix(&active.job.prompt, &job.prompt) >= shared[source] + PREFILL_CHUNK
        };
        if self.active().any(|(_, active)| soon(active)) {
            return Ok(Place::Soon);
        }
        if !self.reserve(job, source)? {
            return Ok(Place::Full);
        }
        // Other conversations may be forgotten now.
        let shared: Vec<usize> = (0..self.slots.len()).map(|row| self.reusable(row, job)).collect();
        let held = |row: usize| self.cache.tokens(row).len();
        let (slots, cache) = (&self.slots, &self.cache);
        let candidates = || (0..slots.len()).filter(|row| idle(&slots[*row]));
        let best = candidates().max_by_key(|row| shared[*row]);
        let row = best
            // More of it is kept than thrown away: the same conversation, or one that begins alike.
            .filter(|row| shared[*row] > 0 && shared[*row] * 2 >= held(*row))
            .or_else(|| candidates().find(|row| cache.tokens(*row).is_empty()))
            .or_else(|| candidates().min_by_key(|row| slots[*row].used));
        let Some(row) = row else { return Ok(Place::Full) };
        // What this row shares is as good as a copy of as much.
        let source = if shared[row] == shared[source] { row } else { source };
        self.cache.copy(source, row, shared[source])?;
        Ok(Place::At { row, cached: shared[source] })
    }

    /// How many of a request's first tokens a row holds and may be used: never all of them, because the logits after
    /// the last one are what is wanted.
    fn reusable(&self, row: usize, job: &Job) -> usize {
        if self.slots[row].adapter != job.adapter_id() {
            return 0;
        }
        let last = match &job.task {
            Task::Generate(_) | Task::Save(_) | Task::Restore(..) => job.prompt.len() - 1,
            // Another graph may have computed what is there.
            Task::Score(_) if self.graphs.has_companion() => 0,
            Task::Score(score) => score.from - 1,
        };
        let shared = common_prefix(self.cache.tokens(row), &job.prompt).min(last);
        if self.options.deterministic {
            // Whole chunks of a prompt alone were computed as they would be now.
            let prompt = self.slots[row].active.as_ref().map_or(shared, |active| active.job.prompt.len());
            return whole_chunks(shared.min(prompt));
        }
        shared
    }

    /// Whether there is memory for a request now. Forgets old conversations where it takes that.
    fn reserve(&mut self, job: &Job, keep: usize) -> Result<bool> {
        let wanted = |job: &Job| match &job.task {
            Task::Generate(generate) => {
                let whole = job.prompt.len() + generate.max_tokens.min(ANSWER_RESERVE);
                match &generate.beam {
                    None => whole,
                    // Each beam has the prompt too.
                    Some(beam) => job.prompt.len() + beam.beams as usize * whole,
                }
            }
            Task::Score(_) | Task::Save(_) | Task::Restore(..) => job.prompt.len(),
        };
        let reserved = |row: usize, active: &Active| wanted(&active.job).max(self.cache.tokens(row).len());
        let working: usize = self.active().map(|(row, active)| reserved(row, active)).sum();
        let needed = self.cache.bytes_of(working + wanted(job));
        let budget = self.cache.budget();
        if needed > budget {
            if working > 0 {
                return Ok(false);
            }
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the prompt of {} tokens and its answer need {needed} bytes of cache, and {budget} are allowed; raise `cache_memory`, or shorten the conversation",
                    job.prompt.len()
                ),
            ));
        }
        let spare = self.cache.bytes().saturating_sub(
            self.cache.bytes_of(self.active().map(|(row, _)| self.cache.tokens(row).len()).sum()),
        );
        if needed + spare > budget {
            self.forget(keep)?;
        }
        Ok(true)
    }

    /// Gives back the memory of conversations that nobody continues now, but for one row's.
    pub(super) fn forget(&mut self, keep: usize) -> Result<()> {
        for row in 0..self.slots.len() {
            if row != keep && self.slots[row].active.is_none() {
                self.cache.rewind(row, 0);
            }
        }
        self.graphs.unbind();
        self.cache.shrink()
    }

    /// Makes room for more tokens in a row.
    pub(super) fn make_room(&mut self, row: usize, more: usize) -> Result<()> {
        if self.cache.exceeds(row, more) {
            self.forget(row)?;
            if self.cache.exceeds(row, more) {
                return Err(self.no_memory());
            }
        }
        if self.cache.is_full(row, more) {
            self.graphs.unbind();
            self.cache.grow(row, more)?;
        }
        Ok(())
    }

    pub(super) fn no_memory(&self) -> Error {
        Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "the cache's {} bytes are full; raise `cache_memory`, or lower `max_tokens` or the number of slots",
                self.cache.budget()
            ),
        )
    }

    /// Takes keys and values into a row that the request was given.
    fn restore(&mut self, row: usize, tokens: &[u32], values: &[u8]) -> Result<()> {
        if self.cache.tokens(row).len() + 1 >= tokens.len() {
            // All but the last are there.
            return Ok(());
        }
        self.cache.rewind(row, 0);
        self.make_room(row, tokens.len())?;
        self.cache.write(row, tokens, values)
    }
}
