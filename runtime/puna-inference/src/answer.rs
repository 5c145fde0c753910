//! The text side of an answer: tokens to text, past the stop strings, into parts.

use std::time::{Duration, Instant};

use puna_core::{Completion, Content, Message, ModelEvent, Result, Role, StopReason, Usage};
use puna_text::{StopMatcher, StreamDecoder, Tokenizer, ToolCallParser};

use crate::engine::{Events, Stopped};

/// The least time between two texts sent to a reader, who is a thread to wake: a small model writes thousands
/// of tokens a second, and waking somebody for each costs a tenth of them. Nobody reads faster.
const SEND_INTERVAL: Duration = Duration::from_millis(4);

pub(crate) struct Answer {
    decoder: StreamDecoder,
    stop: StopMatcher,
    parser: Option<ToolCallParser>,
    /// The text, where there is no parser to collect it.
    text: String,
    /// What was not sent yet, and when something last was.
    pending: String,
    sent: Option<Instant>,
    pub(crate) usage: Usage,
}

impl Answer {
    /// An answer that ends at one of the stop strings, and in which `calls` says that text may be a tool call.
    pub(crate) fn new(tokenizer: Tokenizer, stop: &[String], calls: bool) -> Self {
        Self {
            decoder: StreamDecoder::new(tokenizer),
            stop: StopMatcher::new(stop.iter().cloned()),
            parser: calls.then(|| ToolCallParser::new("call_")),
            text: String::new(),
            pending: String::new(),
            sent: None,
            usage: Usage::default(),
        }
    }

    /// Takes a token and sends the text it completes. True when a stop string came.
    pub(crate) fn take(&mut self, token: u32, events: &Events) -> Result<bool, Stopped> {
        if let Some(text) = self.decoder.push(token)? {
            let text = self.stop.push(&text);
            self.send(&text, events)?;
        }
        Ok(self.stop.stopped())
    }

    fn send(&mut self, text: &str, events: &Events) -> Result<(), Stopped> {
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
        events.send(Ok(ModelEvent::TextDelta(text))).map_err(|_| Stopped::Abandoned)
    }

    /// Ends the answer and sends what is left of it. The reader may have gone meanwhile.
    pub(crate) fn end(self, stop: StopReason, events: &Events) {
        match self.finish(stop) {
            Ok((rest, completion)) => {
                if !rest.is_empty() {
                    let _ = events.send(Ok(ModelEvent::TextDelta(rest)));
                }
                let _ = events.send(Ok(ModelEvent::Finished(completion)));
            }
            Err(error) => {
                let _ = events.send(Err(error));
            }
        }
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
