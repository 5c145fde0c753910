//! What a turn has to do with the memory.

use puna_core::{
    Content, Error, ErrorKind, Event, Lesson, RecalledFact, Record, Result, Speaker, TurnOutcome,
};
use tokio::time::Instant;

use crate::driver::{Driver, interrupted};

/// Facts as the model is shown them, in front of the user's message; none where there are none.
pub(crate) fn shown(facts: &[RecalledFact]) -> Option<Content> {
    if facts.is_empty() {
        return None;
    }
    let lines: Vec<String> = facts.iter().map(|fact| fact.to_string()).collect();
    Some(Content::text(format!("What you remember that may matter here:\n{}\n\n", lines.join("\n"))))
}

impl Driver {
    /// Recalls what bears on the current turn's message. Turns that go on after a kill are shown what is remembered now:
    /// something may have been forgotten meanwhile.
    pub(crate) async fn recall(&mut self) -> Result<()> {
        self.recalled.clear();
        let (Some(memory), Some(turn)) = (self.agent.memory.clone(), self.conversation.unfinished()) else {
            return Ok(());
        };
        let (speaker, message) = (self.speaker(turn.user.clone()), turn.input.clone());
        let (is_new, cancel) = (turn.recalled.is_empty(), self.cancel.clone());
        let recall = tokio::select! {
            biased;
            // The turn ends as it is to, without the memory.
            () = interrupted(cancel, self.deadline) => return Ok(()),
            recall = memory.recall(&speaker, &message) => recall,
        };
        match recall {
            Ok(recall) if recall.facts.is_empty() => {}
            Ok(recall) => {
                if is_new {
                    let facts = recall.facts.iter().map(|fact| fact.id.clone()).collect();
                    self.append(&[Record::FactsRecalled { facts }]).await?;
                }
                self.recalled = recall.facts.clone();
                let (facts, left_out) = (recall.facts, recall.left_out);
                self.emitter.emit(Event::FactsRecalled { facts, left_out }).await;
            }
            Err(error) => self.memory_failed("recall", &error).await,
        }
        Ok(())
    }

    /// Has the last turn gone through for what is worth keeping, if it was answered and was not yet.
    pub(crate) async fn learn(&mut self) -> Result<()> {
        let (Some(memory), Some(turn)) = (self.agent.memory.clone(), self.conversation.turns.last()) else {
            return Ok(());
        };
        let answered = matches!(turn.outcome, Some(TurnOutcome::Answered { .. }));
        if !memory.learns() || !answered || turn.learned || turn.agent != self.agent.name {
            return Ok(());
        }
        // It has the time that a turn has: the answer is there already.
        let deadline = Instant::now().checked_add(self.agent.limits.turn_time);
        let lesson = Lesson {
            speaker: self.speaker(turn.user.clone()),
            session: self.session.clone(),
            turn: turn.id.clone(),
            messages: turn.messages(),
            cancel: self.cancel.clone(),
            deadline: deadline.map(Instant::into_std),
        };
        let learned = tokio::select! {
            biased;
            learned = memory.learn(&lesson) => learned,
            () = interrupted(self.cancel.clone(), deadline) => {
                Err(Error::new(ErrorKind::Cancelled, "the turn was stopped while it was learnt from"))
            }
        };
        let facts = match learned {
            Ok(facts) => facts,
            Err(error) => {
                self.memory_failed("learn", &error).await;
                if error.kind() == ErrorKind::Cancelled {
                    // The next turn of the session does it.
                    return Ok(());
                }
                Vec::new()
            }
        };
        let ids = facts.iter().map(|fact| fact.id.clone()).collect();
        self.append(&[Record::FactsLearned { facts: ids }]).await?;
        if !facts.is_empty() {
            self.emitter.emit(Event::FactsLearned { facts }).await;
        }
        Ok(())
    }

    async fn memory_failed(&self, during: &str, error: &Error) {
        tracing::warn!(session = self.session, during, error = error.report(), "the memory failed");
        let (kind, message) = (error.kind().to_string(), error.report());
        self.emitter.emit(Event::MemoryFailed { during: during.to_owned(), kind, message }).await;
    }

    fn speaker(&self, user: Option<String>) -> Speaker {
        Speaker { user, agent: self.agent.name.clone() }
    }
}
