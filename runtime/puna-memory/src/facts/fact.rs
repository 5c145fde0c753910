use puna_core::{Error, RecalledFact, Result};
use serde::{Deserialize, Serialize};

use crate::keys::check_name;

/// Longest statement, in bytes: a fact is a sentence, and many of them go into a prompt.
pub const MAX_FACT_BYTES: usize = 2_000;

/// Longest subject and kind, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 200;

/// Whose facts they are: a prefix of every key, so that no search, list or message crosses it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FactScope {
    /// Of this user; none for facts that are of no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of this agent; none for facts that are of no agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

impl FactScope {
    /// Facts of a user that every agent knows.
    pub fn of_user(user: impl Into<String>) -> Self {
        Self { user: Some(user.into()), agent: None }
    }

    /// What begins the keys of its facts. Each part has its length in front, so that none is the beginning of another;
    /// what is of nobody has a length that no name has.
    pub(crate) fn prefix(&self) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        for (what, name) in [("user", &self.user), ("agent", &self.agent)] {
            match name {
                Some(name) => {
                    check_name(what, name)?;
                    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
                    key.extend_from_slice(name.as_bytes());
                }
                None => key.extend_from_slice(&u16::MAX.to_be_bytes()),
            }
        }
        Ok(key)
    }

    /// The scope that a key begins with, and the rest.
    pub(crate) fn split(key: &[u8]) -> Option<(Self, &[u8])> {
        fn part(key: &[u8]) -> Option<(Option<String>, &[u8])> {
            let (length, rest) = key.split_first_chunk::<2>()?;
            match u16::from_be_bytes(*length) {
                u16::MAX => Some((None, rest)),
                length => {
                    let (name, rest) = rest.split_at_checked(length.into())?;
                    Some((Some(String::from_utf8(name.to_vec()).ok()?), rest))
                }
            }
        }
        let (user, rest) = part(key)?;
        let (agent, rest) = part(rest)?;
        Some((Self { user, agent }, rest))
    }
}

impl std::fmt::Display for FactScope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.user, &self.agent) {
            (Some(user), Some(agent)) => write!(formatter, "user `{user}`, agent `{agent}`"),
            (Some(user), None) => write!(formatter, "user `{user}`"),
            (None, Some(agent)) => write!(formatter, "agent `{agent}`"),
            (None, None) => formatter.write_str("nobody in particular"),
        }
    }
}

/// Something that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Unique within its scope.
    pub id: String,
    /// What it is about, as `Ada` or `the project`.
    pub subject: String,
    /// The statement.
    pub text: String,
    /// What sort of fact it is, as `preference`; free.
    pub kind: String,
    /// From when it holds: milliseconds since 1970-01-01 UTC.
    pub valid_from_ms: u64,
    /// Until when it held; none while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<u64>,
    /// The fact that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// When it is forgotten by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Where it was said; none where the host said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How often it was recalled.
    #[serde(default)]
    pub uses: u64,
    /// When it was recalled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ms: Option<u64>,
}

impl Fact {
    /// Whether it is recalled at a time: it holds and has not expired.
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.superseded_by.is_none()
            && self.valid_to_ms.is_none_or(|end| end > now_ms)
            && !self.is_expired(now_ms)
    }

    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }

    /// What is searched.
    pub(crate) fn searched(&self) -> String {
        searched(&self.subject, &self.text)
    }

    /// As models and people are shown it.
    pub fn shown(&self) -> RecalledFact {
        RecalledFact { id: self.id.clone(), subject: self.subject.clone(), text: self.text.clone() }
    }
}

pub(crate) fn searched(subject: &str, text: &str) -> String {
    format!("{subject}: {text}")
}

/// A turn in which something was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The session's name.
    pub session: String,
    /// The turn's identifier within it.
    pub turn: String,
}

/// Something to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewFact {
    /// What it is about.
    pub subject: String,
    /// The statement.
    pub text: String,
    /// What sort of fact it is; `fact` where it is empty.
    pub kind: String,
    /// The identifier of the fact that no longer holds because of this one.
    pub replaces: Option<String>,
    /// When it is forgotten by itself.
    pub expires_ms: Option<u64>,
    /// Where it was said.
    pub source: Option<Source>,
}

impl NewFact {
    /// Takes blanks off its ends, and refuses what is empty or too long.
    pub(crate) fn checked(mut self) -> Result<Self> {
        if self.kind.trim().is_empty() {
            self.kind = "fact".to_owned();
        }
        for (what, text, most) in [
            ("subject", &mut self.subject, MAX_SUBJECT_BYTES),
            ("text", &mut self.text, MAX_FACT_BYTES),
            ("kind", &mut self.kind, MAX_SUBJECT_BYTES),
        ] {
            *text = text.trim().to_owned();
            if text.is_empty() {
                return Err(Error::invalid_input(format!("the {what} of a fact is empty")));
            }
            if text.len() > most {
                return Err(Error::invalid_input(format!(
                    "the {what} of a fact has {} bytes, at most {most} are kept; say it shorter, or as several",
                    text.len()
                )));
            }
        }
        Ok(self)
    }
}

/// What became of something to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is a fact now.
    Added(Fact),
    /// It was known already, as this.
    Known(Fact),
    /// It is a fact now, and another one holds no longer.
    Replaced {
        /// The fact.
        new: Fact,
        /// The other.
        old: Box<Fact>,
    },
}

impl Remembered {
    /// The fact that holds.
    pub fn fact(&self) -> &Fact {
        match self {
            Self::Added(fact) | Self::Known(fact) | Self::Replaced { new: fact, .. } => fact,
        }
    }
}
