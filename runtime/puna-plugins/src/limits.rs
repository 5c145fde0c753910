use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest component file. Compiling cannot be interrupted, so its input is bounded; a Python guest
/// takes about 18 MB.
pub const MAX_COMPONENT_BYTES: u64 = 32 << 20;

/// Largest body of one function. The compiler's time grows faster than a function's size: 1.4 MB took
/// five seconds.
pub const MAX_FUNCTION_BYTES: usize = 512 << 10;

/// Most core modules in a component. Python guests have about 40.
pub const MAX_CORE_MODULES: usize = 64;

/// Most core instances in a component. Python guests have about 40.
pub const MAX_CORE_INSTANCES: usize = 64;

/// Most linear memories in a component; compilers emit one.
pub const MAX_MEMORIES: usize = 4;

/// Most tables in a component; compilers emit one in each of a few modules.
pub const MAX_TABLES: usize = 16;

/// Most table elements of all tables of an instance together, 8 bytes of the host's memory each.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Most memory that [`Limits::memory_bytes`] can allow: the size of a slot in the pool.
pub const MAX_MEMORY_BYTES: u64 = 256 << 20;

/// What one call may use. Every bound that is passed is an error of the call, and of that call alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of all linear memories together, in bytes; at most 256 MiB. Default 64 MiB.
    pub memory_bytes: u64,
    /// Wall time to instantiate and call, in milliseconds. Default 5000.
    pub time_ms: u64,
    /// Length of the arguments as JSON, in bytes. Default 256 KiB.
    pub argument_bytes: usize,
    /// Length of the result as JSON, in bytes. Default 256 KiB.
    pub result_bytes: usize,
    /// Length of everything one call logs, in bytes; the rest is dropped. Default 16 KiB.
    pub log_bytes: usize,
}

impl Limits {
    /// Room for the working set of an interpreter guest.
    pub const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
    /// Long against any honest computation of a tool (microseconds to milliseconds), short against a
    /// person's patience.
    pub const DEFAULT_TIME_MS: u64 = 5_000;
    /// More than a model writes: bounds the copy into the guest.
    pub const DEFAULT_ARGUMENT_BYTES: usize = 256 << 10;
    /// More than a model's context takes: bounds the copy out of the guest and the time to validate it.
    pub const DEFAULT_RESULT_BYTES: usize = 256 << 10;
    /// Some pages of text: a guest cannot fill the host's log.
    pub const DEFAULT_LOG_BYTES: usize = 16 << 10;

    /// [`Limits::time_ms`] as a duration.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: Self::DEFAULT_MEMORY_BYTES,
            time_ms: Self::DEFAULT_TIME_MS,
            argument_bytes: Self::DEFAULT_ARGUMENT_BYTES,
            result_bytes: Self::DEFAULT_RESULT_BYTES,
            log_bytes: Self::DEFAULT_LOG_BYTES,
        }
    }
}
