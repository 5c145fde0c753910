//! The vocabulary of Puna: what the other crates say to each other.
//!
//! Data: [`Message`], [`Content`], [`ToolCall`], [`ToolSchema`], [`GenerateOptions`], [`Usage`],
//! [`Event`], [`Error`]. Traits: [`Model`], [`Tool`], [`Journal`], [`Memory`], [`Embedder`], [`Reranker`],
//! [`Classifier`], [`Loader`], [`Retriever`], [`AnswerCheck`].
//!
//! Invariants: this crate performs no I/O, names no vendor, and knows no wire protocol. Whatever it
//! serialises (messages and records in the journal, events in `puna run --json`) keeps its form
//! within a major version.

mod ask;
mod citation;
mod error;
mod event;
mod filter;
mod form;
mod journal;
mod knowledge;
mod memory;
mod message;
mod model;
mod tool;

pub use ask::Ask;
pub use citation::{AnswerCheck, CitationCheck, Marker, Quote, Verdict};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, TurnOutcome};
pub use filter::{Described, Filter, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
pub use form::{DEFAULT_REPAIRS, OutputForm, TurnForm};
pub use journal::{ForkPoint, Journal, JournalEntry, Record, SessionSummary};
pub use knowledge::{
    Classifier, Document, Embedder, Hit, HitPage, LabelScore, Loader, Reranker, Retriever, Span,
};
pub use memory::{Lesson, Memory, Recall, RecalledFact, Speaker};
pub use message::{
    Citation, Content, InvalidToolCall, Media, Message, Role, ToolCall, ToolOutcome, ToolResult,
};
pub use model::{
    BeamOptions, Completion, Constraint, DryOptions, GenerateOptions, GenerateRequest, Model, ModelEvent,
    ModelInfo, ModelStream, StopReason, TokenScore, ToolCallDelta, ToolChoice, Usage,
};
pub use tokio_util::sync::CancellationToken;
pub use tool::{Tool, ToolContext, ToolError, ToolErrorKind, ToolReport, ToolReports, ToolSchema};
