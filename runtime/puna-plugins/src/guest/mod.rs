//! What the host holds for one running guest, and the functions it lends: one file for each interface.

mod basic;
mod blobs;
mod cpu;
mod files;
mod http;
mod key_value;
mod memory;
mod models;
mod sql;
mod text;

use std::sync::Arc;

use puna_core::{ToolError, ToolErrorKind, ToolReports};
use wasmtime::component::ResourceTable;

pub use blobs::{Blob, BlobSource};
pub use cpu::{CpuClock, Metered};
pub use files::{Folders, open_folders};
pub use memory::MemoryLimiter;
pub use text::scrub;

use crate::{Grant, contract::bindings::puna::plugin::types, plugin::Prepared};

/// Longest message of one guest error: it goes to the model.
const MAX_ERROR_MESSAGE_BYTES: usize = 2_000;

/// Longest code or path of a guest error.
const MAX_ERROR_DETAIL_BYTES: usize = 200;

/// Most resources that a guest holds at once: it gets one blob for each cursor.
const MAX_RESOURCES: usize = 64;

/// The state of one instance.
pub struct GuestState {
    plugin: Arc<str>,
    setup: Arc<Prepared>,
    /// What the call has left of its limits.
    left: Left,
    reports: ToolReports,
    pub memory: MemoryLimiter,
    pub resources: ResourceTable,
    pub cpu: Arc<CpuClock>,
}

/// What one call has left.
struct Left {
    log_bytes: usize,
    progress_reports: u32,
    random_bytes: usize,
    random_drawn: u64,
    http_requests: u32,
    http_bytes: u64,
    file_bytes: u64,
    store_bytes: u64,
    embed_texts: u32,
    generate_tokens: u32,
}

impl Left {
    fn of(setup: &Prepared) -> Self {
        let limits = &setup.limits;
        Self {
            log_bytes: limits.log_bytes,
            progress_reports: limits.progress_reports,
            random_bytes: limits.random_bytes,
            random_drawn: 0,
            http_requests: limits.http_requests,
            http_bytes: limits.http_bytes,
            file_bytes: limits.file_bytes,
            store_bytes: limits.store_bytes,
            embed_texts: limits.embed_texts,
            generate_tokens: limits.generate_tokens,
        }
    }
}

impl GuestState {
    pub fn new(plugin: Arc<str>, setup: Arc<Prepared>) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        Self {
            left: Left::of(&setup),
            memory: MemoryLimiter::new(setup.limits.memory_bytes),
            reports: ToolReports::default(),
            resources,
            cpu: Arc::default(),
            plugin,
            setup,
        }
    }

    /// Begins a call: limits are whole again.
    pub fn begin(&mut self, reports: ToolReports) {
        self.left = Left::of(&self.setup);
        self.reports = reports;
        self.memory.refused = false;
        self.cpu.reset();
    }

    /// Whether a grant is given; each use is traced.
    fn need(&self, grant: Grant) -> Result<(), types::Error> {
        if !self.setup.grants.has(grant) {
            return Err(failure(
                types::ErrorKind::Denied,
                format!(
                    "plugin `{}` was not granted `{grant}`; add it under the plugin's `grants`",
                    self.plugin
                ),
            ));
        }
        tracing::debug!(plugin = &*self.plugin, %grant, "a grant is used");
        Ok(())
    }
}

impl types::Host for GuestState {}

/// Takes from what a call has left of a limit, and gives the rest.
fn spend(left: &mut u64, amount: u64, plugin: &str, limit: &str, most: u64) -> Result<u64, types::Error> {
    *left = left.checked_sub(amount).ok_or_else(|| limit_reached(plugin, limit, most))?;
    Ok(*left)
}

fn limit_reached(plugin: &str, limit: &str, most: u64) -> types::Error {
    tracing::warn!(plugin, limit, most, "a plugin reached a limit");
    failure(
        types::ErrorKind::TooLarge,
        format!("plugin `{plugin}` reached its limit `{limit}` of {most} a call"),
    )
}

fn failure(kind: types::ErrorKind, message: impl Into<String>) -> types::Error {
    types::Error { kind, message: message.into(), code: None, path: None, retry_after_ms: None }
}

/// An error of a host service in the contract's terms.
fn from_core(error: &puna_core::Error) -> types::Error {
    use puna_core::ErrorKind as Core;
    let kind = match error.kind() {
        Core::InvalidInput | Core::ContextOverflow => types::ErrorKind::InvalidInput,
        Core::NotFound => types::ErrorKind::NotFound,
        Core::Denied => types::ErrorKind::Denied,
        Core::ResourceExhausted => types::ErrorKind::TooLarge,
        Core::Timeout => types::ErrorKind::Timeout,
        Core::Unavailable | Core::Conflict | Core::Cancelled => types::ErrorKind::Unavailable,
        _ => types::ErrorKind::Internal,
    };
    failure(kind, scrub(&error.to_string(), MAX_ERROR_MESSAGE_BYTES))
}

/// An error of a host service that speaks of tools.
fn from_tool(error: ToolError) -> types::Error {
    let kind = match error.kind {
        ToolErrorKind::InvalidInput => types::ErrorKind::InvalidInput,
        ToolErrorKind::NotFound => types::ErrorKind::NotFound,
        ToolErrorKind::Denied => types::ErrorKind::Denied,
        ToolErrorKind::AuthRequired => types::ErrorKind::AuthRequired,
        ToolErrorKind::RateLimited => types::ErrorKind::RateLimited,
        ToolErrorKind::Unavailable | ToolErrorKind::Cancelled => types::ErrorKind::Unavailable,
        ToolErrorKind::Timeout => types::ErrorKind::Timeout,
        ToolErrorKind::TooLarge => types::ErrorKind::TooLarge,
        ToolErrorKind::InvalidOutput | ToolErrorKind::Internal => types::ErrorKind::Internal,
    };
    types::Error {
        kind,
        message: error.message,
        code: error.code,
        path: error.path,
        retry_after_ms: error.retry_after_ms,
    }
}

/// A guest's error as the host passes it on: its words bounded and without control characters.
pub fn tool_error(error: types::Error) -> ToolError {
    let kind = match error.kind {
        types::ErrorKind::InvalidInput => ToolErrorKind::InvalidInput,
        types::ErrorKind::NotFound => ToolErrorKind::NotFound,
        types::ErrorKind::Denied => ToolErrorKind::Denied,
        types::ErrorKind::AuthRequired => ToolErrorKind::AuthRequired,
        types::ErrorKind::RateLimited => ToolErrorKind::RateLimited,
        types::ErrorKind::Unavailable => ToolErrorKind::Unavailable,
        types::ErrorKind::Timeout => ToolErrorKind::Timeout,
        types::ErrorKind::TooLarge => ToolErrorKind::TooLarge,
        types::ErrorKind::Internal => ToolErrorKind::Internal,
    };
    ToolError {
        kind,
        message: scrub(&error.message, MAX_ERROR_MESSAGE_BYTES),
        code: error.code.map(|code| scrub(&code, MAX_ERROR_DETAIL_BYTES)),
        path: error.path.map(|path| scrub(&path, MAX_ERROR_DETAIL_BYTES)),
        retry_after_ms: error.retry_after_ms,
    }
}
