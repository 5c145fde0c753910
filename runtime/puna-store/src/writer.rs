use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock, mpsc},
    thread,
};

use puna_core::{Error, ErrorKind, Result};
use sled::transaction::{ConflictableTransactionError, TransactionError};
use tokio::sync::oneshot;

use crate::{
    Batch, Compacted,
    compact::{self, Changed, Copied, OnProgress},
    files::{self, Db, sled_error},
    flush::flush,
    generation::Generation,
    mark::Mark,
    seal::seal,
};

/// Where the log counts its groups of batches, for the [`Mark`].
pub(crate) const COUNT_KEY: &[u8] = b"meta\0synced-groups";

/// Most batches that share one flush: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;

/// Most keys that change while the data is copied: bounds memory, and what is brought over in the end. With more of them
/// batches wait for the copy.
const MAX_CHANGED: usize = 100_000;

/// Most batches waiting: callers beyond it wait before they are queued.
const QUEUE: usize = 1024;

enum Job {
    Commit {
        batch: Batch,
        done: oneshot::Sender<Result<()>>,
    },
    Compact {
        progress: OnProgress,
        done: oneshot::Sender<Result<Compacted>>,
        queue: mpsc::SyncSender<Job>,
    },
    /// The copy of this generation is there.
    Copied(Generation),
}

/// Why nothing is written any more.
type Failure = Arc<OnceLock<(ErrorKind, String)>>;

/// sled as it is open now: a compaction changes it.
pub(crate) type SharedDb = Arc<RwLock<Arc<Db>>>;

/// The one thread that writes: batches that wait together share one flush.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::SyncSender<Job>>,
    failure: Failure,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread writes to.
pub(crate) struct Target {
    /// The store's folder.
    pub(crate) store: PathBuf,
    pub(crate) generation: Generation,
    pub(crate) db: SharedDb,
    /// Of the generation.
    pub(crate) log: File,
    pub(crate) mark: Mark,
    /// Groups so far, which the mark knows of.
    pub(crate) count: u64,
    pub(crate) cache_bytes: u64,
    /// A compaction that is under way.
    pub(crate) copying: Option<Copying>,
}

/// A copy that a thread of its own makes of the data, while batches are written.
pub(crate) struct Copying {
    generation: Generation,
    changed: Changed,
    copied: mpsc::Receiver<Result<Copied>>,
    bytes_before: u64,
    done: oneshot::Sender<Result<Compacted>>,
}

impl Writer {
    pub(crate) fn start(target: Target) -> Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(QUEUE);
        let failure = Failure::default();
        let thread = thread::Builder::new()
            .name("puna-store".to_owned())
            .spawn({
                let failure = Arc::clone(&failure);
                move || target.run(&failure, &jobs)
            })
            .map_err(|error| Error::internal("cannot start the store's writer thread").with_source(error))?;
        Ok(Self { queue: Some(queue), failure, thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        self.send(Job::Commit { batch, done }).await?;
        outcome.await.map_err(|_| closed())?
    }

    pub(crate) async fn compact(&self, progress: OnProgress) -> Result<Compacted> {
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.clone().ok_or_else(closed)?;
        self.send(Job::Compact { progress, done, queue }).await?;
        outcome.await.map_err(|_| closed())?
    }

    /// Whether batches are still written.
    pub(crate) fn health(&self) -> Result<()> {
        let alive = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        match self.failure.get() {
            Some((kind, message)) => Err(broken(*kind, message)),
            None if alive => Ok(()),
            None => Err(closed()),
        }
    }

    async fn send(&self, mut job: Job) -> Result<()> {
        loop {
            match self.queue.as_ref().ok_or_else(closed)?.try_send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(closed()),
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // What is queued is written first; a panic there was reported to its callers.
            let _ = thread.join();
        }
    }
}

impl Target {
    fn run(mut self, failure: &Failure, jobs: &mpsc::Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| jobs.recv().ok()) {
            let first = match job {
                Job::Commit { batch, done } => (batch, done),
                Job::Compact { progress, done, queue } => {
                    // One at a time.
                    self.finish_compaction(failure);
                    if let Err((error, done)) = self.begin_compaction(progress, done, queue, failure) {
                        // Who asked may have gone.
                        let _ = done.send(Err(error));
                    }
                    continue;
                }
                Job::Copied(generation) => {
                    if self.copying.as_ref().is_some_and(|copying| copying.generation == generation) {
                        self.finish_compaction(failure);
                    }
                    continue;
                }
            };
            let mut group = vec![first];
            while group.len() < MAX_GROUP
                && let Ok(job) = jobs.try_recv()
            {
                match job {
                    Job::Commit { batch, done } => group.push((batch, done)),
                    other => {
                        next = Some(other);
                        break;
                    }
                }
            }
            self.write(group, failure);
        }
    }

