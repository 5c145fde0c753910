//! The component's side of the contract; exists on `wasm32` alone.

use std::sync::Once;

use crate::{Error, ErrorKind, ToolDescription};

#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "tool",
        path: "../wit",
        pub_export_macro: true,
        default_bindings_module: "puna_plugin::__private::bindings",
    });
}

use bindings::puna::plugin::types;

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self {
            kind: match error.kind {
                ErrorKind::InvalidInput => types::ErrorKind::InvalidInput,
                ErrorKind::NotFound => types::ErrorKind::NotFound,
                ErrorKind::Denied => types::ErrorKind::Denied,
                ErrorKind::AuthRequired => types::ErrorKind::AuthRequired,
                ErrorKind::RateLimited => types::ErrorKind::RateLimited,
                ErrorKind::Unavailable => types::ErrorKind::Unavailable,
                ErrorKind::Timeout => types::ErrorKind::Timeout,
                ErrorKind::TooLarge => types::ErrorKind::TooLarge,
                ErrorKind::Internal => types::ErrorKind::Internal,
            },
            message: error.message,
            code: error.code,
            path: error.path,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self {
            kind: match error.kind {
                types::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
                types::ErrorKind::NotFound => ErrorKind::NotFound,
                types::ErrorKind::Denied => ErrorKind::Denied,
                types::ErrorKind::AuthRequired => ErrorKind::AuthRequired,
                types::ErrorKind::RateLimited => ErrorKind::RateLimited,
                types::ErrorKind::Unavailable => ErrorKind::Unavailable,
                types::ErrorKind::Timeout => ErrorKind::Timeout,
                types::ErrorKind::TooLarge => ErrorKind::TooLarge,
                types::ErrorKind::Internal => ErrorKind::Internal,
            },
            message: error.message,
            code: error.code,
            path: error.path,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

/// Sends the message of a panic to the host's log: the trap that follows carries none.
pub fn report_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| crate::log::error(info.to_string())));
    });
}

/// The manifest as JSON that stays in memory: the address in the upper half, the length in the lower.
pub fn leak_manifest(tools: Vec<ToolDescription>) -> u64 {
    let json = serde_json::to_string(&tools).unwrap_or_default().leak();
    ((json.as_ptr() as u64) << 32) | json.len() as u64
}
