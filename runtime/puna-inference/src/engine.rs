use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use puna_core::{
    CancellationToken, Completion, Content, Error, ErrorKind, Message, ModelEvent, Result, Role, StopReason,
    Usage,
};
use puna_text::{StopMatcher, StreamDecoder, Tokenizer, ToolCallParser};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    Sampler,
    graph::{Graph, Slot},
};

/// Tokens of a prompt computed at a time: cancellation and deadlines take effect in between.
const PREFILL_CHUNK: usize = 512;

/// Requests that wait for the engine; more are refused, so that nobody waits without end.
const QUEUE: usize = 64;

/// The least time between two texts sent to a reader, who is a thread to wake: a small model writes thousands
/// of tokens a second, and waking somebody for each costs a tenth of them. Nobody reads faster.
const SEND_INTERVAL: Duration = Duration::from_millis(4);

/// Conversations whose keys and values are kept for their next turn.
const SLOTS: usize = 4;

/// A request, ready to run.
pub(crate) struct Job {
    pub prompt: Vec<u32>,
    pub sampler: Sampler,
    /// The most tokens to generate; the prompt and they fit the context.
    pub max_tokens: usize,
    /// Whether `max_tokens` is what the caller asked for, not what the context leaves.
    pub asked: bool,
    pub stop: Vec<String>,
    /// Whether text may be a tool call.
    pub calls: bool,
    pub cancel: CancellationToken,
    pub deadline: Option<Instant>,
    /// Unbounded, because a request's events are bounded by its tokens and a slow reader must not hold the
    /// other requests up.
    pub events: UnboundedSender<Result<ModelEvent>>,
}

/// The thread that owns a model's graph and its slots. Requests run one after the other; more than one at a
/// time is a matter of this module alone. The thread ends with the last handle.
pub(crate) struct Engine {
    jobs: mpsc::SyncSender<Job>,
}

impl Engine {
    pub(crate) fn start(graph: Graph, tokenizer: Tokenizer, eos: Vec<u32>) -> Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name("puna-inference".to_owned())
            .spawn(move || {
                let mut worker = Worker { graph, tokenizer, eos, slots: Vec::new(), clock: 0 };
                while let Ok(job) = queue.recv() {
                    worker.serve(job);
                }
            })
            .map_err(|error| Error::internal("cannot start the inference thread").with_source(error))?;
        Ok(Self { jobs })
    }

    /// Queues a request.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => Error::new(
                ErrorKind::ResourceExhausted,
                format!("{QUEUE} requests wait for the model already; try again later"),
            ),
            mpsc::TrySendError::Disconnected(_) => {
                Error::internal("the inference thread has ended; load the model again")
            }
        })
    }
}

struct Worker {
    graph: Graph,
    tokenizer: Tokenizer,
    eos: Vec<u32>,
    /// Each with when it was last used.
    slots: Vec<(u64, Slot)>,
    clock: u64,
}

/// Why a request ends before its answer does.
enum Stopped {
    Reason(StopReason),
    /// Nobody reads the events any more.
    Abandoned,
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    fn serve(&mut self, job: Job) {
        let mut answer = Answer::new(&job, self.tokenizer.clone());
        let stop = match self.generate(&job, &mut answer) {
            Ok(reason) | Err(Stopped::Reason(reason)) => reason,
            Err(Stopped::Abandoned) => return,
            Err(Stopped::Failed(error)) => {
                // The reader may have gone meanwhile.
                let _ = job.events.send(Err(error));
                return;
            }
        };
        match answer.finish(stop) {
            Ok((rest, completion)) => {
                if !rest.is_empty() {
                    let _ = job.events.send(Ok(ModelEvent::TextDelta(rest)));
                }
                let _ = job.events.send(Ok(ModelEvent::Finished(completion)));
            }
            Err(error) => {
                let _ = job.events.send(Err(error));
            }
        }
    }

    fn generate(&mut self, job: &Job, answer: &mut Answer) -> Result<StopReason, Stopped> {
        let began = Instant::now();
        check(job)?;
        let index = self.slot_for(&job.prompt)?;
        let Self { graph, slots, eos, .. } = self;
        let slot = &mut slots[index].1;
        // The last token is computed anew even where all are cached: its logits are what comes next.
        let kept = common_prefix(slot.tokens(), &job.prompt).min(job.prompt.len() - 1);
        graph.rewind(slot, kept)?;
        answer.usage.prompt_tokens = job.prompt.len() as u64;
        answer.usage.cached_tokens = kept as u64;
        for chunk in job.prompt[kept..].chunks(PREFILL_CHUNK) {
            check(job)?;
            graph.forward(slot, chunk)?;
            // After every chunk, because the next check may be the last.
            answer.usage.prefill_ms = milliseconds(began.elapsed());
        }

        let began = Instant::now();
        let mut sampler = job.sampler.clone();
        let mut step = || -> Result<StopReason, Stopped> {
            for generated in 1.. {
                let token = sampler.choose(slot.logits());
                answer.usage.completion_tokens = generated;
                if eos.contains(&token) {
                    return Ok(StopReason::EndOfTurn);
                }
                if answer.take(token, job)? {
                    return Ok(StopReason::StopString);
                }
                if generated as usize >= job.max_tokens {
                    return Ok(if job.asked { StopReason::MaxTokens } else { StopReason::ContextFull });
                }
                check(job)?;
                graph.forward(slot, &[token])?;
            }
            unreachable!("a request's tokens are counted, and the count is bounded by `max_tokens`")
        };
        let outcome = step();
        answer.usage.decode_ms = milliseconds(began.elapsed());
        outcome
    }

