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

/// Most calls that can be inside each other: a plugin that asks a model that asks a plugin. Each holds its instance,
/// and an endless chain would hold all of them.
pub const MAX_CALL_DEPTH: u32 = 4;

/// What one call may use. Every bound that is passed is an error of the call, and of that call alone. For a loader,
/// each page is a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of all linear memories together, in bytes; at most 256 MiB. Default 64 MiB.
    pub memory_bytes: u64,
    /// Wall time to instantiate and call, in milliseconds. Default 5000.
    pub time_ms: u64,
    /// Time on a processor, in milliseconds; waiting for the host does not count. Default 5000.
    pub cpu_ms: u64,
    /// Length of the arguments as JSON, in bytes. Default 256 KiB.
    pub argument_bytes: usize,
    /// Length of the result, in bytes. Default 256 KiB.
    pub result_bytes: usize,
    /// Length of everything one call logs, in bytes; the rest is dropped. Default 16 KiB.
    pub log_bytes: usize,
    /// Reports of progress of one call; the rest is dropped. Default 1000.
    pub progress_reports: u32,
    /// Random bytes of one call. Default 64 KiB.
    pub random_bytes: usize,
    /// Requests of one call, redirects not counted. Default 32.
    pub http_requests: u32,
    /// Bytes that the requests of one call send and receive together. Default 16 MiB.
    pub http_bytes: u64,
    /// Redirects that one request follows. Default 5.
    pub http_redirects: u32,
    /// Bytes of files that one call reads and writes together. Default 64 MiB.
    pub file_bytes: u64,
    /// Bytes that one call reads and writes in the store. Default 64 MiB.
    pub store_bytes: u64,
    /// Texts that one call has embedded. Default 1000.
    pub embed_texts: u32,
    /// Tokens that one call has generated, in the sum of what it asks for. Default 4096.
    pub generate_tokens: u32,
    /// Rows that one statement gives. Default 1000.
    pub sql_rows: u32,
}

impl Limits {
    /// Room for the working set of an interpreter guest.
    pub const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
    /// Long against any honest computation of a tool (microseconds to milliseconds), short against a
    /// person's patience.
    pub const DEFAULT_TIME_MS: u64 = 5_000;
    /// The wall time: a plugin that only computes may use all of it.
    pub const DEFAULT_CPU_MS: u64 = Self::DEFAULT_TIME_MS;
    /// More than a model writes: bounds the copy into the guest.
    pub const DEFAULT_ARGUMENT_BYTES: usize = 256 << 10;
    /// More than a model's context takes: bounds the copy out of the guest and the time to validate it.
    pub const DEFAULT_RESULT_BYTES: usize = 256 << 10;
    /// Some pages of text: a guest cannot fill the host's log.
    pub const DEFAULT_LOG_BYTES: usize = 16 << 10;
    /// A bar that moves smoothly; more would be noise.
    pub const DEFAULT_PROGRESS_REPORTS: u32 = 1_000;
    /// Thousands of keys or identifiers; reading more drains nothing but time.
    pub const DEFAULT_RANDOM_BYTES: usize = 64 << 10;
    /// A search and the pages it found; a guest cannot flood a service.
    pub const DEFAULT_HTTP_REQUESTS: u32 = 32;
    /// Large pages and their images, held in the host's memory one at a time.
    pub const DEFAULT_HTTP_BYTES: u64 = 16 << 20;
    /// What browsers' users meet; loops end soon.
    pub const DEFAULT_HTTP_REDIRECTS: u32 = 5;
    /// A large document, and bounds what a guest can write in one call.
    pub const DEFAULT_FILE_BYTES: u64 = 64 << 20;
    /// Thousands of entries of an index.
    pub const DEFAULT_STORE_BYTES: u64 = 64 << 20;
    /// Some hundred milliseconds to seconds of a small embedding model.
    pub const DEFAULT_EMBED_TEXTS: u32 = 1_000;
    /// A few long answers.
    pub const DEFAULT_GENERATE_TOKENS: u32 = 4_096;
    /// More than a model reads.
    pub const DEFAULT_SQL_ROWS: u32 = 1_000;

    /// [`Limits::time_ms`] as a duration.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms)
    }

    /// The limits for a loader: a page of a large file takes longer than a tool's answer and is longer.
    pub fn for_loaders() -> Self {
        Self {
            time_ms: 60_000,
            cpu_ms: 60_000,
            memory_bytes: MAX_MEMORY_BYTES,
            result_bytes: 32 << 20,
            file_bytes: u64::MAX,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: Self::DEFAULT_MEMORY_BYTES,
            time_ms: Self::DEFAULT_TIME_MS,
            cpu_ms: Self::DEFAULT_CPU_MS,
            argument_bytes: Self::DEFAULT_ARGUMENT_BYTES,
            result_bytes: Self::DEFAULT_RESULT_BYTES,
            log_bytes: Self::DEFAULT_LOG_BYTES,
            progress_reports: Self::DEFAULT_PROGRESS_REPORTS,
            random_bytes: Self::DEFAULT_RANDOM_BYTES,
            http_requests: Self::DEFAULT_HTTP_REQUESTS,
            http_bytes: Self::DEFAULT_HTTP_BYTES,
            http_redirects: Self::DEFAULT_HTTP_REDIRECTS,
            file_bytes: Self::DEFAULT_FILE_BYTES,
            store_bytes: Self::DEFAULT_STORE_BYTES,
            embed_texts: Self::DEFAULT_EMBED_TEXTS,
            generate_tokens: Self::DEFAULT_GENERATE_TOKENS,
            sql_rows: Self::DEFAULT_SQL_ROWS,
        }
    }
}
