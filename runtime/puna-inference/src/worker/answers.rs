//! Answers, a token of each at a time; tokens that have no choice, and tokens guessed ahead, several at a time.

use std::{collections::BTreeMap, time::Instant};

use puna_core::{Error, Result};

use super::{PREFILL_CHUNK, Slot, Worker, active::Active, milliseconds};
use crate::{
    draft::draft,
    engine::{Job, Stopped, Task},
    graph::Wanted,
    masks::Worked,
};

/// How many rows a row must share a step with for each token that it may append in a step of its own, for the step of its
/// own to take longer: on a processor a step of 8 rows takes about 2.5 times as long as one of one row, and one of 8
/// tokens of a row 1.5 times.
const FORCED_SHARE: usize = 2;

impl Worker {
    /// Computes a token of every answer.
    pub(super) fn decode(&mut self) {
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
        // A step is changed by one adapter or by none.
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for row in rows {
            let adapter = self.slots[row].active.as_ref().map_or(0, |active| active.job.adapter_id());
            groups.entry(adapter).or_default().push(row);
        }
        let together = self.graphs.batches() && !self.options.deterministic;
        let mut ready: Vec<Vec<usize>> = groups.into_values().collect();
        for group in &mut ready {
            let count = if together { group.len() } else { 1 };
            for row in std::mem::take(group) {
                if !self.goes_by_itself(row, count) {
                    group.push(row);
                } else if let Err(stopped) = self.decode_forced(row) {
                    self.end(row, stopped);
                }
            }
        }
        // Again where making room for one row took it from another: giving memory back leaves no room to spare.
        while let Some(row) = ready
            .iter()
            .flatten()
            .copied()
            .find(|row| self.cache.is_full(*row, 1) || self.cache.exceeds(*row, 1))
        {
            if let Err(error) = self.make_room(row, 1) {
                self.end(row, Stopped::Failed(error));
                ready.iter_mut().for_each(|group| group.retain(|other| *other != row));
            }
        }
        if !together {
            ready.into_iter().flatten().for_each(|row| self.decode_rows(row, 1));
            return;
        }
        while let Some(group) = ready.pop() {
            match self.gather(&group, &mut ready) {
                Ok(Some(first)) => self.decode_rows(first, group.len()),
                Ok(None) => {}
                Err(error) => self.fail(group, &error),
            }
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
        self.use_adapter_of(row);
        let stepped = self.graphs.step(&mut self.cache, row, &step, Wanted::Last);
        self.take_masks()?;
        stepped?;
        let Self { graphs, slots, eos, .. } = self;
        let Some(active) = &mut slots[row].active else { return Ok(()) };
        active.next.drain(..step.len());
        if active.next.is_empty() { active.choose(graphs.logits(), 0, eos) } else { Ok(()) }
    }

    /// Sends the matchers of rows away, whose masks are wanted after the step that follows.
    pub(super) fn send_masks(&mut self, rows: impl IntoIterator<Item = usize>) -> Result<()> {
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
    pub(super) fn take_masks(&mut self) -> Result<()> {
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

    /// Moves the rows that decode beside each other; gives the first. None for no rows. `others` are told where they went.
    fn gather(&mut self, rows: &[usize], others: &mut [Vec<usize>]) -> Result<Option<usize>> {
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
            others.iter_mut().flatten().filter(|row| **row == to).for_each(|row| *row = from);
        }
        others.iter_mut().for_each(|rows| rows.sort_unstable());
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
        self.use_adapter_of(first);
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
        self.use_adapter_of(row);
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
