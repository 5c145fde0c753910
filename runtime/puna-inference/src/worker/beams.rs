//! Requests that search for the likeliest answer as a whole: a cache of their own, with a row for each beam.

use puna_core::{Result, StopReason};

use super::Worker;
use crate::{
    beam::{BeamSearch, Beams, Next},
    cache::Cache,
    engine::{Stopped, Task},
};

impl Worker {
    /// Begins to search for the likeliest answer, from what the prompt's last step gave.
    pub(super) fn start_beams(&mut self, row: usize) -> Result<(), Stopped> {
        let Some(active) = &self.slots[row].active else { return Ok(()) };
        let Task::Generate(generate) = &active.job.task else { return Ok(()) };
        let Some(options) = &generate.beam else { return Ok(()) };
        let eos = if generate.ignore_end { &[][..] } else { &self.eos };
        let matcher = generate.matcher.as_deref().cloned();
        let search = BeamSearch::new(options, eos, generate.max_tokens, generate.sampler.clone(), matcher);
        let cache = self.graphs.new_cache(options.beams as usize, self.cache.budget());
        let mut beams = Box::new(Beams { search, cache, tokens: Vec::new() });
        let prompt = active.job.prompt.len();
        let copies = self.advance(row, &mut beams)?;
        self.room_for_beams(row, &mut beams.cache, prompt + 1)?;
        beams.cache.copy_from(&self.cache, row, 0, prompt)?;
        self.keep_beams(row, beams, copies)
    }

    /// Computes a token of every beam of a row.
    pub(super) fn step_beams(&mut self, row: usize) -> Result<(), Stopped> {
        let taken = self.slots[row].active.as_mut().and_then(|active| active.beams.take());
        let Some(mut beams) = taken else { return Ok(()) };
        self.room_for_beams(row, &mut beams.cache, 1)?;
        self.use_adapter_of(row);
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
}
