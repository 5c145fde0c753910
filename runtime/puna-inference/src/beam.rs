//! Beam search: several continuations at a time, of which the likeliest as a whole is the answer.

use puna_core::{BeamOptions, Error, GenerateOptions, Result};
use puna_text::Matcher;

use crate::{cache::Cache, sampler::Sampler, score::logprobs};

/// The most beams: each is a row of keys and values, and more than a few seldom find anything better.
const MAX_BEAMS: u32 = 64;

/// A request's search, and the keys and values of its beams.
pub(crate) struct Beams {
    pub search: BeamSearch,
    /// A row for each beam.
    pub cache: Cache,
    /// What is to be appended to each row.
    pub tokens: Vec<u32>,
}

/// The state of a search, as Hugging Face's `generate` does it with `num_beams`: of the continuations of all beams the
/// likeliest go on; those that end are kept by the sum of their log-probabilities over `length ^ length_penalty`, as
/// many as there are beams; it ends when nothing that goes on can become better than the worst of them. Where the answer
/// must have a form, tokens that it does not allow have no likelihood; those of the others are as they were.
pub(crate) struct BeamSearch {
    options: BeamOptions,
    eos: Vec<u32>,
    max_tokens: usize,
    /// The beams that go on, the likeliest first.
    running: Vec<Beam>,
    /// The best that ended, the best first.
    finished: Vec<Finished>,
}

struct Beam {
    tokens: Vec<u32>,
    score: f64,
    sampler: Sampler,
    /// Follows the beam where it must have a form.
    matcher: Option<Matcher>,
    row: usize,
}

/// A continuation that ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finished {
    pub tokens: Vec<u32>,
    /// The sum of its tokens' log-probabilities over a power of its length.
    pub score: f64,
}

/// What comes after a step.
pub(crate) enum Next {
    /// Rows to copy, each to a row that is not needed any more, and then a token for each row.
    Step {
        copies: Vec<(usize, usize)>,
        tokens: Vec<u32>,
    },
    Done,
}

/// A continuation of a beam by one token.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    parent: usize,
    token: u32,
    score: f64,
}

impl BeamSearch {
    /// A search for an answer of up to so many tokens, of a form where there is a matcher.
    pub(crate) fn new(
        options: &BeamOptions,
        eos: &[u32],
        max_tokens: usize,
        sampler: Sampler,
        matcher: Option<Matcher>,
    ) -> Self {
        let first = Beam { tokens: Vec::new(), score: 0.0, sampler, matcher, row: 0 };
        Self {
            options: options.clone(),
            eos: eos.to_vec(),
            max_tokens,
            running: vec![first],
            finished: Vec::new(),
        }
    }

    /// Takes the logits after each row's last token. `ends` tells of tokens whether a stop text ends them.
    pub(crate) fn advance<'a>(
        &mut self,
        logits: impl Fn(usize) -> &'a [f32],
        ends: impl Fn(&[u32]) -> Result<bool>,
    ) -> Result<Next> {
        let beams = self.options.beams as usize;
        // So many that as many go on as there are beams, even where every one of them ends in every way.
        let kept = (1 + self.eos.len()).max(2) * beams;
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut stuck = None;
        for (parent, beam) in self.running.iter_mut().enumerate() {
            let scores = logprobs(logits(beam.row));
            let mut scores = beam.sampler.adjust(&scores).to_vec();
            match beam.matcher.as_mut().map(Matcher::mask).transpose() {
                Ok(mask) => mask.into_iter().for_each(|mask| mask.apply(&mut scores)),
                // The others may go on.
                Err(error) => {
                    stuck = Some(error);
                    continue;
                }
            }
            let possible =
                likeliest(&scores, kept).into_iter().filter(|(_, score)| *score > f32::NEG_INFINITY);
            candidates.extend(possible.map(|(token, score)| Candidate {
                parent,
                token,
                score: beam.score + f64::from(score),
            }));
        }
        if let Some(error) = stuck.filter(|_| candidates.is_empty() && self.finished.is_empty()) {
            return Err(error);
        }
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(kept);

        let length = self.running.first().map_or(0, |beam| beam.tokens.len()) + 1;
        let normalised = |score: f64| score / (length as f64).powf(f64::from(self.options.length_penalty));
        let mut open: Vec<Candidate> = Vec::new();
        let full = self.finished.len() == beams;
        for (rank, candidate) in candidates.iter().enumerate() {
            let Beam { tokens: parent, matcher, .. } = &self.running[candidate.parent];
            let ended = || -> Result<bool> {
                Ok(length >= self.max_tokens
                    || matcher.as_ref().is_some_and(Matcher::is_finished)
                    || self.eos.contains(&candidate.token)
                    || ends(&[&parent[..], &[candidate.token]].concat())?)
            };
            if !ended()? {
                open.push(*candidate);
            } else if rank < beams && !(full && self.options.early_stopping) {
                let tokens = [&parent[..], &[candidate.token]].concat();
                self.finished.push(Finished { tokens, score: normalised(candidate.score) });
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(beams);
        open.truncate(beams);

        let full = self.finished.len() == beams;
        let worst = self.finished.last().map_or(f64::NEG_INFINITY, |finished| finished.score);
        let better = open.first().is_some_and(|best| !full || normalised(best.score) > worst);
        if !better || (full && self.options.early_stopping) {
            return Ok(Next::Done);
        }
        self.continue_with(&open)
    }

    /// Makes these the beams that go on, in as many rows from the first on. The first child of each beam has its row if
    /// that is among them, the others those of beams without one.
    fn continue_with(&mut self, open: &[Candidate]) -> Result<Next> {
        let mut taken = vec![false; self.running.len()];
        let mut rows = vec![None; open.len()];
        for (child, candidate) in open.iter().enumerate() {
            let row = self.running[candidate.parent].row;
            if row < open.len() && !std::mem::replace(&mut taken[candidate.parent], true) {
                rows[child] = Some(row);
            }
        }
        let mut free =
            (0..open.len()).filter(|row| !rows.contains(&Some(*row))).collect::<Vec<_>>().into_iter();
        let mut copies = Vec::new();
        let mut tokens = vec![0; open.len()];
        let mut next = Vec::new();
        for (candidate, row) in open.iter().zip(rows) {
            let parent = &self.running[candidate.parent];
            let row = row.or_else(|| {
                let row = free.next()?;
                copies.push((parent.row, row));
                Some(row)
            });
            // There are as many rows as beams.
            let Some(row) = row else { continue };
            let mut sampler = parent.sampler.clone();
            sampler.take(candidate.token);
            let mut matcher = parent.matcher.clone();
            matcher.as_mut().map_or(Ok(()), |matcher| matcher.commit(candidate.token))?;
            let grown = [&parent.tokens[..], &[candidate.token]].concat();
            tokens[row] = candidate.token;
            next.push(Beam { tokens: grown, score: candidate.score, sampler, matcher, row });
        }
        self.running = next;
        Ok(Next::Step { copies, tokens })
    }

    /// The best answer: of those that ended, else, of a search that was cut short, the likeliest so far.
    pub(crate) fn best(&self) -> &[u32] {
        match (self.finished.first(), self.running.first()) {
            (Some(finished), _) => &finished.tokens,
            (None, Some(beam)) => &beam.tokens,
            (None, None) => &[],
        }
    }
}

/// The `count` largest scores with their places, the largest first; of equal ones the first.
fn likeliest(scores: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, score) in (0_u32..).zip(scores) {
        let full = best.len() == count;
        if full && best.last().is_some_and(|(_, least)| score <= least) {
            continue;
        }
        let place = best.partition_point(|(_, other)| other >= score);
        best.insert(place, (token, *score));
        best.truncate(count);
    }
    best
}

