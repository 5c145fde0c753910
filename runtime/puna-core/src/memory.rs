use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{CancellationToken, Message, Result};

/// What is remembered beyond a conversation: facts, each of a user, an agent or both.
#[async_trait]
pub trait Memory: Send + Sync {
    /// The facts that bear on a message, the most relevant first, as many as the memory's budget of tokens holds.
    ///
    /// # Errors
    /// Those of the store and the embedder behind it.
    async fn recall(&self, speaker: &Speaker, message: &Message) -> Result<Recall>;

    /// Whether turns are to be learnt from.
    fn learns(&self) -> bool;

    /// Keeps what is worth keeping of a turn.
    ///
    /// # Errors
    /// Those of the store, the embedder and the model behind it; what was kept before stays.
    async fn learn(&self, lesson: &Lesson) -> Result<Vec<RecalledFact>>;
}

/// Whose facts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Who speaks, where the host says so.
    pub user: Option<String>,
    /// The agent's name.
    pub agent: String,
}

/// A turn to learn from.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Whose facts they become.
    pub speaker: Speaker,
    /// The session's name.
    pub session: String,
    /// The turn's identifier within the session.
    pub turn: String,
    /// What was said in it.
    pub messages: Vec<Message>,
    /// Stops it.
    pub cancel: CancellationToken,
    /// When it must have ended.
    pub deadline: Option<Instant>,
}

/// What bears on a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recall {
    /// The facts, the most relevant first.
    pub facts: Vec<RecalledFact>,
    /// How many more bear on it and have no room.
    pub left_out: u32,
}

/// A fact as models and people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecalledFact {
    /// Unique within its scope; tools name it by this.
    pub id: String,
    /// What it is about.
    pub subject: String,
    /// The statement.
    pub text: String,
}

impl std::fmt::Display for RecalledFact {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "[{}] {}: {}", self.id, self.subject, self.text)
    }
}
