//! Prompts, a chunk at a time.

use std::time::Instant;

use puna_core::StopReason;

use super::{PREFILL_CHUNK, Worker, active::Active, milliseconds};
use crate::{
    engine::{Stopped, Task},
    graph::Wanted,
    score::score_of,
};

impl Worker {
    /// Computes a chunk's worth of prompts: of one long prompt, of each in turn, or of several short ones.
    pub(super) fn prefill(&mut self) {
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
        self.use_adapter_of(row);
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
}
