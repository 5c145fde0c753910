use std::{future::Future, pin::Pin, pin::pin};

use futures_util::StreamExt;
use puna_core::{
    CancellationToken, Completion, Constraint, Error, ErrorKind, Event, GenerateRequest, Message, ModelEvent,
    ModelStream, Result, Role, StopReason, ToolChoice, Usage,
};
use tokio::time::Instant;

use crate::{
    HistoryPolicy, Turn,
    driver::{Driver, interrupted},
    limits::STOP_GRACE,
    memory, output,
    partial::Snapshots,
    summary,
};

/// Ends when the model had its time to stop by itself.
pub(crate) type Patience<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

impl Driver {
    /// Asks the model and passes its text on. When the caller cancels or the deadline passes, the model
    /// gets [`STOP_GRACE`] to stop by itself; after that its stream is dropped and the text so far is the
    /// message.
    ///
    /// # Errors
    /// The model's own; [`Internal`](ErrorKind::Internal) when it ends without finishing.
    pub(crate) async fn generate(&mut self, tokens_left: u64) -> Result<Completion> {
        let mut patience = pin!(stop_patience(self.cancel.clone(), self.deadline));
        let mut text = String::new();
        let mut snapshots = self.turn()?.form.output.is_some().then(Snapshots::default);
        let error = match self.fitting_stream(tokens_left, patience.as_mut()).await {
            Ok(mut stream) => loop {
                let event = tokio::select! {
                    biased;
                    event = stream.next() => event,
                    () = patience.as_mut() => return Ok(self.stopped(text)),
                };
                match event {
                    Some(Ok(ModelEvent::TextDelta(delta))) => {
                        text.push_str(&delta);
                        let value = snapshots.as_mut().and_then(|snapshots| snapshots.push(&delta));
                        self.emitter.emit(Event::TextDelta { text: delta }).await;
                        if let Some(value) = value {
                            self.emitter.emit(Event::PartialOutput { value }).await;
                        }
                    }
                    Some(Ok(ModelEvent::Finished(completion))) => return Ok(completion),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => {
                        let model = &self.agent.model.info().name;
                        break Error::internal(format!("model `{model}` ended without finishing its answer"));
                    }
                }
            },
            Err(error) => error,
        };
        let stopped_as_told = match error.kind() {
            ErrorKind::Cancelled => self.cancel.is_cancelled(),
            ErrorKind::Timeout => self.past_deadline(),
            _ => false,
        };
        if stopped_as_told { Ok(self.stopped(text)) } else { Err(error) }
    }

