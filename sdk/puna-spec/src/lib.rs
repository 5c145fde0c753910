//! `agent.yaml`: an agent without code.
//!
//! [`AgentSpec::from_file`] reads a file and either gives a valid [`AgentSpec`] or every
//! [`Diagnostic`] at once, each with its line, column, the line itself and a caret.
//!
//! ```
//! use puna_spec::AgentSpec;
//!
//! let text = r#"
//! ## yaml-language-server: $schema=./agent.schema.json
//! version: 1
//! name: concierge
//! description: Sums, and what time it is.       # optional, like all below but `model`
//! model:
//!   path: ../models/${MODEL}                    # relative to this file
//!   threads: 2
//!   context: 4096                               # most tokens of prompt and answer together
//!   options: { temperature: 0.7, top_p: 0.9, max_tokens: 256, seed: 7, stop: ["END"] }
//! instructions: |
//!   You are the concierge. Use the tools for sums and times.
//! tools:
//!   - plugin: ../plugins/calculator.wasm
//!     functions: [calculate]                    # without it, all
//!     limits: { memory: 64MiB, time: 5s, result: 256KiB }
//!   - plugin: ../plugins/datetime.wasm
//!     grants: [clock]                           # without it, nothing
//! tool_choice: auto                             # or none, required, { named: calculate }
//! parallel_tool_calls: true
//! knowledge:
//!   - name: handbook                            # the model gets the tool `search_handbook`
//!     sources: ["../docs/**/*.md"]              # without it, what `puna knowledge add` put there
//!     split: { by: markdown, size: 200, overlap: 20 }
//!     rerank: late_interaction
//!     results: 5
//!     budget: 1000
//! memory: { conversation: true, history: drop_oldest_turns }
//! limits: { steps: 8, tokens: 4096, time: 2m, tool_time: 500ms, parallel_calls: 4 }
//! output:
//!   schema: { type: object, properties: { answer: { type: string } } }   # or the file that holds it
//!   repairs: 1
//!   stream: true
//!   show_tools: true
//! "#;
//! let environment = |name: &str| (name == "MODEL").then(|| "puna-tiny".to_owned());
//! let spec = AgentSpec::parse(text.as_bytes(), "agent.yaml", &environment)?;
//! assert_eq!(spec.model.path.to_str(), Some("../models/puna-tiny"));
//!
//! let wrong = text.replace("instructions:", "instuctions:");
//! let diagnostics = AgentSpec::parse(wrong.as_bytes(), "agent.yaml", &environment).unwrap_err();
//! assert_eq!(diagnostics.to_string(), "\
//! unknown key `instuctions` in the agent
//!   --> agent.yaml:11:1
//!    |
//! 11 | instuctions: |
//!    | ^^^^^^^^^^^
//!    = help: did you mean `instructions`?");
//! # Ok::<(), puna_spec::Diagnostics>(())
//! ```
//!
//! The first line gives editors completion and checks as one types, once `puna schema` has written
//! `agent.schema.json`.
//!
//! A text may take the value of an environment variable with `${NAME}`; `$${` is a plain `${`. That holds
//! for the name, the description, the instructions, paths, stop strings, sizes and times, but not for keys,
//! functions, grants and schemas. A value is not read again as YAML, and diagnostics never show one.
//!
//! The YAML is that of version 1.2 without tags and merge keys, one document; anchors and aliases are
//! counted as often as they are used.
//!
//! Invariants: executes nothing and opens no file but the one it is given. Keys that are not known are errors.
//! What is read, expanded and shown is bounded whatever the file holds.

mod decode;
mod diagnostic;
mod environment;
mod grants;
mod knowledge;
mod node;
mod output;
mod spec;
mod units;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics};

/// Reads any YAML as the JSON value that it writes, by the core schema of YAML 1.2 and within the bounds of an agent's
/// file. `name` stands for it in diagnostics.
///
/// # Errors
/// What is no YAML, and what JSON cannot write.
///
/// ```
/// let value = puna_spec::value_of_yaml("a: [1, yes]", "a.yaml").unwrap();
/// assert_eq!(value, serde_json::json!({"a": [1, "yes"]}));
/// ```
pub fn value_of_yaml(text: &str, name: &str) -> Result<serde_json::Value, Diagnostics> {
    decode::value(text, name)
}
pub use grants::{DatabaseRule, FolderRule, Grant, HttpRule, SecretRule};
pub use knowledge::{
    KnowledgeMode, KnowledgeSpec, MAX_REWRITES, PackSpec, RerankSpec, RetrieverSpec, SplitKind, SplitSpec,
    SplitUnit, is_address,
};
pub use spec::{
    AgentLimits, AgentSpec, CompanionPolicy, FactScope, FactSearch, HistoryPolicy, LongTermSpec,
    MAX_NAME_CHARS, MemorySpec, ModelSpec, OutputSpec, PluginLimits, PluginSpec, SchemaSpec, SummaryFallback,
    SummarySpec, Version,
};
pub use units::{ByteSize, Span};

/// Longest `agent.yaml`, in bytes: instructions of a book's length fit, and memory is bounded.
pub const MAX_FILE_BYTES: usize = 1 << 20;
