//! `agent.yaml`: an agent without code.
//!
//! [`AgentSpec::from_file`] reads a file and either gives a valid [`AgentSpec`] or every
//! [`Diagnostic`] at once, each with its line, column, the line itself and a caret.
//!
//! Invariants: executes nothing and opens no file but the one it is given. Keys that are not known are errors.
//! Environment variables are read only where a value says `${NAME}`.

mod decode;
mod diagnostic;
mod environment;
mod node;
mod spec;
mod units;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use spec::{
    AgentLimits, AgentSpec, Grant, HistoryPolicy, MAX_NAME_CHARS, MemorySpec, ModelSpec, OutputSpec,
    PluginLimits, PluginSpec, Version,
};
pub use units::{ByteSize, Span};

/// Longest `agent.yaml`, in bytes: instructions of a book's length fit, and memory is bounded.
pub const MAX_FILE_BYTES: usize = 1 << 20;