    /// Opens a stream over the conversation as the agent's policy packs it.
    async fn fitting_stream(&mut self, tokens_left: u64, mut patience: Patience<'_>) -> Result<ModelStream> {
        let error = match overflow_of(self.attempt(self.dropped_turns, tokens_left, patience.as_mut()).await)?
        {
            Fit::Stream(stream) => return Ok(stream),
            // The current turn always stays.
            Fit::Overflow(error) if self.dropped_turns + 1 >= self.conversation.turns.len() => {
                return Err(error);
            }
            Fit::Overflow(error) => error,
        };
        match self.agent.history {
            HistoryPolicy::Error => return Err(error),
            HistoryPolicy::DropOldestTurns => {}
            HistoryPolicy::Summarize(_) if self.summary_failed => {}
            HistoryPolicy::Summarize(options) => {
                match self.summarised_stream(&options, tokens_left, patience.as_mut()).await {
                    Err(error) if !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout) => {
                        self.summary_failed(&options, error).await?;
                    }
                    outcome => return outcome,
                }
            }
        }
        let (dropped, stream) = match overflow_of(self.packed_stream(tokens_left, patience.as_mut()).await)? {
            Fit::Stream(packed) => packed,
            Fit::Overflow(_) if self.shows_summary => {
                self.shows_summary = false;
                self.packed_stream(tokens_left, patience).await?
            }
            Fit::Overflow(error) => return Err(error),
        };
        self.dropped_turns = dropped;
        tracing::info!(session = self.session, dropped_turns = dropped, "history packed");
        let dropped_turns = dropped.try_into().unwrap_or(u32::MAX);
        self.emitter.emit(Event::HistoryPacked { dropped_turns }).await;
        Ok(stream)
    }

    /// The stream with the fewest turns left out that fits, which is more than now, and their number. It is found by
    /// doubling and then halving, so that a long history costs few attempts.
    pub(crate) async fn packed_stream(
        &self,
        tokens_left: u64,
        mut patience: Patience<'_>,
    ) -> Result<(usize, ModelStream)> {
        let most = self.conversation.turns.len().saturating_sub(1);
        let (mut too_few, mut stride) = (self.dropped_turns, 1);
        let (mut enough, mut open) = loop {
            let dropped = too_few.saturating_add(stride).min(most);
            match overflow_of(self.attempt(dropped, tokens_left, patience.as_mut()).await)? {
                Fit::Stream(stream) => break (dropped, Some(stream)),
                Fit::Overflow(error) if dropped == most => {
                    return Err(error.context("the turn does not fit even without the turns before it"));
                }
                Fit::Overflow(_) => (too_few, stride) = (dropped, stride * 2),
            }
        };
        while enough - too_few > 1 {
            // Only one stream at a time: a model may serve no more.
            open = None;
            let dropped = too_few + (enough - too_few) / 2;
            match overflow_of(self.attempt(dropped, tokens_left, patience.as_mut()).await)? {
                Fit::Stream(stream) => (enough, open) = (dropped, Some(stream)),
                Fit::Overflow(_) => too_few = dropped,
            }
        }
        let stream = match open {
            Some(stream) => stream,
            None => self.attempt(enough, tokens_left, patience).await?,
        };
        Ok((enough, stream))
    }

    pub(crate) async fn attempt(
        &self,
        dropped: usize,
        tokens_left: u64,
        mut patience: Patience<'_>,
    ) -> Result<ModelStream> {
        let agent = &self.agent;
        let tokens_left = u32::try_from(tokens_left).unwrap_or(u32::MAX);
        let context_length = agent.model.info().context_length;
        let turn = self.turn()?;
        let form = &turn.form;
        let constraint = form.output.as_ref().filter(|_| agent.model.info().constraints);
        let mut request = GenerateRequest {
            messages: self.messages(turn, dropped),
            tools: agent.toolbox.schemas().to_vec(),
            tool_choice: match &form.tool_choice {
                // A turn that must call in every step would have no answer.
                ToolChoice::Required | ToolChoice::Named(_) if !turn.steps.is_empty() => ToolChoice::Auto,
                choice => choice.clone(),
            },
            parallel_tool_calls: form.parallel_tool_calls,
            constraint: constraint.map(|form| Constraint::JsonSchema(form.schema.clone())),
            options: agent.options.clone(),
            adapter: agent.adapter.clone(),
            cancel: self.cancel.clone(),
            deadline: self.deadline.map(Instant::into_std),
            ..GenerateRequest::default()
        };
        match agent.options.max_tokens {
            Some(most) => request.options.max_tokens = Some(most.min(tokens_left)),
            None if tokens_left as usize >= context_length => {}
            None => {
                request.options.max_tokens = Some(tokens_left);
                match overflow_of(self.ask(request.clone(), patience.as_mut()).await)? {
                    Fit::Stream(stream) => return Ok(stream),
                    // Where the prompt and what is left of the turn's tokens do not fit, the context's
                    // end comes before the limit, which needs no room of its own then.
                    Fit::Overflow(_) => request.options.max_tokens = None,
                }
            }
        }
        self.ask(request, patience).await
    }

    pub(crate) async fn ask(
        &self,
        request: GenerateRequest,
        mut patience: Patience<'_>,
    ) -> Result<ModelStream> {
        tokio::select! {
            biased;
            stream = self.agent.model.generate(request) => stream,
            () = patience.as_mut() => {
                let kind = if self.cancel.is_cancelled() { ErrorKind::Cancelled } else { ErrorKind::Timeout };
                Err(Error::new(kind, "the model was stopped before it began"))
            }
        }
    }

    fn messages(&self, turn: &Turn, dropped: usize) -> Vec<Message> {
        let mut instructions = self.agent.instructions.clone();
        if let Some(form) = &turn.form.output
            && !self.agent.model.info().constraints
        {
            let gap = if instructions.is_empty() { "" } else { "\n\n" };
            instructions = format!("{instructions}{gap}{}", output::instruction(&form.schema));
        }
        if let Some(summary) = self.conversation.summary.as_ref().filter(|_| self.shows_summary) {
            let gap = if instructions.is_empty() { "" } else { "\n\n" };
            instructions = format!("{instructions}{gap}{}", summary::shown(summary));
        }
        let system = (!instructions.is_empty()).then(|| Message::system(instructions));
        let mut messages: Vec<Message> =
            system.into_iter().chain(self.conversation.messages(dropped)).collect();
        // With the question rather than before everything: what earlier turns begin with stays as it was computed.
        let own = turn.messages().len();
        let question = messages.len().checked_sub(own).and_then(|at| messages.get_mut(at));
        if let (Some(facts), Some(question)) = (memory::shown(&self.recalled), question) {
            question.content.insert(0, facts);
        }
        messages
    }

    fn stopped(&self, text: String) -> Completion {
        let stop = if self.cancel.is_cancelled() { StopReason::Cancelled } else { StopReason::Deadline };
        let content = if text.is_empty() { Vec::new() } else { vec![puna_core::Content::text(text)] };
        Completion { message: Message { role: Role::Assistant, content }, stop, usage: Usage::default() }
    }
}

pub(crate) enum Fit<T> {
    Stream(T),
    Overflow(Error),
}

/// Tells an overflow, which packing may cure, from the errors that end the turn.
pub(crate) fn overflow_of<T>(result: Result<T>) -> Result<Fit<T>> {
    match result {
        Ok(stream) => Ok(Fit::Stream(stream)),
        Err(error) if error.kind() == ErrorKind::ContextOverflow => Ok(Fit::Overflow(error)),
        Err(error) => Err(error),
    }
}

async fn stop_patience(cancel: CancellationToken, deadline: Option<Instant>) {
    interrupted(cancel, deadline).await;
    tokio::time::sleep(STOP_GRACE).await;
}
