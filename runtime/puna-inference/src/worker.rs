//! Continuous batching: many requests over the rows of one cache.
//!
//! Each round takes one chunk of one prompt and one token of every answer, so that a long prompt does not stall the
//! answers, and a request that ends leaves its place to the next at once.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::Instant,
};

use puna_core::{Error, ErrorKind, ModelEvent, Result, StopReason};
use puna_text::Tokenizer;

use crate::{
    answer::Answer,
    beam::{BeamSearch, Beams, Next},
    cache::Cache,
    draft::draft,
    engine::{EngineStatus, Generate, Job, Score, Shared, Stopped, Task},
    graph::{Logits, Wanted},
    graphs::Graphs,
    masks::{Masks, Worked},
    score::score_of,
};

/// Tokens of a prompt computed at a time. Cancellation, deadlines and other requests' answers wait for no more: one
/// to two seconds of a 1B model on two slow cores. Larger chunks are hardly faster.
pub(crate) const PREFILL_CHUNK: usize = 128;

/// Positions kept free for a request's answer before it starts: few answers are longer, and one that is takes what is
/// free then.
const ANSWER_RESERVE: usize = 256;

/// How many rows a row must share a step with for each token that it may append in a step of its own, for the step of its
/// own to take longer: on a processor a step of 8 rows takes about 2.5 times as long as one of one row, and one of 8
/// tokens of a row 1.5 times.
const FORCED_SHARE: usize = 2;

/// Tokens of a draft at first; doubled when all of it was right, halved when none was.
const DRAFT_START: usize = 4;

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
}

