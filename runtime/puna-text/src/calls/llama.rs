use serde_json::json;

use super::{
    MAX_CALL_BYTES, MAX_NAME_BYTES, Names, Reader,
    broken::Broken,
    literals::push_json_char,
    marks::{Marks, Seen},
    object::{CallObject, FirstKey, Progress},
    outside::Outside,
    parts::Parts,
    python::{PythonCall, PythonProgress},
};
use crate::Dialect;

/// What stands before a call of a built-in tool, before code, and in some models before any call.
const PYTHON_TAG: &str = "<|python_tag|>";

/// What stands between a built-in tool's name and its arguments.
const BUILT_IN_CALL: &str = ".call(";

/// The tool that code behind [`PYTHON_TAG`] is for, and its argument: Llama 3.1 calls it so.
const CODE_TOOL: &str = "code_interpreter";
const CODE_ARGUMENT: &str = "code";

/// Llama's JSON: objects `{"name": …, "parameters": {…}}` at the start of the text or of a
/// line, or after another call, apart by blanks, `;` or `,`. An object that is no call is text, and so is one in a later
/// line of text that names none of the tools given.
///
/// Behind [`PYTHON_TAG`] stands such an object, or `tool.call(key=value, …)`, a built-in tool's call with
/// Python's literals, or code, which is a call of [`CODE_TOOL`] up to the text's end.
#[derive(Debug)]
pub(super) struct LlamaJson {
    tools: Option<Names>,
    outside: Outside,
    marks: Marks,
    state: State,
}

#[derive(Debug)]
enum State {
    Outside,
    /// In an object that may be a call; behind the tag it is a call or code.
    Object(CallObject, Tagged),
    /// Behind the tag, in what may be a built-in tool's name and [`BUILT_IN_CALL`].
    Tagged(String),
    BuiltIn(PythonCall),
    Code(String),
    Broken(Broken),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tagged {
    Yes,
    No,
}

impl LlamaJson {
    pub(super) fn new(tools: Option<Names>) -> Self {
        let (outside, marks) = (Outside::new(), Marks::new(Dialect::LlamaJson.marks()));
        Self { tools, outside, marks, state: State::Outside }
    }

    fn take_outside(&mut self, c: char, parts: &mut Parts) {
        match self.marks.take(c) {
            Seen::Part => return,
            Seen::Whole(PYTHON_TAG) => {
                self.state = State::Tagged(String::new());
                return;
            }
            // Llama 4's, around what stands before its calls.
            Seen::Whole(_) => return self.outside.begin_line(),
            Seen::Text => {}
        }
        let held = self.marks.held();
        if !held.is_empty() {
            self.outside.take_all(&held, parts);
            self.take_outside(c, parts);
        } else if c == '{' && self.outside.is_blank() {
            let tools = self.tools.clone().filter(|_| self.outside.is_said());
            self.take_object(c, CallObject::of(tools), Tagged::No, parts);
        } else if matches!(c, ';' | ',') && self.outside.is_after_call() {
            self.outside.hold(c);
        } else {
            self.outside.take(c, parts);
        }
    }

    fn take_object(&mut self, c: char, mut object: CallObject, tagged: Tagged, parts: &mut Parts) {
        let is_call = match object.take(c, parts) {
            Progress::TooLong => return self.outside.cut(),
            Progress::Complete => object.close(parts),
            Progress::More if object.first_key() == FirstKey::Other => false,
            Progress::More => {
                self.state = State::Object(object, tagged);
                return;
            }
        };
        if is_call {
            self.outside.call();
        } else {
            self.not_a_call(object.text(), tagged, parts);
        }
    }

    fn not_a_call(&mut self, text: &str, tagged: Tagged, parts: &mut Parts) {
        match tagged {
            Tagged::Yes => self.code(text, parts),
            Tagged::No => self.outside.take_all(text, parts),
        }
    }

    fn take_tagged(&mut self, c: char, mut text: String, parts: &mut Parts) {
        if text.is_empty() && c.is_whitespace() {
            self.state = State::Tagged(text);
            return;
        }
        if text.is_empty() && c == '{' {
            return self.take_object(c, CallObject::default(), Tagged::Yes, parts);
        }
        text.push(c);
        match text.strip_suffix(BUILT_IN_CALL) {
            Some(name) => self.state = State::BuiltIn(PythonCall::start(name, &text, parts)),
            None if may_be_built_in(&text) => self.state = State::Tagged(text),
            None => self.code(&text, parts),
        }
    }

    /// What follows is code that begins with this text.
    fn code(&mut self, text: &str, parts: &mut Parts) {
        parts.start(CODE_TOOL);
        parts.arguments(&format!("{{\"{CODE_ARGUMENT}\": \""));
        let mut code = String::new();
        for c in text.chars() {
            take_code(c, &mut code, parts);
        }
        self.state = State::Code(code);
    }
}

impl Reader for LlamaJson {
    fn take(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => self.take_outside(c, parts),
            State::Object(object, tagged) => self.take_object(c, object, tagged, parts),
            State::Tagged(text) => self.take_tagged(c, text, parts),
            State::BuiltIn(mut call) => match call.take(c, parts) {
                PythonProgress::More => self.state = State::BuiltIn(call),
                PythonProgress::Complete => self.outside.call(),
                PythonProgress::TooLong => self.outside.cut(),
                PythonProgress::Broken(reason) => {
                    self.state = State::Broken(call.broken(reason));
                    self.take(c, parts);
                }
            },
            State::Code(mut code) => {
                take_code(c, &mut code, parts);
                if code.len() > MAX_CALL_BYTES {
                    parts.invalid(None, code, format!("the code is longer than {MAX_CALL_BYTES} bytes"));
                    self.outside.cut();
                } else {
                    self.state = State::Code(code);
                }
            }
            State::Broken(mut broken) => {
                if broken.take(c) {
                    broken.report(parts);
                    self.outside.cut();
                } else {
                    self.state = State::Broken(broken);
                }
            }
        }
    }

    fn end(&mut self, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => {
                let held = self.marks.held();
                self.outside.take_all(&held, parts);
                self.outside.end(parts);
            }
            State::Object(object, tagged)
                if object.first_key() != FirstKey::OfCall || !object.names_tool() =>
            {
                self.not_a_call(object.text(), tagged, parts);
                // What was no call is text or code now.
                self.end(parts);
            }
            State::Object(mut object, _) => object.invalid(super::ENDS_EARLY.to_owned(), parts),
            State::Tagged(text) if text.is_empty() => {
                parts.invalid(None, PYTHON_TAG.to_owned(), format!("nothing follows `{PYTHON_TAG}`"));
            }
            State::Tagged(text) => {
                self.code(&text, parts);
                self.end(parts);
            }
            State::BuiltIn(call) => call.broken(super::ENDS_EARLY.to_owned()).report(parts),
            State::Code(code) => {
                parts.arguments("\"}");
                parts.finish(json!({ CODE_ARGUMENT: code }));
            }
            State::Broken(broken) => broken.report(parts),
        }
    }
}

fn take_code(c: char, code: &mut String, parts: &mut Parts) {
    code.push(c);
    let mut json = String::new();
    push_json_char(c, &mut json);
    parts.arguments(&json);
}

/// Whether this is the beginning of a name and [`BUILT_IN_CALL`].
fn may_be_built_in(text: &str) -> bool {
    let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && name.len() <= MAX_NAME_BYTES
        && BUILT_IN_CALL.starts_with(rest)
}