    /// Performs batches that waited together, brings them to the disk, and tells their callers.
    fn write(&mut self, group: Vec<(Batch, oneshot::Sender<Result<()>>)>, failure: &Failure) {
        let db = current(&self.db);
        let mut applied = Vec::new();
        for (batch, done) in group {
            // A failed write leaves sled's log in an unknown state: nothing may be acknowledged after it.
            let outcome = match failure.get() {
                Some((kind, message)) => Err(broken(*kind, message)),
                None => {
                    if let Some(copying) = &self.copying {
                        copying.changed.note(batch.writes.iter().map(|(key, _)| key));
                    }
                    apply(&db, &batch)
                }
            };
            match outcome {
                Ok(()) => applied.push(done),
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::Conflict) {
                        fail(failure, &error);
                    }
                    // Who asked may have gone.
                    let _ = done.send(Err(error));
                }
            }
        }
        if applied.is_empty() {
            return;
        }
        self.count += 1;
        match sync(&db, &self.log, self.count) {
            // It is safe already; without the mark, only later damage would be noticed less.
            Ok(()) => {
                if let Err(error) = self.mark.set(self.count) {
                    tracing::warn!(%error, "the store's mark does not move");
                }
            }
            Err(error) => {
                tracing::error!(error = %error.report(), "the store cannot write");
                fail(failure, &error);
            }
        }
        for done in applied {
            let outcome = match failure.get() {
                Some((kind, message)) => Err(broken(*kind, message)),
                None => Ok(()),
            };
            // Who asked may have gone.
            let _ = done.send(outcome);
        }
        if self.copying.as_ref().is_some_and(|copying| copying.changed.len() > MAX_CHANGED) {
            self.finish_compaction(failure);
        }
    }

    /// Has the next generation written beside the current one.
    fn begin_compaction(
        &mut self,
        mut progress: OnProgress,
        done: oneshot::Sender<Result<Compacted>>,
        queue: mpsc::SyncSender<Job>,
        failure: &Failure,
    ) -> std::result::Result<(), (Error, oneshot::Sender<Result<Compacted>>)> {
        if let Some((kind, message)) = failure.get() {
            return Err((broken(*kind, message), done));
        }
        let (from, generation) = (current(&self.db), self.generation.next());
        let bytes_before = match from.size_on_disk() {
            Ok(bytes) => bytes,
            Err(error) => return Err((sled_error(error), done)),
        };
        let (folder, cache_bytes, changed) =
            (generation.folder(&self.store), self.cache_bytes, Changed::default());
        // Written with every group.
        changed.note(std::iter::once(&COUNT_KEY.to_vec()));
        let noted = changed.clone();
        let (there, copied) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("puna-compact".to_owned()).spawn(move || {
            // sled panics on some failures of the disk, and a caller's word on the progress may.
            let copy = || compact::copy(&folder, &from, cache_bytes, &noted, &mut progress);
            let copied = catch_unwind(AssertUnwindSafe(copy))
                .unwrap_or_else(|_| Err(Error::internal("the compaction broke")));
            // Let go before it is told: what is compacted away is removed then.
            drop(from);
            // Whoever waits for the copy may not take jobs meanwhile, so it is there before the job is. The writer goes on as
            // long as this end of its queue is there.
            let _ = there.send(copied);
            let _ = queue.send(Job::Copied(generation));
        });
        match thread {
            Ok(_) => {
                self.copying = Some(Copying { generation, changed, copied, bytes_before, done });
                Ok(())
            }
            Err(error) => {
                Err((Error::internal("cannot start the compaction's thread").with_source(error), done))
            }
        }
    }

    /// Waits for the copy, if one is made, and makes it the current generation. No batch is written meanwhile: this is the
    /// thread that writes them.
    fn finish_compaction(&mut self, failure: &Failure) {
        let Some(Copying { generation, changed, copied, bytes_before, done }) = self.copying.take() else {
            return;
        };
        let copied = copied.recv().unwrap_or_else(|_| Err(Error::internal("the compaction broke")));
        let outcome = match (failure.get(), copied) {
            (Some((kind, message)), _) => Err(broken(*kind, message)),
            (None, Err(error)) => Err(error),
            (None, Ok(copied)) => self.take_over(copied, generation, &changed, bytes_before, failure),
        };
        if outcome.is_err() && self.generation != generation && failure.get().is_none() {
            // The error tells more; the next open clears it away too.
            let _ = compact::remove(&generation.folder(&self.store));
        }
        // Who asked may have gone.
        let _ = done.send(outcome);
    }

    fn take_over(
        &mut self,
        copied: Copied,
        generation: Generation,
        changed: &Changed,
        bytes_before: u64,
        failure: &Failure,
    ) -> Result<Compacted> {
        let (old, folder) = (current(&self.db), generation.folder(&self.store));
        copied.catch_up(&folder, &old, changed, self.count)?;
        let (log, (mark, _)) = (files::log(&folder)?, Mark::open(&folder)?);
        let bytes_after = copied.db.size_on_disk().map_err(sled_error)?;
        if let Err(error) = generation.point(&self.store) {
            // Which of the two counts is known when the folder is opened anew; what is written to either might be lost.
            fail(failure, &error);
            return Err(error);
        }
        (self.log, self.mark, self.generation) = (log, mark, generation);
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(copied.db);
        // Reads that began before may still hold its files, which systems other than Unix do not remove then.
        drop(old);
        if let Err(error) = self.generation.discard_others(&self.store) {
            tracing::warn!(error = %error.report(), "the data from before stays until the store is opened again");
        }
        Ok(Compacted { entries: copied.entries, bytes_before, bytes_after })
    }
}

