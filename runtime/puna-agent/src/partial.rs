use puna_core::{Error, Result};
use serde_json::{Map, Value};

/// Deepest nesting that is read, as serde_json's: values are validated, written and dropped by recursion.
pub const MAX_JSON_DEPTH: usize = 128;

/// Reads JSON while it is written, and gives at any time the largest value that is certain so far: whatever follows,
/// strings and lists only grow, and what stands in them stays. A number is certain once something stands behind it, a
/// key with its value's beginning. Of a key that stands twice in an object the first counts.
///
/// Reading takes time in proportion to the text, in whatever pieces it comes.
///
/// ```
/// use puna_agent::PartialJson;
/// use serde_json::json;
///
/// let mut json = PartialJson::default();
/// json.push(r#"{"city": "Par"#);
/// assert_eq!(json.value(), Some(json!({"city": "Par"})));
/// json.push(r#"is", "rooms": 1"#);
/// assert_eq!(json.value(), Some(json!({"city": "Paris"})));
/// json.push("2}");
/// assert_eq!(json.finish().unwrap(), json!({"city": "Paris", "rooms": 12}));
/// ```
#[derive(Debug, Default)]
pub struct PartialJson {
    /// The collections that are open, from the outermost in.
    open: Vec<Open>,
    state: State,
    /// Characters read.
    count: usize,
}

#[derive(Debug)]
enum Open {
    List(Vec<Value>),
    /// The key is that of the value that comes next.
    Object(Map<String, Value>, String),
}

#[derive(Debug, Default)]
enum State {
    /// Before a value.
    #[default]
    Value,
    /// After `[`: a value or the end.
    FirstItem,
    /// After `{`: a key or the end.
    FirstKey,
    /// After `,` in an object.
    Key,
    Colon,
    /// After a value in a collection.
    Next,
    Text {
        is_key: bool,
        text: String,
        escape: Escape,
    },
    Number(String),
    Word {
        rest: &'static str,
        value: Value,
    },
    /// The whole value was read.
    Done(Value),
    /// The text is no JSON.
    Broken(String),
}

/// Where a string stands within an escape.
#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    /// After a backslash; `high` is the first half of a character that `\u` writes in two.
    Begun {
        high: Option<u32>,
    },
    Hex {
        left: u32,
        code: u32,
        high: Option<u32>,
    },
    /// After the first half of such a character.
    Half {
        high: u32,
    },
}

impl PartialJson {
    /// Reads more of the text. After a mistake nothing more is read.
    pub fn push(&mut self, text: &str) {
        for character in text.chars() {
            if let State::Broken(_) = self.state {
                return;
            }
            self.count += 1;
            if let Err(reason) = self.read(character) {
                self.state = State::Broken(format!("character {}: {reason}", self.count));
            }
        }
    }

    /// What is certain so far; none before the first value has begun and after a mistake. Takes time in proportion to
    /// the value.
    pub fn value(&self) -> Option<Value> {
        let inner = match &self.state {
            State::Broken(_) => return None,
            State::Done(value) => return Some(value.clone()),
            State::Text { is_key: false, text, .. } => Some(Value::String(text.clone())),
            // No other word begins with the same letter.
            State::Word { value, .. } => Some(value.clone()),
            _ => None,
        };
        self.open.iter().rev().fold(inner, |inner, open| Some(open.clone_with(inner)))
    }

    /// The whole value.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a text that is no JSON or ends too early.
    pub fn finish(mut self) -> Result<Value> {
        let broken = |reason| Err(Error::invalid_input(format!("not JSON: {reason}")));
        if let State::Number(text) = &self.state
            && self.open.is_empty()
        {
            self.state = match number(text) {
                Ok(value) => State::Done(value),
                Err(reason) => State::Broken(reason),
            };
        }
        match self.state {
            State::Done(value) => Ok(value),
            State::Broken(reason) => broken(reason),
            _ if self.count == 0 => broken("it is empty".to_owned()),
            _ => broken(format!("it ends too early, after {} characters", self.count)),
        }
    }

    /// What follows is a mistake.
    fn break_off(&mut self, character: char) {
        if !matches!(self.state, State::Broken(_)) {
            self.state = State::Broken(format!("{character:?} follows the code"));
        }
    }