/// Checks what a request asks of beams.
pub(crate) fn check(beams: &BeamOptions, options: &GenerateOptions, logprobs: bool) -> Result<()> {
    let BeamOptions { beams, length_penalty, .. } = *beams;
    if !(2..=MAX_BEAMS).contains(&beams) {
        return Err(Error::invalid_input(format!(
            "`beam.beams` is `{beams}`; it must be from 2 to {MAX_BEAMS}"
        )));
    }
    if !length_penalty.is_finite() {
        return Err(Error::invalid_input(format!(
            "`beam.length_penalty` is `{length_penalty}`; it must be a number"
        )));
    }
    if let Some(temperature) = options.temperature.filter(|temperature| *temperature != 0.0) {
        return Err(Error::invalid_input(format!(
            "`beam` takes the likeliest continuations and `temperature` is `{temperature}`; leave one of them out"
        )));
    }
    if logprobs {
        return Err(Error::invalid_input(
            "`logprobs` are told as tokens come, and beams are chosen at the end; leave one of them out",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What transformers' `generate` gives for a model that knows only the last token.
    #[derive(Deserialize)]
    struct Case {
        /// The logits after each token.
        table: Vec<Vec<f32>>,
        first: u32,
        eos: Vec<u32>,
        beams: u32,
        length_penalty: f32,
        early_stopping: bool,
        repetition_penalty: f32,
        max_tokens: usize,
        tokens: Vec<u32>,
        score: f64,
    }

    #[test]
    fn answers_are_those_of_transformers() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../tests/beams/goldens.json")).expect("the goldens");
        assert!(cases.len() >= 100);
        for (number, case) in cases.iter().enumerate() {
            let sampler = GenerateOptions {
                repetition_penalty: Some(case.repetition_penalty),
                ..GenerateOptions::default()
            };
            let sampler = Sampler::new(&sampler, &[case.first]).expect("a sampler");
            let options = BeamOptions {
                beams: case.beams,
                length_penalty: case.length_penalty,
                early_stopping: case.early_stopping,
            };
            let mut search = BeamSearch::new(&options, &case.eos, case.max_tokens, sampler, None);
            // What each row's last token is; copied as keys and values would be.
            let mut rows = vec![case.first; case.beams as usize];
            while let Next::Step { copies, tokens } =
                search.advance(|row| &case.table[rows[row] as usize], |_| Ok(false)).expect("a step")
            {
                for (from, to) in copies {
                    rows[to] = rows[from];
                }
                rows = tokens;
            }
            let best = &search.finished[0];
            assert_eq!(best.tokens, case.tokens, "case {number}");
            assert!((best.score - case.score).abs() < 1e-4, "case {number}: {} {}", best.score, case.score);
        }
    }

    #[test]
    fn the_likeliest_come_in_order() {
        assert_eq!(likeliest(&[1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY], 3), [(1, 3.0), (3, 3.0), (2, 2.0)]);
        assert_eq!(likeliest(&[1.0], 3), [(0, 1.0)]);
    }
}
