//! The thread that owns an encoder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use puna_core::{Error, ErrorKind, Result};
use puna_text::{Before, Encoded, EncoderTokenizer};
use tokio::sync::oneshot;

use super::{
    EncoderOptions, EncoderStats, LongInput,
    queue::Queue,
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
    prompt: String,
    texts: Vec<String>,
    /// Whether the vectors of a part's tokens are wanted, one behind the other, rather than the part's own.
    tokens: bool,
    reply: oneshot::Sender<Result<Vec<Read>>>,
}

/// What the thread and its handle share.
struct Shared {
    queue: Queue<Job>,
    batches: AtomicU64,
    tokens: AtomicU64,
}

/// Closes the queue when the thread ends, however it ends: nobody waits for it in vain.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

/// The handle of the thread that computes. The thread ends with it.
pub(super) struct Handle {
    shared: Arc<Shared>,
    /// Numbers of a text's vector.
    pub(super) width: usize,
    /// Numbers of a token's vector, where the graph gives those.
    pub(super) token_width: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Handle {
    pub(super) fn start(
        runtime: &Runtime,
        folder: &EncoderFolder,
        options: &EncoderOptions,
        wanted: Wanted,
    ) -> Result<Self> {
        options.check()?;
        let mut tokenizer = EncoderTokenizer::from_folder(&folder.path)?;
        if folder.lower_case {
            tokenizer = tokenizer.lower_cased()?;
        }
        let threads = options.threads.unwrap_or_else(default_threads);
        let session = EncoderSession::open(runtime, folder, threads, wanted, tokenizer.padding())?;
        let limit = options.max_tokens.map_or(folder.max_tokens, |most| most.min(folder.max_tokens));
        if limit < 8 {
            return Err(Error::invalid_input(format!("`max_tokens` is `{limit}`; it must be at least 8")));
        }
        let (width, token_width) = (session.width, session.inner);
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue),
            batches: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        });
        let mut worker = Worker {
            session,
            tokenizer,
            threads,
            limit,
            long: options.long,
            batch_tokens: options.batch_tokens,
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("puna-encoder".to_owned())
            .spawn(move || {
                let _closing = Closing(Arc::clone(&worker.shared));
                while let Some(job) = worker.shared.queue.pop() {
                    let read = worker.read(&job);
                    // Whoever asked may have gone.
                    let _ = job.reply.send(read);
                }
            })
            .map_err(|error| Error::internal("cannot start the encoder's thread").with_source(error))?;
        Ok(Self { shared, width, token_width })
    }

    /// Reads texts, each behind the query or the prompt where there is one. Dropping the future stops it: in the queue
    /// it leaves its place to others, and of what is being computed no batch runs but the one that does.
    pub(super) async fn read(
        &self,
        query: Option<&str>,
        prompt: &str,
        texts: &[String],
    ) -> Result<Vec<Read>> {
        self.read_as(query, prompt, texts, false).await
    }

    /// As [`read`](Self::read), but a part's numbers are the vectors of its tokens, one behind the other.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) also where the graph gives none.
    pub(super) async fn read_tokens(&self, prompt: &str, texts: &[String]) -> Result<Vec<Read>> {
        self.read_as(None, prompt, texts, true).await
    }

    async fn read_as(
        &self,
        query: Option<&str>,
        prompt: &str,
        texts: &[String],
        tokens: bool,
    ) -> Result<Vec<Read>> {
        if let Some(text) =
            query.into_iter().chain(texts.iter().map(String::as_str)).find(|text| text.len() > MAX_TEXT_BYTES)
        {
            return Err(Error::invalid_input(format!(
                "a text has {} bytes; at most {MAX_TEXT_BYTES} are taken",
                text.len()
            )));
        }
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, result) = oneshot::channel();
        let query = query.map(str::to_owned);
        let job = Job { query, prompt: prompt.to_owned(), texts: texts.to_vec(), tokens, reply };
        let _place = self.shared.queue.push(job)?;
        result.await.map_err(|_| Error::internal("the encoder's thread has ended; load the model again"))?
    }

    pub(super) fn stats(&self) -> EncoderStats {
        EncoderStats {
            waiting: self.shared.queue.waiting(),
            batches: self.shared.batches.load(Ordering::Relaxed),
            tokens: self.shared.tokens.load(Ordering::Relaxed),
        }
    }
}

struct Worker {
    session: EncoderSession,
    tokenizer: EncoderTokenizer,
    threads: usize,
    limit: usize,
    long: LongInput,
    batch_tokens: usize,
    shared: Arc<Shared>,
}

impl Worker {
    fn read(&mut self, job: &Job) -> Result<Vec<Read>> {
        let mut all = Vec::with_capacity(job.texts.len());
        for group in job.texts.chunks(GROUP) {
            let split = self.split(job, group)?;
            let parts: Vec<&Encoded> = split.iter().flat_map(|(parts, _)| parts).collect();
            let mut vectors = vec![Vec::new(); parts.len()];
            for batch in batches(&parts, self.batch_tokens) {
                job.check_wanted()?;
                let texts: Vec<&Encoded> = batch.iter().map(|index| parts[*index]).collect();
                for (index, vector) in batch.iter().zip(self.session.run(&texts, job.tokens)?) {
                    vectors[*index] = vector;
                }
                let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
                self.shared.batches.fetch_add(1, Ordering::Relaxed);
                self.shared.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
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
    fn split(&self, job: &Job, texts: &[String]) -> Result<Vec<(Vec<Encoded>, bool)>> {
        let threads = self.threads.min(texts.len() / TEXTS_A_THREAD).max(1);
        let share = texts.len().div_ceil(threads);
        let split =
            |texts: &[String]| -> Result<Vec<_>> { texts.iter().map(|text| self.parts(job, text)).collect() };
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

    fn parts(&self, job: &Job, text: &str) -> Result<(Vec<Encoded>, bool)> {
        job.check_wanted()?;
        // A quarter of a part, so that what stands at its end is read with what follows.
        let overlap = if self.long == LongInput::Windows { self.limit / 4 } else { 0 };
        let before = Before { query: job.query.as_deref(), prompt: &job.prompt };
        let mut parts = self.tokenizer.parts(before, text, self.limit, overlap)?;
        let long = parts.len() > 1;
        if parts.iter().any(|part| part.ids.is_empty()) {
            return Err(Error::invalid_input(
                "a text is empty, and the model's tokenizer adds nothing to it",
            ));
        }
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

impl Job {
    /// Ends what nobody waits for any more.
    fn check_wanted(&self) -> Result<()> {
        match self.reply.is_closed() {
            true => Err(Error::new(ErrorKind::Cancelled, "nobody waits for the result")),
            false => Ok(()),
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
