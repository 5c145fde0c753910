use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use puna_core::{Error, Result};
use tokio::sync::Semaphore;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{Component, HasSelf, Linker},
};

use crate::{
    MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES, Plugin,
    cache::Cache,
    contract::{self, bindings},
    guest::GuestState,
    inspect::{inspect, read_component},
    turns::Turns,
};

/// Address space for one linear memory where there is plenty: bounds checks cost nothing then.
const FAST_RESERVATION: u64 = 4 << 30;

/// Most components that are compiled at once: compiling takes whole cores and cannot be stopped.
const MAX_COMPILATIONS: usize = 2;

/// How a [`PluginHost`] works.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where compiled components are kept; without it they are compiled in every process.
    pub cache_dir: Option<PathBuf>,
    /// Calls that run at the same time; more wait their turn.
    pub max_concurrent_calls: usize,
}

impl HostOptions {
    /// Tools compute for microseconds to milliseconds: sixteen keep every core of a machine busy while
    /// the pool stays small.
    pub const DEFAULT_CONCURRENT_CALLS: usize = 16;
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { cache_dir: None, max_concurrent_calls: Self::DEFAULT_CONCURRENT_CALLS }
    }
}

/// The engine that runs plugins; one serves a whole process. Clones share it.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<GuestState>,
    turns: Arc<Turns>,
    compilations: Semaphore,
    cache: Option<Cache>,
}

impl PluginHost {
    /// Starts a host and its ticker thread, which ends with the last clone and plugin.
    ///
    /// # Errors
    /// Internal when the engine cannot run on this machine.
    pub fn new(options: HostOptions) -> Result<Self> {
        let calls = options.max_concurrent_calls.max(1);
        let engine = new_engine(calls)?;
        let mut linker = Linker::new(&engine);
        bindings::Plugin::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)
            .map_err(|error| Error::internal(format!("the contract cannot be linked: {error:#}")))?;
        let turns = Arc::new(Turns::new(&engine, calls)?);
        let cache = options.cache_dir.and_then(|folder| Cache::open(&folder, &engine));
        let compilations = Semaphore::new(MAX_COMPILATIONS);
        Ok(Self(Arc::new(Inner { engine, linker, turns, compilations, cache })))
    }

    /// Loads a component: inspects it, and compiles it or takes it from the cache, on a thread where it
    /// may block. Runs nothing of it. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Those of [`inspect`] and of reading the file; invalid input when the component
    /// does not compile, or imports what the contract does not offer.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<Plugin> {
        let path = path.as_ref().to_owned();
        let host = self.clone();
        let _turn = self.0.compilations.acquire().await.expect("an open semaphore");
        blocking(move || {
            let component = read_component(&path)?;
            host.load_now(&component).map_err(|error| error.context(format!("plugin `{}`", path.display())))
        })
        .await
    }

    /// [`PluginHost::load`] for a component in memory.
    ///
    /// # Errors
    /// As for [`PluginHost::load`].
    pub async fn load_bytes(&self, component: Vec<u8>) -> Result<Plugin> {
        let host = self.clone();
        let _turn = self.0.compilations.acquire().await.expect("an open semaphore");
        blocking(move || host.load_now(&component)).await
    }

    fn load_now(&self, bytes: &[u8]) -> Result<Plugin> {
        let inspection = inspect(bytes)?;
        let _span = tracing::debug_span!("load_plugin", plugin = inspection.manifest.name).entered();
        let linker = &self.0.linker;
        let unknown = inspection.imports.iter().find(|name| {
            let interface = name.strip_prefix("puna:plugin/").and_then(|rest| rest.split_once('@'));
            !interface.is_some_and(|(interface, _)| contract::OFFERED.contains(&interface))
        });
        if let Some(unknown) = unknown {
            return Err(Error::new(
                puna_core::ErrorKind::Denied,
                format!("it imports `{unknown}`, which the contract does not offer"),
            ));
        }
        let component = self.compile(bytes, &inspection.digest)?;
        let pre = linker.instantiate_pre(&component).map_err(|error| {
            Error::invalid_input(format!("the component does not fit the contract: {error:#}"))
        })?;
        Plugin::new(pre, Arc::clone(&self.0.turns), inspection)
    }

    /// Compiles the component of this digest, or takes it from the cache.
    fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component> {
        let engine = &self.0.engine;
        if let Some(entry) = self.0.cache.as_ref().and_then(|cache| cache.get(digest)) {
            // SAFETY: deserialising is running: `Cache::get` gives only what a host with the same
            // engine wrote for this component into a folder and a file that this user alone can write,
            // and whose digest still fits. The file is mapped; hosts replace entries and never write into one.
            match unsafe { Component::deserialize_file(engine, entry.path()) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "a cached plugin does not load; compiling again"),
            }
        }
        let component = Component::new(engine, bytes)
            .map_err(|error| Error::invalid_input(format!("the component does not compile: {error:#}")))?;
        if let Some(cache) = &self.0.cache {
            match component.serialize() {
                Ok(code) => cache.put(digest, &code),
                Err(error) => tracing::warn!(%error, "a compiled plugin cannot be serialised"),
            }
        }
        Ok(component)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal(format!("loading the plugin broke: {error}"))))
}

/// An engine with a pool of slots for guests, or without one where the address space is too small for it.
fn new_engine(calls: usize) -> Result<Engine> {
    let pooled = Engine::new(config().allocation_strategy(pool(calls)));
    pooled
        .or_else(|error| {
            tracing::info!(%error, "no address space for a pool of plugin memories; each call reserves its own");
            Engine::new(config().memory_reservation(MAX_MEMORY_BYTES).memory_guard_size(1 << 16))
        })
        .map_err(|error| Error::internal(format!("the WebAssembly engine does not start: {error:#}")))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Halves the cost of a call; the contract has no asynchronous functions.
        .concurrency_support(false)
        .memory_reservation(FAST_RESERVATION)
        .wasm_component_model(true)
        .wasm_memory64(false);
    config
}

fn pool(calls: usize) -> InstanceAllocationStrategy {
    // As many again for instances that are kept between calls.
    let slots = |per_call: usize| u32::try_from(calls.saturating_mul(2 * per_call)).unwrap_or(u32::MAX);
    let count = |per_component: usize| u32::try_from(per_component).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    // Sized so that whoever holds a permit finds its slots: a full pool is waiting, never an error.
    pool.total_component_instances(slots(1))
        .total_stacks(slots(1))
        .total_core_instances(slots(MAX_CORE_INSTANCES))
        .max_core_instances_per_component(count(MAX_CORE_INSTANCES))
        .total_memories(slots(MAX_MEMORIES))
        .max_memories_per_component(count(MAX_MEMORIES))
        .max_memories_per_module(count(MAX_MEMORIES))
        .total_tables(slots(MAX_TABLES))
        .max_tables_per_component(count(MAX_TABLES))
        .max_tables_per_module(count(MAX_TABLES))
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(MAX_MEMORY_BYTES).unwrap_or(usize::MAX))
        .max_unused_warm_slots(slots(1));
    InstanceAllocationStrategy::Pooling(pool)
}
