mod broken;
mod hermes;
mod literals;
mod llama;
mod marks;
mod mistral;
mod object;
mod outside;
mod parts;
mod python;
mod pythonic;

use std::{collections::HashSet, fmt::Debug, sync::Arc};

use puna_core::Content;

use self::{hermes::Hermes, llama::LlamaJson, mistral::Mistral, parts::Parts, pythonic::Pythonic};
use crate::Dialect;

/// Longest text of one call: more is a model that lost its way, and bounds memory.
const MAX_CALL_BYTES: usize = 1 << 20;

/// Longest name of a tool: what is longer is something else, and is not held back for it.
const MAX_NAME_BYTES: usize = 256;

/// Why a call at the text's end is none.
const ENDS_EARLY: &str = "the text ends before the call does";

/// Reads an assistant's text as it comes: tool calls in a dialect, and text around them.
///
/// Text that may be a call is held back until it is decided, everything else is given at once. What begins
/// as a call and does not parse as one becomes an [`InvalidToolCall`](Content::InvalidToolCall). Blanks
/// between calls, behind the last one, and from a line's end on before one belong to nothing; all other text
/// is kept in its order.
///
/// Time is linear in the text, and no call takes more than a few times 1 MiB. Feeding the text whole or in
/// pieces gives the same parts.
///
/// ```
/// use puna_text::{Dialect, ToolCallParser};
///
/// let mut parser = ToolCallParser::new(Dialect::Hermes, "call_");
/// assert_eq!(parser.push("Let me see.\n<tool_").text(), "Let me see.");
/// parser.push("call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>");
/// let (_, parts) = parser.finish();
/// let puna_core::Content::ToolCall(call) = &parts[1] else { panic!() };
/// assert_eq!((call.id.as_str(), call.name.as_str()), ("call_0", "add"));
/// ```
#[derive(Debug)]
pub struct ToolCallParser {
    reader: Box<dyn Reader>,
    parts: Parts,
}

/// What a piece of text gave, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The events.
    pub events: Vec<ParsedEvent>,
}

impl Parsed {
    /// The text to show.
    pub fn text(&self) -> String {
        let text = |event: &ParsedEvent| match event {
            ParsedEvent::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }
}

/// A step of reading. Calls are counted from 0 in the order they begin, invalid ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedEvent {
    /// Text to show.
    Text(String),
    /// A call's name is known. An invalid call may end without having started.
    CallStarted {
        /// Which call.
        index: usize,
        /// Its id.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of a call's arguments. Joined, those of a call that finished are its arguments as JSON, whatever
    /// the dialect writes.
    ArgumentsDelta {
        /// Which call.
        index: usize,
        /// The text.
        text: String,
    },
    /// A call is complete and valid JSON; whether its arguments fit the tool is not looked at.
    CallFinished {
        /// Which call.
        index: usize,
    },
    /// A call turned out not to be one: the message's part has the text and the reason.
    CallInvalid {
        /// Which call.
        index: usize,
    },
}

/// The names of the tools that a model was given.
type Names = Arc<HashSet<String>>;

/// Reads one dialect, a character at a time.
trait Reader: Debug + Send + Sync {
    /// Takes a character.
    fn take(&mut self, c: char, parts: &mut Parts);

    /// Ends the text.
    fn end(&mut self, parts: &mut Parts);
}

impl ToolCallParser {
    /// A parser whose calls get the ids `{prefix}0`, `{prefix}1`, … Any name is a tool's.
    pub fn new(dialect: Dialect, prefix: impl Into<String>) -> Self {
        Self::with(dialect, prefix.into(), None)
    }

    /// A parser for a model that was given these tools.
    ///
    /// In the dialects whose calls have no mark, something in a later line of free text is a call only with one of
    /// these names: texts tell of JSON and of lists. At the text's start, behind a mark and behind another call, a
    /// name that nobody gave is one that the model made up, and the call is told as it is.
    pub fn with_tools<T: Into<String>>(
        dialect: Dialect,
        prefix: impl Into<String>,
        tools: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::with(dialect, prefix.into(), Some(Arc::new(tools.into_iter().map(Into::into).collect())))
    }

    fn with(dialect: Dialect, prefix: String, tools: Option<Names>) -> Self {
        let reader: Box<dyn Reader> = match dialect {
            Dialect::LlamaJson => Box::new(LlamaJson::new(tools)),
            Dialect::Pythonic => Box::new(Pythonic::new(tools)),
            Dialect::Hermes => Box::new(Hermes::new()),
            Dialect::Mistral => Box::new(Mistral::new()),
        };
        Self { reader, parts: Parts::new(prefix) }
    }

    /// Takes text.
    pub fn push(&mut self, text: &str) -> Parsed {
        for c in text.chars() {
            self.reader.take(c, &mut self.parts);
        }
        Parsed { events: self.parts.take_events() }
    }

    /// Ends the text: gives what was held back, and the message's parts in order.
    pub fn finish(mut self) -> (Parsed, Vec<Content>) {
        self.reader.end(&mut self.parts);
        (Parsed { events: self.parts.take_events() }, self.parts.into_content())
    }
}
