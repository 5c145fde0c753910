use puna_core::{Content, InvalidToolCall, ToolCall};
use serde_json::{Map, Value};

/// Longest text of one call: more is a model that lost its way, and bounds memory.
const MAX_CALL_BYTES: usize = 1 << 20;

/// What Llama 3.1 may write before a call when it means code or built-in tools.
const PYTHON_TAG: &str = "<|python_tag|>";

/// First keys of an object that may be a call.
const FIRST_KEYS: [&str; 5] = ["name", "type", "function", "parameters", "arguments"];

/// Reads an assistant's text as it comes: tool calls in Llama 3.1's JSON form, and text around them.
///
/// A call is an object `{"name": …, "parameters": {…}}` (or `"arguments"`; neither when it has nothing but
/// a name) at the start of the text, at the start of a line, or after another call; several may follow each
/// other, apart by blanks, `;` or `,`.
/// Text that may be a call is held back until it is decided, everything else is given at once. An
/// object that begins as a call and does not parse as one becomes an
/// [`InvalidToolCall`](Content::InvalidToolCall); any other object is text.
///
/// Time is linear in the text. Feeding the text whole or in pieces gives the same parts.
#[derive(Debug)]
pub struct ToolCallParser {
    prefix: String,
    state: State,
    /// Text not yet given: blanks at a line's start, or an object that may be a call.
    held: String,
    /// Where the object begins in `held`.
    object_at: usize,
    parts: Vec<Content>,
    calls: usize,
}

/// What a piece of text gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Text to show.
    pub text: String,
    /// Whether a call, valid or not, was completed.
    pub call: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// At the start of the text or of a line.
    LineStart,
    /// In `PYTHON_TAG`, so many bytes of it.
    Tag(usize),
    /// Within a line of text.
    Text,
    /// In an object that may be a call.
    Object { depth: usize, string: bool, escape: bool, key: Key },
    /// Behind a call.
    AfterCall,
}

/// How far the object's first key is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Before,
    /// It begins at this place in `held`.
    In(usize),
    Read,
}

