use puna_plugin::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{text::Lines, walk::tidy};

/// Most bytes of text that one call gives: some ten thousand tokens.
const MAX_TEXT_BYTES: usize = 32 << 10;

/// Most bytes that are passed over to come to a line: bounds the time of a call.
const MAX_SKIPPED_BYTES: u64 = 32 << 20;

#[derive(Deserialize, JsonSchema)]
pub struct ReadFile {
    path: String,
    /// The first line to read, from 1.
    #[schemars(range(min = 1))]
    first_line: Option<u64>,
    /// How many lines to read.
    #[schemars(range(min = 1))]
    lines: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub struct Read {
    text: String,
    first_line: u64,
    /// Where to go on: there is more of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_line: Option<u64>,
    /// Bytes left out of the last line, which is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

/// Lines of a text file.
///
/// # Errors
/// Invalid-input for what is no text and for a first line that the file does not have, too-large for one too far into
/// it, and those of the host.
pub fn read_file(arguments: ReadFile) -> Result<Read, Error> {
    let path = tidy(&arguments.path);
    let first_line = arguments.first_line.unwrap_or(1).max(1);
    let most = arguments.lines.unwrap_or(u64::MAX).max(1);
    let mut lines = Lines::open(&path, MAX_TEXT_BYTES).map_err(|error| error.at("/path"))?;
    let mut skipped = 0;
    for number in 1..first_line {
        let Some(line) = lines.next()? else {
            return Err(Error::invalid_input(format!("`{path}` has {} lines", number - 1)).at("/first_line"));
        };
        skipped += line.text.len() as u64 + line.left_out + 1;
        if skipped > MAX_SKIPPED_BYTES {
            let message = format!("line {first_line} of `{path}` lies beyond {MAX_SKIPPED_BYTES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message).at("/first_line"));
        }
    }
    let mut read = Read { text: String::new(), first_line, next_line: None, left_out: None };
    let mut taken = 0;
    while let Some(line) = lines.next()? {
        let full = taken > 0 && read.text.len() + 1 + line.text.len() > MAX_TEXT_BYTES;
        if taken == most || full {
            read.next_line = Some(first_line + taken);
            break;
        }
        if taken > 0 {
            read.text.push('\n');
        }
        read.text.push_str(&line.text);
        read.left_out = (line.left_out > 0).then_some(line.left_out);
        taken += 1;
    }
    if taken == 0 && first_line > 1 {
        return Err(Error::invalid_input(format!("`{path}` has {} lines", first_line - 1)).at("/first_line"));
    }
    Ok(read)
}
