use serde_json::{Map, Value};

use super::{MAX_CALL_BYTES, Names, parts::Parts};

/// Where a JSON text's first value ends, found as it comes. Brackets of different kinds are not told apart:
/// whoever parses the text does.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    depth: usize,
    string: bool,
    escape: bool,
}

impl Scanner {
    /// Takes a character; true where the outermost bracket closes.
    pub(super) fn take(&mut self, c: char) -> bool {
        if self.string {
            match c {
                _ if self.escape => self.escape = false,
                '\\' => self.escape = true,
                '"' => self.string = false,
                _ => {}
            }
            return false;
        }
        match c {
            '"' => self.string = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// A call as a JSON object, `{"name": …, "parameters": {…}}` or with `"arguments"`, read as it comes: the
/// arguments are given out while they are written, where the name stands before them.
#[derive(Debug, Default)]
pub(super) struct CallObject {
    /// The names of which a call has one, where only these will do.
    tools: Option<Names>,
    text: String,
    scanner: Scanner,
    place: Place,
    first_key: FirstKey,
    name: Option<String>,
    arguments: Option<Span>,
    started: bool,
}

/// Arguments in the text.
#[derive(Debug)]
struct Span {
    start: usize,
    /// How far they were given out.
    given: usize,
    end: Option<usize>,
}

/// A place in the outermost object.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Before a key.
    #[default]
    Key,
    /// In a key that begins here.
    InKey(usize),
    /// Behind a key.
    Colon(Key),
    /// Behind a key's colon.
    Before(Key),
    /// In a value that begins here.
    Value(Key, usize),
    /// Where JSON has nothing to stand.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Name,
    Arguments,
    Other,
}

/// What an object's first key tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FirstKey {
    /// Nothing yet.
    #[default]
    Unread,
    /// The object may be a call.
    OfCall,
    /// It is none; so is one whose name is no tool's.
    Other,
}

/// First keys of an object that may be a call.
const FIRST_KEYS: [&str; 5] = ["name", "type", "function", "parameters", "arguments"];

/// How an object stands after a character.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// It is complete: to be closed.
    Complete,
    /// It is too long, and was reported.
    TooLong,
}

impl CallObject {
    /// An object that is a call only with one of these names, or whatever its name is.
    pub(super) fn of(tools: Option<Names>) -> Self {
        Self { tools, ..Self::default() }
    }

    /// Whether what was read has a name that will do.
    pub(super) fn names_tool(&self) -> bool {
        self.tools.is_none() || self.name.as_ref().is_some_and(|name| self.is_tool(name))
    }

    fn is_tool(&self, name: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.contains(name))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn first_key(&self) -> FirstKey {
        self.first_key
    }

    /// Takes a character, of which the first is `{`.
    pub(super) fn take(&mut self, c: char, parts: &mut Parts) -> Progress {
        let at = self.text.len();
        self.text.push(c);
        let complete = self.scanner.take(c);
        self.watch(c, at, parts);
        if complete {
            Progress::Complete
        } else if self.text.len() > MAX_CALL_BYTES {
            self.invalid(format!("the call is longer than {MAX_CALL_BYTES} bytes"), parts);
            Progress::TooLong
        } else {
            Progress::More
        }
    }

    /// Ends a complete object. False, and nothing reported, where it is something else than a call.
    pub(super) fn close(&mut self, parts: &mut Parts) -> bool {
        let (name, arguments) = match read_call(&self.text) {
            Ok(Some((name, _))) if !self.started && !self.is_tool(&name) => return false,
            Ok(Some(call)) => call,
            Err(_) if !self.started && !self.names_tool() => return false,
            Ok(None) if !self.started => return false,
            Ok(None) => {
                self.invalid("the call has a `function` that is none".to_owned(), parts);
                return true;
            }
            Err(reason) => {
                self.invalid(reason, parts);
                return true;
            }
        };
        if !self.started {
            parts.start(&name);
            parts.arguments(&arguments.to_string());
        } else if self.name.as_ref() != Some(&name) || !self.gave(&arguments) {
            // The first one was given out, and JSON's parsers take the last.
            self.invalid("the call has its name or arguments twice".to_owned(), parts);
            return true;
        }
        parts.finish(arguments);
        true
    }

    /// Reports the object as a call that is none.
    pub(super) fn invalid(&mut self, reason: String, parts: &mut Parts) {
        let text = std::mem::take(&mut self.text);
        let name = self.name.take().or_else(|| {
            let value: Value = serde_json::from_str(&text).ok()?;
            Some(value["name"].as_str()?.to_owned())
        });
        parts.invalid(name, text, reason);
    }

