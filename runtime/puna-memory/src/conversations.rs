use std::sync::Arc;

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Journal, JournalEntry, Record, Result, SessionSummary};
use puna_store::{Batch, MAX_VALUE_BYTES, Store};

use crate::{
    keys::{ENTRIES, SUMMARIES, check_session_name, entry_key, entry_prefix, sequence_of, session_prefix},
    moved_on, now_ms,
};

/// Largest record: a message with a tool's largest result fits many times over.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Keys read from the store at a time.
const PAGE: usize = 1024;

/// Sessions in a [`Store`]. Clones share it.
#[derive(Clone)]
pub struct Conversations {
    store: Arc<dyn Store>,
}

impl Conversations {
    /// The sessions in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A session's summary; none where there is no such session.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when it does not read back.
    pub async fn summary(&self, session: &str) -> Result<Option<SessionSummary>> {
        Ok(self.summary_bytes(session).await?.map(|(summary, _)| summary))
    }

    async fn summary_bytes(&self, session: &str) -> Result<Option<(SessionSummary, Vec<u8>)>> {
        let Some(bytes) = self.store.get(SUMMARIES, session.as_bytes()).await? else { return Ok(None) };
        let summary =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(session).with_source(error))?;
        Ok(Some((summary, bytes)))
    }

    /// The entries from `from` on that are in the store.
    async fn entries(&self, session: &str, from: u64) -> Result<Vec<JournalEntry>> {
        let prefix = session_prefix(session);
        let (mut entries, mut whole, mut current) = (Vec::new(), Vec::new(), None);
        let mut start = entry_prefix(session, from);
        loop {
            let page = self.store.scan(ENTRIES, &prefix, &start, PAGE).await?;
            let last_page = page.len() < PAGE;
            if let Some((key, _)) = page.last() {
                start = [key.as_slice(), &[0]].concat();
            }
            for (key, value) in page {
                let sequence = sequence_of(&key).ok_or_else(|| unreadable(session))?;
                if current != Some(sequence) {
                    finish_entry(session, &mut entries, &mut whole, current)?;
                    current = Some(sequence);
                }
                whole.extend(value);
            }
            if last_page {
                finish_entry(session, &mut entries, &mut whole, current)?;
                return Ok(entries);
            }
        }
    }

    /// Appends entries that already have their times.
    pub(crate) async fn append_at(
        &self,
        session: &str,
        next: u64,
        records: &[(u64, &Record)],
    ) -> Result<u64> {
        check_session_name(session)?;
        let old = self.summary_bytes(session).await?;
        let found = old.as_ref().map_or(0, |(summary, _)| summary.records);
        if found != next {
            return Err(moved_on(session, next, found));
        }
        let Some((first, last)) = records.first().zip(records.last()) else { return Ok(next) };
        let after = next + records.len() as u64;
        let summary = SessionSummary {
            session: session.to_owned(),
            records: after,
            created_ms: old.as_ref().map_or(first.0, |(summary, _)| summary.created_ms),
            updated_ms: last.0,
        };
        let old_bytes = old.as_ref().map(|(_, bytes)| bytes.as_slice());
        let mut batch = Batch::new().expect(SUMMARIES, session.as_bytes(), old_bytes).put(
            SUMMARIES,
            session.as_bytes(),
            to_json(&summary)?,
        );
        for (sequence, (at_ms, record)) in (next..).zip(records) {
            let bytes = to_json(&JournalEntry { sequence, at_ms: *at_ms, record: (*record).clone() })?;
            if bytes.len() > MAX_RECORD_BYTES {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "a record of {} bytes in session `{session}` is over the limit of {MAX_RECORD_BYTES}",
                        bytes.len()
                    ),
                ));
            }
            // `MAX_RECORD_BYTES / MAX_VALUE_BYTES` chunks fit into 16 bits.
            for (chunk, part) in (0u16..).zip(bytes.chunks(MAX_VALUE_BYTES)) {
                batch = batch.put(ENTRIES, &entry_key(session, sequence, chunk), part.to_vec());
            }
        }
        match self.store.commit(batch).await {
            Ok(()) => Ok(after),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let found = self.summary(session).await?.map_or(0, |summary| summary.records);
                Err(moved_on(session, next, found))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Journal for Conversations {
    async fn read(&self, session: &str, from: u64) -> Result<Vec<JournalEntry>> {
        check_session_name(session)?;
        let mut summary = self.summary(session).await?;
        loop {
            // Entries stand one after the other, from `from` to where the summary says; anything else is a loss.
            let after = summary.as_ref().map_or(0, |summary| summary.records);
            let loss = match self.entries(session, from).await {
                Ok(entries) if entries.iter().map(|entry| entry.sequence).eq(from..after) => {
                    return Ok(entries);
                }
                Ok(_) => unreadable(session),
                Err(error) if error.kind() == ErrorKind::Corrupt => error,
                Err(error) => return Err(error),
            };
            // Unless somebody wrote to the session, or deleted it, between the two looks.
            let now = self.summary(session).await?;
            if now == summary {
                return Err(loss);
            }
            summary = now;
        }
    }

    async fn append(&self, session: &str, next: u64, records: &[Record]) -> Result<u64> {
        let now = now_ms();
        let records: Vec<(u64, &Record)> = records.iter().map(|record| (now, record)).collect();
        self.append_at(session, next, &records).await
    }

    async fn sessions(&self) -> Result<Vec<SessionSummary>> {
        let mut summaries: Vec<SessionSummary> = Vec::new();
        let mut start = Vec::new();
        loop {
            let page = self.store.scan(SUMMARIES, &[], &start, PAGE).await?;
            let last_page = page.len() < PAGE;
            for (key, value) in page {
                let name = String::from_utf8_lossy(&key).into_owned();
                summaries.push(
                    serde_json::from_slice(&value).map_err(|error| unreadable(&name).with_source(error))?,
                );
                start = [key.as_slice(), &[0]].concat();
            }
            if last_page {
                return Ok(summaries);
            }
        }
    }

    async fn delete(&self, session: &str) -> Result<bool> {
        check_session_name(session)?;
        let Some((_, bytes)) = self.summary_bytes(session).await? else { return Ok(false) };
        let mut batch = Batch::new()
            .expect(SUMMARIES, session.as_bytes(), Some(&bytes))
            .remove(SUMMARIES, session.as_bytes());
        let prefix = session_prefix(session);
        let mut start = prefix.clone();
        loop {
            let page = self.store.scan(ENTRIES, &prefix, &start, PAGE).await?;
            let last_page = page.len() < PAGE;
            for (key, _) in page {
                batch = batch.remove(ENTRIES, &key);
                start = [key.as_slice(), &[0]].concat();
            }
            if last_page {
                break;
            }
        }
        self.store.commit(batch).await?;
        Ok(true)
    }
}

fn finish_entry(
    session: &str,
    entries: &mut Vec<JournalEntry>,
    whole: &mut Vec<u8>,
    sequence: Option<u64>,
) -> Result<()> {
    let Some(sequence) = sequence else { return Ok(()) };
    let entry: JournalEntry =
        serde_json::from_slice(whole).map_err(|error| unreadable(session).with_source(error))?;
    if entry.sequence != sequence {
        return Err(unreadable(session));
    }
    whole.clear();
    entries.push(entry);
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("a record does not serialise").with_source(error))
}

pub(crate) fn unreadable(session: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("session `{session}` does not read back as it was written"))
}