/// A request that has a row.
struct Active {
    job: Job,
    /// The text, of a request that generates.
    answer: Option<Answer>,
    began: Instant,
    /// When the prompt was done.
    decoding: Option<Instant>,
    /// What was chosen and is not in the cache yet: a token, and those that the answer's form puts behind it.
    next: Vec<u32>,
    /// The search for the likeliest answer, once the prompt is done.
    beams: Option<Box<Beams>>,
    draft: usize,
}

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

    /// Gives rows to waiting requests, in their order.
    fn admit(&mut self) {
        let mut blocked = false;
        for job in std::mem::take(&mut self.queue) {
            if blocked {
                self.queue.push_back(job);
                continue;
            }
            match self.place(&job) {
                Ok(Place::At { row, cached }) => {
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    if let Job { prompt, task: Task::Restore(values, reply), .. } = job {
                        self.slots[row].used = self.clock;
                        let _ = reply.send(self.restore(row, &prompt, &values));
                        continue;
                    }
                    let mut active = Active::new(job, &self.tokenizer);
                    if let Some(answer) = &mut active.answer {
                        answer.usage.prompt_tokens = active.job.prompt.len() as u64;
                        answer.usage.cached_tokens = cached as u64;
                    }
                    self.slots[row] = Slot { active: Some(active), used: self.clock };
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
    fn forget(&mut self, keep: usize) -> Result<()> {
        for row in 0..self.slots.len() {
            if row != keep && self.slots[row].active.is_none() {
                self.cache.rewind(row, 0);
            }
        }
        self.graphs.unbind();
        self.cache.shrink()
    }

    /// Makes room for more tokens in a row.
    fn make_room(&mut self, row: usize, more: usize) -> Result<()> {
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

    /// Computes a chunk's worth of prompts: of one long prompt, of each in turn, or of several short ones.
    fn prefill(&mut self) {
        let mut left = PREFILL_CHUNK;
        while left > 0 {
            let count = self.slots.len();
            let turns = (1..=count).map(|step| (self.turn + step) % count);
            let waits = |row: &usize| self.slots[*row].active.as_ref().is_some_and(Active::is_prompting);
            let Some(row) = turns.into_iter().find(waits) else { return };
            self.turn = row;
            let before = self.cache.tokens(row).len();
            if let Err(stopped) = self.prefill_chunk(row) {
                self.end(row, stopped);
            }
            left = left.saturating_sub(self.cache.tokens(row).len().saturating_sub(before).max(1));
        }
    }

    fn prefill_chunk(&mut self, row: usize) -> Result<(), Stopped> {
        let done = self.cache.tokens(row).len();
        let Some(active) = &self.slots[row].active else { return Ok(()) };
        let (wanted, length) = match &active.job.task {
            Task::Generate(_) | Task::Save(_) | Task::Restore(..) => (Wanted::Last, active.job.prompt.len()),
            // What comes after the last token is not asked.
            Task::Score(score) => {
                let length = active.job.prompt.len() - 1;
                (
                    if (done + PREFILL_CHUNK).min(length) >= score.from { Wanted::All } else { Wanted::Last },
                    length,
                )
            }
        };
        let end = length.min((done / PREFILL_CHUNK + 1) * PREFILL_CHUNK);
        let chunk = active.job.prompt[done..end].to_vec();
        let scores = matches!(active.job.task, Task::Score(_));
        self.make_room(row, chunk.len())?;
        if end == length {
            self.send_masks([row])?;
        }
        // What is told of likelihoods is told by the graph that decodes.
        let stepped = if scores {
            self.graphs.step(&mut self.cache, row, &chunk, wanted)
        } else {
            self.graphs.prefill(&mut self.cache, row, &chunk)
        };
        self.take_masks()?;
        stepped?;
        let Self { graphs, slots, eos, cache, .. } = self;
        let Some(active) = &mut slots[row].active else { return Ok(()) };
        match &mut active.job.task {
            Task::Score(score) => {
                if wanted == Wanted::All {
                    for position in done.max(score.from - 1)..end {
                        let token = active.job.prompt[position + 1];
                        let logits = graphs.logits().row(position - done);
                        score.scores.push(score_of(logits, token, score.top));
                        if let Some(each) = &mut score.each {
                            each(logits);
                        }
                    }
                }
                if end < length {
                    return Ok(());
                }
                if graphs.has_companion() {
                    // Prompts are not computed like this.
                    cache.rewind(row, 0);
                }
                Err(Stopped::Reason(StopReason::EndOfTurn))
            }
            Task::Save(_) | Task::Restore(..) => {
                if end < length {
                    Ok(())
                } else {
                    Err(Stopped::Reason(StopReason::EndOfTurn))
                }
            }
            Task::Generate(_) => {
                let now = Instant::now();
                if let Some(answer) = &mut active.answer {
                    // After every chunk, because the next may not be computed.
                    answer.usage.prefill_ms = milliseconds(now - active.began);
                    if graphs.has_companion() {
                        answer.usage.companion_tokens += chunk.len() as u64;
                    }
                }
                if end < length {
                    return Ok(());
                }
                active.decoding = Some(now);
                if let Task::Generate(generate) = &active.job.task
                    && generate.beam.is_some()
                {
                    return self.start_beams(row);
                }
                // A call that must come begins with what nobody chooses.
                if active.take_forced(eos)? {
                    return Ok(());
                }
                active.choose(graphs.logits(), 0, eos)
            }
        }
    }

    /// Computes a token of every answer.
    fn decode(&mut self) {
        let searching = |(row, active): (usize, &Active)| active.beams.is_some().then_some(row);
        let searching: Vec<usize> = self.active().filter_map(searching).collect();
        for row in searching {
            if let Err(stopped) = self.step_beams(row) {
                self.end(row, stopped);
            }
        }
        let decoding = |(row, active): (usize, &Active)| (!active.next.is_empty()).then_some(row);
        let rows: Vec<usize> = self.active().filter_map(decoding).collect();
        if let [row] = rows[..]
            && self.guesses(row)
        {
            if let Err(stopped) = self.decode_ahead(row) {
                self.end(row, stopped);
            }
            return;
        }
        let together = self.graphs.batches() && !self.options.deterministic;
        let count = if together { rows.len() } else { 1 };
        let (by_themselves, mut ready): (Vec<usize>, Vec<usize>) =
            rows.into_iter().partition(|row| self.goes_by_itself(*row, count));
        for row in by_themselves {
            if let Err(stopped) = self.decode_forced(row) {
                self.end(row, stopped);
            }
        }
        // Again where making room for one row took it from another: giving memory back leaves no room to spare.
        while let Some(row) =
            ready.iter().copied().find(|row| self.cache.is_full(*row, 1) || self.cache.exceeds(*row, 1))
        {
            if let Err(error) = self.make_room(row, 1) {
                self.end(row, Stopped::Failed(error));
                ready.retain(|other| *other != row);
            }
        }
        if together {
            match self.gather(&ready) {
                Ok(Some(first)) => self.decode_rows(first, ready.len()),
                Ok(None) => {}
                Err(error) => self.fail(ready, &error),
            }
        } else {
            ready.into_iter().for_each(|row| self.decode_rows(row, 1));
        }
    }

    /// Whether a row that has several tokens to append does so in a step of its own, and not one by one beside the
    /// others: a step beside others costs a row as little as the more of them there are.
    fn goes_by_itself(&self, row: usize, beside: usize) -> bool {
        let next = self.slots[row].active.as_ref().map_or(0, |active| active.next.len());
        next > 1 && next * FORCED_SHARE > beside
    }

    /// Appends all tokens of a row that have no choice left, in one step.
    fn decode_forced(&mut self, row: usize) -> Result<(), Stopped> {
        let Some(active) = &self.slots[row].active else { return Ok(()) };
        let step: Vec<u32> = active.next.iter().copied().take(PREFILL_CHUNK).collect();
        let whole = step.len() == active.next.len();
        self.make_room(row, step.len())?;
        if whole {
            self.send_masks([row])?;
        }
        let stepped = self.graphs.step(&mut self.cache, row, &step, Wanted::Last);
        self.take_masks()?;
        stepped?;
        let Self { graphs, slots, eos, .. } = self;
        let Some(active) = &mut slots[row].active else { return Ok(()) };
        active.next.drain(..step.len());
        if active.next.is_empty() { active.choose(graphs.logits(), 0, eos) } else { Ok(()) }
    }

    /// Sends the matchers of rows away, whose masks are wanted after the step that follows.
    fn send_masks(&mut self, rows: impl IntoIterator<Item = usize>) -> Result<()> {
        for row in rows {
            let generate = match &mut self.slots[row].active {
                Some(Active { job: Job { task: Task::Generate(generate), .. }, .. }) => generate,
                _ => continue,
            };
            if let Some(matcher) = generate.matcher.take() {
                self.masks.send(row, matcher)?;
            }
        }
        Ok(())
    }

    /// Takes all matchers back.
    fn take_masks(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut back = Vec::new();
        while let Some(worked) = self.masks.take()? {
            back.push(worked);
        }
        let waited = milliseconds(began.elapsed());
        let count = back.len() as f64;
        for Worked { row, matcher, time } in back {
            let Some(active) = &mut self.slots[row].active else { continue };
            if let Task::Generate(generate) = &mut active.job.task {
                generate.matcher = Some(matcher);
            }
            if let Some(answer) = &mut active.answer {
                answer.usage.mask_ms += milliseconds(time);
                answer.usage.mask_wait_ms += waited / count;
            }
        }
        Ok(())
    }

    /// Whether tokens are guessed ahead for a row: for a request that runs alone and takes the likeliest tokens, which
    /// rounding does not change. A drawn token may be another for the last bit of a logit.
    fn guesses(&self, row: usize) -> bool {
        let greedy = self.slots[row].active.as_ref().is_some_and(|active| match &active.job.task {
            Task::Generate(generate) => generate.sampler.is_greedy(),
            Task::Score(_) | Task::Save(_) | Task::Restore(..) => false,
        });
        greedy
            && self.active().count() == 1
            && self.options.draft > 0
            && !self.options.deterministic
            && self.graphs.verifies()
    }

    /// Begins to search for the likeliest answer, from what the prompt's last step gave.
    fn start_beams(&mut self, row: usize) -> Result<(), Stopped> {
        let Some(active) = &self.slots[row].active else { return Ok(()) };
        let Task::Generate(generate) = &active.job.task else { return Ok(()) };
        let Some(options) = &generate.beam else { return Ok(()) };
        let eos = if generate.ignore_end { &[][..] } else { &self.eos };
        let search = BeamSearch::new(options, eos, generate.max_tokens, generate.sampler.clone());
        let cache = self.graphs.new_cache(options.beams as usize, self.cache.budget());
        let mut beams = Box::new(Beams { search, cache, tokens: Vec::new() });
        let prompt = active.job.prompt.len();
        let copies = self.advance(row, &mut beams)?;
        self.room_for_beams(row, &mut beams.cache, prompt + 1)?;
        beams.cache.copy_from(&self.cache, row, 0, prompt)?;
        self.keep_beams(row, beams, copies)
    }

    /// Computes a token of every beam of a row.
    fn step_beams(&mut self, row: usize) -> Result<(), Stopped> {
        let taken = self.slots[row].active.as_mut().and_then(|active| active.beams.take());
        let Some(mut beams) = taken else { return Ok(()) };
        self.room_for_beams(row, &mut beams.cache, 1)?;
        self.graphs.step_rows(&mut beams.cache, 0, &beams.tokens)?;
        let copies = self.advance(row, &mut beams)?;
        self.keep_beams(row, beams, copies)
    }

    /// Chooses how the beams go on after the last step. Gives the rows to copy, none where the search is done.
    fn advance(&mut self, row: usize, beams: &mut Beams) -> Result<Option<Vec<(usize, usize)>>> {
        let Self { graphs, slots, tokenizer, .. } = self;
        let stop = match slots[row].active.as_ref().map(|active| &active.job.task) {
            Some(Task::Generate(generate)) => &generate.stop[..],
            _ => &[],
        };
        let ends = |tokens: &[u32]| {
            if stop.is_empty() {
                return Ok(false);
            }
            let text = tokenizer.decode(tokens)?;
            Ok(stop.iter().any(|stop| text.contains(stop.as_str())))
        };
        let logits = graphs.logits();
        match beams.search.advance(|row| logits.row(row), ends)? {
            Next::Done => Ok(None),
            Next::Step { copies, tokens } => {
                beams.tokens = tokens;
                Ok(Some(copies))
            }
        }
    }

    /// Keeps beams for the next round; those whose search is done are what the request ends with.
    fn keep_beams(
        &mut self,
        row: usize,
        mut beams: Box<Beams>,
        copies: Option<Vec<(usize, usize)>>,
    ) -> Result<(), Stopped> {
        for (from, to) in copies.iter().flatten() {
            let length = beams.cache.tokens(*from).len();
            beams.cache.copy(*from, *to, length)?;
        }
        let Self { slots, eos, .. } = self;
        let Some(active) = &mut slots[row].active else { return Ok(()) };
        let ended = beams.search.best().last().is_some_and(|token| eos.contains(token));
        active.beams = Some(beams);
        match (copies, &active.job.task) {
            (Some(_), _) => Ok(()),
            (None, Task::Generate(generate)) if !ended => Err(Stopped::Reason(generate.longest())),
            (None, _) => Err(Stopped::Reason(StopReason::EndOfTurn)),
        }
    }

    /// Makes room for more tokens in each row of a search's own cache.
    fn room_for_beams(&mut self, row: usize, cache: &mut Cache, more: usize) -> Result<()> {
        if !cache.is_full(0, more) {
            return Ok(());
        }
        let needed = cache.bytes_of(cache.rows() * (cache.tokens(0).len() + more));
        let exceeds = |main: &Cache| main.bytes() + main.elsewhere() + needed > main.budget();
        if exceeds(&self.cache) {
            self.forget(row)?;
        }
        if exceeds(&self.cache) {
            return Err(self.no_memory());
        }
        self.graphs.unbind();
        cache.grow(0, more)
    }

    fn no_memory(&self) -> Error {
        Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "the cache's {} bytes are full; raise `cache_memory`, or lower `max_tokens` or the number of slots",
                self.cache.budget()
            ),
        )
    }

    /// Moves the rows that decode beside each other; gives the first. None for no rows.
    fn gather(&mut self, rows: &[usize]) -> Result<Option<usize>> {
        let [first, .., last] = *rows else { return Ok(rows.first().copied()) };
        if last - first + 1 == rows.len() {
            return Ok(Some(first));
        }
        // The window that moves the fewest tokens.
        let inside = |start: usize| -> usize {
            let held = |row: &&usize| (start..start + rows.len()).contains(*row);
            rows.iter().filter(held).map(|row| self.cache.tokens(*row).len() + 1).sum()
        };
        let start = (0..=self.slots.len() - rows.len()).max_by_key(|start| inside(*start)).unwrap_or(0);
        let window = start..start + rows.len();
        let outside: Vec<usize> = rows.iter().copied().filter(|row| !window.contains(row)).collect();
        let free: Vec<usize> = window.filter(|row| !rows.contains(row)).collect();
        for (from, to) in outside.into_iter().zip(free) {
            self.cache.swap(from, to)?;
            self.slots.swap(from, to);
        }
        Ok(Some(start))
    }

    /// Ends the requests of rows with an error.
    fn fail(&mut self, rows: impl IntoIterator<Item = usize>, error: &Error) {
        for row in rows {
            self.end(row, Stopped::Failed(Error::new(error.kind(), error.to_string())));
        }
    }

    /// Computes a token of each of so many rows beside each other.
    fn decode_rows(&mut self, first: usize, count: usize) {
        let rows = first..first + count;
        let next = |slot: &Slot| slot.active.as_ref()?.next.first().copied();
        let tokens: Vec<u32> = self.slots[rows.clone()].iter().filter_map(next).collect();
        assert_eq!(tokens.len(), count, "every row has a token to add");
        let last =
            |row: &usize| self.slots[*row].active.as_ref().is_some_and(|active| active.next.len() == 1);
        let choosing: Vec<usize> = rows.clone().filter(last).collect();
        let stepped =
            self.send_masks(choosing).and_then(|()| self.graphs.step_rows(&mut self.cache, first, &tokens));
        if let Err(error) = self.take_masks().and(stepped) {
            self.fail(rows, &error);
            return;
        }
        for index in 0..count {
            let Self { graphs, slots, eos, .. } = self;
            let chosen = match &mut slots[first + index].active {
                Some(active) => {
                    active.next.remove(0);
                    if active.next.is_empty() { active.choose(graphs.logits(), index, eos) } else { Ok(()) }
                }
                None => Ok(()),
            };
            if let Err(stopped) = chosen {
                self.end(first + index, stopped);
            }
        }
    }

    /// Computes a token of the only answer there is, and tokens guessed to follow it: those that are what is chosen
    /// anyway come with the same step.
    fn decode_ahead(&mut self, row: usize) -> Result<(), Stopped> {
        let Some(active) = &mut self.slots[row].active else { return Ok(()) };
        let Task::Generate(generate) = &mut active.job.task else { return Ok(()) };
        let [next] = active.next[..] else { return self.decode_forced(row) };
        let mut known = self.cache.tokens(row).to_vec();
        known.push(next);
        let past = known.len() - 1;
        let made = active.answer.as_ref().map_or(0, |answer| answer.usage.completion_tokens as usize);
        // The last token that may be generated is never computed.
        let left = generate.max_tokens.saturating_sub(made + 1);
        let room = self.graphs.context().saturating_sub(known.len());
        let mut guessed = draft(&known, active.draft.min(self.options.draft).min(left).min(room)).to_vec();
        if let Some(matcher) = &mut generate.matcher {
            guessed.truncate(matcher.validate(&guessed)?);
        }
        let step: Vec<u32> = std::iter::once(next).chain(guessed.iter().copied()).collect();
        self.make_room(row, step.len())?;
        self.send_masks([row])?;
        let wanted = if step.len() == 1 { Wanted::Last } else { Wanted::All };
        let stepped = self.graphs.step(&mut self.cache, row, &step, wanted);
        self.take_masks()?;
        stepped?;
        let Self { graphs, slots, eos, cache, options, .. } = self;
        let Some(active) = &mut slots[row].active else { return Ok(()) };
        let mut right = 0;
        let mut outcome = Ok(());
        for index in 0..step.len() {
            active.next.clear();
            outcome = active.choose(graphs.logits(), index, eos);
            let guess = step.get(index + 1).copied();
            if outcome.is_err() || guess.is_none() || guess != active.next.first().copied() {
                break;
            }
            right += 1;
            if active.next.len() > 1 {
                // What follows has no choice: it is computed without being chosen.
                active.next.remove(0);
                break;
            }
        }
        // What follows the first wrong guess is not what was said.
        cache.rewind(row, past + 1 + right);
        let guesses = step.len() - 1;
        if guesses > 0 {
            if let Some(answer) = &mut active.answer {
                answer.usage.drafted_tokens += guesses as u64;
                answer.usage.accepted_tokens += right as u64;
            }
            active.draft = match right {
                0 => (active.draft / 2).max(1),
                right if right == guesses => (active.draft * 2).min(options.draft),
                _ => active.draft,
            };
        }
        outcome
    }
}

impl Active {
    fn new(job: Job, tokenizer: &Tokenizer) -> Self {
        let answer = match &job.task {
            Task::Generate(generate) => Some(Answer::new(tokenizer.clone(), &generate.stop, generate.calls)),
            Task::Score(_) | Task::Save(_) | Task::Restore(..) => None,
        };
        Self {
            job,
            answer,
            began: Instant::now(),
            decoding: None,
            next: Vec::new(),
            beams: None,
            draft: DRAFT_START,
        }
    }

    /// Chooses the next token after the `index`th of a step, and takes those that the answer's form puts behind it.
    fn choose(&mut self, logits: Logits<'_>, index: usize, eos: &[u32]) -> Result<(), Stopped> {
        let (Task::Generate(generate), Some(answer)) = (&mut self.job.task, &mut self.answer) else {
            return Ok(());
        };
        let Generate { sampler, matcher, logprobs, events, .. } = &mut **generate;
        let began = Instant::now();
        let allowed = matcher.as_mut().map(|matcher| matcher.mask()).transpose()?;
        if allowed.is_some() {
            // Nothing where it was worked out while the model ran.
            let time = milliseconds(began.elapsed());
            answer.usage.mask_ms += time;
            answer.usage.mask_wait_ms += time;
        }
        let token = sampler.choose_from(logits.row(index), allowed);
        if let Some(top) = *logprobs {
            let score = score_of(logits.row(index), token, top);
            events.send(Ok(ModelEvent::Token(score))).map_err(|_| Stopped::Abandoned)?;
        }
        self.accept(token, eos)?;
        self.take_forced(eos)?;
        Ok(())
    }

    /// Takes the tokens that the answer's form leaves no choice of. False where there is a choice.
    fn take_forced(&mut self, eos: &[u32]) -> Result<bool, Stopped> {
        let Task::Generate(generate) = &mut self.job.task else { return Ok(false) };
        // What was not computed has no likelihood to tell.
        let Some(matcher) = generate.matcher.as_mut().filter(|_| generate.logprobs.is_none()) else {
            return Ok(false);
        };
        let forced = matcher.forced();
        for token in &forced {
            if let Task::Generate(generate) = &mut self.job.task {
                generate.sampler.take(*token);
            }
            self.accept(*token, eos)?;
            if let Some(answer) = &mut self.answer {
                answer.usage.forced_tokens += 1;
            }
        }
        Ok(!forced.is_empty())
    }

    /// Takes a token of the answer, which may be the last.
    fn accept(&mut self, token: u32, eos: &[u32]) -> Result<(), Stopped> {
        let (Task::Generate(generate), Some(answer)) = (&mut self.job.task, &mut self.answer) else {
            return Ok(());
        };
        self.next.push(token);
        answer.usage.completion_tokens += 1;
        if !generate.ignore_end && eos.contains(&token) {
            return Err(Stopped::Reason(StopReason::EndOfTurn));
        }
        if answer.take(token, &generate.events)? {
            return Err(Stopped::Reason(StopReason::StopString));
        }
        if let Some(matcher) = &mut generate.matcher {
            matcher.commit(token)?;
            if matcher.is_finished() {
                // Nothing but the end can follow.
                return Err(Stopped::Reason(StopReason::EndOfTurn));
            }
        }
        if answer.usage.completion_tokens as usize >= generate.max_tokens {
            return Err(Stopped::Reason(generate.longest()));
        }
        Ok(())
    }

    /// Whether the prompt is still being computed.
    fn is_prompting(&self) -> bool {
        self.next.is_empty() && self.beams.is_none()
    }

    /// Tells the best of the beams, as far as the search came. Gives another reason where a stop text ends it.
    fn tell_beams(&mut self, eos: &[u32]) -> Result<Option<StopReason>, Stopped> {
        let (Some(beams), Task::Generate(generate), Some(answer)) =
            (&self.beams, &self.job.task, &mut self.answer)
        else {
            return Ok(None);
        };
        for token in beams.search.best() {
            answer.usage.completion_tokens += 1;
            if !eos.contains(token) && answer.take(*token, &generate.events)? {
                return Ok(Some(StopReason::StopString));
            }
        }
        Ok(None)
    }

    /// Tells whoever waits for the request how it ended, once.
    fn end(mut self, stopped: Stopped) {
        if let (Some(answer), Some(decoding)) = (&mut self.answer, self.decoding) {
            answer.usage.decode_ms = milliseconds(decoding.elapsed());
        }
        match (self.job.task, self.answer, stopped) {
            (_, _, Stopped::Abandoned) => {}
            (Task::Generate(generate), Some(answer), Stopped::Reason(reason)) => {
                answer.end(reason, &generate.events);
            }
            (Task::Generate(generate), _, Stopped::Failed(error)) => {
                // The reader may have gone meanwhile.
                let _ = generate.events.send(Err(error));
            }
            (Task::Score(Score { scores, reply, .. }), _, stopped) => {
                let _ = reply.send(match stopped {
                    Stopped::Reason(StopReason::EndOfTurn) => Ok(scores),
                    stopped => Err(stopped.into_error("scoring")),
                });
            }
            (Task::Save(reply), _, stopped) => {
                let _ = reply.send(Err(stopped.into_error("saving a prefix")));
            }
            (Task::Restore(_, reply), _, stopped) => {
                let _ = reply.send(Err(stopped.into_error("restoring a prefix")));
            }
            (Task::Generate(_), None, Stopped::Reason(_)) => {
                debug_assert!(false, "a request that generates has an answer");
            }
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
