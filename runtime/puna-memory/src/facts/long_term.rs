use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use puna_core::{Lesson, Memory, Message, Model, Recall, RecalledFact, Result, Speaker, Tool};

use super::{
    FactScope, Facts, NewFact, Source,
    extract::{Learnt, extract},
    tools,
};
use crate::now_ms;

/// Most tokens of facts that a model is shown with a question unless told otherwise: some thirty sentences.
pub const DEFAULT_RECALL_TOKENS: u32 = 512;

/// Most facts that are considered for one question.
const CONSIDERED: usize = 64;

/// Facts that the model is shown beside a turn that it learns from, so that it can name those that hold no longer.
const SHOWN_WITH_LESSON: usize = 20;

/// Bytes that are taken for a token where the model does not count: fewer than a token of English has.
const BYTES_PER_TOKEN: usize = 3;

/// Whose facts an agent has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryScope {
    /// What this agent knows of this user.
    #[default]
    UserAndAgent,
    /// What every agent of this scope knows of this user.
    User,
    /// What this agent knows, whoever speaks.
    Agent,
}

/// How a memory behaves.
#[derive(Clone, Debug)]
pub struct LongTermOptions {
    /// Whose facts it has.
    pub scope: MemoryScope,
    /// Most tokens of facts that the model is shown with a question; 0 for none.
    pub recall_tokens: u32,
    /// Whether turns are learnt from.
    pub extract: bool,
    /// How long a fact is kept.
    pub ttl: Option<Duration>,
}

impl Default for LongTermOptions {
    fn default() -> Self {
        Self {
            scope: MemoryScope::default(),
            recall_tokens: DEFAULT_RECALL_TOKENS,
            extract: false,
            ttl: None,
        }
    }
}

/// An agent's memory over [`Facts`]. Clones share it.
#[derive(Clone)]
pub struct LongTermMemory {
    pub(crate) facts: Facts,
    pub(crate) options: LongTermOptions,
    model: Arc<dyn Model>,
}

impl LongTermMemory {
    /// A memory whose budget is counted, and whose turns are gone through, by this model.
    pub fn new(facts: Facts, model: Arc<dyn Model>, options: LongTermOptions) -> Self {
        Self { facts, options, model }
    }

    /// The tools `remember`, `recall` and `forget` for an agent of this name.
    pub fn tools(&self, agent: &str) -> Vec<Arc<dyn Tool>> {
        tools::tools(self, agent)
    }

    /// Whose facts are meant.
    pub fn scope(&self, speaker: &Speaker) -> FactScope {
        let (user, agent) = (speaker.user.clone(), Some(speaker.agent.clone()));
        match self.options.scope {
            MemoryScope::UserAndAgent => FactScope { user, agent },
            MemoryScope::User => FactScope { user, agent: None },
            MemoryScope::Agent => FactScope { user: None, agent },
        }
    }

    /// When a fact that is said now is forgotten by itself.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        let ttl = u64::try_from(self.options.ttl?.as_millis()).unwrap_or(u64::MAX);
        Some(now_ms().saturating_add(ttl))
    }

    fn tokens(&self, text: &str) -> usize {
        self.model.count_tokens(text).unwrap_or_else(|| text.len().div_ceil(BYTES_PER_TOKEN))
    }
}

#[async_trait]
impl Memory for LongTermMemory {
    async fn recall(&self, speaker: &Speaker, message: &Message) -> Result<Recall> {
        let mut left = self.options.recall_tokens as usize;
        let question = message.plain_text();
        if left == 0 || question.trim().is_empty() {
            return Ok(Recall::default());
        }
        let scope = self.scope(speaker);
        let found = self.facts.search(&scope, &question, CONSIDERED).await?;
        let mut recall = Recall::default();
        for (fact, _) in found {
            // A line each.
            let cost = self.tokens(&format!("{}\n", fact.shown()));
            if cost > left {
                recall.left_out += 1;
                continue;
            }
            left -= cost;
            recall.facts.push(fact.shown());
        }
        let ids: Vec<String> = recall.facts.iter().map(|fact| fact.id.clone()).collect();
        if !ids.is_empty() {
            self.facts.mark_used(&scope, &ids).await?;
        }
        Ok(recall)
    }

    fn learns(&self) -> bool {
        self.options.extract
    }

    async fn learn(&self, lesson: &Lesson) -> Result<Vec<RecalledFact>> {
        let scope = self.scope(&lesson.speaker);
        let said: String = lesson.messages.iter().map(|message| message.plain_text() + "\n").collect();
        let known = self.facts.search(&scope, &said, SHOWN_WITH_LESSON).await?;
        let known: Vec<RecalledFact> = known.iter().map(|(fact, _)| fact.shown()).collect();
        let mut kept = Vec::new();
        for Learnt { subject, text, kind, replaces } in extract(&*self.model, lesson, &known).await? {
            let new = NewFact {
                subject,
                text,
                kind,
                // Only what it was shown can it know to be wrong.
                replaces: replaces.filter(|id| known.iter().any(|fact| fact.id == *id)),
                expires_ms: self.expires_ms(),
                source: Some(Source { session: lesson.session.clone(), turn: lesson.turn.clone() }),
            };
            match self.facts.remember(&scope, new).await? {
                super::Remembered::Known(_) => {}
                added => kept.push(added.fact().shown()),
            }
        }
        Ok(kept)
    }
}
