use super::{
    ENDS_EARLY, MAX_NAME_BYTES, Names, Reader,
    broken::Broken,
    marks::{Marks, Seen},
    outside::Outside,
    parts::Parts,
    python::{PythonCall, PythonProgress},
};
use crate::Dialect;

/// Llama 3.2's and 4's Python: a list of calls `[name(key=value, …), …]` at the start of the text or of a
/// line, after another list, or behind one of the marks, which are no text anywhere. A list of anything else is
/// text, and so is one in a later line of text whose first name is none of the tools given.
#[derive(Debug)]
pub(super) struct Pythonic {
    tools: Option<Names>,
    outside: Outside,
    marks: Marks,
    state: State,
}

#[derive(Debug)]
enum State {
    Outside,
    /// In what may be a list of calls: its text.
    Opening(String),
    /// In a list, before a call or in its name: the text from the last comma on.
    Next(String),
    Call(PythonCall),
    /// Behind a call.
    Comma,
    /// In a list that cannot be read on, with so many `[` open.
    Broken(Broken, usize),
}

impl Pythonic {
    pub(super) fn new(tools: Option<Names>) -> Self {
        let (outside, marks) = (Outside::new(), Marks::new(Dialect::Pythonic.marks()));
        Self { tools, outside, marks, state: State::Outside }
    }

    fn take_plain(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside if c == '[' && self.outside.is_blank() => self.state = State::Opening(c.into()),
            State::Outside => self.outside.take(c, parts),
            State::Opening(text) => match begin(&text[1..], c) {
                Begin::Call(name) if self.is_text(name) => {
                    self.outside.take_all(&text, parts);
                    self.take_plain(c, parts);
                }
                Begin::Call(name) => {
                    self.state = State::Call(PythonCall::start(name, &format!("{name}("), parts));
                }
                Begin::More => self.state = State::Opening(text + c.encode_utf8(&mut [0; 4])),
                Begin::Other => {
                    self.outside.take_all(&text, parts);
                    self.take_plain(c, parts);
                }
            },
            State::Next(text) if c == ']' && text.trim().is_empty() => self.outside.call(),
            State::Next(text) => match begin(&text, c) {
                Begin::Call(name) => {
                    self.state = State::Call(PythonCall::start(name, &format!("{name}("), parts));
                }
                Begin::More => self.state = State::Next(text + c.encode_utf8(&mut [0; 4])),
                Begin::Other => self.broken(Broken::new(text.trim_start(), no_call(c)), 1, c, parts),
            },
            // Its characters do not come through the marks.
            State::Call(call) => self.state = State::Call(call),
            State::Comma => match c {
                ',' => self.state = State::Next(String::new()),
                ']' => self.outside.call(),
                c if c.is_whitespace() => self.state = State::Comma,
                c => self.broken(Broken::new("", no_call(c)), 1, c, parts),
            },
            State::Broken(broken, open) => self.broken(broken, open, c, parts),
        }
    }

    /// Whether a list that begins with a call of this name is text.
    fn is_text(&self, name: &str) -> bool {
        self.outside.is_said() && self.tools.as_ref().is_some_and(|tools| !tools.contains(name))
    }

    fn take_call(&mut self, c: char, mut call: PythonCall, parts: &mut Parts) {
        match call.take(c, parts) {
            PythonProgress::More => self.state = State::Call(call),
            PythonProgress::Complete => self.state = State::Comma,
            PythonProgress::TooLong => self.outside.cut(),
            PythonProgress::Broken(reason) => {
                let open = 1 + call.open_lists();
                self.state = State::Broken(call.broken(reason), open);
                self.take(c, parts);
            }
        }
    }

    /// A character of a list that cannot be read on, up to its `]`.
    fn broken(&mut self, mut broken: Broken, open: usize, c: char, parts: &mut Parts) {
        let open = match c {
            '[' => open + 1,
            ']' => open - 1,
            _ => open,
        };
        if open == 0 {
            broken.report(parts);
            self.outside.call();
        } else if broken.take(c) {
            broken.report(parts);
            self.outside.cut();
        } else {
            self.state = State::Broken(broken, open);
        }
    }

    /// A mark ends whatever stands before it.
    fn mark(&mut self, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => {}
            State::Opening(text) => self.outside.take_all(&text, parts),
            state => self.end_of(state, parts),
        }
        self.outside.begin_line();
    }

    fn end_of(&mut self, state: State, parts: &mut Parts) {
        match state {
            State::Outside | State::Comma => {}
            State::Opening(text) => self.outside.take_all(&text, parts),
            State::Next(text) => {
                if !text.trim().is_empty() {
                    Broken::new(text.trim(), ENDS_EARLY).report(parts);
                }
                self.outside.call();
            }
            State::Call(call) => {
                call.broken(ENDS_EARLY.to_owned()).report(parts);
                self.outside.call();
            }
            State::Broken(broken, _) => {
                broken.report(parts);
                self.outside.call();
            }
        }
    }
}

impl Reader for Pythonic {
    fn take(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Call(call) => return self.take_call(c, call, parts),
            state => self.state = state,
        }
        match self.marks.take(c) {
            Seen::Part => {}
            Seen::Whole(_) => self.mark(parts),
            Seen::Text => {
                let held = self.marks.held();
                for held in held.chars() {
                    self.take_plain(held, parts);
                }
                if held.is_empty() { self.take_plain(c, parts) } else { self.take(c, parts) }
            }
        }
    }

    fn end(&mut self, parts: &mut Parts) {
        for held in self.marks.held().chars() {
            self.take_plain(held, parts);
        }
        let state = std::mem::replace(&mut self.state, State::Outside);
        self.end_of(state, parts);
        self.outside.end(parts);
    }
}

enum Begin<'a> {
    /// The name of a call, whose `(` this is.
    Call(&'a str),
    More,
    Other,
}

/// Whether a character goes on with a call's name, perhaps behind blanks.
fn begin(text: &str, c: char) -> Begin<'_> {
    let name = text.trim_start();
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    match c {
        '(' if !name.is_empty() => Begin::Call(name),
        _ if text.len() > MAX_NAME_BYTES => Begin::Other,
        c if name.is_empty() && (c.is_whitespace() || c.is_alphabetic() || c == '_') => Begin::More,
        c if !name.is_empty() && in_name(c) => Begin::More,
        _ => Begin::Other,
    }
}

fn no_call(c: char) -> String {
    format!("a list of calls goes on with `,` and `name(key=value)`, or ends with `]`; got `{c}`")
}
