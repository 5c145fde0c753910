//! What the host holds for one running guest, and the functions it lends.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use puna_core::{ToolError, ToolErrorKind};
use wasmtime::ResourceLimiter;

use crate::{
    Grant, Grants, Limits, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES,
    contract::bindings::puna::plugin::{clock, log, types},
};

/// Longest message of one guest error: it goes to the model.
const MAX_ERROR_MESSAGE_BYTES: usize = 2_000;

/// Longest code or path of a guest error.
const MAX_ERROR_DETAIL_BYTES: usize = 200;

/// Longest line of a guest in the log.
const MAX_LOG_LINE_BYTES: usize = 2_000;

/// What a line costs beside its length, so that a flood of empty lines ends too.
const LOG_LINE_COST: usize = 64;

/// The state of one call.
pub struct GuestState {
    plugin: Arc<str>,
    grants: Grants,
    log_budget: usize,
    pub memory: MemoryLimiter,
}

impl GuestState {
    pub fn new(plugin: Arc<str>, grants: Grants, limits: &Limits) -> Self {
        Self {
            plugin,
            grants,
            log_budget: limits.log_bytes,
            memory: MemoryLimiter {
                limit: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
                used: 0,
                asked: 0,
                table_elements: 0,
                refused: false,
            },
        }
    }
}

impl log::Host for GuestState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        if self.log_budget == 0 {
            return Ok(());
        }
        self.log_budget = self.log_budget.saturating_sub(message.len() + LOG_LINE_COST);
        if self.log_budget == 0 {
            tracing::warn!(
                plugin = &*self.plugin,
                "the plugin logs too much; the rest of this call's log is dropped"
            );
            return Ok(());
        }
        let message = scrub(&message, MAX_LOG_LINE_BYTES);
        match level {
            log::Level::Debug => tracing::debug!(plugin = &*self.plugin, "{message}"),
            log::Level::Info => tracing::info!(plugin = &*self.plugin, "{message}"),
            log::Level::Warn => tracing::warn!(plugin = &*self.plugin, "{message}"),
            log::Level::Error => tracing::error!(plugin = &*self.plugin, "{message}"),
        }
        Ok(())
    }
}

impl clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<Result<u64, types::Error>> {
        if !self.grants.has(Grant::Clock) {
            return Ok(Err(denied(&self.plugin, Grant::Clock)));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl types::Host for GuestState {}

fn denied(plugin: &str, grant: Grant) -> types::Error {
    types::Error {
        kind: types::ErrorKind::Denied,
        message: format!("plugin `{plugin}` was not granted `{grant}`; add it under the plugin's `grants`"),
        code: None,
        path: None,
        retry_after_ms: None,
    }
}

/// Bounds the memory of a guest in the sum: a bound for each memory alone would let fifty of them pass.
pub struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// The growth that was allowed last, to take back if it then fails.
    asked: usize,
    table_elements: usize,
    /// Whether the guest was ever refused memory: explains the trap that mostly follows.
    pub refused: bool,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        match self.used.checked_add(growth) {
            Some(used) if used <= self.limit => {
                self.used = used;
                self.asked = growth;
                Ok(true)
            }
            _ => {
                self.refused = true;
                self.asked = 0;
                Ok(false)
            }
        }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.used -= self.asked;
        self.asked = 0;
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        let allowed = elements <= MAX_TABLE_ELEMENTS;
        if allowed {
            // Not taken back if the growth fails: that only makes the bound stricter.
            self.table_elements = elements;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
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

/// A text from a guest for people's eyes: at most `max` bytes, control characters but line ends and
/// tabs replaced, so that it cannot steer a terminal.
pub fn scrub(text: &str, max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(max)];
    let mut clean: String = cut
        .chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // Beside control characters, what turns the direction of text around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ if character.is_control() => '\u{fffd}',
            _ => character,
        })
        .collect();
    if cut.len() < text.len() {
        clean.push('…');
    }
    clean
}
