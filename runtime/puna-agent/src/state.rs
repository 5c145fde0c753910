use std::collections::HashSet;

use puna_core::{
    Content, Error, ErrorKind, JournalEntry, Message, Record, Result, ToolCall, ToolError, ToolErrorKind,
    ToolOutcome, ToolResult, TurnForm, TurnOutcome, Usage,
};

use crate::{Limits, output};

/// A session as its journal tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Every turn, oldest first. Only the last can be unfinished.
    pub turns: Vec<Turn>,
    /// The sequence number that the next record gets.
    pub next: u64,
    /// What stands for the oldest turns where the agent's policy is to summarise.
    pub summary: Option<Summary>,
}

/// A summary of a session's oldest turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many turns it stands for.
    pub turns: usize,
    /// What the model wrote.
    pub text: String,
}

/// A turn: what the user said and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Unique within the session.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The user's message.
    pub input: Message,
    /// How it is taken.
    pub form: TurnForm,
    /// Who speaks, where the host says so.
    pub user: Option<String>,
    /// The model's answers in order, each with the results of its calls so far.
    pub steps: Vec<Step>,
    /// How it ended; none while it is unfinished.
    pub outcome: Option<TurnOutcome>,
    /// Identifiers of the facts that the model was shown.
    pub recalled: Vec<String>,
    /// Whether facts were learnt of it, or could not be.
    pub learned: bool,
}

/// One answer of the model and what its calls gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The assistant's message.
    pub message: Message,
    /// What it cost.
    pub usage: Usage,
    /// The results recorded so far, in the order in which the calls finished.
    pub results: Vec<ToolResult>,
    /// Why the message is no answer of the turn's form; the model is told after it.
    pub refused: Option<String>,
}

/// What an unfinished turn needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the model.
    Generate {
        /// The step, counting from 1.
        step: u32,
        /// Tokens the turn may still generate; at least 1.
        tokens_left: u64,
    },
    /// Settle the last step's calls that have no result yet, in call order.
    CallTools(Vec<PendingCall>),
    /// Hold the last step's text against the turn's form, and record what came of it: the end, or that it is refused.
    CheckOutput,
    /// Record how the turn ended.
    Finish(TurnOutcome),
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq)]
pub enum PendingCall {
    /// To be performed.
    Perform(ToolCall),
    /// Not to be performed; this is its result.
    Refuse(ToolResult),
}

impl Conversation {
    /// Folds a session's entries, from its first on.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when the records do not follow from each other: a missing entry, a
    /// step outside a turn, a result without its call, a second result, a turn inside a turn.
    pub fn fold(entries: &[JournalEntry]) -> Result<Self> {
        let mut conversation = Self::default();
        for entry in entries {
            if entry.sequence != conversation.next {
                return Err(corrupt(entry.sequence, &format!("expected entry {}", conversation.next)));
            }
            conversation.apply(&entry.record).map_err(|reason| corrupt(entry.sequence, reason))?;
        }
        Ok(conversation)
    }

