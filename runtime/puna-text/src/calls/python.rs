use std::collections::HashSet;

use serde_json::Value;

use super::{
    MAX_CALL_BYTES, MAX_NAME_BYTES,
    broken::Broken,
    literals::{PythonText, push_json_str, scalar_json},
    parts::Parts,
};

/// Deepest nesting of lists and dictionaries in a call's arguments: below what JSON's parser takes.
const MAX_DEPTH: usize = 100;

/// A call in Python's form from behind its `(`, read as it comes: `key=value` pairs with literals up to the
/// `)`. The arguments are given out as JSON while they are written.
#[derive(Debug)]
pub(super) struct PythonCall {
    name: String,
    text: String,
    reader: Arguments,
    /// The JSON so far, and how much of it was given out.
    json: String,
    given: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PythonProgress {
    More,
    /// It was reported.
    Complete,
    /// It was reported.
    TooLong,
    /// It cannot be read on; the character is not part of it.
    Broken(String),
}

impl PythonCall {
    /// A call of which `head` was read, `(` included.
    pub(super) fn start(name: &str, head: &str, parts: &mut Parts) -> Self {
        parts.start(name);
        Self {
            name: name.to_owned(),
            text: head.to_owned(),
            reader: Arguments::new(),
            json: "{".to_owned(),
            given: 0,
        }
    }

    pub(super) fn take(&mut self, c: char, parts: &mut Parts) -> PythonProgress {
        let complete = match self.reader.take(c, &mut self.json) {
            Ok(complete) => complete,
            Err(reason) => return PythonProgress::Broken(reason),
        };
        self.text.push(c);
        parts.arguments(&self.json[self.given..]);
        self.given = self.json.len();
        if complete {
            match serde_json::from_str::<Value>(&self.json) {
                Ok(arguments) => parts.finish(arguments),
                Err(error) => self.report(format!("the call's arguments are not JSON: {error}"), parts),
            }
            PythonProgress::Complete
        } else if self.text.len() > MAX_CALL_BYTES {
            self.report(format!("the call is longer than {MAX_CALL_BYTES} bytes"), parts);
            PythonProgress::TooLong
        } else {
            PythonProgress::More
        }
    }

    pub(super) fn broken(self, reason: String) -> Broken {
        Broken { name: Some(self.name), text: self.text, reason }
    }

    /// How many lists are open.
    pub(super) fn open_lists(&self) -> usize {
        self.reader.open.iter().filter(|open| **open == Open::List).count()
    }

    fn report(&mut self, reason: String, parts: &mut Parts) {
        parts.invalid(None, std::mem::take(&mut self.text), reason);
    }
}

/// Turns arguments in Python's form into JSON, a character at a time.
#[derive(Debug)]
struct Arguments {
    names: HashSet<String>,
    open: Vec<Open>,
    expect: Expect,
    token: Token,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    List,
    Dictionary,
}

/// What stands at this place. Behind a comma, what closes is allowed too.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    Name {
        first: bool,
    },
    Equals,
    Value,
    Item {
        first: bool,
    },
    Key {
        first: bool,
    },
    Colon,
    /// `,`, or what closes.
    Comma,
}

#[derive(Debug)]
enum Token {
    None,
    /// A name, number or constant.
    Word(String),
    Text(PythonText),
}

impl Arguments {
    fn new() -> Self {
        Self {
            names: HashSet::new(),
            open: Vec::new(),
            expect: Expect::Name { first: true },
            token: Token::None,
        }
    }

    /// Takes a character and writes JSON; true behind the last `)`.
    fn take(&mut self, c: char, json: &mut String) -> Result<bool, String> {
        match &mut self.token {
            Token::None => self.take_between(c, json),
            Token::Text(text) => {
                let taken = text.take(c, json)?;
                if text.is_complete() {
                    self.token = Token::None;
                    self.end_of_value();
                }
                if taken { Ok(false) } else { self.take_between(c, json) }
            }
            Token::Word(word) if goes_on(word, c, self.expect) => {
                word.push(c);
                if word.len() > MAX_NAME_BYTES {
                    return Err(format!("a word is longer than {MAX_NAME_BYTES} bytes"));
                }
                Ok(false)
            }
            Token::Word(word) => {
                let word = std::mem::take(word);
                self.token = Token::None;
                if matches!(c, '\'' | '"') && !matches!(self.expect, Expect::Name { .. }) {
                    let raw = match word.as_str() {
                        "r" | "R" => true,
                        "u" | "U" => false,
                        _ => return Err(format!("`{word}` before a string is not taken")),
                    };
                    self.token = Token::Text(PythonText::open(c, raw, json));
                    return Ok(false);
                }
                self.end_of_word(&word, json)?;
                self.take_between(c, json)
            }
        }
    }

