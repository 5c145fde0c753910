use std::fmt;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// Longest part of a line shown, in characters: a minified file must not fill the screen.
const SHOWN_CHARS: usize = 120;

/// Something wrong in an `agent.yaml`, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The line, counting from 1.
    pub line: usize,
    /// The column, counting characters from 1.
    pub column: usize,
    /// How many characters are meant.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Everything wrong in an `agent.yaml`, in the order of its lines. Its text shows each with its line and a caret.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostics {
    /// The file's name.
    pub file: String,
    /// What is wrong; never empty.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there are that are not listed.
    pub more: usize,
    #[serde(skip)]
    pub(crate) text: String,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = lines(&self.text);
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            self.show(diagnostic, lines.get(diagnostic.line.saturating_sub(1)).copied(), formatter)?;
        }
        if self.more > 0 {
            write!(formatter, "\n\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl Diagnostics {
    fn show(
        &self,
        diagnostic: &Diagnostic,
        source: Option<&str>,
        formatter: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Diagnostic { line, column, length, message, help } = diagnostic;
        write!(formatter, "{message}\n  --> {}:{line}:{column}", self.file)?;
        let gutter = " ".repeat(line.to_string().len());
        if let Some(source) = source {
            let before = column.saturating_sub(1);
            // The part of a long line that is meant, with half of what is shown before it.
            let skipped =
                if before + length <= SHOWN_CHARS { 0 } else { before.saturating_sub(SHOWN_CHARS / 2) };
            let mut rest = source.trim_end().chars().skip(skipped).map(visible);
            let mut shown = String::from(if skipped > 0 { "…" } else { "" });
            shown.extend(rest.by_ref().take(before - skipped));
            let indent = shown.width();
            let meant: String = rest.by_ref().take((*length).min(SHOWN_CHARS / 2)).collect();
            shown.push_str(&meant);
            let room = SHOWN_CHARS.saturating_sub(shown.chars().count());
            shown.extend(rest.by_ref().take(room));
            if rest.next().is_some() {
                shown.push('…');
            }
            let carets = "^".repeat(meant.width().max(1));
            write!(formatter, "\n{gutter} |\n{line} | {shown}\n{gutter} | {}{carets}", " ".repeat(indent))?;
        }
        if let Some(help) = help {
            write!(formatter, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// The lines of a text as YAML counts them.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let ending = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + ending..];
    }
    lines.push(rest);
    lines
}

/// A character as it is shown: tabs and control characters would move the caret, and marks that turn the
/// direction of writing would show another file than the one that is read.
fn visible(character: char) -> char {
    match character {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            '\u{fffd}'
        }
        character if character.is_control() => ' ',
        character => character,
    }
}

impl std::error::Error for Diagnostics {}

/// Its message is the whole text; the diagnostics are its [source](std::error::Error::source).
impl From<Diagnostics> for puna_core::Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::invalid_input(diagnostics.to_string()).with_source(diagnostics)
    }
}
