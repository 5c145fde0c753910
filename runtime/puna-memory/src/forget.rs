//! Forgetting for good: facts, and what was made of what was said.

use std::collections::BTreeSet;

use puna_core::{Error, ErrorKind, Journal, JournalEntry, Record, Result};
use puna_store::Batch;
use serde::Serialize;

use crate::{
    Conversations, Fact, FactScope, Facts,
    conversations::chunks,
    keys::{ENTRIES, SUMMARIES, check_session_name, entry_prefix},
};

/// How often a session is tried that somebody writes to meanwhile.
const ATTEMPTS: usize = 16;

/// What to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// A fact of a scope, with those that it replaced.
    Fact(FactScope, String),
    /// Every fact of a scope.
    Scope(FactScope),
    /// Every fact of a user, whichever agents know them.
    User(String),
}

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// How many facts, with their vectors.
    pub facts: u64,
    /// How many summaries of history, in the sessions that the facts came from and in those forked from them.
    pub summaries: u64,
    /// The sessions that were deleted.
    pub sessions: Vec<String>,
}

/// Forgets facts, their vectors, and the summaries of the sessions that they came from; with `sessions`, those sessions as a
/// whole, and of a user every session in which they spoke last. Facts go last: after a kill the same call goes on.
///
/// What was said itself stands in the sessions until they are deleted, and nothing leaves the files before the store is
/// [compacted](puna_store::SledStore::compact).
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) for a fact that is not in its scope, and the store's own.
pub async fn forget(
    facts: &Facts,
    conversations: &Conversations,
    what: &Forget,
    sessions: bool,
) -> Result<Forgotten> {
    let mut doomed: Vec<(FactScope, Vec<Fact>)> = Vec::new();
    let mut named = BTreeSet::new();
    match what {
        Forget::Fact(scope, id) => doomed.push((scope.clone(), facts.versions(scope, id).await?)),
        Forget::Scope(scope) => doomed.push((scope.clone(), facts.everything_of(scope).await?)),
        Forget::User(user) => {
            for scope in facts.scopes().await?.into_iter().filter(|scope| scope.user.as_ref() == Some(user)) {
                let all = facts.everything_of(&scope).await?;
                doomed.push((scope, all));
            }
            let spoken = conversations.sessions().await?.into_iter();
            named.extend(
                spoken.filter(|summary| summary.user.as_ref() == Some(user)).map(|summary| summary.session),
            );
        }
    }
    let sources = doomed.iter().flat_map(|(_, facts)| facts).filter_map(|fact| fact.source.clone());
    named.extend(sources.map(|source| source.session));
    for session in named.clone() {
        match conversations.branches(&session).await {
            Ok(branches) => named.extend(branches.into_iter().map(|branch| branch.session.session)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut forgotten = Forgotten::default();
    for session in named {
        if !sessions {
            forgotten.summaries += conversations.forget_summaries(&session).await?;
        } else if conversations.delete(&session).await? {
            forgotten.sessions.push(session);
        }
    }
    for (scope, found) in doomed {
        forgotten.facts += found.len() as u64;
        match what {
            Forget::Fact(_, id) => drop(facts.forget(&scope, id).await?),
            Forget::Scope(_) | Forget::User(_) => drop(facts.forget_all(&scope).await?),
        }
    }
    Ok(forgotten)
}

impl Conversations {
    /// Takes the texts out of a session's summaries of its history; the next one that is needed is made of the turns
    /// themselves. Gives how many there were.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the session is written to all the time, and the store's own.
    pub async fn forget_summaries(&self, session: &str) -> Result<u64> {
        check_session_name(session)?;
        for _ in 0..ATTEMPTS {
            let before = self.store.get(SUMMARIES, session.as_bytes()).await?;
            let mut batch = Batch::new().expect(SUMMARIES, session.as_bytes(), before.as_deref());
            let mut count = 0;
            for entry in self.read(session, 0).await? {
                let Some(emptied) = emptied(&entry) else { continue };
                count += 1;
                let prefix = entry_prefix(session, entry.sequence);
                for key in self.store.keys(ENTRIES, &prefix, &prefix, usize::MAX).await? {
                    batch = batch.remove(ENTRIES, &key);
                }
                for (key, chunk) in chunks(session, &emptied)? {
                    batch = batch.put(ENTRIES, &key, chunk);
                }
            }
            if count == 0 {
                return Ok(0);
            }
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                committed => return committed.map(|()| count),
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("session `{session}` is written to all the time; its summaries are still there"),
        ))
    }
}

/// The same entry without a summary's text, if it has one.
fn emptied(entry: &JournalEntry) -> Option<JournalEntry> {
    let mut entry = entry.clone();
    match &mut entry.record {
        Record::HistorySummarized { text, .. } if !text.is_empty() => text.clear(),
        _ => return None,
    }
    Some(entry)
}
