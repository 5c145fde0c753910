use serde_json::Value;

use super::{
    ENDS_EARLY, MAX_CALL_BYTES, MAX_NAME_BYTES, Reader,
    broken::Broken,
    marks::{Marks, Seen},
    object::{CallObject, Progress, Scanner, read_object},
    outside::Outside,
    parts::Parts,
};
use crate::Dialect;

const CALLS: &str = "[TOOL_CALLS]";
const ARGUMENTS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";

/// Why an object of a list is no call.
const NO_CALL: &str = "the call needs `name` and `arguments`";

/// Mistral's calls, behind `[TOOL_CALLS]` anywhere in the text: a list of `{"name": …, "arguments": {…}}`, or,
/// since its tokenizer's version 11, `name[ARGS]{…}`, perhaps with `[CALL_ID]` and an id before the arguments.
///
/// The ids that a model writes are not taken: nothing keeps it from writing one twice.
#[derive(Debug)]
pub(super) struct Mistral {
    outside: Outside,
    marks: Marks,
    state: State,
}

#[derive(Debug)]
enum State {
    Outside,
    /// Behind [`CALLS`].
    Begin,
    /// In a list, before an object.
    Item,
    /// In a list, behind an object.
    Comma,
    Object(CallObject, List),
    /// In a call's name.
    Name(String),
    /// Behind a call's name and [`CALL_ID`], in the id.
    Id(String, String),
    /// Behind [`ARGUMENTS`].
    BeforeArguments(String),
    Arguments(NamedCall),
    /// In what is no call, up to the next [`CALLS`].
    Broken(Broken),
}

/// Whether an object stands in a list.
#[derive(Clone, Copy, Debug)]
enum List {
    Yes,
    No,
}

/// A call whose name stands before its arguments.
#[derive(Debug)]
struct NamedCall {
    name: String,
    json: String,
    scanner: Scanner,
}

impl Mistral {
    pub(super) fn new() -> Self {
        Self { outside: Outside::new(), marks: Marks::new(Dialect::Mistral.marks()), state: State::Outside }
    }

