use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use puna_core::{Error, Result, Tool, ToolErrorKind};
use serde_json::Value;
use wasmtime::component::InstancePre;

use crate::{
    Grants, Inspection, Limits, Manifest, PluginLoader, PluginRetriever, Services,
    contract::bindings::exports::puna::plugin::{loaders, retrievers, tools},
    guest::{Folders, GuestState, open_folders},
    instance::Instance,
    schema,
    tool::{self, PluginTool},
    turns::Turns,
};

/// A loaded component. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

pub(crate) struct Loaded {
    pub pre: InstancePre<GuestState>,
    pub turns: Arc<Turns>,
    pub name: Arc<str>,
    pub tools: Option<tools::GuestIndices>,
    pub loaders: Option<loaders::GuestIndices>,
    pub retrievers: Option<retrievers::GuestIndices>,
    inspection: Inspection,
    configuration: Option<Validator>,
}

/// What a plugin is given: nothing by default, within the default limits.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// What it may use.
    pub grants: Grants,
    /// What one call may use up.
    pub limits: Limits,
    /// Its configuration, which must satisfy the manifest's schema.
    pub config: Value,
    /// What of the host the grants reach.
    pub services: Services,
    /// How often an instance is used again. By default never: each call has a fresh one and sees nothing of the calls
    /// before. A plugin that takes long to start is faster with some; it then keeps its memory from call to call. An
    /// instance that broke is never used again.
    pub reuse: u32,
    /// Whose keys in the store these are; the plugin's name where it is none. Two agents that give a plugin different
    /// spaces share no key.
    pub space: Option<String>,
}

/// What guests see of a [`Setup`].
pub(crate) struct Prepared {
    pub grants: Grants,
    pub limits: Limits,
    pub config_text: String,
    pub services: Services,
    pub space: String,
    pub folders: Folders,
}

/// A plugin with its setup, ready to be called. Cheap to clone.
#[derive(Clone)]
pub struct ReadyPlugin(pub(crate) Arc<Ready>);

pub(crate) struct Ready {
    pub loaded: Arc<Loaded>,
    pub prepared: Arc<Prepared>,
    pub reuse: u32,
    /// Instances to use again.
    pub idle: Mutex<Vec<Instance>>,
}

impl Plugin {
    pub(crate) fn new(
        pre: InstancePre<GuestState>,
        turns: Arc<Turns>,
        inspection: Inspection,
    ) -> Result<Self> {
        let misfit = |interface: &str| {
            let interface = interface.to_owned();
            move |error: wasmtime::Error| {
                Error::invalid_input(format!("its export `{interface}` does not fit the contract: {error:#}"))
            }
        };
        let manifest = &inspection.manifest;
        let exports = |interface: &str| inspection.exports(interface);
        let tools = exports("tools").then(|| tools::GuestIndices::new(&pre)).transpose();
        let loaders = exports("loaders").then(|| loaders::GuestIndices::new(&pre)).transpose();
        let retrievers = exports("retrievers").then(|| retrievers::GuestIndices::new(&pre)).transpose();
        Ok(Self(Arc::new(Loaded {
            tools: tools.map_err(misfit("tools"))?,
            loaders: loaders.map_err(misfit("loaders"))?,
            retrievers: retrievers.map_err(misfit("retrievers"))?,
            name: manifest.name.as_str().into(),
            configuration: manifest.configuration.as_ref().map(schema::compile).transpose()?,
            pre,
            turns,
            inspection,
        })))
    }

    /// What the plugin says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.inspection.manifest
    }

    /// What the component is: its manifest, digest and surface.
    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// Gives the plugin what it may use. What it asks for and is not granted is denied when a call uses it.
    ///
    /// # Errors
    /// Invalid input when the configuration does not satisfy the manifest's schema, with the JSON pointer; those of
    /// opening granted folders.
    pub fn ready(&self, setup: Setup) -> Result<ReadyPlugin> {
        let Setup { grants, limits, config, services, reuse, space } = setup;
        let name = &self.0.name;
        // Nothing said is an empty configuration: the schema tells whether that will do.
        let unsaid = config.is_null() && self.0.configuration.is_some();
        let config = if unsaid { Value::Object(serde_json::Map::new()) } else { config };
        match &self.0.configuration {
            Some(schema) => schema::check(schema, &config, ToolErrorKind::InvalidInput).map_err(|error| {
                Error::invalid_input(format!("the configuration of plugin `{name}`: {error}"))
            })?,
            None if !config.is_null() => {
                return Err(Error::invalid_input(format!("plugin `{name}` takes no configuration")));
            }
            None => {}
        }
        for (grant, ask) in self.manifest().asks.iter().filter(|(grant, _)| !grants.has(**grant)) {
            tracing::info!(plugin = &**name, %grant, ask.reason, "the plugin asks for a grant that it does not have");
        }
        let prepared = Prepared {
            folders: open_folders(&grants.files)?,
            space: space.unwrap_or_else(|| name.to_string()),
            config_text: config.to_string(),
            grants,
            limits,
            services,
        };
        Ok(ReadyPlugin(Arc::new(Ready {
            loaded: Arc::clone(&self.0),
            prepared: Arc::new(prepared),
            reuse,
            idle: Mutex::default(),
        })))
    }
}

impl ReadyPlugin {
    /// What the plugin says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.loaded.inspection.manifest
    }

    /// What the component is: its manifest, digest and surface.
    pub fn inspection(&self) -> &Inspection {
        &self.0.loaded.inspection
    }

    /// The plugin's functions as tools, in the manifest's order.
    ///
    /// # Errors
    /// Those of the schemas, which a loaded plugin does not have.
    pub fn tools(&self) -> Result<Vec<Arc<dyn Tool>>> {
        let tools = self.manifest().tools.iter().map(|schema| {
            let tool = PluginTool::new(Arc::clone(&self.0), tool::Function::new(schema)?);
            Ok(Arc::new(tool) as Arc<dyn Tool>)
        });
        tools.collect()
    }

    /// The tool of this name.
    ///
    /// # Errors
    /// Not found, naming those there are.
    pub fn tool(&self, name: &str) -> Result<Arc<dyn Tool>> {
        let found = self.tools()?.into_iter().find(|tool| tool.schema().name == name);
        found.ok_or_else(|| self.missing("tool", name, self.manifest().tools.iter().map(|found| &found.name)))
    }

    /// The loader of this name.
    ///
    /// # Errors
    /// Not found, naming those there are.
    pub fn loader(&self, name: &str) -> Result<PluginLoader> {
        let loaders = &self.manifest().loaders;
        let found = loaders.iter().find(|loader| loader.name == name);
        let found =
            found.ok_or_else(|| self.missing("loader", name, loaders.iter().map(|found| &found.name)))?;
        PluginLoader::new(Arc::clone(&self.0), found)
    }

    /// The retriever of this name.
    ///
    /// # Errors
    /// Not found, naming those there are.
    pub fn retriever(&self, name: &str) -> Result<PluginRetriever> {
        let retrievers = &self.manifest().retrievers;
        let found = retrievers.iter().find(|retriever| retriever.name == name);
        let found = found
            .ok_or_else(|| self.missing("retriever", name, retrievers.iter().map(|found| &found.name)))?;
        PluginRetriever::new(Arc::clone(&self.0), found)
    }

    fn missing<'a>(&self, kind: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
        let known: Vec<&str> = known.map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
        Error::new(
            puna_core::ErrorKind::NotFound,
            format!("plugin `{}` has no {kind} `{name}`; it has {known}", self.0.loaded.name),
        )
    }
}
