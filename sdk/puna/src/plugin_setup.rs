//! Plugins as an agent's file describes them: grants into the host's terms, and what of the stack they reach.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use puna_core::{
    Error, ErrorKind, GenerateOptions, GenerateRequest, Loader, Message, Model, ModelEvent, Result, Tool,
};
use puna_knowledge::Loaders;
use puna_plugins::{
    FolderGrant, Generator, Grants, HttpGrant, Inspection, KeyValue, Limits, LivePlugin, Manifest, Plugin,
    SecretGrant, Services, Setup, SqlGrant,
};
use puna_spec::{AgentSpec, Grant, PluginLimits, PluginSpec};
use puna_store::{Batch, MAX_VALUE_BYTES, Store};
use tokio::sync::Mutex;

use crate::{Stack, consent::AskConsent, knowledge_base::retriever_name, stack::blocking};

/// Where plugins keep keys and values: `length of space (2) | space | key | 0 | piece (2)`, big-endian.
const NAMESPACE: &str = "plugin";

/// Most keys that one scan of the store reads to find a plugin's.
const SCAN_ENTRIES: usize = 1_000;

/// The language model of an agent, which is loaded after its plugins.
#[derive(Clone, Default)]
pub(crate) struct LateModel(Arc<OnceLock<Arc<dyn Model>>>);

impl LateModel {
    /// The model.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) where there is none yet.
    pub(crate) fn model(&self) -> Result<Arc<dyn Model>> {
        let model = self.0.get().map(Arc::clone);
        model.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no language model is loaded"))
    }

    /// The model is there.
    pub(crate) fn set(&self, model: &Arc<dyn Model>) {
        // A second one would be the same.
        let _ = self.0.set(Arc::clone(model));
    }
}

#[async_trait]
impl Generator for LateModel {
    async fn generate(&self, instructions: Option<&str>, prompt: &str, max_tokens: u32) -> Result<String> {
        let model = self.model()?;
        let messages = instructions.map(Message::system).into_iter().chain([Message::user(prompt)]).collect();
        let options = GenerateOptions { max_tokens: Some(max_tokens), ..GenerateOptions::default() };
        let mut stream = model.generate(GenerateRequest { messages, options, ..Default::default() }).await?;
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            if let ModelEvent::TextDelta(delta) = event? {
                text.push_str(&delta);
            }
        }
        Ok(text)
    }
}

/// The plugins' part of the stack's store, which is opened when it is first asked.
pub(crate) struct PluginStore {
    stack: Stack,
    /// One change at a time: a value's pieces are counted before they are replaced.
    writing: Mutex<()>,
}

impl PluginStore {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack, writing: Mutex::new(()) }
    }

    async fn store(&self) -> Result<impl Store> {
        let stack = self.stack.clone();
        blocking(move || stack.store()).await
    }
}

/// What every key of a space begins with.
fn space_prefix(space: &str) -> Result<Vec<u8>> {
    let length = u16::try_from(space.len())
        .map_err(|_| Error::invalid_input(format!("a plugin's space of {} bytes", space.len())))?;
    let mut key = length.to_be_bytes().to_vec();
    key.extend_from_slice(space.as_bytes());
    Ok(key)
}

/// What the keys of a value's pieces begin with.
fn value_prefix(space: &str, key: &str) -> Result<Vec<u8>> {
    if key.contains('\0') {
        return Err(Error::invalid_input("a plugin's key holds a NUL"));
    }
    let mut prefix = space_prefix(space)?;
    prefix.extend_from_slice(key.as_bytes());
    prefix.push(0);
    Ok(prefix)
}

/// The most pieces of a value.
const MAX_PIECES: usize = u16::MAX as usize;

#[async_trait]
impl KeyValue for PluginStore {
    async fn get(&self, space: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let store = self.store().await?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let prefix = value_prefix(space, key)?;
            let pieces = store.scan(NAMESPACE, &prefix, &prefix, MAX_PIECES).await?;
            let value = (!pieces.is_empty())
                .then(|| pieces.into_iter().flat_map(|(_, piece)| piece).collect::<Vec<u8>>());
            values.push(value);
        }
        Ok(values)
    }

    async fn write(&self, space: &str, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        let store = self.store().await?;
        let _writing = self.writing.lock().await;
        let mut batch = Batch::new();
        for (key, value) in changes {
            let prefix = value_prefix(space, &key)?;
            for (old, _) in store.scan(NAMESPACE, &prefix, &prefix, MAX_PIECES).await? {
                batch = batch.remove(NAMESPACE, &old);
            }
            let Some(value) = value else { continue };
            // An empty value has one piece, which tells it from none.
            let pieces = value.chunks(MAX_VALUE_BYTES).chain(value.is_empty().then_some(&[][..]));
            for (number, piece) in pieces.enumerate() {
                let number = u16::try_from(number).map_err(|_| {
                    Error::new(
                        ErrorKind::ResourceExhausted,
                        format!("a value of {} bytes is too long", value.len()),
                    )
                })?;
                let key = [&prefix[..], &number.to_be_bytes()].concat();
                batch = batch.put(NAMESPACE, &key, piece.to_vec());
            }
        }
        store.commit(batch).await
    }

    async fn keys(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let store = self.store().await?;
        let start = space_prefix(space)?;
        let wanted = [&start[..], prefix.as_bytes()].concat();
        // Past every piece of `after`: 1 follows the 0 that ends a key.
        let after = after.map(|after| [&start[..], after.as_bytes(), &[1]].concat());
        let mut from = after.filter(|after| *after > wanted).unwrap_or_else(|| wanted.clone());
        let mut keys: Vec<String> = Vec::new();
        while keys.len() < limit {
            let entries = store.scan(NAMESPACE, &wanted, &from, SCAN_ENTRIES.min(limit - keys.len())).await?;
            let Some((last, _)) = entries.last() else { break };
            for (key, _) in &entries {
                let key = key.get(start.len()..key.len().saturating_sub(3)).unwrap_or_default();
                let key = String::from_utf8_lossy(key).into_owned();
                if keys.last() != Some(&key) {
                    keys.push(key);
                }
            }
            // Past the other pieces of the last key.
            from = [&last[..last.len().saturating_sub(3)], &[1]].concat();
        }
        Ok(keys)
    }
}

