//! The WebAssembly plugin host: turns a component that speaks the contract `puna:plugin` into
//! [`puna_core::Tool`]s, and builds such components from Rust sources.
//!
//! ```no_run
//! # async fn example() -> puna_core::Result<()> {
//! use puna_plugins::{Grant, Grants, HostOptions, Limits, PluginHost};
//! let host = PluginHost::new(HostOptions::default())?;
//! let plugin = host.load("plugins/datetime/datetime.wasm").await?;
//! let tools = plugin.tools(&Grants::from([Grant::Clock]), &Limits::default());
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - A guest can do nothing it was not [granted](Grants): what is missing answers `denied` at the call,
//!   what the contract does not know stops the loading.
//! - Every length, time and size a guest controls has a named bound: [`Limits`] for each call, the
//!   constants beside it for each component.
//! - [Inspecting](inspect) and loading run no guest code. The manifest with its schemas is data in the
//!   component.
//! - One call, one instance: no call sees what another left behind, and a guest that broke hurts
//!   itself alone.

mod build;
#[cfg(unix)]
mod cache;
#[cfg(not(unix))]
#[path = "cache_disabled.rs"]
mod cache;
mod contract;
mod grants;
mod guest;
mod host;
mod inspect;
mod limits;
mod manifest;
mod plugin;
mod schema;
mod turns;

pub use build::{BuildCheck, BuildOptions, BuildReport, Lock, SourceFile, build, check_build, verify};
pub use contract::CONTRACT;
pub use grants::{Grant, Grants};
pub use host::{HostOptions, PluginHost};
pub use inspect::{Inspection, inspect, inspect_file};
pub use limits::{
    Limits, MAX_COMPONENT_BYTES, MAX_CORE_INSTANCES, MAX_CORE_MODULES, MAX_FUNCTION_BYTES, MAX_MEMORIES,
    MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES,
};
pub use manifest::{MANIFEST_SECTION, MAX_MANIFEST_BYTES, MAX_TOOLS, Manifest, embed_manifest};
pub use plugin::Plugin;
pub use schema::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
