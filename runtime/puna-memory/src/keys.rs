use puna_core::{Error, Result};

/// Longest session name, in bytes: names are for people, and keys are kept in memory.
pub const MAX_SESSION_NAME_BYTES: usize = 200;

/// Where entries live: `length of name (2) | name | sequence (8) | chunk (2)`, big-endian.
pub(crate) const ENTRIES: &str = "session-entry";

/// Where summaries live: `name`.
pub(crate) const SUMMARIES: &str = "session";

/// Where names stand whose entries belong to no session: `name`.
pub(crate) const MARKS: &str = "session-mark";

/// Whether a session may have this name: 1 to [`MAX_SESSION_NAME_BYTES`] bytes, letters, digits, blanks and
/// `. _ - : / @ +`, neither beginning nor ending with a blank.
///
/// # Errors
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) naming what is wrong.
pub fn check_session_name(name: &str) -> Result<()> {
    check_name("session", name)
}

/// Whether a session, a user or an agent may have this name.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.trim() != name {
        return Err(Error::invalid_input(format!(
            "{what} name `{name}` is empty or begins or ends with a blank"
        )));
    }
    if name.len() > MAX_SESSION_NAME_BYTES {
        return Err(Error::invalid_input(format!(
            "a {what} name of {} bytes is over the limit of {MAX_SESSION_NAME_BYTES}",
            name.len()
        )));
    }
    match name.chars().find(|c| !(c.is_alphanumeric() || " ._-:/@+".contains(*c))) {
        None => Ok(()),
        Some(c) => Err(Error::invalid_input(format!(
            "{what} name `{}` holds `{}`; letters, digits, blanks and . _ - : / @ + are allowed",
            name.escape_debug(),
            c.escape_debug()
        ))),
    }
}

pub(crate) fn session_prefix(session: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + session.len() + 10);
    // Names are at most `MAX_SESSION_NAME_BYTES` long.
    key.extend_from_slice(&(session.len() as u16).to_be_bytes());
    key.extend_from_slice(session.as_bytes());
    key
}

pub(crate) fn entry_prefix(session: &str, sequence: u64) -> Vec<u8> {
    let mut key = session_prefix(session);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

pub(crate) fn entry_key(session: &str, sequence: u64, chunk: u16) -> Vec<u8> {
    let mut key = entry_prefix(session, sequence);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// The sequence number in an entry's key.
pub(crate) fn sequence_of(key: &[u8]) -> Option<u64> {
    let (head, _) = key.split_last_chunk::<2>()?;
    let (_, sequence) = head.split_last_chunk::<8>()?;
    Some(u64::from_be_bytes(*sequence))
}