    fn take_between(&mut self, c: char, json: &mut String) -> Result<bool, String> {
        if c.is_whitespace() {
            return Ok(false);
        }
        let closes = match self.open.last() {
            None => ')',
            Some(Open::List) => ']',
            Some(Open::Dictionary) => '}',
        };
        match self.expect {
            Expect::Name { .. } | Expect::Item { .. } | Expect::Key { .. } | Expect::Comma if c == closes => {
                json.push(if closes == ')' { '}' } else { closes });
                if self.open.pop().is_none() {
                    return Ok(true);
                }
                self.expect = Expect::Comma;
            }
            Expect::Name { .. } if c.is_alphabetic() || c == '_' => self.token = Token::Word(c.into()),
            Expect::Name { .. } => {
                return Err(format!("an argument needs its name, as in `key=value`; got `{c}`"));
            }
            Expect::Equals if c == '=' => self.expect = Expect::Value,
            Expect::Equals => {
                return Err(format!("an argument needs `=` and a value behind its name; got `{c}`"));
            }
            Expect::Colon if c == ':' => {
                json.push_str(": ");
                self.expect = Expect::Value;
            }
            Expect::Colon => return Err(format!("a dictionary's key needs `:`; got `{c}`")),
            Expect::Comma if c == ',' => {
                self.expect = match self.open.last() {
                    None => Expect::Name { first: false },
                    Some(Open::List) => Expect::Item { first: false },
                    Some(Open::Dictionary) => Expect::Key { first: false },
                };
            }
            Expect::Comma => return Err(format!("a value needs `,` or `{closes}` behind it; got `{c}`")),
            Expect::Value | Expect::Item { .. } | Expect::Key { .. } => self.begin_value(c, json)?,
        }
        Ok(false)
    }

    fn begin_value(&mut self, c: char, json: &mut String) -> Result<(), String> {
        let key = matches!(self.expect, Expect::Key { .. });
        if matches!(self.expect, Expect::Item { first: false } | Expect::Key { first: false }) {
            json.push_str(", ");
        }
        match c {
            '\'' | '"' => self.token = Token::Text(PythonText::open(c, false, json)),
            '[' | '{' if !key => {
                if self.open.len() == MAX_DEPTH {
                    return Err(format!("the arguments are nested deeper than {MAX_DEPTH} levels"));
                }
                json.push(c);
                let list = c == '[';
                self.open.push(if list { Open::List } else { Open::Dictionary });
                self.expect = if list { Expect::Item { first: true } } else { Expect::Key { first: true } };
            }
            _ if c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-') => {
                self.token = Token::Word(c.into());
            }
            _ => return Err(format!("a literal is missing; got `{c}`")),
        }
        Ok(())
    }

    fn end_of_word(&mut self, word: &str, json: &mut String) -> Result<(), String> {
        if let Expect::Name { first } = self.expect {
            if !self.names.insert(word.to_owned()) {
                return Err(format!("the argument `{word}` is given twice"));
            }
            if !first {
                json.push_str(", ");
            }
            push_json_str(word, json);
            json.push_str(": ");
            self.expect = Expect::Equals;
            return Ok(());
        }
        let scalar = scalar_json(word).ok_or_else(|| format!("`{word}` is not a literal"))?;
        match self.expect {
            // As Python's own JSON writes keys that are not strings.
            Expect::Key { .. } => push_json_str(&scalar, json),
            _ => json.push_str(&scalar),
        }
        self.end_of_value();
        Ok(())
    }

    fn end_of_value(&mut self) {
        let key = matches!(self.expect, Expect::Key { .. });
        self.expect = if key { Expect::Colon } else { Expect::Comma };
    }
}

/// Whether a character belongs to the word before it.
fn goes_on(word: &str, c: char, expect: Expect) -> bool {
    if matches!(expect, Expect::Name { .. }) {
        // Schemas have names that Python has not.
        return c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    }
    let exponent = word.ends_with(['e', 'E']) && !word.contains(['x', 'X']);
    c.is_alphanumeric() || matches!(c, '_' | '.') || (exponent && matches!(c, '+' | '-'))
}
