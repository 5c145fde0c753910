//! Events on a terminal: the answer on standard output, everything about it on standard error.

use std::{io::Write, path::PathBuf};

use puna::{CitationCheck, Event, OutputSpec, ToolOutcome, TurnOutcome, Verdict};

use crate::attachment;

pub(crate) const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
pub(crate) const DIM: anstyle::Style = anstyle::Style::new().dimmed();
pub(crate) const BOLD: anstyle::Style = anstyle::Style::new().bold();
pub(crate) const RESET: anstyle::Reset = anstyle::Reset;

/// Longest argument or result line shown for a tool call: one line of a wide terminal.
const TOOL_LINE_CHARS: usize = 160;

/// Shows the events of a turn as they come.
pub(crate) struct Renderer {
    output: OutputSpec,
    /// Where files that tools leave are saved.
    files: Option<PathBuf>,
    in_line: bool,
}

impl Renderer {
    /// A renderer that shows what the agent's `output:` asks for, and saves files that tools leave in a folder, if one is
    /// given.
    pub(crate) fn new(output: OutputSpec, files: Option<PathBuf>) -> Self {
        Self { output, files, in_line: false }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// When standard output is closed: the turn is not worth going on with.
    pub(crate) fn show(&mut self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::TurnStarted { resumed: true, .. } => self.note("going on with an unfinished turn"),
            Event::HistoryPacked { dropped_turns } => {
                self.note(&format!(
                    "the {dropped_turns} oldest turns do not fit the model's context and are left out"
                ));
            }
            Event::HistorySummarized { turns, cut: end, .. } => {
                let end = if *end { ", cut at the most tokens it may have" } else { "" };
                self.note(&format!("the {turns} oldest turns are summarised{end}"));
            }
            Event::FactsRecalled { facts, left_out } => {
                let more =
                    if *left_out > 0 { format!(", {left_out} more have no room") } else { String::new() };
                self.note(&format!("{} facts recalled{more}", facts.len()));
            }
            Event::FactsLearned { facts } => {
                for fact in facts {
                    self.note(&format!("learnt {}", cut(&fact.to_string())));
                }
            }
            Event::MemoryFailed { during, message, .. } => {
                self.note(&format!("the memory failed to {during}: {}", cut(message)));
            }
            Event::SummaryFailed { message, .. } => {
                self.note(&format!("the oldest turns are not summarised: {}", cut(message)));
            }
            Event::TextDelta { text } if self.output.stream && !self.has_form() => self.say(text)?,
            Event::OutputRefused { repair, reason } => {
                self.note(&format!("the answer is refused, repair {repair}: {}", cut(reason)))
            }
            Event::StepFinished { message, .. } => {
                if !self.output.stream && !self.has_form() {
                    self.say(&message.plain_text())?;
                }
                self.end_line()?;
            }
            Event::ToolStarted { call } if self.output.show_tools => {
                self.note(&format!("→ {}({})", call.name, cut(&call.arguments.to_string())))
            }
            Event::ToolProgress { done, message, .. } if self.output.show_tools => {
                let share = done.map(|done| format!("{:.0} % ", done * 100.0)).unwrap_or_default();
                self.note(&format!("  {share}{}", cut(message)));
            }
            Event::ToolAttachment { name, media, .. } => {
                self.note(&format!("  {} ({})", cut(name), cut(&media.media_type)));
                if let Some(folder) = &self.files {
                    match attachment::save(folder, name, media) {
                        Ok(path) => self.note(&format!("  saved as {}", path.display())),
                        Err(error) => self.note(&format!("  not saved: {}", cut(&error.report()))),
                    }
                }
            }
            Event::ToolFinished { result, elapsed_ms } if self.output.show_tools => {
                let text = match &result.outcome {
                    ToolOutcome::Success { value } => cut(&value.to_string()),
                    ToolOutcome::Failure { error } => format!("failed: {}", cut(&error.to_string())),
                };
                // What cannot be read as a call may have no name.
                let name = if result.name.is_empty() { "call" } else { &result.name };
                self.note(&format!("← {name} {text} ({elapsed_ms:.0} ms)"));
            }
            Event::CitationsChecked { check } => {
                for (holds, line) in citations(check) {
                    if holds { self.note(&line) } else { self.warn(&line) }
                }
            }
            Event::TurnFinished { outcome, .. } => {
                self.end_line()?;
                match outcome {
                    TurnOutcome::Answered { value: Some(value), .. } => {
                        self.say(&value.to_string())?;
                        self.end_line()?;
                    }
                    TurnOutcome::Cancelled => self.note("cancelled"),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn warn(&mut self, text: &str) {
        // As in `note`.
        let _ = self.end_line();
        anstream::eprintln!("{RED}unsupported{RESET}: {}", printable(text));
    }

    /// Whether the answer is a value, which is shown once it is whole.
    fn has_form(&self) -> bool {
        self.output.schema.is_some()
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = anstream::stdout();
        write!(out, "{}", printable(text))?;
        out.flush()?;
        if let Some(last) = text.chars().last() {
            self.in_line = last != '\n';
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        // Failing to show a note must not end a turn.
        let _ = self.end_line();
        anstream::eprintln!("{DIM}{}{RESET}", printable(text));
    }

    fn end_line(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.in_line) {
            writeln!(anstream::stdout())?;
        }
        Ok(())
    }
}

/// What an answer cites, each source once, and what of it does not hold: lines, each with whether it is well.
fn citations(check: &CitationCheck) -> Vec<(bool, String)> {
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    for marker in &check.markers {
        if told.contains(&marker.number) {
            continue;
        }
        told.push(marker.number);
        lines.push(match &marker.document {
            Some(document) => (true, format!("[{}] {}", marker.number, cut(document))),
            None => (false, format!("[{}] is the number of no source", marker.number)),
        });
    }
    for quote in &check.quotes {
        let text = cut(&quote.text);
        match quote.verdict {
            Verdict::Found { .. } => {}
            Verdict::Misattributed { source } => {
                lines.push((
                    false,
                    format!("“{text}” stands in source [{source}], not in the one that is cited"),
                ));
            }
            Verdict::NotFound => lines.push((false, format!("“{text}” stands in no source"))),
        }
    }
    lines
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TOOL_LINE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text without control characters: what a model or a plugin writes must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use puna::{
        Hit,
        knowledge::{Source, check_citations},
    };

    use super::citations;

    #[test]
    fn what_does_not_hold_is_shown() {
        let source = |number: usize, text: &str| Source {
            number,
            hit: Hit {
                document: format!("docs/{number}.md"),
                text: text.to_owned(),
                span: None,
                score: 1.0,
                metadata: Default::default(),
            },
        };
        let sources = [source(1, "Llamas hum when they are tired."), source(2, "Salt is cut in blocks.")];
        let answer =
            "They “hum when they are tired” [1][1]. They “cut in blocks” [1]. They “sing all night” [3].";
        let lines = citations(&check_citations(answer, &sources));
        let shown: Vec<(bool, &str)> = lines.iter().map(|(holds, line)| (*holds, line.as_str())).collect();
        assert_eq!(
            shown,
            [
                (true, "[1] docs/1.md"),
                (false, "[3] is the number of no source"),
                (false, "“cut in blocks” stands in source [2], not in the one that is cited"),
                (false, "“sing all night” stands in no source"),
            ]
        );
    }
}
