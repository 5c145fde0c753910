use std::path::{Path, PathBuf};

use puna_core::Result;
use puna_inference::{RuntimeReport, provision};
use puna_spec::{AgentSpec, KnowledgeSpec};
use puna_store::{SledStore, Store, StoreOptions};
use serde::Serialize;

use crate::{
    plugin_setup::check_plugins,
    stack::{STORE_FOLDER, default_data_dir},
};

/// What Puna finds on this machine.
#[derive(Debug, Serialize)]
pub struct Doctor {
    /// Puna's version.
    pub version: &'static str,
    /// ONNX Runtime: the library, its version and execution providers.
    pub onnx_runtime: Finding<RuntimeReport>,
    /// The machine.
    pub machine: Machine,
    /// The cache folder.
    pub cache: Finding<Folder>,
    /// The data folder's store.
    pub store: Finding<StoreReport>,
    /// The agents that were looked at.
    pub agents: Vec<AgentReport>,
}

impl Doctor {
    /// Whether everything that was looked at works.
    pub fn healthy(&self) -> bool {
        let agents = self.agents.iter().all(|agent| {
            matches!((&agent.model, &agent.plugins), (Some(Finding::Found(_)), Some(Finding::Found(_))))
        });
        agents && self.onnx_runtime.is_found() && self.cache.is_found() && self.store.is_found()
    }
}

/// Something that was looked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding<T> {
    /// It is there.
    Found(T),
    /// It is not, or does not work: the error's kind and text.
    Problem {
        /// The [`ErrorKind`](puna_core::ErrorKind) as text.
        kind: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl<T> Finding<T> {
    /// Whether it is there.
    pub fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }
}

impl<T> From<Result<T>> for Finding<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(found) => Self::Found(found),
            Err(error) => Self::Problem { kind: error.kind().as_str(), message: error.report() },
        }
    }
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Processors that threads can run on.
    pub logical_cores: usize,
    /// Cores of the processor, as far as the system tells.
    pub physical_cores: usize,
    /// Memory in all, in bytes.
    pub memory_bytes: u64,
    /// Memory that can be had now, in bytes.
    pub available_bytes: u64,
}

/// A folder.
#[derive(Debug, Serialize)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// What its files take up, in bytes; 0 where it does not exist yet.
    pub bytes: u64,
}

/// The data folder's store.
#[derive(Debug, Serialize)]
pub struct StoreReport {
    /// The data folder.
    pub path: PathBuf,
    /// None where nothing was stored yet.
    pub stats: Option<puna_store::Stats>,
    /// How many sessions there are.
    pub sessions: usize,
}

/// An agent's parts.
#[derive(Debug, Serialize)]
pub struct AgentReport {
    /// The agent's file.
    pub file: PathBuf,
    /// What is wrong with the file.
    pub problem: Option<String>,
    /// The model.
    pub model: Option<Finding<puna_inference::ModelReport>>,
    /// The plugins of tools and knowledge bases, one line each, with what they ask for and are not granted.
    pub plugins: Option<Finding<Vec<String>>>,
}

/// Looks at the machine, the data folder and the agents in these files. Installs nothing.
pub async fn doctor(data_dir: Option<&Path>, agents: &[PathBuf]) -> Doctor {
    let data_dir = match data_dir {
        Some(path) => Ok(path.to_owned()),
        None => default_data_dir(),
    };
    let store = match data_dir {
        Ok(path) => store(path).await,
        Err(error) => Err(error),
    };
    Doctor {
        version: env!("CARGO_PKG_VERSION"),
        onnx_runtime: puna_inference::report().into(),
        machine: machine(),
        cache: provision::cache_dir().map(|path| Folder { bytes: folder_bytes(&path), path }).into(),
        store: store.into(),
        agents: agents.iter().map(|file| agent(file)).collect(),
    }
}

async fn store(path: PathBuf) -> Result<StoreReport> {
    let folder = path.join(STORE_FOLDER);
    // Looking must not make one.
    if !folder.exists() {
        return Ok(StoreReport { path, stats: None, sessions: 0 });
    }
    let store = SledStore::open(&folder, &StoreOptions::default())?;
    let stats = Some(store.stats().await?);
    let conversations = puna_memory::Conversations::new(std::sync::Arc::new(store));
    let sessions = puna_core::Journal::sessions(&conversations).await?.len();
    Ok(StoreReport { path, stats, sessions })
}

fn agent(file: &Path) -> AgentReport {
    let spec = match AgentSpec::from_file(file) {
        Ok(spec) => spec,
        Err(error) => {
            return AgentReport {
                file: file.to_owned(),
                problem: Some(error.report()),
                model: None,
                plugins: None,
            };
        }
    };
    let plugins = check_plugins(&spec).map(|warnings| {
        let tools = spec.tools.iter().map(|tool| tool.plugin.display().to_string());
        tools.chain(spec.knowledge.iter().flat_map(plugins_of_base)).chain(warnings).collect()
    });
    AgentReport {
        file: file.to_owned(),
        problem: None,
        model: Some(puna_inference::examine(&spec.model.path).into()),
        plugins: Some(plugins.into()),
    }
}

/// The plugins of a knowledge base, with what they are to it.
fn plugins_of_base(base: &KnowledgeSpec) -> impl Iterator<Item = String> {
    let shown =
        |plugin: &Path, what| format!("{}, {what} of knowledge base `{}`", plugin.display(), base.name);
    let loaders = base.loaders.iter().map(move |loader| shown(loader, "loader"));
    loaders.chain(base.retrievers.iter().map(move |retriever| shown(&retriever.plugin, "retriever")))
}

fn machine() -> Machine {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    Machine {
        logical_cores: std::thread::available_parallelism().map_or(1, Into::into),
        physical_cores: sysinfo::System::physical_core_count().unwrap_or(1),
        memory_bytes: system.total_memory(),
        available_bytes: system.available_memory(),
    }
}

fn folder_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
