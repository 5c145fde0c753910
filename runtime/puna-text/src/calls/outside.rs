use super::parts::Parts;

/// The text around calls. Blanks at the text's start, from a line's end on, and behind a call are held back,
/// because they belong to nothing when a call follows.
#[derive(Debug)]
pub(super) struct Outside {
    held: String,
    /// Whether only blanks stand before this place in its line.
    blank: bool,
    after_call: bool,
    /// Whether there is text since the start, a mark or a call.
    said: bool,
}

impl Outside {
    pub(super) fn new() -> Self {
        Self { held: String::new(), blank: true, after_call: false, said: false }
    }

    /// Whether a call may begin here in the dialects whose calls begin a line.
    pub(super) fn is_blank(&self) -> bool {
        self.blank
    }

    /// Whether nothing but blanks stands between a call and this place.
    pub(super) fn is_after_call(&self) -> bool {
        self.blank && self.after_call
    }

    /// Whether this place is in text that was begun.
    pub(super) fn is_said(&self) -> bool {
        self.said
    }

    /// Takes a character between two calls that is not text if another call follows.
    pub(super) fn hold(&mut self, c: char) {
        self.held.push(c);
    }

    /// Takes a character of text.
    pub(super) fn take(&mut self, c: char, parts: &mut Parts) {
        if self.blank && !c.is_whitespace() {
            self.release(parts);
        }
        if self.blank || c == '\n' {
            self.blank = true;
            self.held.push(c);
        } else {
            parts.text(c.encode_utf8(&mut [0; 4]));
        }
    }

    /// Takes text of which no part may be the beginning of a call any more.
    pub(super) fn take_all(&mut self, text: &str, parts: &mut Parts) {
        for c in text.chars() {
            self.take(c, parts);
        }
    }

    /// What follows stands as at a line's start.
    pub(super) fn begin_line(&mut self) {
        self.blank = true;
        self.said = false;
    }

    /// A call was read.
    pub(super) fn call(&mut self) {
        self.held.clear();
        self.blank = true;
        self.after_call = true;
        self.said = false;
    }

    /// A call was given up, and what follows is text.
    pub(super) fn cut(&mut self) {
        self.held.clear();
        self.blank = false;
        self.after_call = false;
        self.said = true;
    }

    /// Ends the text.
    pub(super) fn end(&mut self, parts: &mut Parts) {
        if !self.after_call {
            self.release(parts);
        }
    }

    fn release(&mut self, parts: &mut Parts) {
        parts.text(&self.held);
        self.held.clear();
        self.blank = false;
        self.after_call = false;
        self.said = true;
    }
}
