//! Summaries of turns that leave the model's window.

use std::fmt::Write;

use futures_util::StreamExt;
use puna_core::{
    Completion, Content, Error, ErrorKind, Event, GenerateOptions, GenerateRequest, Message, ModelEvent,
    ModelStream, Record, Result, StopReason, ToolChoice, ToolOutcome,
};
use tokio::time::Instant;

use crate::{
    Conversation, Summary, SummaryFallback, SummaryOptions, Turn,
    driver::Driver,
    generate::{Fit, Patience, overflow_of},
};

/// Most tokens of a summary unless told otherwise: two paragraphs, which leave a small model's context to the
/// conversation.
pub const DEFAULT_SUMMARY_TOKENS: u32 = 256;

/// A summary takes at most this part of the model's context, whatever it may have.
const CONTEXT_SHARE: usize = 4;

/// What the model is told when it summarises.
pub const SUMMARY_INSTRUCTIONS: &str = "Summarise the conversation for the assistant who will go on with it. \
     Keep names, numbers, dates, decisions, results of tools, and what the user asked for or said of themselves. \
     Leave out greetings. Write plain sentences, as short as you can, and nothing else.";

/// The summary as the model is shown it, after its instructions.
pub(crate) fn shown(summary: &Summary) -> String {
    format!("What was said before, as a summary:\n{}", summary.text)
}

impl Driver {
    /// Has the oldest turns summarised until the rest fits beside the summary, and opens the stream. Half of the turns
    /// that would still fit are summarised too: the next turns then need no summary each.
    pub(crate) async fn summarised_stream(
        &mut self,
        options: &SummaryOptions,
        tokens_left: u64,
        mut patience: Patience<'_>,
    ) -> Result<ModelStream> {
        let most = self.conversation.turns.len().saturating_sub(1);
        loop {
            let (enough, stream) = self.packed_stream(tokens_left, patience.as_mut()).await?;
            drop(stream);
            let through = enough + (most - enough) / 2;
            self.summarise(options, through, patience.as_mut()).await?;
            match overflow_of(self.attempt(through, tokens_left, patience.as_mut()).await)? {
                Fit::Stream(stream) => return Ok(stream),
                Fit::Overflow(error) if through == most => {
                    return Err(error.context("the turn does not fit beside the summary of those before it"));
                }
                Fit::Overflow(_) => {}
            }
        }
    }

    /// Reports that there is no summary.
    ///
    /// # Errors
    /// The same error, where the policy says so.
    pub(crate) async fn summary_failed(&mut self, options: &SummaryOptions, error: Error) -> Result<()> {
        self.summary_failed = true;
        tracing::warn!(session = self.session, error = error.report(), "the history is not summarised");
        let (kind, message) = (error.kind().to_string(), error.report());
        self.emitter.emit(Event::SummaryFailed { kind, message }).await;
        match options.fallback {
            SummaryFallback::DropOldestTurns => Ok(()),
            SummaryFallback::Error => Err(error.context("the history does not fit and is not summarised")),
        }
    }

    /// Has the turns before `through` summarised, as many at a time as fit, each time with the summary of those before.
    async fn summarise(
        &mut self,
        options: &SummaryOptions,
        through: usize,
        mut patience: Patience<'_>,
    ) -> Result<()> {
        let mut from = self.conversation.summary.as_ref().map_or(0, |summary| summary.turns);
        while from < through {
            let mut end = through;
            let stream = loop {
                let request = self.summary_request(from..end, options);
                match overflow_of(self.ask(request, patience.as_mut()).await)? {
                    Fit::Stream(stream) => break stream,
                    Fit::Overflow(error) if end - from == 1 => {
                        let turn = &self.conversation.turns[from].id;
                        return Err(error.context(format!("turn `{turn}` is too long to be summarised")));
                    }
                    Fit::Overflow(_) => end = from + (end - from) / 2,
                }
            };
            let completion = self.summary_of(stream, patience.as_mut()).await?;
            self.record_summary(end, completion).await?;
            from = end;
        }
        Ok(())
    }

