//! From the core module that the compiler wrote to a component.

use std::{fs, path::Path};

use puna_core::{Error, Result};
use wasmtime::{Config, Engine, Linker, Module, Store};
use wit_component::ComponentEncoder;

use crate::MAX_MANIFEST_BYTES;

/// The exports of a module that was compiled to describe itself begin so, and the part they tell of follows: `tools`,
/// `loaders`, `retrievers`, `configuration`. Each gives the address of a JSON text in the upper half of a 64-bit integer
/// and its length in the lower.
const DESCRIBE_EXPORT: &str = "puna_describe_";

/// Instructions that a module may take to describe itself: a second or so.
const DESCRIBE_FUEL: u64 = 2_000_000_000;

/// Wraps a core module with the types that the SDK wrote into it. The component imports what the module
/// uses and nothing else: there is no WASI in it.
pub fn to_component(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).map_err(|error| Error::from_io("read", module, error))?;
    ComponentEncoder::default().module(&bytes).and_then(|encoder| encoder.validate(true).encode()).map_err(
        |error| Error::invalid_input(format!("the module makes no component of the contract: {error:#}")),
    )
}

/// Asks a module that was compiled to describe itself for each part, as JSON. It runs alone, with every import a trap.
pub fn describe(module: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let bytes = fs::read(module).map_err(|error| Error::from_io("read", module, error))?;
    let parts = run_describe(&bytes)
        .map_err(|error| Error::invalid_input(format!("the plugin does not describe itself: {error:#}")))?;
    if parts.is_empty() {
        return Err(Error::invalid_input(
            "the plugin describes nothing: list what it has with `puna_plugin::tools!`, `loaders!` or `retrievers!`",
        ));
    }
    Ok(parts)
}

fn run_describe(bytes: &[u8]) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
    let engine = Engine::new(Config::new().consume_fuel(true))?;
    let module = Module::new(&engine, bytes)?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let mut store = Store::new(&engine, ());
    store.set_fuel(DESCRIBE_FUEL)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
    let exports = module.exports().map(|export| export.name().to_owned());
    let parts: Vec<String> = exports.filter(|name| name.starts_with(DESCRIBE_EXPORT)).collect();
    let mut told = Vec::new();
    for export in parts {
        let packed = instance.get_typed_func::<(), u64>(&mut store, &export)?.call(&mut store, ())?;
        let (address, length) = ((packed >> 32) as usize, (packed & u64::from(u32::MAX)) as usize);
        let text = memory.data(&store).get(address..);
        let text = text.and_then(|rest| rest.get(..length.min(MAX_MANIFEST_BYTES)));
        let text = text.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| wasmtime::Error::msg(format!("`{export}` gives no text")))?;
        told.push((export[DESCRIBE_EXPORT.len()..].to_owned(), text.to_vec()));
    }
    Ok(told)
}