impl Stack {
    /// What of the stack a plugin's grants reach: its part of the store, and the embedding model where it is granted.
    /// Blocks while the model loads.
    ///
    /// # Errors
    /// Those of the embedding model.
    pub fn plugin_services(&self, grants: &Grants) -> Result<Services> {
        Ok(Services {
            store: Some(Arc::new(PluginStore::new(self.clone()))),
            embedder: if grants.embed { Some(self.embedder()?) } else { None },
            ..Services::default()
        })
    }

    /// The loaders of plugins, by the endings of the files that they read; the last plugin that names an ending has it. They
    /// are granted nothing: each is lent the file that it reads.
    ///
    /// # Errors
    /// Those of loading a plugin; invalid input for one without loaders.
    pub async fn loaders(&self, plugins: &[PathBuf]) -> Result<Loaders> {
        let mut loaders = Loaders::new();
        for component in plugins {
            let setup = Setup { limits: Limits::for_loaders(), ..Setup::default() };
            let plugin = self.plugins().load(component).await?.ready(setup)?;
            let manifest = plugin.manifest();
            check_loaders(component, manifest)?;
            for named in &manifest.loaders {
                let loader: Arc<dyn Loader> = Arc::new(plugin.loader(&named.name)?);
                for extension in &named.extensions {
                    loaders.insert(extension.to_lowercase(), Arc::clone(&loader));
                }
            }
        }
        Ok(loaders)
    }

    /// Loads a plugin as an agent's file describes it, for the agent of this name, with what it is given.
    ///
    /// # Errors
    /// Those of loading, of the grants and of the configuration; [`Denied`](ErrorKind::Denied) where what it may use is
    /// not agreed to.
    pub(crate) async fn plugin(
        &self,
        spec: &PluginSpec,
        agent: &str,
        model: &LateModel,
        consent: Option<&AskConsent>,
    ) -> Result<(Plugin, Setup)> {
        let plugin = self.plugins().load(&spec.plugin).await?;
        self.check_consent(&spec.grants, agent, plugin.inspection(), consent).await?;
        let name = plugin.manifest().name.clone();
        let of_plugin = |error: Error| error.context(format!("plugin `{name}`"));
        let grants = grants(&spec.grants).map_err(of_plugin)?;
        let (stack, needed) = (self.clone(), grants.clone());
        let services = blocking(move || stack.plugin_services(&needed)).await?;
        let setup = Setup {
            services: Services { generator: Some(Arc::new(model.clone())), ..services },
            grants,
            limits: limits(&spec.limits, Limits::default()),
            config: spec.config.clone(),
            reuse: spec.reuse.map_or(0, std::num::NonZeroU32::get),
            // Two agents with the same plugin share nothing.
            space: Some(format!("{agent}/{name}")),
        };
        Ok((plugin, setup))
    }

    /// [`Stack::plugin`] for its tools.
    pub(crate) async fn live_plugin(
        &self,
        spec: &PluginSpec,
        agent: &str,
        model: &LateModel,
        consent: Option<&AskConsent>,
    ) -> Result<LivePlugin> {
        let (plugin, setup) = self.plugin(spec, agent, model, consent).await?;
        check_functions(spec, plugin.inspection())?;
        LivePlugin::new(&plugin, setup)
    }
}

/// The functions of a plugin that an agent's file names, as tools.
pub(crate) fn plugin_tools(spec: &PluginSpec, plugin: &LivePlugin) -> Vec<Arc<dyn Tool>> {
    let wanted = |tool: &Arc<dyn Tool>| {
        spec.functions.as_ref().is_none_or(|names| names.contains(&tool.schema().name))
    };
    plugin.tools().into_iter().filter(wanted).collect()
}

