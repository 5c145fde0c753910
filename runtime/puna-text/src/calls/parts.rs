use puna_core::{Content, InvalidToolCall, ToolCall};
use serde_json::Value;

use super::ParsedEvent;

/// What was read so far: the message's parts, and the events not given out yet.
#[derive(Debug)]
pub(super) struct Parts {
    prefix: String,
    /// Calls that ended; the next or the open one has this number.
    calls: usize,
    /// The name of the call that is being read.
    open: Option<String>,
    content: Vec<Content>,
    events: Vec<ParsedEvent>,
}

impl Parts {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, calls: 0, open: None, content: Vec::new(), events: Vec::new() }
    }

    pub(super) fn take_events(&mut self) -> Vec<ParsedEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn into_content(self) -> Vec<Content> {
        self.content
    }

    /// Text of the answer.
    pub(super) fn text(&mut self, new: &str) {
        if new.is_empty() {
            return;
        }
        match self.content.last_mut() {
            Some(Content::Text { text }) => text.push_str(new),
            _ => self.content.push(Content::text(new)),
        }
        match self.events.last_mut() {
            Some(ParsedEvent::Text(text)) => text.push_str(new),
            _ => self.events.push(ParsedEvent::Text(new.to_owned())),
        }
    }

    /// A call begins.
    pub(super) fn start(&mut self, name: &str) {
        self.open = Some(name.to_owned());
        let (index, id, name) = (self.calls, self.id(), name.to_owned());
        self.events.push(ParsedEvent::CallStarted { index, id, name });
    }

    /// More of the open call's arguments as JSON.
    pub(super) fn arguments(&mut self, new: &str) {
        if new.is_empty() {
            return;
        }
        match self.events.last_mut() {
            Some(ParsedEvent::ArgumentsDelta { text, .. }) => text.push_str(new),
            _ => {
                self.events.push(ParsedEvent::ArgumentsDelta { index: self.calls, text: new.to_owned() });
            }
        }
    }

    /// The open call ends.
    pub(super) fn finish(&mut self, arguments: Value) {
        let name = self.open.take().unwrap_or_default();
        self.content.push(Content::ToolCall(ToolCall { id: self.id(), name, arguments }));
        self.events.push(ParsedEvent::CallFinished { index: self.calls });
        self.calls += 1;
    }

    /// The open call, or one that did not start, is none. `name` is for the latter.
    pub(super) fn invalid(&mut self, name: Option<String>, text: String, reason: String) {
        let name = self.open.take().or(name);
        self.content.push(Content::InvalidToolCall(InvalidToolCall { id: self.id(), name, text, reason }));
        self.events.push(ParsedEvent::CallInvalid { index: self.calls });
        self.calls += 1;
    }

    fn id(&self) -> String {
        format!("{}{}", self.prefix, self.calls)
    }
}
