use super::{MAX_CALL_BYTES, parts::Parts};

/// What began as a call and cannot be read on: its text is collected up to where the dialect goes on.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) name: Option<String>,
    pub(super) text: String,
    pub(super) reason: String,
}

impl Broken {
    pub(super) fn new(text: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: None, text: text.into(), reason: reason.into() }
    }

    /// Takes a character; true where it is long enough to be reported.
    pub(super) fn take(&mut self, c: char) -> bool {
        self.text.push(c);
        self.text.len() > MAX_CALL_BYTES
    }

    pub(super) fn report(self, parts: &mut Parts) {
        parts.invalid(self.name, self.text, self.reason);
    }
}
