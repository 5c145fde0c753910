use std::{fs::File, path::Path, sync::mpsc, thread};

use puna_core::{Error, ErrorKind, Result};
use sled::transaction::{ConflictableTransactionError, TransactionError};
use tokio::sync::oneshot;

use crate::{
    Batch,
    mark::Mark,
    sled_store::{COUNT_KEY, seal, sled_error},
};

/// Most batches that share one flush: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;

/// Most batches waiting: callers beyond it wait before they are queued.
const QUEUE: usize = 1024;

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<()>>,
}

/// The one thread that writes: batches that wait together share one flush.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts after `count` groups, which `mark` knows of.
    pub(crate) fn start(db: sled::Db, path: &Path, mark: Mark, count: u64) -> Result<Self> {
        let log = path.join("db");
        // sled's flush hands pages to the disk without waiting for the disk; a sync through a second
        // descriptor of its file does.
        let log = File::open(&log).map_err(|error| Error::from_io("open", &log, error))?;
        let (queue, jobs) = mpsc::sync_channel::<Job>(QUEUE);
        let thread = thread::Builder::new()
            .name("puna-store".to_owned())
            .spawn(move || run(&db, &log, mark, count, &jobs))
            .map_err(|error| Error::internal("cannot start the store's writer thread").with_source(error))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<()> {
        let closed = || Error::new(ErrorKind::Unavailable, "the store is closed");
        let (done, outcome) = oneshot::channel();
        let mut job = Job { batch, done };
        loop {
            match self.queue.as_ref().ok_or_else(closed)?.try_send(job) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(closed()),
            }
        }
        outcome.await.map_err(|_| closed())?
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

fn run(db: &sled::Db, log: &File, mut mark: Mark, mut count: u64, jobs: &mpsc::Receiver<Job>) {
    // A failed write leaves sled's log in an unknown state: nothing may be acknowledged after it.
    let mut failed: Option<(ErrorKind, String)> = None;
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let mut applied = Vec::new();
        for job in group {
            let outcome = match &failed {
                Some((kind, message)) => Err(broken(*kind, message)),
                None => apply(db, &job.batch),
            };
            match outcome {
                Ok(()) => applied.push(job.done),
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::Conflict) && failed.is_none() {
                        failed = Some((error.kind(), error.report()));
                    }
                    // Who asked may have gone.
                    let _ = job.done.send(Err(error));
                }
            }
        }
        if applied.is_empty() {
            continue;
        }
        count += 1;
        match sync(db, log, count) {
            // It is safe already; without the mark, only later damage would be noticed less.
            Ok(()) => {
                if let Err(error) = mark.set(count) {
                    tracing::warn!(%error, "the store's mark does not move");
                }
            }
            Err(error) => {
                tracing::error!(error = %error.report(), "the store cannot write");
                failed = Some((error.kind(), error.report()));
            }
        }
        for done in applied {
            let outcome = match &failed {
                Some((kind, message)) => Err(broken(*kind, message)),
                None => Ok(()),
            };
            // Who asked may have gone.
            let _ = done.send(outcome);
        }
    }
}

/// Brings what was applied to the disk, with the number of the group last, so that it is there only if all is.
fn sync(db: &sled::Db, log: &File, count: u64) -> Result<()> {
    db.insert(COUNT_KEY, seal(COUNT_KEY, &count.to_be_bytes())).map_err(sled_error)?;
    db.flush().map_err(sled_error)?;
    log.sync_data().map_err(|error| Error::new(ErrorKind::Io, "cannot sync the store").with_source(error))
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
