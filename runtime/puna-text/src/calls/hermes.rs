use super::{
    ENDS_EARLY, Reader,
    broken::Broken,
    marks::{Marks, Seen},
    object::{CallObject, Progress},
    outside::Outside,
    parts::Parts,
};
use crate::Dialect;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Why an object between the tags is no call.
const NO_CALL: &str = "the call needs `name` and `arguments`";

/// Hermes' and Qwen's tags: `<tool_call>{"name": …, "arguments": {…}}</tool_call>` anywhere in the text. A
/// tag may hold several objects, one after the other, and the last one need not be closed.
#[derive(Debug)]
pub(super) struct Hermes {
    outside: Outside,
    marks: Marks,
    state: State,
}

#[derive(Debug)]
enum State {
    Outside,
    /// Behind [`OPEN`], and whether a call was read since.
    Inside {
        called: bool,
    },
    Object(CallObject),
    /// In what is no object, up to [`CLOSE`].
    Broken(Broken),
}

impl Hermes {
    pub(super) fn new() -> Self {
        Self { outside: Outside::new(), marks: Marks::new(Dialect::Hermes.marks()), state: State::Outside }
    }

    fn take_object(&mut self, c: char, mut object: CallObject, parts: &mut Parts) {
        match object.take(c, parts) {
            Progress::More => self.state = State::Object(object),
            Progress::TooLong => self.outside.cut(),
            Progress::Complete => {
                if !object.close(parts) {
                    object.invalid(NO_CALL.to_owned(), parts);
                }
                self.state = State::Inside { called: true };
            }
        }
    }

    fn take_plain(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => self.outside.take(c, parts),
            State::Inside { .. } if c == '{' => self.take_object(c, CallObject::default(), parts),
            State::Inside { called } if c.is_whitespace() => self.state = State::Inside { called },
            State::Inside { .. } => {
                let reason = format!("a JSON object must stand between `{OPEN}` and `{CLOSE}`; got `{c}`");
                self.take_broken(c, Broken::new("", reason), parts);
            }
            // Its characters do not come through the marks.
            State::Object(object) => self.state = State::Object(object),
            State::Broken(broken) => self.take_broken(c, broken, parts),
        }
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
        match std::mem::replace(&mut self.state, State::Outside) {
            // A tag that closes nothing.
            State::Outside if mark == CLOSE => return self.outside.take_all(mark, parts),
            state => self.end_of(state, parts),
        }
        self.outside.call();
        if mark == OPEN {
            self.state = State::Inside { called: false };
        }
    }

    fn end_of(&mut self, state: State, parts: &mut Parts) {
        match state {
            State::Outside | State::Inside { called: true } => {}
            State::Inside { called: false } => {
                Broken::new(OPEN, format!("nothing follows `{OPEN}`")).report(parts);
            }
            State::Object(mut object) => object.invalid(ENDS_EARLY.to_owned(), parts),
            State::Broken(broken) => broken.report(parts),
        }
    }
}

impl Reader for Hermes {
    fn take(&mut self, c: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Object(object) => return self.take_object(c, object, parts),
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
        let held = self.marks.held();
        // The beginning of the tag that closes is as good as none.
        if !matches!(self.state, State::Inside { called: true }) {
            for held in held.chars() {
                self.take_plain(held, parts);
            }
        }
        let state = std::mem::replace(&mut self.state, State::Outside);
        self.end_of(state, parts);
        self.outside.end(parts);
    }
}
