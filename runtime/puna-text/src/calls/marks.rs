/// Finds a dialect's marks in text that comes by characters. A mark's first character occurs nowhere else in
/// it, so that nothing but the next character decides.
#[derive(Debug)]
pub(super) struct Marks {
    marks: &'static [&'static str],
    held: String,
}

/// What a character is to the marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A mark may have begun, and is held back.
    Part,
    /// A mark is complete.
    Whole(&'static str),
    /// This is text, after what was held back.
    Text,
}

impl Marks {
    pub(super) fn new(marks: &'static [&'static str]) -> Self {
        Self { marks, held: String::new() }
    }

    /// Takes a character. After [`Seen::Text`], what [`held`](Self::held) gives is text as well and stands
    /// before the character, which is to be taken again if anything was held.
    pub(super) fn take(&mut self, c: char) -> Seen {
        let goes_on = |mark: &&&str| mark.strip_prefix(&*self.held).is_some_and(|rest| rest.starts_with(c));
        let Some(mark) = self.marks.iter().find(goes_on) else { return Seen::Text };
        self.held.push(c);
        // No mark is the beginning of another.
        match self.marks.iter().find(|mark| **mark == self.held) {
            Some(mark) => {
                self.held.clear();
                Seen::Whole(mark)
            }
            None => {
                debug_assert!(mark.len() > self.held.len());
                Seen::Part
            }
        }
    }

    /// What was held back and is no mark.
    pub(super) fn held(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}
