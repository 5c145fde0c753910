//! An embeddable Llama stack: this is the crate a host application depends on.
//!
//! A [`Stack`] holds what agents share (the data folder, the plugin host, loaded models); an
//! [`Agent`] answers, one [`Event`] at a time.
//!
//! ```no_run
//! use puna::{AgentSpec, Event, Message, Stack};
//!
//! # async fn example() -> puna::Result<()> {
//! let stack = Stack::builder().build()?;
//! let agent = stack.agent(AgentSpec::from_file("agent.yaml")?).build().await?;
//! let mut events = agent.run("lunch", Message::user("What is 1234 times 5678?"), Default::default());
//! while let Some(event) = events.next().await {
//!     if let Event::TextDelta { text } = event? {
//!         print!("{text}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An answer can be a value of a Rust type: [`Agent::run_typed`] holds the model to the type's JSON Schema, streams what is
//! certain of the value as [`Event::PartialOutput`], and gives it in the end.
//!
//! ```no_run
//! # async fn example(agent: puna::Agent) -> puna::Result<()> {
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Booking {
//!     city: String,
//!     nights: u32,
//! }
//! let question = puna::Message::user("Two nights in Paris, please.");
//! let booking: Booking = agent.run_typed("lunch", question, Default::default()).value().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Invariant: the only crate that wires the parts together; it holds no logic of theirs.

mod consent;
mod doctor;
mod embedder;
mod function_tool;
mod knowledge_base;
mod knowledge_tool;
mod output;
mod plugin_setup;
mod setup;
mod sources;
mod stack;

pub use consent::{Consent, ConsentState, Lending};
pub use doctor::{AgentReport, Doctor, Finding, Folder, Machine, StoreReport, doctor};
pub use embedder::{default_embedder, default_embedder_folder};
pub use function_tool::tool;
pub use knowledge_tool::{SearchTool, SearchToolOptions, SourceNumbers};
pub use output::{check_output, read_schema};
pub use plugin_setup::{check_plugins, grants};
pub use puna_agent::{
    Agent, EventStream, Limits, OutputSchema, PartialJson, RunOptions, TypedStream, Unfinished,
};
pub use puna_core::*;
pub use puna_export as export;
pub use puna_inference as inference;
pub use puna_knowledge as knowledge;
pub use puna_memory as memory;
pub use puna_memory::{Branch, Conversations};
pub use puna_plugins as plugins;
pub use puna_spec::{
    AgentSpec, ByteSize, Grant, KnowledgeMode, KnowledgeSpec, OutputSpec, PackSpec, RerankSpec,
    RetrieverSpec, SchemaSpec, Span as Duration, SplitKind, SplitSpec, SplitUnit, value_of_yaml,
};
pub use puna_store as store;
pub use setup::SetupProgress;
pub use sources::{MAX_PAGE_BYTES, MAX_REDIRECTS, Sources, documents};
pub use stack::{AgentBuilder, Stack, StackBuilder};
