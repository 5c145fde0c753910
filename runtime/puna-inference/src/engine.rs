//! The thread that owns a model's graph, and what it is asked to do.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use puna_core::{
    BeamOptions, CancellationToken, Error, ErrorKind, ModelEvent, Result, StopReason, TokenScore,
};
use puna_text::{Dialect, Matcher};
use serde::Serialize;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{Sampler, adapter::Adapter, worker::Worker};

/// Where a request's events go. Unbounded, because they are bounded by the request's tokens, and a slow reader must not
/// hold the other requests up.
pub(crate) type Events = UnboundedSender<Result<ModelEvent>>;

/// A request, ready to run.
pub(crate) struct Job {
    /// Not empty, and with what is generated within the context.
    pub prompt: Vec<u32>,
    pub cancel: CancellationToken,
    pub deadline: Option<Instant>,
    /// What the model is changed by.
    pub adapter: Option<Arc<Adapter>>,
    pub task: Task,
}

/// What a request wants.
pub(crate) enum Task {
    Generate(Box<Generate>),
    Score(Score),
    /// To give the prompt's keys and values.
    Save(oneshot::Sender<Result<Vec<u8>>>),
    /// To take them.
    Restore(Vec<u8>, oneshot::Sender<Result<()>>),
}

/// To continue the prompt.
pub(crate) struct Generate {
    pub sampler: Sampler,
    /// How the likeliest answer is searched for, where it is.
    pub beam: Option<BeamOptions>,
    /// Follows the answer where it must have a form.
    pub matcher: Option<Box<Matcher>>,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Whether `max_tokens` is what the caller asked for, not what the context leaves.
    pub asked: bool,
    pub stop: Vec<String>,
    /// What calls may stand in the text.
    pub calls: Option<Calls>,
    /// Whether the tokens that end an answer do not end this one.
    pub ignore_end: bool,
    /// Whether every token is told with its likelihood, and how many likelier ones with it.
    pub logprobs: Option<usize>,
    pub events: Events,
}

/// Calls that an answer may hold.
pub(crate) struct Calls {
    pub dialect: Dialect,
    /// The names of the tools.
    pub tools: Vec<String>,
}

impl Generate {
    /// Why an answer of the most tokens ends.
    pub(crate) fn longest(&self) -> StopReason {
        if self.asked { StopReason::MaxTokens } else { StopReason::ContextFull }
    }
}

/// To tell how likely the prompt's own tokens are.
pub(crate) struct Score {
    /// The first token that is scored; at least 1, because nothing is before the first.
    pub from: usize,
    /// How many of the likeliest tokens are told with each.
    pub top: usize,
    pub scores: Vec<TokenScore>,
    /// Is shown the logits of each place that is scored, one after the other.
    pub each: Option<EachLogits>,
    pub reply: oneshot::Sender<Result<Vec<TokenScore>>>,
}

/// Is called on the engine's thread, which it holds up.
pub(crate) type EachLogits = Box<dyn FnMut(&[f32]) + Send>;

/// Why a request ends before it is done.
pub(crate) enum Stopped {
    Reason(StopReason),
    /// Nobody waits for it any more.
    Abandoned,
    Failed(Error),
}

impl Stopped {
    /// What is told where only an error can be.
    pub(crate) fn into_error(self, what: &str) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Reason(StopReason::Deadline) => {
                Error::new(ErrorKind::Timeout, format!("{what} did not end before its deadline"))
            }
            Self::Reason(_) | Self::Abandoned => {
                Error::new(ErrorKind::Cancelled, format!("{what} was cancelled"))
            }
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Job {
    /// The adapter's number, 0 for none: what is computed with one is of no use to another.
    pub(crate) fn adapter_id(&self) -> u64 {
        self.adapter.as_ref().map_or(0, |adapter| adapter.id)
    }

    /// Whether the request is still wanted and in time.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        let abandoned = match &self.task {
            Task::Generate(generate) => generate.events.is_closed(),
            Task::Score(score) => score.reply.is_closed(),
            Task::Save(reply) => reply.is_closed(),
            Task::Restore(_, reply) => reply.is_closed(),
        };
        if abandoned {
            return Err(Stopped::Abandoned);
        }
        if self.cancel.is_cancelled() {
            return Err(Stopped::Reason(StopReason::Cancelled));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stopped::Reason(StopReason::Deadline));
        }
        Ok(())
    }
}

/// What an engine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineStatus {
    /// Requests that are computed at the same time at most.
    pub slots: usize,
    /// Requests that are computed now.
    pub active: usize,
    /// Requests that wait.
    pub queued: usize,
    /// What the keys and values take up, those kept for conversations that may go on included, in bytes.
    pub cache_bytes: u64,
    /// What they may take up, in bytes.
    pub cache_budget_bytes: u64,
}

/// The handle of the thread that computes. The thread ends with the last handle.
pub(crate) struct Engine {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    queue: usize,
}

/// What the thread tells its handle.
#[derive(Default)]
pub(crate) struct Shared {
    /// Requests that were submitted and do not run yet.
    pub waiting: AtomicUsize,
    pub status: Mutex<EngineStatus>,
}

impl Engine {
    /// Starts the thread. At most `queue` requests wait for it.
    pub(crate) fn start(queue: usize, worker: impl FnOnce(Arc<Shared>) -> Result<Worker>) -> Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let mut worker = worker(Arc::clone(&shared))?;
        thread::Builder::new()
            .name("puna-inference".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|error| Error::internal("cannot start the inference thread").with_source(error))?;
        Ok(Self { jobs, shared, queue })
    }

    /// Queues a request.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        let waiting = &self.shared.waiting;
        if waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < self.queue).then_some(waiting + 1)
            })
            .is_err()
        {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("{} requests wait for the model already; try again later", self.queue),
            ));
        }
        self.jobs
            .send(job)
            .map_err(|_| Error::internal("the inference thread has ended; load the model again"))
    }

    pub(crate) fn status(&self) -> EngineStatus {
        let status = *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        EngineStatus { queued: self.shared.waiting.load(Ordering::Relaxed), ..status }
    }
}
