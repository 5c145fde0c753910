//! Conversations that outlive the process: sessions as append-only journals on `puna-store`.
//!
//! [`Conversations`] keeps them durably, [`EphemeralJournal`] for the life of the process alone.
//!
//! [`Facts`] are what is kept beyond a conversation, each of a user, an agent or both, with where it was said and until when
//! it held; [`LongTermMemory`] is an agent's view of them: what bears on a question within a budget of tokens, the tools
//! `remember`, `recall` and `forget`, and what a model finds worth keeping of a turn.
//!
//! Invariants: an append is all or none, in sequence, and durable before it returns. A session is a key
//! prefix with its length in front, so that no name is the beginning of another.

mod conversations;
mod ephemeral;
mod facts;
mod forget;
mod fork;
mod keys;
mod staged;
mod transfer;

use std::time::{SystemTime, UNIX_EPOCH};

pub use conversations::Conversations;
pub use ephemeral::EphemeralJournal;
pub use facts::{
    DEFAULT_RECALL_TOKENS, EXTRACT_INSTRUCTIONS, Fact, FactScope, Facts, LongTermMemory, LongTermOptions,
    MAX_FACT_BYTES, MAX_FACTS_PER_SCOPE, MAX_FACTS_PER_TURN, MAX_SUBJECT_BYTES, MemoryScope, NewFact,
    Remembered, SAME_COSINE, Source,
};
pub use forget::{Forget, Forgotten, forget};
pub use fork::Branch;
pub use keys::{MAX_SESSION_NAME_BYTES, check_session_name};

fn now_ms() -> u64 {
    // A clock before 1970 is a broken clock; entries still need some time.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The error for an append that comes too late.
fn moved_on(session: &str, next: u64, found: u64) -> puna_core::Error {
    puna_core::Error::new(
        puna_core::ErrorKind::Conflict,
        format!(
            "session `{session}` moved on: its next entry is {found}, not {next}; another turn is writing to it"
        ),
    )
}

/// The error for a session that is not there.
fn no_session(session: &str) -> puna_core::Error {
    puna_core::Error::new(
        puna_core::ErrorKind::NotFound,
        format!("no session `{session}`; `puna sessions list` shows them"),
    )
}
