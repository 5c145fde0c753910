use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use puna_core::{Journal, JournalEntry, Record, Result, SessionSummary};

use crate::{check_session_name, moved_on, now_ms, staged::last_user};

/// Sessions that end with the process: for agents whose conversations are not to be kept.
#[derive(Debug, Default)]
pub struct EphemeralJournal {
    sessions: Mutex<BTreeMap<String, Vec<JournalEntry>>>,
}

impl EphemeralJournal {
    /// A journal with no session.
    pub fn new() -> Self {
        Self::default()
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<JournalEntry>>> {
        // Every change is one `extend` or `remove`: a panic elsewhere leaves nothing half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for EphemeralJournal {
    async fn read(&self, session: &str, from: u64) -> Result<Vec<JournalEntry>> {
        check_session_name(session)?;
        let sessions = self.sessions();
        let entries = sessions.get(session).map_or(&[][..], Vec::as_slice);
        Ok(entries.iter().filter(|entry| entry.sequence >= from).cloned().collect())
    }

    async fn append(&self, session: &str, next: u64, records: &[Record]) -> Result<u64> {
        check_session_name(session)?;
        let mut sessions = self.sessions();
        let found = sessions.get(session).map_or(0, Vec::len) as u64;
        if found != next {
            return Err(moved_on(session, next, found));
        }
        // A session is there from its first entry on.
        if records.is_empty() {
            return Ok(next);
        }
        let at_ms = now_ms();
        let entries = sessions.entry(session.to_owned()).or_default();
        entries.extend((next..).zip(records).map(|(sequence, record)| JournalEntry {
            sequence,
            at_ms,
            record: record.clone(),
        }));
        Ok(next + records.len() as u64)
    }

    async fn sessions(&self) -> Result<Vec<SessionSummary>> {
        let sessions = self.sessions();
        let summaries = sessions.iter().filter_map(|(session, entries)| {
            Some(SessionSummary {
                session: session.clone(),
                records: entries.len() as u64,
                created_ms: entries.first()?.at_ms,
                updated_ms: entries.last()?.at_ms,
                user: last_user(entries.iter().map(|entry| &entry.record)),
                forked_from: None,
            })
        });
        Ok(summaries.collect())
    }

    async fn delete(&self, session: &str) -> Result<bool> {
        check_session_name(session)?;
        Ok(self.sessions().remove(session).is_some())
    }
}