/// sled as it is open now.
pub(crate) fn current(db: &SharedDb) -> Arc<Db> {
    // It is only ever replaced as a whole.
    Arc::clone(&db.read().unwrap_or_else(PoisonError::into_inner))
}

/// Brings what was applied to the disk, with the number of the group last, so that it is there only if all is.
fn sync(db: &sled::Db, log: &File, count: u64) -> Result<()> {
    db.insert(COUNT_KEY, seal(COUNT_KEY, &count.to_be_bytes())).map_err(sled_error)?;
    flush(db)?;
    log.sync_data().map_err(|error| Error::new(ErrorKind::Io, "cannot sync the store").with_source(error))
}

fn fail(failure: &Failure, error: &Error) {
    // The first counts: the others follow from it.
    let _ = failure.set((error.kind(), error.report()));
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}

fn broken(kind: ErrorKind, message: &str) -> Error {
    Error::new(
        kind,
        format!(
            "the store cannot write: {message}; what was acknowledged is safe; make room or mend the disk, and start again"
        ),
    )
}
fn apply(db: &sled::Db, batch: &Batch) -> Result<()> {
    let outcome = db.transaction(|tree| {
        for (key, expected) in &batch.conditions {
            let sealed = expected.as_ref().map(|value| seal(key, value));
            let found = tree.get(key)?;
            if found.as_deref() != sealed.as_deref() {
                return Err(ConflictableTransactionError::Abort(()));
            }
        }
        for (key, value) in &batch.writes {
            match value {
                Some(value) => tree.insert(key.as_slice(), seal(key, value))?,
                None => tree.remove(key.as_slice())?,
            };
        }
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TransactionError::Abort(())) => {
            Err(Error::new(ErrorKind::Conflict, "somebody else wrote first; read again and retry"))
        }
        Err(TransactionError::Storage(error)) => Err(sled_error(error)),
    }
}
