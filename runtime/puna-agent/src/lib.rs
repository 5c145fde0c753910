//! The turn loop of an agent as a resumable state machine.
//!
//! An [`Agent`] holds conversations over puna-core's traits alone: a `Model` that answers, `Tool`s that it
//! calls, a `Journal` that records. [`Agent::run`] takes one turn and streams its events;
//! [`Agent::resume`] finishes a turn whose process died.
//!
//! The decisions are pure: [`Conversation::fold`] reads a journal and [`next_action`] says what a turn
//! needs next. A driver carries it out and appends a record for each step before it reports it:
//!
//! 1. The model is asked: instructions, the turns before, this turn so far. Text is streamed as it comes
//!    and is not durable until the step is.
//! 2. Its message is appended. Without calls, or at a limit, the turn's end is appended with it.
//! 3. Its calls are performed in parallel. An unknown tool, arguments that are not valid, a failing,
//!    panicking or late tool and a call that cannot be read give failures for the model to read. Each
//!    result is appended as it comes; the model sees them in call order.
//! 4. Again from 1.
//!
//! **The form of an answer** is part of the turn's record (`TurnForm`): a JSON Schema, whether tools must be called,
//! whether several at a time. A model that holds constraints generates what the schema allows; every model's answer is
//! checked in the end, also for what constraints do not hold. An answer without the form is refused with the reason,
//! which is recorded, reported and told to the model, and the model is asked again as often as the form says; each time
//! is a step and its tokens count. A turn whose answer stays wrong ends as `invalid_output`. A call that is `required`,
//! or of a named tool, is so in the turn's first step alone: afterwards the model must be free to answer. Models without
//! constraints are told the schema after their instructions.
//!
//! **History that does not fit** is dropped by whole turns, summarised by the model, or an error, as the agent's policy
//! says. A summary is recorded with the turns it stands for and the model that wrote it; it is made when it is needed, of so
//! many turns that half of what would fit is free again, so that not every turn needs one.
//!
//! **Memory** beyond a conversation is asked before the model is: what bears on the user's message is shown with it, and
//! an event says what that was. After an answered turn a memory that learns is given it, before the turn's end is
//! reported; a memory that fails is an event and ends no turn.
//!
//! **After a kill** between any two appends the turn goes on where its records end. A call whose result is
//! recorded is never performed again. A call that was in flight is: each call is performed *at least*
//! once, and a tool with effects can tell a repetition by the same `call_id` in its context.
//!
//! Invariants: this crate performs no I/O of its own, names no model file and knows no wire protocol.
//! Reaching a limit is a typed outcome, never a success. Nothing is cut in silence: history that does not
//! fit is left out by whole turns and reported, results too large are failures.

mod agent;
mod driver;
mod generate;
mod limits;
mod locks;
mod memory;
mod output;
mod partial;
mod schema;
mod state;
mod stream;
mod summary;
mod tools;
mod typed;

pub use agent::{
    Agent, AgentOptions, HistoryPolicy, RunOptions, SummaryFallback, SummaryOptions, Unfinished,
};
pub use limits::{
    DEFAULT_CALL_TIME, DEFAULT_CALLS_PER_STEP, DEFAULT_PARALLEL_CALLS, DEFAULT_RESULT_BYTES, DEFAULT_STEPS,
    DEFAULT_TOKENS, DEFAULT_TURN_TIME, Limits, STOP_GRACE,
};
pub use locks::SessionLocks;
pub use output::OutputSchema;
pub use partial::{MAX_JSON_DEPTH, PartialJson};
pub use schema::{
    MAX_CHECK_STEPS, MAX_SCHEMA_BYTES, MAX_SCHEMA_CHAIN, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES,
    MAX_SCHEMA_REFERENCES,
};
pub use state::{Action, Conversation, PendingCall, Step, Summary, Turn, next_action};
pub use stream::EventStream;
pub use summary::{DEFAULT_SUMMARY_TOKENS, SUMMARY_INSTRUCTIONS};
pub use tools::MAX_TOOL_NAME;
pub use typed::TypedStream;
