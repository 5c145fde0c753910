use std::fmt;

use serde::Serialize;

/// Longest part of a line shown: a minified file must not fill the screen.
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
    #[serde(skip)]
    pub(crate) text: String,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.text.lines().collect();
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            self.show(diagnostic, lines.get(diagnostic.line.saturating_sub(1)).copied(), formatter)?;
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
        if let Some(source) = source {
            let number = line.to_string();
            let gutter = " ".repeat(number.len());
            // Tabs and control characters would move the caret.
            let shown: String =
                source.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(formatter, "\n{gutter} |\n{number} | {}\n{gutter} |", shown.trim_end())?;
            let before = column.saturating_sub(1);
            if before <= shown.chars().count() {
                let room = shown.trim_end().chars().count().saturating_sub(before).max(1);
                let carets = "^".repeat((*length).clamp(1, room));
                write!(formatter, " {}{carets}", " ".repeat(before))?;
            }
        }
        if let Some(help) = help {
            write!(formatter, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for puna_core::Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::invalid_input(diagnostics.to_string())
    }
}
