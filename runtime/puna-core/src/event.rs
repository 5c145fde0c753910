use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CitationCheck, Media, Message, RecalledFact, StopReason, ToolCall, ToolResult, Usage};

/// What an agent reports while it works on a turn, in order: a `turn_started`, then steps, then a
/// `turn_finished`; a stream that ends without it ended with an error. A run that first goes on with a
/// turn that was cut off reports both turns, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A turn began, or goes on after its process died.
    TurnStarted {
        /// The session's name.
        session: String,
        /// The turn's identifier.
        turn: String,
        /// Whether an unfinished turn goes on.
        resumed: bool,
    },
    /// The model is asked for the `step`-th time in this turn, counting from 1.
    StepStarted {
        /// The step.
        step: u32,
    },
    /// The conversation did not fit the model's context: this step goes without its oldest turns, which
    /// stay in the journal.
    HistoryPacked {
        /// How many of the session's oldest turns the model does not see.
        dropped_turns: u32,
    },
    /// The conversation did not fit the model's context: the model has summarised its oldest turns, and sees the summary
    /// in their place from now on. It is durable, and so are the turns.
    HistorySummarized {
        /// How many of the session's oldest turns it stands for.
        turns: u32,
        /// The summary.
        text: String,
        /// Whether it ends where the most tokens that it may have were reached.
        cut: bool,
        /// What it cost; not part of the turn's usage.
        usage: Usage,
    },
    /// The oldest turns could not be summarised; what follows is as the agent's policy says.
    SummaryFailed {
        /// The [`ErrorKind`](crate::ErrorKind) as text.
        kind: String,
        /// The error's message.
        message: String,
    },
    /// These facts bear on the turn's message, and the model is shown them.
    FactsRecalled {
        /// The facts, the most relevant first.
        facts: Vec<RecalledFact>,
        /// How many more bear on it and have no room.
        left_out: u32,
    },
    /// These facts were learnt of the turn, and are durable.
    FactsLearned {
        /// The facts.
        facts: Vec<RecalledFact>,
    },
    /// The memory failed; the turn goes on without it.
    MemoryFailed {
        /// `recall` or `learn`.
        during: String,
        /// The [`ErrorKind`](crate::ErrorKind) as text.
        kind: String,
        /// The error's message.
        message: String,
    },
    /// More text of the answer.
    TextDelta {
        /// The text.
        text: String,
    },
    /// More of the value of an answer that has a form: what is certain of it so far. Strings and lists only grow, and
    /// what stands in them stays. It comes when the answer has grown by a sixteenth, so that the values of a long
    /// answer together take no more than a multiple of it; the whole value comes with the turn's outcome.
    PartialOutput {
        /// The value so far.
        value: Value,
    },
    /// The answer of a step does not have its form, and the model is told and asked again.
    OutputRefused {
        /// How often it is asked again with this time, counting from 1.
        repair: u32,
        /// What is wrong, as the model is told.
        reason: String,
    },
    /// The model's message of a step is complete and durable.
    StepFinished {
        /// The step.
        step: u32,
        /// The message.
        message: Message,
        /// Why the model stopped.
        stop: StopReason,
        /// What the step cost.
        usage: Usage,
    },
    /// A tool call begins.
    ToolStarted {
        /// The call.
        call: ToolCall,
    },
    /// A tool call tells how far it is.
    ToolProgress {
        /// The call's id.
        call_id: String,
        /// A share from 0 to 1, where it is known.
        done: Option<f32>,
        /// In words for the user.
        message: String,
    },
    /// A tool call left bytes for the user or the host; its result names them to the model. They are not kept.
    ToolAttachment {
        /// The call's id.
        call_id: String,
        /// A file's name.
        name: String,
        /// The bytes, in line.
        media: Media,
    },
    /// A tool call ended and its result is durable.
    ToolFinished {
        /// What it gave.
        result: ToolResult,
        /// How long it took, in milliseconds.
        elapsed_ms: f64,
    },
    /// The turn's answer was held against the sources that tools gave: what it cites, and what of that does not hold.
    CitationsChecked {
        /// What was found.
        check: CitationCheck,
    },
    /// The turn ended.
    TurnFinished {
        /// How.
        outcome: TurnOutcome,
        /// What the whole turn cost.
        usage: Usage,
    },
}

/// How a turn ended. Only `answered` is a success; a limit is never dressed up as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnOutcome {
    /// The model gave its answer.
    Answered {
        /// The answer's text.
        text: String,
        /// Where the turn has a form, the answer as a value that satisfies the schema.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::form::present")]
        value: Option<Value>,
    },
    /// The answer does not have the form that was asked for, and no repair is left.
    InvalidOutput {
        /// The answer's text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The model still wanted tools after the last step it may take.
    StepLimit {
        /// The limit.
        limit: u32,
    },
    /// The answer was cut at the most tokens a turn may generate, or at the context's end.
    TokenLimit {
        /// The text so far.
        text: String,
    },
    /// The turn's time was used up.
    TimeLimit {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The caller cancelled.
    Cancelled,
    /// The turn could not go on; the error's kind and message.
    Failed {
        /// The [`ErrorKind`](crate::ErrorKind) as text.
        kind: String,
        /// The error's message.
        message: String,
    },
}
