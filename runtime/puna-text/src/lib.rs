//! Text to tokens and back: everything between a conversation and the numbers a model works on.
//!
//! [`ChatTemplate`] turns a conversation into a [`Prompt`], [`Tokenizer`] turns that into tokens;
//! [`StreamDecoder`], [`StopMatcher`] and [`ToolCallParser`] turn the model's tokens back into an
//! assistant's message, one token at a time.
//!
//! Invariants: knows no model and no agent; reads only the files of a model's folder. What a user, a
//! tool or a document says is never read as one of the model's special tokens. Nothing is given out that
//! ends inside a character. Every parser runs in time linear in its input and never panics.

mod calls;
mod constraint;
mod decode;
mod dialect;
mod encoder;
mod files;
mod python_json;
mod stop;
mod template;
mod tokenizer;

pub use calls::{Parsed, ParsedEvent, ToolCallParser};
pub use constraint::{
    AnswerForm, Compiled, ConstraintCompiler, MAX_COMBINED_PATTERNS, MAX_COUNT, MAX_GRAMMAR_BYTES,
    MAX_OPTIONAL_PROPERTIES, MAX_PATTERN_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEFINITIONS, MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_NODES, Mask, Matcher,
};
pub use decode::StreamDecoder;
pub use dialect::Dialect;
pub use encoder::{Before, Encoded, EncoderTokenizer};
pub use python_json::python_json;
pub use stop::StopMatcher;
pub use template::{ChatTemplate, Prompt, RenderOptions, TemplateDocument};
pub use tokenizer::Tokenizer;
