//! A request that has a row, from its prompt to how it ended.

use std::time::Instant;

use puna_core::{ModelEvent, StopReason};
use puna_text::Tokenizer;

use super::milliseconds;
use crate::{
    answer::Answer,
    beam::Beams,
    engine::{Generate, Job, Score, Stopped, Task},
    graph::Logits,
    score::score_of,
};

/// Tokens of a draft at first; doubled when all of it was right, halved when none was.
const DRAFT_START: usize = 4;

/// A request that has a row.
pub(super) struct Active {
    pub(super) job: Job,
    /// The text, of a request that generates.
    pub(super) answer: Option<Answer>,
    pub(super) began: Instant,
    /// When the prompt was done.
    pub(super) decoding: Option<Instant>,
    /// What was chosen and is not in the cache yet: a token, and those that the answer's form puts behind it.
    pub(super) next: Vec<u32>,
    /// The search for the likeliest answer, once the prompt is done.
    pub(super) beams: Option<Box<Beams>>,
    pub(super) draft: usize,
}

impl Active {
    pub(super) fn new(job: Job, tokenizer: &Tokenizer) -> Self {
        let answer = match &job.task {
            Task::Generate(generate) => {
                Some(Answer::new(tokenizer.clone(), &generate.stop, generate.calls.as_ref()))
            }
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
    pub(super) fn choose(&mut self, logits: Logits<'_>, index: usize, eos: &[u32]) -> Result<(), Stopped> {
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
    pub(super) fn take_forced(&mut self, eos: &[u32]) -> Result<bool, Stopped> {
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
    pub(super) fn accept(&mut self, token: u32, eos: &[u32]) -> Result<(), Stopped> {
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
    pub(super) fn is_prompting(&self) -> bool {
        self.next.is_empty() && self.beams.is_none()
    }

    /// Tells the best of the beams, as far as the search came. Gives another reason where a stop text ends it.
    pub(super) fn tell_beams(&mut self, eos: &[u32]) -> Result<Option<StopReason>, Stopped> {
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
    pub(super) fn end(mut self, stopped: Stopped) {
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