    fn read(&mut self, character: char) -> Result<(), String> {
        match &mut self.state {
            State::Text { text, escape, .. } => match (*escape, character) {
                (Escape::No, '"') => self.end_text(),
                (Escape::No, '\\') => {
                    *escape = Escape::Begun { high: None };
                    Ok(())
                }
                (Escape::No, ..' ') => Err("a control character in a string is not escaped".to_owned()),
                (Escape::No, _) => {
                    text.push(character);
                    Ok(())
                }
                (at, _) => {
                    *escape = escaped(at, character, text)?;
                    Ok(())
                }
            },
            State::Number(text) => {
                if matches!(character, '0'..='9' | '.' | 'e' | 'E' | '+' | '-') {
                    text.push(character);
                    return Ok(());
                }
                let value = number(text)?;
                self.end_value(value);
                self.read(character)
            }
            State::Word { rest, value } => {
                *rest = rest
                    .strip_prefix(character)
                    .ok_or_else(|| format!("expected `{value}`, got {character:?}"))?;
                if rest.is_empty() {
                    let value = value.take();
                    self.end_value(value);
                }
                Ok(())
            }
            _ if matches!(character, ' ' | '\n' | '\r' | '\t') => Ok(()),
            State::Value => self.begin_value(character),
            State::FirstItem if character == ']' => self.end_collection(character),
            State::FirstItem => self.begin_value(character),
            State::FirstKey if character == '}' => self.end_collection(character),
            State::FirstKey | State::Key => match character {
                '"' => {
                    self.state = State::Text { is_key: true, text: String::new(), escape: Escape::No };
                    Ok(())
                }
                _ => Err(format!("expected a key in quotes, got {character:?}")),
            },
            State::Colon => match character {
                ':' => {
                    self.state = State::Value;
                    Ok(())
                }
                _ => Err(format!("expected `:` after a key, got {character:?}")),
            },
            State::Next => match character {
                ',' => {
                    let in_list = matches!(self.open.last(), Some(Open::List(_)));
                    self.state = if in_list { State::Value } else { State::Key };
                    Ok(())
                }
                ']' | '}' => self.end_collection(character),
                _ => Err(format!("expected `,` or the end of a collection, got {character:?}")),
            },
            State::Done(_) => Err(format!("the JSON has ended, and {character:?} follows")),
            State::Broken(reason) => Err(reason.clone()),
        }
    }

    fn begin_value(&mut self, character: char) -> Result<(), String> {
        if matches!(character, '[' | '{') && self.open.len() == MAX_JSON_DEPTH {
            return Err(format!("nested deeper than {MAX_JSON_DEPTH}"));
        }
        self.state = match character {
            '"' => State::Text { is_key: false, text: String::new(), escape: Escape::No },
            '-' | '0'..='9' => State::Number(character.into()),
            't' => State::Word { rest: "rue", value: Value::Bool(true) },
            'f' => State::Word { rest: "alse", value: Value::Bool(false) },
            'n' => State::Word { rest: "ull", value: Value::Null },
            '[' => {
                self.open.push(Open::List(Vec::new()));
                State::FirstItem
            }
            '{' => {
                self.open.push(Open::Object(Map::new(), String::new()));
                State::FirstKey
            }
            _ => return Err(format!("expected a value, got {character:?}")),
        };
        Ok(())
    }

    fn end_text(&mut self) -> Result<(), String> {
        let State::Text { is_key, text, .. } = std::mem::take(&mut self.state) else { return Ok(()) };
        match self.open.last_mut() {
            Some(Open::Object(_, key)) if is_key => {
                *key = text;
                self.state = State::Colon;
            }
            _ => self.end_value(Value::String(text)),
        }
        Ok(())
    }

    fn end_value(&mut self, value: Value) {
        self.state = match self.open.last_mut() {
            Some(open) => {
                open.add(value);
                State::Next
            }
            None => State::Done(value),
        };
    }

    fn end_collection(&mut self, character: char) -> Result<(), String> {
        let value = match (self.open.pop(), character) {
            (Some(Open::List(items)), ']') => Value::Array(items),
            (Some(Open::Object(map, _)), '}') => Value::Object(map),
            _ => return Err(format!("{character:?} ends what is not open")),
        };
        self.end_value(value);
        Ok(())
    }
}

impl Open {
    fn add(&mut self, value: Value) {
        match self {
            Self::List(items) => items.push(value),
            Self::Object(map, key) => {
                map.entry(std::mem::take(key)).or_insert(value);
            }
        }
    }

    fn clone_with(&self, inner: Option<Value>) -> Value {
        match self {
            Self::List(items) => Value::Array(items.iter().cloned().chain(inner).collect()),
            Self::Object(map, key) => {
                let mut map = map.clone();
                if let Some(inner) = inner {
                    map.entry(key.clone()).or_insert(inner);
                }
                Value::Object(map)
            }
        }
    }
}

