//! Continuous batching: many requests over the rows of one cache.
//!
//! Each round takes one chunk of one prompt and one token of every answer, so that a long prompt does not stall the
//! answers, and a request that ends leaves its place to the next at once.

mod active;
mod admission;
mod answers;
mod beams;
mod prompts;

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
};

use puna_core::{Result, StopReason};
use puna_text::Tokenizer;

use active::Active;

use crate::{
    cache::Cache,
    engine::{EngineStatus, Job, Shared, Stopped, Task},
    graphs::Graphs,
    masks::Masks,
};

/// Tokens of a prompt computed at a time. Cancellation, deadlines and other requests' answers wait for no more: one
/// to two seconds of a 1B model on two slow cores. Larger chunks are hardly faster.
pub(crate) const PREFILL_CHUNK: usize = 128;

/// How a worker computes.
pub(crate) struct WorkerOptions {
    /// Rows of the cache.
    pub slots: usize,
    /// The most bytes of keys and values.
    pub budget: u64,
    /// Whether every result is the same to the bit, whatever runs beside it.
    pub deterministic: bool,
    /// The most tokens guessed ahead; 0 is none.
    pub draft: usize,
}

pub(crate) struct Worker {
    graphs: Graphs,
    tokenizer: Tokenizer,
    eos: Vec<u32>,
    options: WorkerOptions,
    cache: Cache,
    /// For each row of the cache.
    slots: Vec<Slot>,
    /// What waits for a row, in the order it came.
    queue: VecDeque<Job>,
    masks: Masks,
    /// Counts rounds, to tell what was used last.
    clock: u64,
    /// The row whose prompt was worked on last.
    turn: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Slot {
    active: Option<Active>,
    used: u64,
    /// The number of the adapter that computed what the row holds; 0 is none.
    adapter: u64,
}

impl Worker {
    pub(crate) fn new(
        graphs: Graphs,
        tokenizer: Tokenizer,
        eos: Vec<u32>,
        options: WorkerOptions,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let cache = graphs.new_cache(options.slots, options.budget);
        let slots = (0..options.slots).map(|_| Slot::default()).collect();
        let worker = Self {
            graphs,
            tokenizer,
            eos,
            options,
            cache,
            slots,
            queue: VecDeque::new(),
            masks: Masks::default(),
            clock: 0,
            turn: 0,
            shared,
        };
        worker.report();
        Ok(worker)
    }

    /// Works until the last sender has gone and everything it sent is done.
    pub(crate) fn run(&mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            if self.queue.is_empty() && self.active().next().is_none() {
                match jobs.recv() {
                    Ok(job) => self.queue.push_back(job),
                    Err(mpsc::RecvError) => return,
                }
            }
            self.queue.extend(jobs.try_iter());
            self.clock += 1;
            self.sweep();
            let searches = self.active().filter_map(|(_, active)| active.beams.as_ref());
            let elsewhere = searches.map(|beams| beams.cache.bytes()).sum();
            self.cache.set_elsewhere(elsewhere);
            self.admit();
            // Before anybody is answered, so that who reads an answer finds its request at work.
            self.report();
            self.prefill();
            self.decode();
            self.report();
        }
    }

    fn report(&self) {
        let status = EngineStatus {
            slots: self.slots.len(),
            active: self.active().count(),
            queued: 0,
            cache_bytes: self.cache.bytes() + self.cache.elsewhere(),
            cache_budget_bytes: self.cache.budget(),
        };
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Has the steps that follow changed by what the request of a row is changed by.
    fn use_adapter_of(&mut self, row: usize) {
        let adapter = self.slots[row].active.as_ref().and_then(|active| active.job.adapter.as_ref());
        self.graphs.use_adapter(adapter);
    }

    /// The rows that work, with what they work on.
    fn active(&self) -> impl Iterator<Item = (usize, &Active)> {
        self.slots.iter().enumerate().filter_map(|(row, slot)| Some((row, slot.active.as_ref()?)))
    }

    /// Ends what is cancelled, late, or waited for by nobody.
    fn sweep(&mut self) {
        for row in 0..self.slots.len() {
            let checked = self.slots[row].active.as_ref().map(|active| active.job.check());
            if let Some(Err(stopped)) = checked {
                self.end(row, stopped);
            }
        }
        for job in std::mem::take(&mut self.queue) {
            match job.check() {
                Ok(()) => self.queue.push_back(job),
                Err(stopped) => {
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    Active::new(job, &self.tokenizer).end(stopped);
                }
            }
        }
    }

    /// Ends the request of a row. What the row holds stays, for the next one that begins alike.
    fn end(&mut self, row: usize, stopped: Stopped) {
        let slot = &mut self.slots[row];
        slot.used = self.clock;
        let Some(mut active) = slot.active.take() else { return };
        let prompt = active.job.prompt.len();
        let stopped = match (stopped, active.tell_beams(&self.eos)) {
            (Stopped::Reason(_), Ok(Some(reason))) => Stopped::Reason(reason),
            (Stopped::Reason(_), Err(failed)) => failed,
            (stopped, _) => stopped,
        };
        match (active.job.task, stopped) {
            (Task::Save(reply), Stopped::Reason(StopReason::EndOfTurn)) => {
                let values = self.cache.read(row, active.job.prompt.len());
                let _ = reply.send(values);
            }
            (task, stopped) => Active { job: Job { task, ..active.job }, ..active }.end(stopped),
        }
        if self.options.deterministic {
            // An answer's tokens were computed one by one, and are computed anew as part of a prompt.
            self.cache.rewind(row, whole_chunks(prompt));
        }
    }
}

fn whole_chunks(tokens: usize) -> usize {
    tokens - tokens % PREFILL_CHUNK
}

pub(crate) fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
