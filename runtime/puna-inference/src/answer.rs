//! The text side of an answer: tokens to text, past the stop strings, into parts.

use std::time::{Duration, Instant};

use puna_core::{Completion, Content, Message, ModelEvent, Result, Role, StopReason, ToolCallDelta, Usage};
use puna_text::{Parsed, ParsedEvent, StopMatcher, StreamDecoder, Tokenizer, ToolCallParser};

use crate::engine::{Calls, Events, Stopped};

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
    pending: Pending,
    sent: Option<Instant>,
    pub(crate) usage: Usage,
}

impl Answer {
    /// An answer that ends at one of the stop strings. With a dialect, calls of the tools so named are read in it.
    pub(crate) fn new(tokenizer: Tokenizer, stop: &[String], calls: Option<&Calls>) -> Self {
        // Where no call is read, its marks are as little to be seen as other special tokens.
        let marks = calls.map_or(&[][..], |calls| calls.dialect.marks());
        Self {
            decoder: StreamDecoder::new(tokenizer).keeping(marks),
            stop: StopMatcher::new(stop.iter().cloned()),
            parser: calls.map(|calls| ToolCallParser::with_tools(calls.dialect, "call_", &*calls.tools)),
            text: String::new(),
            pending: Pending::default(),
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
        match &mut self.parser {
            Some(parser) => self.pending.add(parser.push(text)),
            None => {
                self.text.push_str(text);
                self.pending.add_text(text);
            }
        }
        if self.pending.events.is_empty() || self.sent.is_some_and(|sent| sent.elapsed() < SEND_INTERVAL) {
            return Ok(());
        }
        self.sent = Some(Instant::now());
        for event in std::mem::take(&mut self.pending.events) {
            events.send(Ok(event)).map_err(|_| Stopped::Abandoned)?;
        }
        Ok(())
    }

    /// Ends the answer and sends what is left of it. The reader may have gone meanwhile.
    pub(crate) fn end(self, stop: StopReason, events: &Events) {
        match self.finish(stop) {
            Ok((rest, completion)) => {
                for event in rest {
                    let _ = events.send(Ok(event));
                }
                let _ = events.send(Ok(ModelEvent::Finished(completion)));
            }
            Err(error) => {
                let _ = events.send(Err(error));
            }
        }
    }

    /// What was not sent yet, and the whole answer.
    fn finish(mut self, stop: StopReason) -> Result<(Vec<ModelEvent>, Completion)> {
        let mut rest = String::new();
        if !self.stop.stopped() {
            if let Some(text) = self.decoder.finish()? {
                rest.push_str(&self.stop.push(&text));
            }
            rest.push_str(&self.stop.finish());
        }
        let content = match self.parser {
            Some(mut parser) => {
                self.pending.add(parser.push(&rest));
                let (held, content) = parser.finish();
                self.pending.add(held);
                content
            }
            None => {
                self.pending.add_text(&rest);
                self.text.push_str(&rest);
                if self.text.is_empty() { Vec::new() } else { vec![Content::Text { text: self.text }] }
            }
        };
        let called =
            content.iter().any(|part| matches!(part, Content::ToolCall(_) | Content::InvalidToolCall(_)));
        let stop = if called && stop == StopReason::EndOfTurn { StopReason::ToolCalls } else { stop };
        Ok((
            self.pending.events,
            Completion { message: Message { role: Role::Assistant, content }, stop, usage: self.usage },
        ))
    }
}

/// What was not sent yet, joined where it is of one kind.
#[derive(Default)]
struct Pending {
    events: Vec<ModelEvent>,
    /// The id and name of the call that is being written.
    call: (String, String),
}

impl Pending {
    fn add(&mut self, parsed: Parsed) {
        for event in parsed.events {
            match event {
                ParsedEvent::Text(text) => self.add_text(&text),
                ParsedEvent::CallStarted { index, id, name } => {
                    self.call = (id, name);
                    self.add_arguments(index, "");
                }
                ParsedEvent::ArgumentsDelta { index, text } => self.add_arguments(index, &text),
                // The message tells how the calls ended.
                _ => {}
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(ModelEvent::TextDelta(last)) => last.push_str(text),
            _ => self.events.push(ModelEvent::TextDelta(text.to_owned())),
        }
    }

    fn add_arguments(&mut self, index: usize, text: &str) {
        match self.events.last_mut() {
            Some(ModelEvent::ToolCallDelta(last)) if last.index == index => last.arguments.push_str(text),
            _ => {
                let (id, name) = self.call.clone();
                let arguments = text.to_owned();
                self.events.push(ModelEvent::ToolCallDelta(ToolCallDelta { index, id, name, arguments }));
            }
        }
    }
}