/// The next place within an escape; a character that it wrote is added to the text.
fn escaped(escape: Escape, character: char, text: &mut String) -> Result<Escape, String> {
    const HALF: &str = "`\\u` writes half of a character";
    match escape {
        Escape::No => Ok(Escape::No),
        Escape::Half { high } => match character {
            '\\' => Ok(Escape::Begun { high: Some(high) }),
            _ => Err(HALF.to_owned()),
        },
        Escape::Begun { high } => {
            let written = match character {
                'u' => return Ok(Escape::Hex { left: 4, code: 0, high }),
                _ if high.is_some() => return Err(HALF.to_owned()),
                '"' | '\\' | '/' => character,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                _ => return Err(format!("no escape `\\{}`", character.escape_debug())),
            };
            text.push(written);
            Ok(Escape::No)
        }
        Escape::Hex { left, code, high } => {
            let digit = character.to_digit(16).ok_or("`\\u` needs four digits from 0 to f")?;
            let code = code * 16 + digit;
            if left > 1 {
                return Ok(Escape::Hex { left: left - 1, code, high });
            }
            let code = match (high, code) {
                (None, 0xd800..=0xdbff) => return Ok(Escape::Half { high: code }),
                (Some(high), 0xdc00..=0xdfff) => 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00),
                (Some(_), _) => return Err(HALF.to_owned()),
                (None, code) => code,
            };
            text.push(char::from_u32(code).ok_or(HALF)?);
            Ok(Escape::No)
        }
    }
}

fn number(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        format!("`{shown}` is no number that JSON can write and a double can hold")
    })
}

/// What begins and ends a code fence.
const FENCE: &str = "```";

/// Longest name of a language behind a fence.
const MAX_LANGUAGE_CHARS: usize = 16;

/// JSON as an answer holds it: alone, or in a code fence (` ```json `) with nothing around that. A fence that does not end
/// is as good as one that does.
#[derive(Debug, Default)]
pub(crate) struct Fenced {
    json: PartialJson,
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    /// Before anything but blanks and these, which may begin a fence.
    #[default]
    Start,
    Opening(String),
    /// In JSON that has no fence.
    Bare,
    Inside,
    /// Behind so many characters of what ends the fence.
    Closing(usize),
}

impl Fenced {
    pub(crate) fn push(&mut self, text: &str) {
        for character in text.chars() {
            self.take(character);
        }
    }

    pub(crate) fn value(&self) -> Option<Value> {
        self.json.value()
    }

    /// As [`PartialJson::finish`].
    pub(crate) fn finish(mut self) -> Result<Value> {
        if let Place::Opening(held) = std::mem::take(&mut self.place) {
            self.json.push(&held);
        }
        self.json.finish()
    }

    fn take(&mut self, character: char) {
        let json = &mut self.json;
        self.place = match std::mem::take(&mut self.place) {
            Place::Start if character.is_whitespace() => Place::Start,
            Place::Start if character == '`' => Place::Opening(character.into()),
            Place::Opening(held) if held.starts_with(FENCE) && character == '\n' => Place::Inside,
            Place::Opening(held) if may_open(&held, character) => {
                Place::Opening(held + character.encode_utf8(&mut [0; 4]))
            }
            Place::Opening(held) => {
                json.push(&held);
                json.push(character.encode_utf8(&mut [0; 4]));
                Place::Bare
            }
            Place::Inside if character == '`' && !matches!(json.state, State::Text { .. }) => {
                Place::Closing(1)
            }
            Place::Closing(count) if character == '`' && count < FENCE.len() => Place::Closing(count + 1),
            Place::Closing(count) if character.is_whitespace() && count == FENCE.len() => {
                Place::Closing(count)
            }
            place => {
                json.push(character.encode_utf8(&mut [0; 4]));
                match place {
                    Place::Start => Place::Bare,
                    // What stands behind a fence is a mistake, also where it is JSON.
                    Place::Closing(count) => {
                        json.break_off(character);
                        Place::Closing(count)
                    }
                    place => place,
                }
            }
        };
    }
}

/// Whether a character goes on with a fence and the name of a language.
fn may_open(held: &str, character: char) -> bool {
    match held.strip_prefix(FENCE) {
        None => character == '`',
        Some(name) => {
            name.len() < MAX_LANGUAGE_CHARS
                && (character.is_ascii_alphanumeric() || matches!(character, ' ' | '\r'))
        }
    }
}

/// How much an answer has grown before its value is shown again: by one part in so many.
const GROWTH: usize = 16;

/// The values of an answer while it is written, as they are shown.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    json: Fenced,
    bytes: usize,
    /// Bytes at the last one.
    shown_at: usize,
    shown: Option<Value>,
}

impl Snapshots {
    /// Reads more; gives the value where it is to be shown again.
    pub(crate) fn push(&mut self, text: &str) -> Option<Value> {
        self.json.push(text);
        self.bytes += text.len();
        if (self.bytes - self.shown_at) * GROWTH < self.bytes {
            return None;
        }
        self.shown_at = self.bytes;
        let value = self.json.value();
        if value.is_none() || value == self.shown {
            return None;
        }
        self.shown = value.clone();
        value
    }
}
