//! The WebAssembly plugin host: turns a component that speaks the contract `puna:plugin` into
//! [`puna_core::Tool`]s, [`puna_core::Loader`]s and [`puna_core::Retriever`]s, and builds such components from Rust,
//! Python, JavaScript and C.
//!
//! ```no_run
//! # async fn example() -> puna_core::Result<()> {
//! use puna_plugins::{Grants, HostOptions, PluginHost, Setup};
//! let host = PluginHost::new(HostOptions::default())?;
//! let plugin = host.load("plugins/datetime/datetime.wasm").await?;
//! let grants = Grants { clock: true, ..Grants::default() };
//! let tools = plugin.ready(Setup { grants, ..Setup::default() })?.tools()?;
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
mod http;
mod inspect;
mod instance;
mod limits;
mod live;
mod loader;
mod manifest;
mod plugin;
mod retriever;
mod schema;
mod services;
mod tool;
mod turns;

pub use build::{
    BuildCheck, BuildOptions, BuildReport, Language, Lock, SourceFile, build, check_build, source_files,
    verify,
};
pub use contract::CONTRACT;
pub use grants::{FolderGrant, Grant, Grants, HttpGrant, SecretGrant, Secrets, SqlGrant};
pub use guest::BlobSource;
pub use host::{HostOptions, PluginHost};
pub use http::{Headers, HttpBounds, HttpClient, HttpRequest, HttpResponse, HttpService, Origin, Resolver};
pub use inspect::{Inspection, inspect, inspect_file};
pub use limits::{
    Limits, MAX_CALL_DEPTH, MAX_COMPONENT_BYTES, MAX_CORE_INSTANCES, MAX_CORE_MODULES, MAX_FUNCTION_BYTES,
    MAX_MEMORIES, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES,
};
pub use live::LivePlugin;
pub use loader::{LoadedPage, LoaderManifest, LoaderSource, PluginCursor, PluginLoader};
pub use manifest::{Ask, MANIFEST_SECTION, MAX_MANIFEST_BYTES, MAX_TOOLS, Manifest, embed_manifest};
pub use plugin::{Plugin, ReadyPlugin, Setup};
pub use retriever::{PluginRetriever, RetrieverManifest};
pub use schema::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
pub use services::{Clock, Generator, KeyValue, Random, Services};
