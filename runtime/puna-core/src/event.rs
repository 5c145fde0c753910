use serde::{Deserialize, Serialize};

use crate::{Message, StopReason, ToolCall, ToolResult, Usage};

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
    /// More text of the answer.
    TextDelta {
        /// The text.
        text: String,
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
    /// A tool call ended and its result is durable.
    ToolFinished {
        /// What it gave.
        result: ToolResult,
        /// How long it took, in milliseconds.
        elapsed_ms: f64,
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