fn limits(spec: &PluginLimits, defaults: Limits) -> Limits {
    let milliseconds = |time: puna_spec::Span| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX);
    let time_ms = spec.time.map_or(defaults.time_ms, milliseconds);
    Limits {
        memory_bytes: spec.memory.map_or(defaults.memory_bytes, |size| size.0),
        time_ms,
        // Whoever gives more time means computing too.
        cpu_ms: spec.cpu.map_or(time_ms, milliseconds),
        result_bytes: spec
            .result
            .map_or(defaults.result_bytes, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
        http_requests: spec.http_requests.map_or(defaults.http_requests, |count| count.get()),
        http_bytes: spec.http_bytes.map_or(defaults.http_bytes, |size| size.0),
        file_bytes: spec.file_bytes.map_or(defaults.file_bytes, |size| size.0),
        generate_tokens: spec.generate_tokens.map_or(defaults.generate_tokens, |count| count.get()),
        sql_rows: spec.sql_rows.map_or(defaults.sql_rows, |count| count.get()),
        ..defaults
    }
}

/// The grants of a file in the host's terms. Secrets are read from the environment here, and nowhere else.
///
/// # Errors
/// Invalid input for what is no origin.
pub fn grants(given: &[Grant]) -> Result<Grants> {
    let origins =
        |origins: &[String]| origins.iter().map(|origin| origin.parse()).collect::<Result<Vec<_>>>();
    let mut grants = Grants::default();
    for grant in given {
        match grant {
            Grant::Clock => grants.clock = true,
            Grant::Random => grants.random = true,
            Grant::Store => grants.store = true,
            Grant::Embed => grants.embed = true,
            Grant::Generate => grants.generate = true,
            Grant::Http(rules) => {
                for rule in rules {
                    let mut http = HttpGrant::reading(&rule.origin)?;
                    if let Some(methods) = &rule.methods {
                        http.methods = methods.iter().map(|method| method.to_ascii_uppercase()).collect();
                    }
                    http.private_addresses = rule.private_addresses;
                    grants.http.push(http);
                }
            }
            Grant::Secrets(secrets) => {
                for (name, secret) in secrets {
                    let value = std::env::var(&secret.env).ok().filter(|value| !value.is_empty());
                    let secret = SecretGrant { value, origins: origins(&secret.origins)? };
                    grants.secrets.insert(name.clone(), secret);
                }
            }
            Grant::Files(folders) => {
                for (name, folder) in folders {
                    let folder = FolderGrant { path: folder.path.clone(), write: folder.write };
                    grants.files.insert(name.clone(), folder);
                }
            }
            Grant::Sql(databases) => {
                for (name, database) in databases {
                    let tables =
                        database.tables.as_ref().map(|tables| BTreeSet::from_iter(tables.iter().cloned()));
                    grants.sql.insert(name.clone(), SqlGrant { path: database.path.clone(), tables });
                }
            }
            // Both lists are this workspace's; a grant that the host does not know gives nothing.
            _ => {}
        }
    }
    Ok(grants)
}

fn check_functions(spec: &PluginSpec, inspection: &Inspection) -> Result<()> {
    let known: Vec<&str> = inspection.manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    match spec.functions.iter().flatten().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::invalid_input(format!(
            "plugin `{}` has no function `{name}`; it has {}",
            spec.plugin.display(),
            known.join(", ")
        ))),
    }
}

fn check_loaders(component: &Path, manifest: &Manifest) -> Result<()> {
    match manifest.loaders.is_empty() {
        true => Err(Error::invalid_input(format!("plugin `{}` has no loaders", component.display()))),
        false => Ok(()),
    }
}

/// Checks the plugins that a spec names without running them. Gives what they ask for and are not granted,
/// as lines to show.
///
/// # Errors
/// A component that is missing or not sound; a function, loader or retriever that a plugin does not have.
pub fn check_plugins(spec: &AgentSpec) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut warn = |inspection: &Inspection, given: &[Grant]| -> Result<()> {
        let given = grants(given)?;
        for (grant, ask) in inspection.manifest.asks.iter().filter(|(grant, _)| !given.has(**grant)) {
            warnings.push(format!(
                "plugin `{}` asks for `{grant}` ({}) and is not granted it",
                inspection.manifest.name, ask.reason
            ));
        }
        Ok(())
    };
    for tool in &spec.tools {
        let inspection = puna_plugins::inspect_file(&tool.plugin)?;
        check_functions(tool, &inspection)?;
        warn(&inspection, &tool.grants)?;
    }
    // They are granted nothing, whatever they ask for.
    for loader in spec.knowledge.iter().flat_map(|knowledge| &knowledge.loaders) {
        check_loaders(loader, &puna_plugins::inspect_file(loader)?.manifest)?;
    }
    for retriever in spec.knowledge.iter().flat_map(|knowledge| &knowledge.retrievers) {
        let inspection = puna_plugins::inspect_file(&retriever.plugin)?;
        retriever_name(retriever, &inspection.manifest.retrievers)?;
        warn(&inspection, &retriever.grants)?;
    }
    Ok(warnings)
}
