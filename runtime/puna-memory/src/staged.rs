//! What is larger than a batch: sessions that appear as a whole, and sessions whose entries are removed piece by piece.
//!
//! A mark stands for a name whose entries belong to no session: not yet, or not any more. Whoever sets it anew takes the
//! entries over, and every piece that is written or removed expects its own mark: of two at work on a name one goes on and
//! the other is told. A kill leaves a mark, and the next one who needs the name, or who clears up, finishes.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use puna_core::{Error, ErrorKind, ForkPoint, JournalEntry, Record, Result, SessionSummary};
use puna_store::Batch;

use crate::{
    Conversations,
    conversations::{chunks, to_json},
    keys::{ENTRIES, MARKS, SUMMARIES, check_session_name, session_prefix},
};

/// Bytes of entries in one batch.
const PIECE_BYTES: usize = 4 << 20;

/// Keys that one batch removes.
const PIECE_KEYS: usize = 4_096;

/// Tells this process's marks from those of dead ones.
static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));

/// Tells marks of a process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Why entries belong to no session.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Why {
    Building = b'b' as isize,
    Deleting = b'd' as isize,
}

/// A mark that nobody else sets.
pub(crate) fn new_mark(why: Why) -> Vec<u8> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    [&[why as u8], &RUN.to_be_bytes()[..], &count.to_be_bytes()].concat()
}

/// Whether whoever set a mark may still be at work.
fn is_at_work(mark: &[u8]) -> bool {
    mark.first() == Some(&(Why::Building as u8)) && mark.get(1..9) == Some(&RUN.to_be_bytes()[..])
}

impl Conversations {
    /// Writes a session that is not there yet, which appears when all of it is on the disk.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when there is one of that name, or comes to be one meanwhile.
    pub(crate) async fn build(
        &self,
        session: &str,
        entries: &[JournalEntry],
        forked_from: Option<ForkPoint>,
    ) -> Result<()> {
        check_session_name(session)?;
        let Some((first, last)) = entries.first().zip(entries.last()) else {
            return Err(Error::invalid_input(format!("session `{session}` would have no entries")));
        };
        let mark = self.claim(session, Why::Building).await?;
        let name = session.as_bytes();
        let piece = || Batch::new().expect(MARKS, name, Some(&mark));
        let mut batch = piece();
        for entry in entries {
            for (key, chunk) in chunks(session, entry)? {
                batch = batch.put(ENTRIES, &key, chunk);
                if batch.bytes() >= PIECE_BYTES {
                    let full = std::mem::replace(&mut batch, piece());
                    self.store.commit(full).await.map_err(|error| taken(session, error))?;
                }
            }
        }
        let summary = SessionSummary {
            session: session.to_owned(),
            records: entries.len() as u64,
            created_ms: first.at_ms,
            updated_ms: last.at_ms,
            user: last_user(entries.iter().map(|entry| &entry.record)),
            forked_from,
        };
        let batch =
            batch.remove(MARKS, name).expect(SUMMARIES, name, None).put(SUMMARIES, name, to_json(&summary)?);
        self.store.commit(batch).await.map_err(|error| taken(session, error))
    }

    /// Takes over what a name without a session has left, and clears it. Gives the mark under which the name is held.
    pub(crate) async fn claim(&self, session: &str, why: Why) -> Result<Vec<u8>> {
        let (name, mark) = (session.as_bytes(), new_mark(why));
        let before = self.store.get(MARKS, name).await?;
        let batch = Batch::new().expect(SUMMARIES, name, None).expect(MARKS, name, before.as_deref()).put(
            MARKS,
            name,
            mark.clone(),
        );
        self.store.commit(batch).await.map_err(|error| taken(session, error))?;
        self.clear_entries(session, &mark).await.map_err(|error| taken(session, error))?;
        Ok(mark)
    }

    /// Removes the entries of a name that is marked so.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when somebody else took them over.
    pub(crate) async fn clear_entries(&self, session: &str, mark: &[u8]) -> Result<()> {
        let prefix = session_prefix(session);
        let mut from = prefix.clone();
        loop {
            let keys = self.store.keys(ENTRIES, &prefix, &from, PIECE_KEYS).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            let batch = Batch::new().expect(MARKS, session.as_bytes(), Some(mark));
            let batch = keys.iter().fold(batch, |batch, key| batch.remove(ENTRIES, key));
            self.store.commit(batch).await?;
        }
    }

    /// Finishes what processes that died have begun: deletions, and sessions that never came to be. Gives how many.
    ///
    /// # Errors
    /// The store's own.
    pub async fn clear_up(&self) -> Result<u64> {
        let mut cleared = 0;
        for (name, mark) in self.store.scan(MARKS, &[], &[], usize::MAX).await? {
            if is_at_work(&mark) {
                continue;
            }
            let session = String::from_utf8_lossy(&name).into_owned();
            let finish = async {
                let mark = self.claim(&session, Why::Deleting).await?;
                let batch = Batch::new().expect(MARKS, &name, Some(&mark)).remove(MARKS, &name);
                self.store.commit(batch).await
            };
            match finish.await {
                Ok(()) => cleared += 1,
                // Somebody else took it over meanwhile, and finishes.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cleared)
    }
}

/// Who spoke last.
pub(crate) fn last_user<'a>(records: impl DoubleEndedIterator<Item = &'a Record>) -> Option<String> {
    records.rev().find_map(|record| match record {
        Record::TurnStarted { user, .. } => Some(user.clone()),
        _ => None,
    })?
}

/// The same error, unless somebody else had the name.
fn taken(session: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::Conflict {
        return error;
    }
    Error::new(
        ErrorKind::Conflict,
        format!("session `{session}` is there already, or is being written by somebody else"),
    )
}
