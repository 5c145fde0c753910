//! The contract with guests, generated from `plugins/wit`, and which versions of it are spoken.

use puna_core::{Error, Result};

/// The version of the contract `puna:plugin` that this host speaks.
pub const CONTRACT: &str = "0.1.0";

/// The package of the contract.
pub(crate) const PACKAGE: &str = "puna:plugin";

/// The interfaces that a guest may import. Those without functions are types alone.
pub(crate) const OFFERED: [&str; 13] = [
    "types",
    "log",
    "progress",
    "config",
    "clock",
    "random",
    "secrets",
    "http",
    "key-value",
    "files",
    "models",
    "sql",
    "blobs",
];

pub(crate) mod bindings {
    #![allow(missing_docs, reason = "generated; the words stand in plugin.wit")]
    wasmtime::component::bindgen!({
        path: "../../plugins/wit",
        world: "plugin",
        imports: {
            "puna:plugin/http.send": async | trappable,
            "puna:plugin/key-value.get": async | trappable,
            "puna:plugin/key-value.write": async | trappable,
            "puna:plugin/key-value.list-keys": async | trappable,
            "puna:plugin/files": async | trappable,
            "puna:plugin/models": async | trappable,
            "puna:plugin/sql": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "puna:plugin/blobs.blob": crate::guest::Blob },
    });
}

/// Holds a guest's version of the contract against the host's: before 1.0 the minor version must be
/// the same and the patch may differ, as the component linker has it too.
///
/// # Errors
/// Names both versions.
pub(crate) fn check_version(version: &str) -> Result<()> {
    if track(version).is_some_and(|guest| Some(guest) == track(CONTRACT)) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "the plugin speaks contract `{}` and this host speaks `{CONTRACT}`; rebuild the plugin with the \
         SDK of this host, or use a host for its contract",
        crate::guest::scrub(version, 40),
    )))
}

/// The part of a version that two sides must share; none for what is no plain `major.minor.patch`.
fn track(version: &str) -> Option<(u64, u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    Some(match (major, minor) {
        (0, 0) => (0, 0, patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    })
}
