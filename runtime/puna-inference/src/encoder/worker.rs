//! The thread that owns an encoder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use puna_core::{Error, ErrorKind, Result};
use puna_text::{Encoded, EncoderTokenizer};
use tokio::sync::oneshot;

use super::{
    EncoderOptions, LongInput,
    session::{EncoderSession, Wanted},
};
use crate::{Runtime, folder::EncoderFolder, load::default_threads};

/// Longest text taken, in bytes: bounds what its tokens take up.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// Texts that are sorted by length and computed together: enough that batches hardly have padding, few enough that
/// their tokens take little memory.
const GROUP: usize = 2048;

/// Fewest texts that are worth another thread's start to split.
const TEXTS_A_THREAD: usize = 16;

/// What came of a text.
pub(super) struct Read {
    /// Of each part its vector and its tokens.
    pub(super) parts: Vec<(Vec<f32>, usize)>,
    /// Whether the text was cut.
    pub(super) truncated: bool,
}

struct Job {
    query: Option<String>,
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Vec<Read>>>,
}

/// The handle of the thread that computes. The thread ends with the last handle.
pub(super) struct Handle {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    /// Numbers of a text's vector.
    pub(super) width: usize,
}

impl Handle {
    pub(super) fn start(
        runtime: &Runtime,
        folder: &EncoderFolder,
        options: &EncoderOptions,
        wanted: Wanted,
    ) -> Result<Self> {
        options.check()?;
        let tokenizer = EncoderTokenizer::from_folder(&folder.path)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        let session = EncoderSession::open(runtime, folder, threads, wanted, tokenizer.padding())?;
        let limit = options.max_tokens.map_or(folder.max_tokens, |most| most.min(folder.max_tokens));
        if limit < 8 {
            return Err(Error::invalid_input(format!("`max_tokens` is `{limit}`; it must be at least 8")));
        }
        let width = session.width;
        let waiting = Arc::new(AtomicUsize::new(0));
        let (jobs, receiver) = mpsc::channel();
        let mut worker = Worker {
            session,
            tokenizer,
            threads,
            limit,
            long: options.long,
            batch_tokens: options.batch_tokens,
        };
        let counted = Arc::clone(&waiting);
        thread::Builder::new()
            .name("puna-encoder".to_owned())
            .spawn(move || {
                while let Ok(job) = receiver.recv() {
                    counted.fetch_sub(1, Ordering::Relaxed);
                    let Job { query, texts, mut reply } = job;
                    let read = worker.read(query.as_deref(), &texts, &mut reply);
                    // Whoever asked may have gone.
                    let _ = reply.send(read);
                }
            })
            .map_err(|error| Error::internal("cannot start the encoder's thread").with_source(error))?;
        Ok(Self { jobs, waiting, queue: options.queue, width })
    }

    /// Reads texts, each behind the query where there is one. Dropping the future stops it after its batch.
    pub(super) async fn read(&self, query: Option<String>, texts: Vec<String>) -> Result<Vec<Read>> {
        if let Some(text) = query.iter().chain(&texts).find(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(Error::invalid_input(format!(
                "a text has {} bytes; at most {MAX_TEXT_BYTES} are taken",
                text.len()
            )));
        }
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let more = |waiting| (waiting < self.queue).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("{} requests wait for the model already; try again later", self.queue),
            ));
        }
        let ended = || Error::internal("the encoder's thread has ended; load the model again");
        let (reply, result) = oneshot::channel();
        self.jobs.send(Job { query, texts, reply }).map_err(|_| ended())?;
        result.await.map_err(|_| ended())?
    }
}

struct Worker {
    session: EncoderSession,
    tokenizer: EncoderTokenizer,
    threads: usize,
    limit: usize,
    long: LongInput,
    batch_tokens: usize,
}

impl Worker {
    fn read(
        &mut self,
        query: Option<&str>,
        texts: &[String],
        reply: &mut oneshot::Sender<Result<Vec<Read>>>,
    ) -> Result<Vec<Read>> {
        let mut all = Vec::with_capacity(texts.len());
        for group in texts.chunks(GROUP) {
            let split = self.split(query, group)?;
            let parts: Vec<&Encoded> = split.iter().flat_map(|(parts, _)| parts).collect();
            let mut vectors = vec![Vec::new(); parts.len()];
            for batch in batches(&parts, self.batch_tokens) {
                if reply.is_closed() {
                    return Err(Error::new(ErrorKind::Cancelled, "nobody waits for the result"));
                }
                let texts: Vec<&Encoded> = batch.iter().map(|index| parts[*index]).collect();
                for (index, vector) in batch.iter().zip(self.session.run(&texts)?) {
                    vectors[*index] = vector;
                }
            }
            let mut vectors = vectors.into_iter();
            for (parts, truncated) in &split {
                let lengths = parts.iter().map(|part| part.ids.len());
                let parts = vectors.by_ref().take(parts.len()).zip(lengths).collect();
                all.push(Read { parts, truncated: *truncated });
            }
        }
        Ok(all)
    }

    /// The parts of each text, and whether it was cut. Several threads share the texts.
    fn split(&self, query: Option<&str>, texts: &[String]) -> Result<Vec<(Vec<Encoded>, bool)>> {
        let threads = self.threads.min(texts.len() / TEXTS_A_THREAD).max(1);
        let share = texts.len().div_ceil(threads);
        let split = |texts: &[String]| -> Result<Vec<_>> {
            texts.iter().map(|text| self.parts(query, text)).collect()
        };
        let results: Vec<Result<Vec<_>>> = thread::scope(|scope| {
            let others: Vec<_> =
                texts.chunks(share).skip(1).map(|texts| scope.spawn(move || split(texts))).collect();
            let first = split(&texts[..share.min(texts.len())]);
            let lost = |_| Err(Error::internal("the tokenizer's thread has ended"));
            std::iter::once(first)
                .chain(others.into_iter().map(|other| other.join().unwrap_or_else(lost)))
                .collect()
        });
        let mut all = Vec::with_capacity(texts.len());
        for result in results {
            all.extend(result?);
        }
        Ok(all)
    }

    fn parts(&self, query: Option<&str>, text: &str) -> Result<(Vec<Encoded>, bool)> {
        // A quarter of a part, so that what stands at its end is read with what follows.
        let overlap = if self.long == LongInput::Windows { self.limit / 4 } else { 0 };
        let mut parts = self.tokenizer.parts(query, text, self.limit, overlap)?;
        let long = parts.len() > 1;
        match self.long {
            LongInput::Error if long => {
                let tokens: usize = parts.iter().map(|part| part.ids.len()).sum();
                let begin: String = text.chars().take(40).collect();
                Err(Error::invalid_input(format!(
                    "the text `{begin}…` has about {tokens} tokens, and the model takes {}; split it, or have it cut or read in parts",
                    self.limit
                )))
            }
            LongInput::Truncate => {
                parts.truncate(1);
                Ok((parts, long))
            }
            _ => Ok((parts, false)),
        }
    }
}

/// Texts of like lengths together, so many that the longest's length for each stays within the budget.
fn batches(texts: &[&Encoded], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(texts[*index].ids.len()));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for index in order {
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * longest <= budget => batch.push(index),
            _ => {
                longest = texts[index].ids.len().max(1);
                batches.push(vec![index]);
            }
        }
    }
    batches
}