    /// Advances by one record; the reason when it cannot follow.
    pub(crate) fn apply(&mut self, record: &Record) -> std::result::Result<(), &'static str> {
        match record {
            Record::TurnStarted { turn, agent, message, form, user } => {
                if self.unfinished().is_some() {
                    return Err("a turn starts inside another");
                }
                self.turns.push(Turn {
                    id: turn.clone(),
                    agent: agent.clone(),
                    input: message.clone(),
                    form: form.clone(),
                    user: user.clone(),
                    steps: Vec::new(),
                    outcome: None,
                    recalled: Vec::new(),
                    learned: false,
                });
            }
            Record::Step { message, usage } => {
                let turn = self.unfinished_mut().ok_or("a step stands outside a turn")?;
                if turn.steps.last().is_some_and(|step| step.unsettled().next().is_some()) {
                    return Err("a step follows one whose calls have no results");
                }
                let (message, results) = (message.clone(), Vec::new());
                turn.steps.push(Step { message, usage: *usage, results, refused: None });
            }
            Record::OutputRefused { reason } => {
                let turn = self.unfinished_mut().ok_or("an answer is refused outside a turn")?;
                let has_form = turn.form.output.is_some();
                let step = turn.steps.last_mut().filter(|_| has_form).ok_or("nothing is there to refuse")?;
                if step.refused.is_some() || step.message.content.iter().any(|part| call_id(part).is_some()) {
                    return Err("what is refused is no answer");
                }
                step.refused = Some(reason.clone());
            }
            Record::ToolFinished { result } => {
                let turn = self.unfinished_mut().ok_or("a result stands outside a turn")?;
                let step = turn.steps.last_mut().ok_or("a result comes before the first step")?;
                if !step.unsettled().any(|part| call_id(part) == Some(&result.call_id)) {
                    return Err("a result has no open call");
                }
                step.results.push(result.clone());
            }
            Record::HistorySummarized { turns, text, .. } => {
                let finished = self.turns.len() - usize::from(self.unfinished().is_some());
                let known = self.summary.as_ref().map_or(0, |summary| summary.turns);
                let turns = usize::try_from(*turns).unwrap_or(usize::MAX);
                if turns <= known || turns > finished {
                    return Err("a summary stands for turns that are not finished, or for fewer than before");
                }
                // A summary that was forgotten stands for nothing.
                let summary = Summary { turns, text: text.clone() };
                self.summary = Some(summary).filter(|summary| !summary.text.is_empty());
            }
            Record::FactsRecalled { facts } => {
                let turn = self.unfinished_mut().ok_or("facts are recalled outside a turn")?;
                turn.recalled = facts.clone();
            }
            Record::FactsLearned { .. } => {
                let ended = self.turns.last_mut().filter(|turn| turn.outcome.is_some());
                ended.ok_or("facts are learnt of no turn that ended")?.learned = true;
            }
            Record::TurnFinished { outcome } => {
                let turn = self.unfinished_mut().ok_or("a turn ends that did not start")?;
                turn.outcome = Some(outcome.clone());
            }
        }
        self.next += 1;
        Ok(())
    }

    /// The turn that has no outcome yet.
    pub fn unfinished(&self) -> Option<&Turn> {
        self.turns.last().filter(|turn| turn.outcome.is_none())
    }

    fn unfinished_mut(&mut self) -> Option<&mut Turn> {
        self.turns.last_mut().filter(|turn| turn.outcome.is_none())
    }

    /// The conversation without its `dropped` oldest turns, as a model reads it. Every call has a result,
    /// in call order whatever order they finished in; calls that never got one (their turn was cancelled
    /// or reached a limit) are left out.
    pub fn messages(&self, dropped: usize) -> Vec<Message> {
        self.turns.iter().skip(dropped).flat_map(Turn::messages).collect()
    }

    /// Every call's id.
    pub(crate) fn call_ids(&self) -> HashSet<&str> {
        let steps = self.turns.iter().flat_map(|turn| &turn.steps);
        steps.flat_map(|step| &step.message.content).filter_map(call_id).collect()
    }
}

impl Turn {
    /// What all steps cost together.
    pub fn usage(&self) -> Usage {
        let mut total = Usage::default();
        self.steps.iter().for_each(|step| total += step.usage);
        total
    }

    /// What its calls gave, oldest first.
    pub(crate) fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.steps.iter().flat_map(|step| &step.results)
    }

    /// How often an answer was refused.
    pub(crate) fn repairs(&self) -> u32 {
        // At most one for each step, of which there are fewer than a `u32` counts.
        self.steps.iter().filter(|step| step.refused.is_some()).count() as u32
    }

    /// The text of the last step.
    pub(crate) fn last_text(&self) -> String {
        self.steps.last().map(|step| step.message.plain_text()).unwrap_or_default()
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut messages = vec![self.input.clone()];
        for step in &self.steps {
            let settled = |part: &&Content| call_id(part).is_none() || step.result_of(part).is_some();
            let content: Vec<Content> = step.message.content.iter().filter(settled).cloned().collect();
            let told = step.refused.as_deref().map(|reason| Message::user(output::repair(reason)));
            if content.is_empty() {
                messages.extend(told);
                continue;
            }
            let results = content.iter().filter_map(|part| step.result_of(part).cloned().map(Message::tool));
            let results: Vec<Message> = results.collect();
            messages.push(Message { role: step.message.role, content });
            messages.extend(results);
            messages.extend(told);
        }
        messages
    }
}

