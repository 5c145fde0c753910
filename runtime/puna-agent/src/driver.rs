use std::{
    collections::{HashSet, VecDeque},
    pin::pin,
    sync::Arc,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use puna_core::{
    CancellationToken, Error, ErrorKind, Event, Message, RecalledFact, Record, Result, StopReason, ToolCall,
    ToolContext, ToolReport, ToolReports, ToolResult, TurnForm, TurnOutcome,
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Action, Conversation, HistoryPolicy, OutputSchema, PendingCall,
    agent::Inner,
    locks::SessionGuard,
    next_action,
    state::{Turn, call_id_mut},
    stream::Emitter,
};

/// Carries out what [`next_action`] asks for and records what came of it, event after append.
pub(crate) struct Driver {
    pub(crate) agent: Arc<Inner>,
    pub(crate) session: String,
    pub(crate) cancel: CancellationToken,
    pub(crate) emitter: Emitter,
    pub(crate) conversation: Conversation,
    /// Oldest turns that the model is not shown in the current turn.
    pub(crate) dropped_turns: usize,
    /// Whether the model is shown the summary of turns that it is not shown.
    pub(crate) shows_summary: bool,
    /// What the model is shown of the memory in the current turn.
    pub(crate) recalled: Vec<RecalledFact>,
    /// Whether no summary is tried again in the current turn.
    pub(crate) summary_failed: bool,
    /// What the current turn's answer is held against.
    output: Option<OutputSchema>,
    /// When the current turn must have ended; none where the limit is beyond what the clock can tell.
    pub(crate) deadline: Option<Instant>,
    /// The last turn's end, held back until it is known whether the session is let go before it is
    /// reported: a caller that sees the end may start the next turn while it still has this stream.
    ended: Option<Event>,
    guard: SessionGuard,
}

impl Driver {
    pub(crate) async fn open(
        agent: Arc<Inner>,
        session: String,
        cancel: CancellationToken,
        emitter: Emitter,
    ) -> Result<Self> {
        let guard = agent.locks.acquire(&session)?;
        let conversation = Conversation::fold(&agent.journal.read(&session, 0).await?)
            .map_err(|error| error.context(format_args!("session `{session}`")))?;
        let (dropped_turns, output, deadline, ended) = (0, None, None, None);
        Ok(Self {
            agent,
            session,
            cancel,
            emitter,
            conversation,
            dropped_turns,
            shows_summary: false,
            recalled: Vec::new(),
            summary_failed: false,
            output,
            deadline,
            ended,
            guard,
        })
    }

    /// Takes a new turn to its end and closes.
    pub(crate) async fn start(
        mut self,
        message: Message,
        form: TurnForm,
        user: Option<String>,
    ) -> Result<()> {
        if let Some(event) = self.ended.take() {
            self.emitter.emit(event).await;
        }
        // Of a turn whose process died before it was gone through.
        self.learn().await?;
        // Unique, because no other turn starts at this entry.
        let turn = format!("turn-{}", self.conversation.next);
        let agent = self.agent.name.clone();
        self.append(&[Record::TurnStarted { turn, agent, message, form, user }]).await?;
        self.take_turn(false).await?;
        self.close().await
    }

    /// Takes the unfinished turn to its end. Whether the run goes on: not if the caller cancelled.
    pub(crate) async fn resume(&mut self) -> Result<bool> {
        if self.turn()?.agent != self.agent.name {
            let remedy = "resume it with that agent or abandon it";
            return Err(self.refusal(remedy));
        }
        self.take_turn(true).await?;
        Ok(!self.cancel.is_cancelled())
    }

    /// Records the unfinished turn as cancelled.
    pub(crate) async fn abandon(&mut self) -> Result<bool> {
        self.append(&[Record::TurnFinished { outcome: TurnOutcome::Cancelled }]).await?;
        Ok(true)
    }

    /// Lets the session go and reports the end.
    pub(crate) async fn close(self) -> Result<()> {
        let Self { guard, emitter, ended, .. } = self;
        drop(guard);
        if let Some(event) = ended {
            emitter.emit(event).await;
        }
        Ok(())
    }

    /// Why the unfinished turn stands in the way.
    pub(crate) fn refusal(&self, remedy: &str) -> Error {
        let (turn, agent) =
            self.conversation.unfinished().map(|turn| (&*turn.id, &*turn.agent)).unwrap_or_default();
        let session = &self.session;
        Error::new(
            ErrorKind::Conflict,
            format!("turn `{turn}` of agent `{agent}` in session `{session}` is unfinished; {remedy}"),
        )
    }

    async fn take_turn(&mut self, resumed: bool) -> Result<()> {
        let (session, turn) = (self.session.clone(), self.turn()?.id.clone());
        self.summary_failed = false;
        let summary = match self.agent.history {
            HistoryPolicy::Summarize(_) => self.conversation.summary.as_ref(),
            _ => None,
        };
        (self.shows_summary, self.dropped_turns) =
            (summary.is_some(), summary.map_or(0, |summary| summary.turns));
        self.deadline = Instant::now().checked_add(self.agent.limits.turn_time);
        self.emitter.emit(Event::TurnStarted { session, turn, resumed }).await;
        self.output = match self.turn()?.form.output.as_ref().map(|form| OutputSchema::new(&form.schema)) {
            Some(Ok(schema)) => Some(schema),
            // Checked before it was recorded, though maybe by another version.
            Some(Err(error)) => {
                self.append(&[Record::TurnFinished { outcome: failed(&error) }]).await?;
                None
            }
            None => None,
        };
        self.recall().await?;
        while self.conversation.unfinished().is_some() {
            let action = match self.interruption() {
                Some(outcome) => Action::Finish(outcome),
                None => next_action(self.turn()?, &self.agent.limits),
            };
            match action {
                Action::Generate { step, tokens_left } => self.take_step(step, tokens_left).await?,
                Action::CallTools(calls) => self.call_tools(calls).await?,
                Action::CheckOutput => {
                    let judged = self.judge(self.turn()?);
                    self.append(std::slice::from_ref(&judged)).await?;
                    self.tell_refused(&judged).await;
                }
                Action::Finish(outcome) => self.append(&[Record::TurnFinished { outcome }]).await?,
            }
        }
        self.check_answer().await;
        self.learn().await?;
        let turn = self.conversation.turns.last();
        self.ended = turn.and_then(|turn| {
            Some(Event::TurnFinished { outcome: turn.outcome.clone()?, usage: turn.usage() })
        });
        Ok(())
    }

    /// One answer of the model. It is recorded together with what follows from it alone, the turn's end or that it is
    /// refused: why the model stopped is not part of the step's record.
    async fn take_step(&mut self, step: u32, tokens_left: u64) -> Result<()> {
        self.emitter.emit(Event::StepStarted { step }).await;
        let mut completion = match self.generate(tokens_left).await {
            Ok(completion) => completion,
            Err(error) => {
                tracing::warn!(session = self.session, step, error = error.report(), "the model failed");
                return self.append(&[Record::TurnFinished { outcome: failed(&error) }]).await;
            }
        };
        let ended = match completion.stop {
            StopReason::Cancelled => Some(TurnOutcome::Cancelled),
            StopReason::Deadline => Some(self.time_limit()),
            StopReason::MaxTokens | StopReason::ContextFull => {
                Some(TurnOutcome::TokenLimit { text: completion.message.plain_text() })
            }
            _ => None,
        };
        if completion.message.content.is_empty()
            && let Some(outcome) = ended
        {
            return self.append(&[Record::TurnFinished { outcome }]).await;
        }
        self.make_ids_unique(&mut completion.message);
        let record = Record::Step { message: completion.message.clone(), usage: completion.usage };
        let follows = match ended {
            Some(outcome) => Some(Record::TurnFinished { outcome }),
            None => self.following(&record),
        };
        let records: Vec<Record> = [Some(record), follows].into_iter().flatten().collect();
        self.append(&records).await?;
        let (message, stop, usage) = (completion.message, completion.stop, completion.usage);
        self.emitter.emit(Event::StepFinished { step, message, stop, usage }).await;
        for record in &records {
            self.tell_refused(record).await;
        }
        Ok(())
    }

    /// What follows from a step without anybody being asked: the turn's end, or that its answer is refused.
    fn following(&self, step: &Record) -> Option<Record> {
        // Only the current turn decides, so only it is cloned.
        let turns = self.conversation.turns.last().cloned().into_iter().collect();
        let mut after = Conversation { turns, next: 0, summary: None };
        after.apply(step).ok()?;
        let turn = after.unfinished()?;
        match next_action(turn, &self.agent.limits) {
            Action::Finish(outcome) => Some(Record::TurnFinished { outcome }),
            Action::CheckOutput => Some(self.judge(turn)),
            _ => None,
        }
    }

    /// Holds the text of the turn's last step against its form.
    fn judge(&self, turn: &Turn) -> Record {
        let text = turn.last_text();
        let (Some(schema), Some(form)) = (&self.output, &turn.form.output) else {
            return Record::TurnFinished { outcome: TurnOutcome::Answered { text, value: None } };
        };
        let reason = match schema.read(&text) {
            Ok(value) => {
                let value = Some(value);
                return Record::TurnFinished { outcome: TurnOutcome::Answered { text, value } };
            }
            Err(error) => error.to_string(),
        };
        let limits = &self.agent.limits;
        let left = turn.repairs() < form.repairs
            && turn.steps.len() < limits.steps as usize
            && turn.usage().completion_tokens < limits.tokens;
        match left {
            true => Record::OutputRefused { reason },
            false => Record::TurnFinished { outcome: TurnOutcome::InvalidOutput { text, reason } },
        }
    }

    /// Holds the turn's answer against the sources that it was given. A value is for programs and is checked by its form.
    async fn check_answer(&self) {
        let (Some(check), Some((turn, before))) =
            (&self.agent.answer_check, self.conversation.turns.split_last())
        else {
            return;
        };
        let Some(TurnOutcome::Answered { text, value: None }) = &turn.outcome else { return };
        let before: Vec<&ToolResult> = before.iter().flat_map(Turn::results).collect();
        let turn: Vec<&ToolResult> = turn.results().collect();
        if let Some(check) = check.check(text, &turn, &before) {
            self.emitter.emit(Event::CitationsChecked { check }).await;
        }
    }

    /// Reports the record of a refusal, once it is durable.
    async fn tell_refused(&self, record: &Record) {
        if let (Record::OutputRefused { reason }, Some(turn)) = (record, self.conversation.unfinished()) {
            tracing::info!(session = self.session, reason, "the answer does not have its form");
            let (repair, reason) = (turn.repairs(), reason.clone());
            self.emitter.emit(Event::OutputRefused { repair, reason }).await;
        }
    }

    /// Settles calls until all have results or the turn is interrupted, which drops the running ones.
    async fn call_tools(&mut self, calls: Vec<PendingCall>) -> Result<()> {
        let mut waiting = VecDeque::new();
        for call in calls {
            match call {
                PendingCall::Perform(call) => waiting.push_back(call),
                PendingCall::Refuse(result) => self.settle(result, 0.0).await?,
            }
        }
        let agent = self.agent.clone();
        let cancel = self.cancel.child_token();
        let _cancel_dropped_calls = cancel.clone().drop_guard();
        let mut interrupted = pin!(interrupted(self.cancel.clone(), self.deadline));
        let mut running = FuturesUnordered::new();
        // Bounded by what tools may report; a full channel would make a guest wait for whoever reads the events.
        let (reports, mut reported) = mpsc::unbounded_channel();
        loop {
            while running.len() < agent.limits.parallel_calls
                && let Some(call) = waiting.pop_front()
            {
                self.emitter.emit(Event::ToolStarted { call: call.clone() }).await;
                let (turn, user) = (self.turn()?.id.clone(), self.turn()?.user.clone());
                let place = (self.session.clone(), turn, user);
                let reports = reports_of(&call, reports.clone());
                running.push(perform(&agent, place, call, cancel.child_token(), reports));
            }
            let ended = tokio::select! {
                // Results first: one that is there when the turn is interrupted is recorded.
                biased;
                ended = running.next() => ended,
                Some(event) = reported.recv() => {
                    self.emitter.emit(event).await;
                    continue;
                }
                () = &mut interrupted => return Ok(()),
            };
            let Some((result, elapsed_ms)) = ended else { return Ok(()) };
            // What the call said comes before its end.
            while let Ok(event) = reported.try_recv() {
                self.emitter.emit(event).await;
            }
            self.settle(result, elapsed_ms).await?;
        }
    }

    async fn settle(&mut self, result: ToolResult, elapsed_ms: f64) -> Result<()> {
        self.append(&[Record::ToolFinished { result: result.clone() }]).await?;
        self.emitter.emit(Event::ToolFinished { result, elapsed_ms }).await;
        Ok(())
    }

    pub(crate) async fn append(&mut self, records: &[Record]) -> Result<()> {
        let next = self.agent.journal.append(&self.session, self.conversation.next, records).await?;
        for record in records {
            self.conversation.apply(record).map_err(Error::internal)?;
        }
        if next == self.conversation.next {
            return Ok(());
        }
        let expected = self.conversation.next;
        Err(Error::internal(format!("the journal's next entry is `{next}`, it should be `{expected}`")))
    }

    /// Gives ids that are empty or taken a number: models count from the start again, and a result must
    /// find its call.
    fn make_ids_unique(&self, message: &mut Message) {
        let mut taken: HashSet<String> = self.conversation.call_ids().into_iter().map(String::from).collect();
        for id in message.content.iter_mut().filter_map(call_id_mut) {
            let base = if id.is_empty() { "call".to_owned() } else { id.clone() };
            let mut unique = base.clone();
            let mut number = 2u64;
            while !taken.insert(unique.clone()) {
                unique = format!("{base}-{number}");
                number += 1;
            }
            *id = unique;
        }
    }

    /// Why the turn cannot go on, if the caller or the clock says so.
    fn interruption(&self) -> Option<TurnOutcome> {
        if self.cancel.is_cancelled() {
            return Some(TurnOutcome::Cancelled);
        }
        self.past_deadline().then(|| self.time_limit())
    }

    pub(crate) fn past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn time_limit(&self) -> TurnOutcome {
        let limit_ms = self.agent.limits.turn_time.as_millis().try_into().unwrap_or(u64::MAX);
        TurnOutcome::TimeLimit { limit_ms }
    }

    pub(crate) fn turn(&self) -> Result<&Turn> {
        self.conversation.unfinished().ok_or_else(|| Error::internal("no turn is in progress"))
    }
}

fn failed(error: &Error) -> TurnOutcome {
    TurnOutcome::Failed { kind: error.kind().to_string(), message: error.report() }
}

/// Ends when the caller cancels or the deadline passes.
pub(crate) async fn interrupted(cancel: CancellationToken, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
        },
        None => cancel.cancelled().await,
    }
}

/// What a call reports, as events.
fn reports_of(call: &ToolCall, events: mpsc::UnboundedSender<Event>) -> ToolReports {
    let call_id = call.id.clone();
    ToolReports::to(move |report| {
        let call_id = call_id.clone();
        let event = match report {
            ToolReport::Progress { done, message } => Event::ToolProgress { call_id, done, message },
            ToolReport::Attachment { name, media } => Event::ToolAttachment { call_id, name, media },
        };
        // Nobody listens any more when the turn is over.
        let _ = events.send(event);
    })
}

async fn perform(
    agent: &Inner,
    (session, turn, user): (String, String, Option<String>),
    call: ToolCall,
    cancel: CancellationToken,
    reports: ToolReports,
) -> (ToolResult, f64) {
    let start = Instant::now();
    let deadline = start.checked_add(agent.limits.call_time).map(Instant::into_std);
    let context = ToolContext { call_id: call.id.clone(), session, turn, user, deadline, cancel, reports };
    let result = agent.toolbox.perform(&call, context, &agent.limits).await;
    (result, start.elapsed().as_secs_f64() * 1000.0)
}