    /// Follows the outermost object's keys, and gives the arguments out.
    fn watch(&mut self, c: char, at: usize, parts: &mut Parts) {
        let top = self.scanner.depth <= 1 && !self.scanner.string;
        self.place = match self.place {
            Place::Key if self.scanner.string => Place::InKey(at + 1),
            Place::Key if at == 0 || c.is_whitespace() => Place::Key,
            Place::Key => {
                // An object begins with a key or ends.
                self.see_first_key(FirstKey::Other);
                Place::Other
            }
            Place::InKey(start) if top => {
                let key = &self.text[start..at];
                let (kind, of_call) = (Key::of(key), FIRST_KEYS.contains(&key));
                self.see_first_key(if of_call { FirstKey::OfCall } else { FirstKey::Other });
                Place::Colon(kind)
            }
            Place::Colon(key) if c == ':' => Place::Before(key),
            Place::Colon(key) if c.is_whitespace() => Place::Colon(key),
            Place::Colon(_) => Place::Other,
            Place::Before(key) if c.is_whitespace() => Place::Before(key),
            Place::Before(key) => {
                if key == Key::Arguments && c == '{' && self.arguments.is_none() {
                    self.arguments = Some(Span { start: at, given: at, end: None });
                }
                Place::Value(key, at)
            }
            Place::Value(key, start) if top && (c == ',' || self.scanner.depth == 0) => {
                if key == Key::Name && self.name.is_none() {
                    let name = serde_json::from_str(self.text[start..at].trim_end()).ok();
                    self.name = name.filter(|name: &String| !name.is_empty());
                    if !self.names_tool() {
                        self.first_key = FirstKey::Other;
                    }
                }
                Place::Key
            }
            Place::Value(Key::Arguments, start) if top => {
                let read = self.arguments.as_mut().filter(|span| span.start == start);
                if let Some(Span { end: end @ None, .. }) = read {
                    *end = Some(at + c.len_utf8());
                }
                self.place
            }
            Place::Other if top && c == ',' => Place::Key,
            place => place,
        };
        self.give_arguments(parts);
    }

    fn see_first_key(&mut self, key: FirstKey) {
        if self.first_key == FirstKey::Unread {
            self.first_key = key;
        }
    }

    fn give_arguments(&mut self, parts: &mut Parts) {
        if !self.names_tool() {
            return;
        }
        let (Some(name), Some(arguments)) = (&self.name, &mut self.arguments) else { return };
        if !self.started {
            parts.start(name);
            self.started = true;
        }
        let end = arguments.end.unwrap_or(self.text.len());
        parts.arguments(&self.text[arguments.given..end]);
        arguments.given = end;
    }

    /// Whether what was given out are these arguments.
    fn gave(&self, arguments: &Value) -> bool {
        let given = self.arguments.as_ref().map(|given| &self.text[given.start..given.given]);
        given.and_then(|given| serde_json::from_str::<Value>(given).ok()).as_ref() == Some(arguments)
    }
}

impl Key {
    fn of(key: &str) -> Self {
        match key {
            "name" => Self::Name,
            "parameters" | "arguments" => Self::Arguments,
            _ => Self::Other,
        }
    }
}

/// The name and arguments of a call; none for an object that is something else; the reason for one
/// that means to be a call and is not.
fn read_call(text: &str) -> Result<Option<(String, Value)>, String> {
    let object = read_object(text)?;
    // `{"type": "function", "function": {…}}` is the same call in a coat.
    let object = match object.get("function") {
        Some(Value::Object(inner)) => inner,
        _ => &object,
    };
    let Some(name) = object.get("name") else { return Ok(None) };
    let arguments = match (object.get("parameters"), object.get("arguments")) {
        (Some(_), Some(_)) => return Err("the call has both `parameters` and `arguments`".to_owned()),
        (parameters, arguments) => parameters.or(arguments),
    };
    // Without arguments, an object that tells more than a name, or of another type, is about something else.
    let told = |(key, value): (&String, &Value)| match key.as_str() {
        "name" | "id" => true,
        "type" => value == "function",
        _ => false,
    };
    if arguments.is_none() && !object.iter().all(told) {
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

/// A JSON object; the reason where the text is none. What is nested deeper than 127 levels is refused, so
/// that nobody who walks through it runs out of stack.
pub(super) fn read_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("the call is not JSON: {error}"))
}
