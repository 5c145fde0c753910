//! From the core module that the compiler wrote to a component.

use std::{fs, path::Path};

use puna_core::{Error, Result};
use wasmtime::{Config, Engine, Linker, Module, Store};
use wit_component::ComponentEncoder;

use crate::MAX_MANIFEST_BYTES;

/// The export of a module that was compiled to describe itself: gives the address of a JSON text in the
/// upper half of a 64-bit integer and its length in the lower.
const DESCRIBE_EXPORT: &str = "puna_describe";

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

/// Asks a module that was compiled to describe itself for its tools, as JSON. It runs alone, with every
/// import a trap.
pub fn describe(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).map_err(|error| Error::from_io("read", module, error))?;
    run_describe(&bytes).map_err(|error| {
        Error::invalid_input(format!(
            "the plugin does not describe its tools: {error:#}; list them with `puna_plugin::tools!`"
        ))
    })
}

fn run_describe(bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let engine = Engine::new(Config::new().consume_fuel(true))?;
    let module = Module::new(&engine, bytes)?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let mut store = Store::new(&engine, ());
    store.set_fuel(DESCRIBE_FUEL)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let packed = instance.get_typed_func::<(), u64>(&mut store, DESCRIBE_EXPORT)?.call(&mut store, ())?;
    let (address, length) = ((packed >> 32) as usize, (packed & u64::from(u32::MAX)) as usize);
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
    let text = memory.data(&store).get(address..).and_then(|rest| rest.get(..length.min(MAX_MANIFEST_BYTES)));
    text.filter(|text| !text.is_empty())
        .map(<[u8]>::to_vec)
        .ok_or_else(|| wasmtime::Error::msg("it gives no text"))
}
