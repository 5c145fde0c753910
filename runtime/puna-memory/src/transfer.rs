use std::io::{BufRead, Write};

use puna_core::{Error, ErrorKind, ForkPoint, Journal, JournalEntry, Result};
use serde::{Deserialize, Serialize};

use crate::{Conversations, conversations::unreadable, no_session};

/// The form of an export.
const FORMAT: u32 = 1;

/// An export's first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The session's name.
    puna_session: String,
    /// The form of the lines that follow.
    format: u32,
    /// How many there are.
    records: u64,
    /// The session that it goes on from, where it began as a copy of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forked_from: Option<ForkPoint>,
}

impl Conversations {
    /// Writes a session as JSON Lines: a line that names session, format and where it was forked, then one line an entry.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is no such session, [`Corrupt`](ErrorKind::Corrupt) when it does
    /// not read back, [`Io`](ErrorKind::Io) when `out` fails.
    pub async fn export(&self, session: &str, out: &mut (dyn Write + Send)) -> Result<()> {
        let entries = self.read(session, 0).await?;
        if entries.is_empty() {
            return Err(no_session(session));
        }
        // Of what was read, not of the summary: a turn may be writing to the session.
        let records = entries.len() as u64;
        // Where a session began does not change; one that is deleted meanwhile is exported as it was read.
        let forked_from = self.summary(session).await?.and_then(|summary| summary.forked_from);
        write_line(out, &Header { puna_session: session.to_owned(), format: FORMAT, records, forked_from })?;
        for entry in entries {
            write_line(out, &entry)?;
        }
        out.flush().map_err(cannot_write)
    }

    /// Reads an export back, under its own name or another, all or none. Gives the name.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it is not an export, is cut or has another form,
    /// [`Conflict`](ErrorKind::Conflict) when the session is there already.
    pub async fn import(&self, input: &mut (dyn BufRead + Send), name: Option<&str>) -> Result<String> {
        let mut lines = (1u64..).zip(input.lines());
        let mut next_line = || match lines.next() {
            None => Ok(None),
            Some((_, Ok(line))) => Ok(Some(line)),
            Some((number, Err(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Error::invalid_input(format!("line {number} of the export is not UTF-8 text")))
            }
            Some((_, Err(error))) => {
                Err(Error::new(ErrorKind::Io, "cannot read the export").with_source(error))
            }
        };
        let header = next_line()?.ok_or_else(|| Error::invalid_input("the export is empty"))?;
        let header: Header = serde_json::from_str(&header).map_err(|error| {
            Error::invalid_input("line 1 is not the head of an export").with_source(error)
        })?;
        if header.format != FORMAT {
            return Err(Error::invalid_input(format!(
                "the export has format {}, and this version reads {FORMAT}",
                header.format
            )));
        }
        let mut entries: Vec<JournalEntry> = Vec::new();
        while let Some(line) = next_line()? {
            let number = entries.len() + 2;
            let entry: JournalEntry = serde_json::from_str(&line).map_err(|error| {
                Error::invalid_input(format!("line {number} of the export is not an entry"))
                    .with_source(error)
            })?;
            if entry.sequence != entries.len() as u64 {
                return Err(Error::invalid_input(format!(
                    "line {number} of the export has sequence {}",
                    entry.sequence
                )));
            }
            entries.push(entry);
        }
        if entries.len() as u64 != header.records {
            return Err(Error::invalid_input(format!(
                "the export is cut: it has {} entries of {}",
                entries.len(),
                header.records
            )));
        }
        if entries.is_empty() {
            return Err(Error::invalid_input("the export has no entries"));
        }
        let session = name.unwrap_or(&header.puna_session).to_owned();
        self.build(&session, &entries, header.forked_from).await?;
        Ok(session)
    }
}

fn write_line(out: &mut (dyn Write + Send), value: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(value).map_err(|error| unreadable("export").with_source(error))?;
    writeln!(out, "{line}").map_err(cannot_write)
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write the export").with_source(error)
}