impl Step {
    fn result_of(&self, part: &Content) -> Option<&ToolResult> {
        let id = call_id(part)?;
        self.results.iter().find(|result| result.call_id == id)
    }

    /// The parts of the message that are calls and have no result.
    fn unsettled(&self) -> impl Iterator<Item = &Content> {
        self.message.content.iter().filter(|part| call_id(part).is_some() && self.result_of(part).is_none())
    }
}

/// What the turn needs next, by its records and the limits alone.
///
/// A turn at its last step ends there without performing that step's calls: nobody could see the results.
pub fn next_action(turn: &Turn, limits: &Limits) -> Action {
    if let Some(outcome) = &turn.outcome {
        return Action::Finish(outcome.clone());
    }
    let calls = turn.steps.last().map(|step| step.message.content.iter().filter_map(call_id).count());
    let refused = turn.steps.last().is_some_and(|step| step.refused.is_some());
    if calls == Some(0) && !refused {
        return match turn.form.output {
            Some(_) => Action::CheckOutput,
            None => Action::Finish(TurnOutcome::Answered { text: turn.last_text(), value: None }),
        };
    }
    let steps = turn.steps.len();
    if steps >= limits.steps as usize {
        return Action::Finish(TurnOutcome::StepLimit { limit: limits.steps });
    }
    let tokens_left = limits.tokens.saturating_sub(turn.usage().completion_tokens);
    if tokens_left == 0 {
        return Action::Finish(TurnOutcome::TokenLimit { text: turn.last_text() });
    }
    let pending = turn.steps.last().map(|step| pending_calls(step, limits)).unwrap_or_default();
    if pending.is_empty() {
        // Fewer than `limits.steps`, a `u32`.
        Action::Generate { step: steps as u32 + 1, tokens_left }
    } else {
        Action::CallTools(pending)
    }
}

/// The id of a part that asks for a call, well-formed or not.
fn call_id(part: &Content) -> Option<&str> {
    match part {
        Content::ToolCall(call) => Some(&call.id),
        Content::InvalidToolCall(call) => Some(&call.id),
        _ => None,
    }
}

pub(crate) fn call_id_mut(part: &mut Content) -> Option<&mut String> {
    match part {
        Content::ToolCall(call) => Some(&mut call.id),
        Content::InvalidToolCall(call) => Some(&mut call.id),
        _ => None,
    }
}

fn pending_calls(step: &Step, limits: &Limits) -> Vec<PendingCall> {
    let calls = step.message.content.iter().filter(|part| call_id(part).is_some());
    let open = |part: &Content| step.unsettled().any(|open| call_id(open) == call_id(part));
    let numbered = calls.enumerate().filter(|(_, part)| open(part));
    numbered.filter_map(|(index, part)| pending_call(index, part, limits)).collect()
}

fn pending_call(index: usize, part: &Content, limits: &Limits) -> Option<PendingCall> {
    let refuse = |id: &str, name: &str, error| {
        let outcome = ToolOutcome::Failure { error };
        Some(PendingCall::Refuse(ToolResult { call_id: id.to_owned(), name: name.to_owned(), outcome }))
    };
    match part {
        Content::InvalidToolCall(call) => {
            let message = format!("the call cannot be read: {}; write it as one JSON object", call.reason);
            let name = call.name.as_deref().unwrap_or_default();
            refuse(&call.id, name, ToolError::new(ToolErrorKind::InvalidInput, message))
        }
        Content::ToolCall(call) if index >= limits.calls_per_step => {
            let message = format!(
                "call {} of one answer, of which {} are performed; ask for it again in the next answer",
                index + 1,
                limits.calls_per_step
            );
            refuse(&call.id, &call.name, ToolError::new(ToolErrorKind::RateLimited, message))
        }
        Content::ToolCall(call) => Some(PendingCall::Perform(call.clone())),
        _ => None,
    }
}

fn corrupt(sequence: u64, reason: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("entry `{sequence}` of the session does not follow: {reason}"))
}
