//! A plugin that is a Rust crate: what it has stands in its code.

mod module;
mod package;
mod toolchain;

use std::path::Path;

use puna_core::{Error, Result};
use serde_json::Value;

use super::{BuildOptions, Built, SourceFile, authored::Parts};

pub(super) use module::to_component;
pub(super) use package::own_files;

/// Set while the SDK compiles the module that describes itself.
const DESCRIBE_VARIABLE: &str = "PUNA_PLUGIN_DESCRIBE";

/// Compiles the crate twice: to a module that describes itself, and to the plugin.
pub(super) fn build(folder: &Path, options: &BuildOptions) -> Result<(Built, Parts, Vec<SourceFile>)> {
    let metadata = package::metadata(folder, options)?;
    let toolchain = toolchain::find(folder)?;
    let target_dir = options.target_dir.clone().unwrap_or_else(|| metadata.target_dir.join("puna-plugin"));
    let compile = |describe| toolchain.compile(&metadata, &target_dir, options, describe);
    let parts = read_description(&compile(true)?)?;
    let component = to_component(&compile(false)?)?;
    let files = package::digest_files(folder, &metadata)?;
    Ok((Built { component, toolchain: toolchain.version().to_owned() }, parts, files))
}

/// Runs the describing module and reads what the code says of itself: each macro of the SDK adds an export, which tells
/// its part.
fn read_description(module: &Path) -> Result<Parts> {
    let mut whole = serde_json::Map::new();
    for (part, json) in module::describe(module)? {
        let value: Value = serde_json::from_slice(&json).map_err(|error| {
            Error::invalid_input(format!("the module's description of its {part}: {error}"))
        })?;
        whole.insert(part, value);
    }
    serde_json::from_value(Value::Object(whole))
        .map_err(|error| Error::invalid_input(format!("the module's description of itself: {error}")))
}