    fn take_plain(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => self.outside.take(c, parts),
            State::Begin => match c {
                '[' => self.state = State::Item,
                '{' => self.take_object(c, CallObject::default(), List::No, parts),
                c if c.is_whitespace() => self.state = State::Begin,
                c if in_name(c) => self.state = State::Name(c.into()),
                c => self.broken(c, "", format!("`{CALLS}` is followed by `{c}`"), parts),
            },
            State::Item => match c {
                '{' => self.take_object(c, CallObject::default(), List::Yes, parts),
                c if c.is_whitespace() => self.state = State::Item,
                c => self.broken(c, "", format!("a list of calls holds JSON objects; got `{c}`"), parts),
            },
            State::Comma => match c {
                ',' => self.state = State::Item,
                ']' => self.outside.call(),
                c if c.is_whitespace() => self.state = State::Comma,
                c => {
                    self.broken(c, "", format!("a call needs `,` or `]` behind it; got `{c}`"), parts);
                }
            },
            State::Name(name) if c == '{' => self.begin_arguments(&name, parts),
            State::Name(name) => {
                let goes_on = c.is_whitespace() || (in_name(c) && !name.ends_with(char::is_whitespace));
                if goes_on && name.len() <= MAX_NAME_BYTES {
                    self.state = State::Name(name + c.encode_utf8(&mut [0; 4]));
                } else {
                    let reason = format!("a tool's name is followed by `{ARGUMENTS}`; got `{c}`");
                    self.broken(c, &name, reason, parts);
                }
            }
            State::BeforeArguments(name) if c == '{' => self.begin_arguments(&name, parts),
            State::BeforeArguments(name) if c.is_whitespace() => self.state = State::BeforeArguments(name),
            State::BeforeArguments(name) => {
                let reason = format!("a call's arguments are a JSON object; got `{c}`");
                self.broken(c, &format!("{name}{ARGUMENTS}"), reason, parts);
            }
            State::Id(name, id) => {
                if in_name(c) && id.len() <= MAX_NAME_BYTES {
                    self.state = State::Id(name, id + c.encode_utf8(&mut [0; 4]));
                } else {
                    let reason = format!("a call's id is followed by `{ARGUMENTS}`; got `{c}`");
                    self.broken(c, &format!("{name}{CALL_ID}{id}"), reason, parts);
                }
            }
            // Their characters do not come through the marks.
            state @ (State::Object(..) | State::Arguments(_)) => self.state = state,
            State::Broken(broken) => self.take_broken(c, broken, parts),
        }
    }

    fn take_object(&mut self, c: char, mut object: CallObject, list: List, parts: &mut Parts) {
        match object.take(c, parts) {
            Progress::More => self.state = State::Object(object, list),
            Progress::TooLong => self.outside.cut(),
            Progress::Complete => {
                if !object.close(parts) {
                    object.invalid(NO_CALL.to_owned(), parts);
                }
                match list {
                    List::Yes => self.state = State::Comma,
                    List::No => self.outside.call(),
                }
            }
        }
    }

    fn begin_arguments(&mut self, name: &str, parts: &mut Parts) {
        let name = name.trim_end().to_owned();
        parts.start(&name);
        self.take_arguments('{', NamedCall { name, json: String::new(), scanner: Scanner::default() }, parts);
    }

    fn take_arguments(&mut self, c: char, mut call: NamedCall, parts: &mut Parts) {
        call.json.push(c);
        parts.arguments(c.encode_utf8(&mut [0; 4]));
        if call.scanner.take(c) {
            match read_object(&call.json) {
                Ok(arguments) => parts.finish(Value::Object(arguments)),
                Err(reason) => call.broken(reason).report(parts),
            }
            self.outside.call();
        } else if call.json.len() > MAX_CALL_BYTES {
            call.broken(format!("the call is longer than {MAX_CALL_BYTES} bytes")).report(parts);
            self.outside.cut();
        } else {
            self.state = State::Arguments(call);
        }
    }

    fn broken(&mut self, c: char, text: &str, reason: String, parts: &mut Parts) {
        self.take_broken(c, Broken::new(text, reason), parts);
    }

    fn take_broken(&mut self, c: char, mut broken: Broken, parts: &mut Parts) {
        if broken.take(c) {
            broken.report(parts);
            self.outside.cut();
        } else {
            self.state = State::Broken(broken);
        }
    }

    fn mark(&mut self, mark: &str, parts: &mut Parts) {
        match (mark, std::mem::replace(&mut self.state, State::Outside)) {
            (CALLS, state) => {
                self.end_of(state, parts);
                self.outside.call();
                self.state = State::Begin;
            }
            (ARGUMENTS, State::Name(name) | State::Id(name, _)) => self.state = State::BeforeArguments(name),
            (CALL_ID, State::Name(name)) => self.state = State::Id(name, String::new()),
            // A mark where it means nothing is what its characters are.
            (_, state) => {
                self.state = state;
                for c in mark.chars() {
                    self.take_plain(c, parts);
                }
            }
        }
    }

    fn end_of(&mut self, state: State, parts: &mut Parts) {
        match state {
            State::Outside | State::Comma => {}
            State::Begin | State::Item => {
                Broken::new(CALLS, format!("no call follows `{CALLS}`")).report(parts);
            }
            State::Object(mut object, _) => object.invalid(ENDS_EARLY.to_owned(), parts),
            State::Name(name) | State::Id(name, _) | State::BeforeArguments(name) => {
                Broken { name: Some(name.trim_end().to_owned()), ..Broken::new(name, ENDS_EARLY) }
                    .report(parts);
            }
            State::Arguments(call) => call.broken(ENDS_EARLY.to_owned()).report(parts),
            State::Broken(broken) => broken.report(parts),
        }
    }
}

impl Reader for Mistral {
    fn take(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Object(object, list) => return self.take_object(c, object, list, parts),
            State::Arguments(call) => return self.take_arguments(c, call, parts),
            state => self.state = state,
        }
        match self.marks.take(c) {
            Seen::Part => {}
            Seen::Whole(mark) => self.mark(mark, parts),
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

impl NamedCall {
    fn broken(self, reason: String) -> Broken {
        Broken { text: format!("{}{ARGUMENTS}{}", self.name, self.json), name: Some(self.name), reason }
    }
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}