impl ToolCallParser {
    /// A parser whose calls get the ids `{prefix}0`, `{prefix}1`, …
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            state: State::LineStart,
            held: String::new(),
            object_at: 0,
            parts: Vec::new(),
            calls: 0,
        }
    }

    /// Takes text.
    pub fn push(&mut self, text: &str) -> Parsed {
        let mut parsed = Parsed::default();
        for c in text.chars() {
            self.take(c, &mut parsed);
        }
        parsed
    }

    /// Ends the text: gives what was held back, and the message's parts in order.
    pub fn finish(mut self) -> (Parsed, Vec<Content>) {
        let mut parsed = Parsed::default();
        match self.state {
            State::Object { key: Key::Read, .. } => {
                self.invalid("the text ends before the call does", &mut parsed);
            }
            // Blanks behind the last call belong to nothing.
            State::AfterCall => {}
            _ => self.release(&mut parsed),
        }
        (parsed, self.parts)
    }

    fn take(&mut self, c: char, parsed: &mut Parsed) {
        match self.state {
            State::Text => {
                if c == '\n' {
                    self.state = State::LineStart;
                    self.held.push(c);
                } else {
                    self.give(c, parsed);
                }
            }
            State::LineStart | State::AfterCall => {
                let separator = self.state == State::AfterCall && matches!(c, ';' | ',');
                if c == '{' {
                    self.object_at = self.held.len();
                    self.held.push(c);
                    self.state = State::Object { depth: 1, string: false, escape: false, key: Key::Before };
                } else if c.is_whitespace() || separator {
                    self.held.push(c);
                } else if PYTHON_TAG.starts_with(c) {
                    self.held.push(c);
                    self.state = State::Tag(1);
                } else {
                    self.release(parsed);
                    self.state = State::Text;
                    self.give(c, parsed);
                }
            }
            State::Tag(matched) => {
                self.held.push(c);
                if !PYTHON_TAG[matched..].starts_with(c) {
                    self.release(parsed);
                    self.state = if c == '\n' { State::LineStart } else { State::Text };
                } else if matched + 1 == PYTHON_TAG.len() {
                    self.held.truncate(self.held.len() - PYTHON_TAG.len());
                    self.state = State::LineStart;
                } else {
                    self.state = State::Tag(matched + 1);
                }
            }
            State::Object { depth, string, escape, key } => {
                self.held.push(c);
                self.take_object(c, (depth, string, escape, key), parsed);
            }
        }
    }

    fn take_object(&mut self, c: char, at: (usize, bool, bool, Key), parsed: &mut Parsed) {
        let (mut depth, mut string, mut escape, mut key) = at;
        if string {
            match c {
                _ if escape => escape = false,
                '\\' => escape = true,
                '"' => string = false,
                _ => {}
            }
        } else {
            match c {
                '"' => string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
        }
        key = match key {
            Key::Before if string => Key::In(self.held.len()),
            // An object begins with a key or ends.
            Key::Before if !c.is_whitespace() => return self.not_a_call(c, parsed),
            Key::In(start) if !string => {
                let name = &self.held[start..self.held.len() - 1];
                if !FIRST_KEYS.contains(&name) {
                    return self.not_a_call(c, parsed);
                }
                Key::Read
            }
            key => key,
        };
        if depth == 0 {
            self.end_of_object(parsed);
        } else if self.held.len() - self.object_at > MAX_CALL_BYTES {
            self.invalid(&format!("the call is longer than {MAX_CALL_BYTES} bytes"), parsed);
            self.state = State::Text;
        } else {
            self.state = State::Object { depth, string, escape, key };
        }
    }

    fn not_a_call(&mut self, c: char, parsed: &mut Parsed) {
        self.release(parsed);
        self.state = if c == '\n' { State::LineStart } else { State::Text };
    }

    fn end_of_object(&mut self, parsed: &mut Parsed) {
        let text = &self.held[self.object_at..];
        match read_call(text) {
            Ok(Some((name, arguments))) => {
                let id = self.next_id();
                self.parts.push(Content::ToolCall(ToolCall { id, name, arguments }));
                self.held.clear();
                parsed.call = true;
                self.state = State::AfterCall;
            }
            Ok(None) => {
                self.release(parsed);
                self.state = State::Text;
            }
            Err(reason) => {
                self.invalid(&reason, parsed);
                self.state = State::AfterCall;
            }
        }
    }

    fn invalid(&mut self, reason: &str, parsed: &mut Parsed) {
        let text = self.held[self.object_at..].to_owned();
        let name = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value["name"].as_str()?.to_owned()));
        let id = self.next_id();
        self.parts.push(Content::InvalidToolCall(InvalidToolCall {
            id,
            name,
            text,
            reason: reason.to_owned(),
        }));
        self.held.clear();
        parsed.call = true;
    }

    fn next_id(&mut self) -> String {
        let id = format!("{}{}", self.prefix, self.calls);
        self.calls += 1;
        id
    }

    fn give(&mut self, c: char, parsed: &mut Parsed) {
        parsed.text.push(c);
        match self.parts.last_mut() {
            Some(Content::Text { text }) => text.push(c),
            _ => self.parts.push(Content::text(c)),
        }
    }

    fn release(&mut self, parsed: &mut Parsed) {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return;
        }
        parsed.text.push_str(&held);
        match self.parts.last_mut() {
            Some(Content::Text { text }) => text.push_str(&held),
            _ => self.parts.push(Content::Text { text: held }),
        }
    }
}

/// The name and arguments of a call; none for an object that is something else; the reason for one
/// that means to be a call and is not.
fn read_call(text: &str) -> Result<Option<(String, Value)>, String> {
    let object: Map<String, Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => return Err(format!("the call is not JSON: {error}")),
    };
    // `{"type": "function", "function": {…}}` is the same call in a coat.
    let object = match object.get("function") {
        Some(Value::Object(inner)) => inner,
        _ => &object,
    };
    let Some(name) = object.get("name") else { return Ok(None) };
    let arguments = object.get("parameters").or_else(|| object.get("arguments"));
    // Without arguments, an object that tells more than a name is about something else.
    if arguments.is_none() && object.keys().any(|key| !["name", "type", "id"].contains(&key.as_str())) {
        return Ok(None);
    }
    let Some(name) = name.as_str().filter(|name| !name.is_empty()) else {
        return Err(format!("the call's `name` must be a string that is not empty; got {name}"));
    };
    let arguments = match arguments {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::Object(arguments)) => Value::Object(arguments.clone()),
        // Some models write the arguments as a string of JSON.
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            _ => return Err("the call's `parameters` must be an object; got a string".to_owned()),
        },
        Some(other) => return Err(format!("the call's `parameters` must be an object; got {other}")),
    };
    Ok(Some((name.to_owned(), arguments)))
}