    async fn record_summary(&mut self, turns: usize, completion: Completion) -> Result<()> {
        let text = completion.message.plain_text().trim().to_owned();
        if text.is_empty() {
            return Err(Error::internal("the model wrote an empty summary"));
        }
        let cut = matches!(completion.stop, StopReason::MaxTokens | StopReason::ContextFull);
        let usage = completion.usage;
        let record = Record::HistorySummarized {
            turns: turns as u64,
            through: self.conversation.turns[turns - 1].id.clone(),
            text: text.clone(),
            cut,
            model: self.agent.model.info().name.clone(),
            usage,
        };
        self.append(&[record]).await?;
        (self.dropped_turns, self.shows_summary) = (turns, true);
        tracing::info!(session = self.session, turns, "history summarised");
        let turns = turns.try_into().unwrap_or(u32::MAX);
        self.emitter.emit(Event::HistorySummarized { turns, text, cut, usage }).await;
        Ok(())
    }

    fn summary_request(&self, turns: std::ops::Range<usize>, options: &SummaryOptions) -> GenerateRequest {
        let agent = &self.agent;
        let share = u32::try_from(agent.model.info().context_length / CONTEXT_SHARE).unwrap_or(u32::MAX);
        let text = told(&self.conversation, turns);
        GenerateRequest {
            messages: vec![Message::system(SUMMARY_INSTRUCTIONS), Message::user(text)],
            tool_choice: ToolChoice::None,
            options: GenerateOptions {
                max_tokens: Some(options.max_tokens.min(share.max(1))),
                ..agent.options.clone()
            },
            adapter: agent.adapter.clone(),
            cancel: self.cancel.clone(),
            deadline: self.deadline.map(Instant::into_std),
            ..GenerateRequest::default()
        }
    }

    /// Reads a summary to its end.
    async fn summary_of(&self, mut stream: ModelStream, mut patience: Patience<'_>) -> Result<Completion> {
        let stopped = || {
            let kind = if self.cancel.is_cancelled() { ErrorKind::Cancelled } else { ErrorKind::Timeout };
            Error::new(kind, "the model was stopped while it summarised")
        };
        loop {
            let event = tokio::select! {
                biased;
                event = stream.next() => event,
                () = patience.as_mut() => return Err(stopped()),
            };
            match event {
                Some(Ok(ModelEvent::Finished(completion))) => match completion.stop {
                    StopReason::Cancelled | StopReason::Deadline => return Err(stopped()),
                    _ => return Ok(completion),
                },
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Error::internal("the model ended without finishing its summary")),
            }
        }
    }
}

/// Turns as text for the one who summarises, after the summary of those before them.
fn told(conversation: &Conversation, turns: std::ops::Range<usize>) -> String {
    let mut text = String::new();
    if let Some(summary) = conversation.summary.as_ref() {
        text = format!("Summary so far:\n{}\n\n", summary.text);
    }
    text.push_str("Conversation:\n");
    for message in conversation.turns[turns].iter().flat_map(Turn::messages) {
        for part in &message.content {
            // Writing to a string does not fail.
            let _ = match part {
                Content::Text { text: said } => writeln!(text, "{}: {said}", speaker(&message)),
                Content::ToolCall(call) => writeln!(text, "Call: {}({})", call.name, call.arguments),
                Content::ToolResult(result) => match &result.outcome {
                    ToolOutcome::Success { value } => writeln!(text, "Result: {value}"),
                    ToolOutcome::Failure { error } => writeln!(text, "Failed: {error}"),
                },
                _ => Ok(()),
            };
        }
    }
    text
}

fn speaker(message: &Message) -> &'static str {
    match message.role {
        puna_core::Role::User => "User",
        puna_core::Role::Assistant => "Assistant",
        puna_core::Role::Tool => "Tool",
        puna_core::Role::System => "System",
    }
}
