use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Message, Result, TurnForm, TurnOutcome};

/// The durable record of sessions: for each session an append-only list of [`Record`]s, from which
/// the conversation and the state of an unfinished turn are folded.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The session's entries from sequence number `from` on, in order; empty for a new session.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when an entry does not read back as it was written.
    async fn read(&self, session: &str, from: u64) -> Result<Vec<JournalEntry>>;

    /// Appends records, all or none, as entries `next`, `next + 1`, …; they are durable when this
    /// returns. Gives the sequence number after the last one.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when `next` is not the session's next number: somebody
    /// else appended first.
    async fn append(&self, session: &str, next: u64, records: &[Record]) -> Result<u64>;

    /// Every session, by name.
    async fn sessions(&self) -> Result<Vec<SessionSummary>>;

    /// Deletes a session. True if there was one.
    async fn delete(&self, session: &str) -> Result<bool>;
}

/// A record with its place in the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// 0 for a session's first record, then one more each.
    pub sequence: u64,
    /// When it was appended: milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// What happened.
    pub record: Record,
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A turn began with the user's message.
    TurnStarted {
        /// Unique within the session.
        turn: String,
        /// The agent's name.
        agent: String,
        /// The user's message.
        message: Message,
        /// How the turn is taken. Journals of before there were forms have none.
        #[serde(default, skip_serializing_if = "TurnForm::is_free")]
        form: TurnForm,
        /// Who speaks, where the host says so: whose facts are remembered and recalled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// The model answered: a step of the turn is done when its calls have results.
    Step {
        /// The assistant's message.
        message: Message,
        /// What it cost.
        usage: crate::Usage,
    },
    /// The answer of the last step does not have the turn's form; the model is asked again.
    OutputRefused {
        /// What is wrong, as the model is told.
        reason: String,
    },
    /// A tool call ended; it is never performed again.
    ToolFinished {
        /// What it gave.
        result: crate::ToolResult,
    },
    /// The oldest turns left the model's window, and this summary took their place. The turns stay in the journal.
    HistorySummarized {
        /// How many of the session's oldest turns it stands for, those of the summary before included.
        turns: u64,
        /// The last of them.
        through: String,
        /// What the model wrote; empty where it was forgotten later.
        text: String,
        /// Whether it ends where the most tokens that it may have were reached.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
        /// The model's name.
        model: String,
        /// What it cost.
        usage: crate::Usage,
    },
    /// Facts were recalled that bear on the turn's message, and the model is shown them. Their texts stand in the memory
    /// alone, so that what is forgotten there is nowhere else.
    FactsRecalled {
        /// Their identifiers.
        facts: Vec<String>,
    },
    /// Facts were learnt of the turn that has just ended; it is not gone through again.
    FactsLearned {
        /// Their identifiers; none where nothing was worth keeping, or where it failed.
        facts: Vec<String>,
    },
    /// The turn ended.
    TurnFinished {
        /// How.
        outcome: TurnOutcome,
    },
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// The session's name.
    pub session: String,
    /// How many records it has.
    pub records: u64,
    /// When it began: milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// When it was last appended to: milliseconds since 1970-01-01 UTC.
    pub updated_ms: u64,
    /// Who spoke in it last, where the host says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The session that it goes on from, where it began as a copy of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkPoint>,
}

/// Where a session left another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The other session's name; it may have been deleted since.
    pub session: String,
    /// How many of its turns the two have in common.
    pub turns: u64,
}