    /// The slot that shares the longest beginning with the prompt, or a fresh one where little is shared.
    fn slot_for(&mut self, prompt: &[u32]) -> Result<usize> {
        self.clock += 1;
        let shared = |slot: &Slot| common_prefix(slot.tokens(), prompt);
        let best = (0..self.slots.len()).max_by_key(|index| shared(&self.slots[*index].1));
        let index = match best {
            // More is kept than thrown away: the same conversation, or one that begins alike.
            Some(index) if shared(&self.slots[index].1) * 2 >= self.slots[index].1.tokens().len() => index,
            _ if self.slots.len() < SLOTS => {
                self.slots.push((0, self.graph.new_slot()?));
                self.slots.len() - 1
            }
            // The least recently used one. There is one, because `SLOTS` are.
            _ => (0..self.slots.len()).min_by_key(|index| self.slots[*index].0).unwrap_or_default(),
        };
        self.slots[index].0 = self.clock;
        Ok(index)
    }
}

/// Whether the request is still wanted and in time.
fn check(job: &Job) -> Result<(), Stopped> {
    if job.events.is_closed() {
        return Err(Stopped::Abandoned);
    }
    if job.cancel.is_cancelled() {
        return Err(Stopped::Reason(StopReason::Cancelled));
    }
    if job.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Err(Stopped::Reason(StopReason::Deadline));
    }
    Ok(())
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The text side of an answer: tokens to text, past the stop strings, into parts.
struct Answer {
    decoder: StreamDecoder,
    stop: StopMatcher,
    parser: Option<ToolCallParser>,
    /// The text, where there is no parser to collect it.
    text: String,
    /// What was not sent yet, and when something last was.
    pending: String,
    sent: Option<Instant>,
    usage: Usage,
}

impl Answer {
    fn new(job: &Job, tokenizer: Tokenizer) -> Self {
        Self {
            decoder: StreamDecoder::new(tokenizer),
            stop: StopMatcher::new(job.stop.iter().cloned()),
            parser: job.calls.then(|| ToolCallParser::new("call_")),
            text: String::new(),
            pending: String::new(),
            sent: None,
            usage: Usage::default(),
        }
    }

    /// Takes a token and sends the text it completes. True when a stop string came.
    fn take(&mut self, token: u32, job: &Job) -> Result<bool, Stopped> {
        if let Some(text) = self.decoder.push(token)? {
            let text = self.stop.push(&text);
            self.send(&text, job)?;
        }
        Ok(self.stop.stopped())
    }

    fn send(&mut self, text: &str, job: &Job) -> Result<(), Stopped> {
        let shown = match &mut self.parser {
            Some(parser) => parser.push(text).text,
            None => {
                self.text.push_str(text);
                text.to_owned()
            }
        };
        self.pending.push_str(&shown);
        if self.pending.is_empty() || self.sent.is_some_and(|sent| sent.elapsed() < SEND_INTERVAL) {
            return Ok(());
        }
        self.sent = Some(Instant::now());
        let text = std::mem::take(&mut self.pending);
        job.events.send(Ok(ModelEvent::TextDelta(text))).map_err(|_| Stopped::Abandoned)
    }

    /// The text that was not sent yet, and the whole answer.
    fn finish(mut self, stop: StopReason) -> Result<(String, Completion)> {
        let mut rest = String::new();
        if !self.stop.stopped() {
            if let Some(text) = self.decoder.finish()? {
                rest.push_str(&self.stop.push(&text));
            }
            rest.push_str(&self.stop.finish());
        }
        let content = match self.parser {
            Some(mut parser) => {
                let pushed = parser.push(&rest);
                let (held, content) = parser.finish();
                rest = pushed.text + &held.text;
                content
            }
            None => {
                self.text.push_str(&rest);
                if self.text.is_empty() { Vec::new() } else { vec![Content::Text { text: self.text }] }
            }
        };
        let called =
            content.iter().any(|part| matches!(part, Content::ToolCall(_) | Content::InvalidToolCall(_)));
        let stop = if called && stop == StopReason::EndOfTurn { StopReason::ToolCalls } else { stop };
        Ok((
            self.pending + &rest,
            Completion { message: Message { role: Role::Assistant, content }, stop, usage: self.usage },
        ))
    }
}
