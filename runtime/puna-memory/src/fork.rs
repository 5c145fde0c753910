//! Sessions that go on from another one.

use std::collections::HashSet;

use puna_core::{Error, ForkPoint, Journal, JournalEntry, Record, Result, SessionSummary};
use serde::Serialize;

use crate::{Conversations, no_session};

/// A session that goes on from another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// How many forks lie between it and the session that was asked for, from 1.
    pub depth: usize,
    /// It.
    #[serde(flatten)]
    pub session: SessionSummary,
}

impl Conversations {
    /// Begins session `name` as a copy of another one's first `turns` turns, all that are finished without a number. The
    /// two have nothing to do with each other afterwards: either can go on, and be deleted. A turn that is unfinished is
    /// not copied, so that no tool is called for both.
    ///
    /// # Errors
    /// [`NotFound`](puna_core::ErrorKind::NotFound) when there is no such session, [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when it
    /// has fewer finished turns or none, [`Conflict`](puna_core::ErrorKind::Conflict) when there is a session `name`.
    pub async fn fork(&self, session: &str, turns: Option<u64>, name: &str) -> Result<SessionSummary> {
        let mut entries = self.read(session, 0).await?;
        if entries.is_empty() {
            return Err(no_session(session));
        }
        let finished = ends(&entries);
        let turns = turns.unwrap_or(finished.len() as u64);
        let end = turns.checked_sub(1).and_then(|last| finished.get(usize::try_from(last).ok()?));
        let Some(end) = end else {
            return Err(Error::invalid_input(format!(
                "session `{session}` has {} finished turns; it cannot be forked after turn {turns}",
                finished.len()
            )));
        };
        entries.truncate(*end);
        let from = ForkPoint { session: session.to_owned(), turns };
        self.build(name, &entries, Some(from)).await?;
        self.summary(name).await?.ok_or_else(|| no_session(name))
    }

    /// The sessions that go on from this one, directly or from one that does, each after the one it goes on from.
    ///
    /// # Errors
    /// [`NotFound`](puna_core::ErrorKind::NotFound) when there is no such session and none that went on from one of that name.
    pub async fn branches(&self, session: &str) -> Result<Vec<Branch>> {
        let all = self.sessions().await?;
        let from = |summary: &SessionSummary, name: &str| {
            summary.forked_from.as_ref().is_some_and(|from| from.session == name)
        };
        let mut found = Vec::new();
        let mut open: Vec<(usize, &SessionSummary)> = Vec::new();
        // A name that was given again can stand above itself: each session is taken once.
        let mut seen = HashSet::from([session]);
        let (mut depth, mut name) = (0, session);
        loop {
            let children: Vec<&SessionSummary> =
                all.iter().filter(|child| from(child, name) && seen.insert(&child.session)).collect();
            open.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
            let Some((deeper, next)) = open.pop() else { break };
            found.push(Branch { depth: deeper, session: next.clone() });
            (depth, name) = (deeper, &next.session);
        }
        if found.is_empty() && all.iter().all(|summary| summary.session != session) {
            return Err(no_session(session));
        }
        Ok(found)
    }
}

/// For each finished turn the entry after it: what is recorded between a turn and the next belongs to the one before.
fn ends(entries: &[JournalEntry]) -> Vec<usize> {
    let starts: Vec<usize> =
        (0..).zip(entries).filter(|(_, entry)| is_start(entry)).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([entries.len()]);
    let is_end = |entry: &JournalEntry| matches!(entry.record, Record::TurnFinished { .. });
    let finished = starts.iter().zip(ends).filter(|(start, end)| entries[**start..*end].iter().any(is_end));
    finished.map(|(_, end)| end).collect()
}

fn is_start(entry: &JournalEntry) -> bool {
    matches!(entry.record, Record::TurnStarted { .. })
}
