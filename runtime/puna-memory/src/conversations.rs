use std::sync::Arc;

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Journal, JournalEntry, Record, Result, SessionSummary};
use puna_store::{Batch, MAX_VALUE_BYTES, Store};

use crate::{
    keys::{
        ENTRIES, MARKS, SUMMARIES, check_session_name, entry_key, entry_prefix, sequence_of, session_prefix,
    },
    moved_on, now_ms,
    staged::{Why, last_user, new_mark},
};

/// Largest record: a message with a tool's largest result fits many times over.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Keys read from the store at a time.
const PAGE: usize = 1024;

/// Sessions in a [`Store`]. Clones share it.
#[derive(Clone)]
pub struct Conversations {
    pub(crate) store: Arc<dyn Store>,
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

    async fn append_now(&self, session: &str, next: u64, records: &[Record]) -> Result<u64> {
        check_session_name(session)?;
        let old = self.summary_bytes(session).await?;
        let found = old.as_ref().map_or(0, |(summary, _)| summary.records);
        if found != next {
            return Err(moved_on(session, next, found));
        }
        if records.is_empty() {
            return Ok(next);
        }
        let (now, name) = (now_ms(), session.as_bytes());
        let after = next + records.len() as u64;
        let speaker = last_user(records.iter());
        let (batch, summary) = match &old {
            Some((old, bytes)) => {
                let summary = SessionSummary {
                    records: after,
                    updated_ms: now,
                    user: speaker.or_else(|| old.user.clone()),
                    ..old.clone()
                };
                (Batch::new().expect(SUMMARIES, name, Some(bytes)), summary)
            }
            None => {
                // What a deletion has left under the name, or an import that died, goes first.
                let batch = match self.store.get(MARKS, name).await? {
                    None => Batch::new().expect(MARKS, name, None),
                    Some(_) => {
                        let mark = self.claim(session, Why::Deleting).await?;
                        Batch::new().expect(MARKS, name, Some(&mark)).remove(MARKS, name)
                    }
                };
                let summary = SessionSummary {
                    session: session.to_owned(),
                    records: after,
                    created_ms: now,
                    updated_ms: now,
                    user: speaker,
                    forked_from: None,
                };
                (batch.expect(SUMMARIES, name, None), summary)
            }
        };
        let mut batch = batch.put(SUMMARIES, name, to_json(&summary)?);
        for (sequence, record) in (next..).zip(records) {
            let entry = JournalEntry { sequence, at_ms: now, record: record.clone() };
            for (key, chunk) in chunks(session, &entry)? {
                batch = batch.put(ENTRIES, &key, chunk);
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
            if summary.is_none() && self.store.get(MARKS, session.as_bytes()).await?.is_some() {
                // They are of no session: not any more, or not yet.
                return Ok(Vec::new());
            }
            // Unless somebody wrote to the session, or deleted it, between the two looks.
            let now = self.summary(session).await?;
            if now == summary {
                return Err(loss);
            }
            summary = now;
        }
    }

    async fn append(&self, session: &str, next: u64, records: &[Record]) -> Result<u64> {
        self.append_now(session, next, records).await
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
        let (name, mark) = (session.as_bytes(), new_mark(Why::Deleting));
        let batch = Batch::new().expect(SUMMARIES, name, Some(&bytes)).remove(SUMMARIES, name).put(
            MARKS,
            name,
            mark.clone(),
        );
        self.store.commit(batch).await?;
        // From here on there is no such session, whatever happens.
        let cleared = async {
            self.clear_entries(session, &mark).await?;
            self.store.commit(Batch::new().expect(MARKS, name, Some(&mark)).remove(MARKS, name)).await
        };
        match cleared.await {
            // The name was taken again at once, and with it what is left under it.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
            cleared => cleared.map(|()| true),
        }
    }
}

/// An entry's keys and values in the store.
///
/// # Errors
/// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when it is too large.
pub(crate) fn chunks(session: &str, entry: &JournalEntry) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let bytes = to_json(entry)?;
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
    let parts = (0u16..).zip(bytes.chunks(MAX_VALUE_BYTES));
    Ok(parts.map(|(chunk, part)| (entry_key(session, entry.sequence, chunk), part.to_vec())).collect())
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

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("a record does not serialise").with_source(error))
}

pub(crate) fn unreadable(session: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("session `{session}` does not read back as it was written"))
}
