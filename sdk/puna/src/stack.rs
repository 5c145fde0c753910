use std::{
    collections::HashMap,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use puna_agent::{Agent, AgentOptions, HistoryPolicy, Limits, SessionLocks, SummaryFallback, SummaryOptions};
use puna_core::{
    AnswerCheck, Error, ErrorKind, Journal, Memory, Model, Result, SessionSummary, Tool, ToolSchema,
};
use puna_inference::{
    CompanionUse, EncoderOptions, FolderOptions, LoadOptions, OnnxEmbedder, OnnxModel, provision,
};
use puna_knowledge::Knowledge;
use puna_memory::{
    Conversations, EphemeralJournal, Facts, Forget, Forgotten, LongTermMemory, LongTermOptions, MemoryScope,
};
use puna_plugins::{HostOptions, LivePlugin, PluginHost};
use puna_spec::{AgentSpec, CompanionPolicy, FactSearch, ModelSpec};
use puna_store::{SledStore, StoreOptions};

use crate::{
    SetupProgress, SourceNumbers,
    consent::AskConsent,
    knowledge_tool::SourceCheck,
    output,
    plugin_setup::{self, LateModel},
};

/// The environment variable that names the data folder.
pub(crate) const DATA_VARIABLE: &str = "PUNA_DATA_DIR";

/// The store's folder within the data folder.
pub(crate) const STORE_FOLDER: &str = "store";

/// The folder of knowledge bases' indexes within the data folder. They can be made again from the store.
const INDEX_FOLDER: &str = "indexes";

/// Is told what takes long.
pub(crate) type OnSetup = Arc<dyn Fn(SetupProgress) + Send + Sync>;

/// What the agents of a process share: the data folder, loaded models, the plugin host. Clones share it.
#[derive(Clone)]
pub struct Stack(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    on_setup: OnSetup,
    plugins: PluginHost,
    locks: SessionLocks,
    /// Opened when first needed: an agent that keeps nothing leaves the data folder alone.
    store: Mutex<Option<SledStore>>,
    knowledge: Mutex<Option<Knowledge>>,
    /// Loaded models: agents with the same model and settings share one.
    models: Mutex<HashMap<(PathBuf, LoadOptions), Arc<OnnxModel>>>,
    /// The default embedding model, once it is loaded.
    embedder: Mutex<Option<Arc<OnnxEmbedder>>>,
    ephemeral: Arc<EphemeralJournal>,
}

/// How to build a [`Stack`].
#[derive(Default)]
pub struct StackBuilder {
    data_dir: Option<PathBuf>,
    on_setup: Option<OnSetup>,
}

impl StackBuilder {
    /// Where conversations are kept. Without it `PUNA_DATA_DIR`, else `puna` in the user's data folder.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Is told what takes long (fetching ONNX Runtime, the first time), as lines to show.
    #[must_use]
    pub fn on_progress(self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_setup(move |step| {
            if let SetupProgress::Line(line) = step {
                report(&line);
            }
        })
    }

    /// As [`on_progress`](Self::on_progress), with bytes for a progress bar; the one that is given last is told.
    #[must_use]
    pub fn on_setup(mut self, report: impl Fn(SetupProgress) + Send + Sync + 'static) -> Self {
        self.on_setup = Some(Arc::new(report));
        self
    }

    /// Builds the stack. Touches no file but the cache of compiled plugins.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when no data folder can be named.
    pub fn build(self) -> Result<Stack> {
        let data_dir = match self.data_dir {
            Some(path) => path,
            None => default_data_dir()?,
        };
        let cache_dir = Some(provision::cache_dir()?.join("plugins"));
        let plugins = PluginHost::new(HostOptions { cache_dir, ..HostOptions::default() })?;
        Ok(Stack(Arc::new(Inner {
            data_dir,
            on_setup: self.on_setup.unwrap_or_else(|| Arc::new(|_| {})),
            plugins,
            locks: SessionLocks::default(),
            store: Mutex::default(),
            knowledge: Mutex::default(),
            models: Mutex::default(),
            embedder: Mutex::default(),
            ephemeral: Arc::default(),
        })))
    }
}

/// `PUNA_DATA_DIR`, else `puna` in the user's data folder.
pub(crate) fn default_data_dir() -> Result<PathBuf> {
    let named =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named(DATA_VARIABLE) {
        return Ok(path);
    }
    let home = || named("HOME").or_else(|| named("USERPROFILE"));
    let data = named("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| {
        let folder = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
        Some(home()?.join(folder))
    });
    let data = data.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("no data folder: neither `HOME` nor `{DATA_VARIABLE}` is set; set one of them"),
        )
    })?;
    Ok(data.join("puna"))
}

impl Stack {
    /// Begins a stack.
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// The data folder; it may not exist yet.
    pub fn data_dir(&self) -> &Path {
        &self.0.data_dir
    }

    /// Begins an agent as a spec describes it.
    pub fn agent(&self, spec: AgentSpec) -> AgentBuilder {
        AgentBuilder { stack: self.clone(), spec, tools: Vec::new(), model: None, consent: None }
    }

    /// The plugin host.
    pub fn plugins(&self) -> &PluginHost {
        &self.0.plugins
    }

    /// Whether something was stored in the data folder, without looking into it.
    pub fn has_store(&self) -> bool {
        self.0.data_dir.join(STORE_FOLDER).exists()
    }

    /// The data folder's store, which this process then holds. Blocks while it opens.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when another process holds the folder, and the store's own.
    pub fn store(&self) -> Result<SledStore> {
        // A panic in `open` leaves `None` behind.
        let mut store = self.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*store {
            return Ok(open.clone());
        }
        let path = self.0.data_dir.join(STORE_FOLDER);
        Ok(store.insert(SledStore::open(&path, &StoreOptions::default())?).clone())
    }

    /// The conversations in the data folder, which this process then holds.
    ///
    /// # Errors
    /// Those of [`store`](Self::store).
    pub fn conversations(&self) -> Result<Conversations> {
        Ok(Conversations::new(Arc::new(self.store()?)))
    }

    /// The knowledge bases in the data folder, which this process then holds.
    ///
    /// # Errors
    /// Those of [`store`](Self::store).
    pub fn knowledge(&self) -> Result<Knowledge> {
        let mut knowledge = self.0.knowledge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*knowledge {
            return Ok(open.clone());
        }
        let indexes = self.0.data_dir.join(INDEX_FOLDER);
        Ok(knowledge.insert(Knowledge::new(Arc::new(self.store()?), Some(indexes))).clone())
    }

    /// Tells whoever asked to be told.
    pub(crate) fn told(&self, step: SetupProgress) {
        (self.0.on_setup)(step);
    }

    /// The facts in the data folder, found by their words; see [`Facts::with_embedder`] for their meaning.
    ///
    /// # Errors
    /// Those of [`store`](Self::store).
    pub fn facts(&self) -> Result<Facts> {
        Ok(Facts::new(Arc::new(self.store()?)))
    }

    /// Forgets facts and what was made of what was said, see [`puna_memory::forget`].
    ///
    /// # Errors
    /// Those of [`puna_memory::forget`].
    pub async fn forget(&self, what: &Forget, sessions: bool) -> Result<Forgotten> {
        puna_memory::forget(&self.facts()?, &self.conversations()?, what, sessions).await
    }

    /// The long-term memory that a spec describes, if it does; its tools are added to the others.
    async fn memory(
        &self,
        spec: &AgentSpec,
        model: &Arc<dyn Model>,
        tools: &mut Vec<Arc<dyn Tool>>,
    ) -> Result<Option<Arc<dyn Memory>>> {
        let Some(long_term) = spec.memory.long_term else { return Ok(None) };
        let stack = self.clone();
        let facts = blocking(move || {
            let facts = stack.facts()?;
            match long_term.search {
                FactSearch::Keyword => Ok(facts),
                FactSearch::Hybrid => facts.with_embedder(stack.embedder()?),
            }
        });
        let defaults = LongTermOptions::default();
        let options = LongTermOptions {
            scope: match long_term.scope {
                puna_spec::FactScope::UserAndAgent => MemoryScope::UserAndAgent,
                puna_spec::FactScope::User => MemoryScope::User,
                puna_spec::FactScope::Agent => MemoryScope::Agent,
            },
            recall_tokens: long_term.recall_tokens.unwrap_or(defaults.recall_tokens),
            extract: long_term.extract,
            ttl: long_term.ttl.map(|ttl| ttl.0),
        };
        let memory = LongTermMemory::new(facts.await?, Arc::clone(model), options);
        if long_term.tools {
            tools.extend(memory.tools(&spec.name));
        }
        Ok(Some(Arc::new(memory)))
    }

    /// Writes a conversation as JSON Lines.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is no such session.
    pub async fn export_session(&self, session: &str, out: &mut (dyn Write + Send)) -> Result<()> {
        self.conversations()?.export(session, out).await
    }

    /// Adds a conversation that [`export_session`](Self::export_session) wrote, under `name` or its own. Gives
    /// the name.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when there is a session of that name,
    /// [`InvalidInput`](ErrorKind::InvalidInput) naming the line that does not read; nothing is added then.
    pub async fn import_session(
        &self,
        input: &mut (dyn BufRead + Send),
        name: Option<&str>,
    ) -> Result<String> {
        self.conversations()?.import(input, name).await
    }

    /// Begins session `name` as a copy of another one's first `turns` turns; without a number, of all that are finished.
    ///
    /// # Errors
    /// Those of [`Conversations::fork`].
    pub async fn fork_session(
        &self,
        session: &str,
        turns: Option<u64>,
        name: &str,
    ) -> Result<SessionSummary> {
        self.conversations()?.fork(session, turns, name).await
    }

    /// A model, loaded once for all agents that name the same folder and settings. Blocks while it loads.
    fn model(&self, spec: &ModelSpec) -> Result<Arc<OnnxModel>> {
        let defaults = LoadOptions::default();
        let options = LoadOptions {
            device: match &spec.device {
                Some(device) => device.parse()?,
                None => defaults.device,
            },
            threads: spec.threads.map(|threads| threads.get() as usize),
            context_limit: spec.context.map(|context| context.get() as usize),
            folder: FolderOptions { variant: spec.variant.clone(), ..FolderOptions::default() },
            companion: spec.companion.map(|companion| match companion {
                CompanionPolicy::Never => CompanionUse::Never,
                CompanionPolicy::Prefill => CompanionUse::Prefill,
                CompanionPolicy::Always => CompanionUse::Always,
            }),
            slots: spec.slots.map_or(defaults.slots, |slots| slots.get() as usize),
            cache_memory: spec.cache_memory.map(|size| size.0),
            deterministic: spec.deterministic,
            draft_tokens: spec.draft_tokens.map_or(defaults.draft_tokens, |tokens| tokens as usize),
            ..defaults
        };
        // The same folder by another path is the same model; a path that does not resolve fails below.
        let path = spec.path.canonicalize().unwrap_or_else(|_| spec.path.clone());
        // Held while loading: a second agent waits for the first one's model rather than loading it again.
        let mut models = self.0.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = models.get(&(path.clone(), options.clone())) {
            return Ok(Arc::clone(model));
        }
        let runtime =
            puna_inference::Runtime::get_for(options.device, &|step| (self.0.on_setup)(step.into()))?;
        let model = Arc::new(OnnxModel::load(&runtime, &spec.path, options.clone())?);
        models.insert((path, options), Arc::clone(&model));
        Ok(model)
    }

    /// The default embedding model, fetched and exported where it is not there yet; loaded once. Blocks while it does
    /// so.
    ///
    /// # Errors
    /// Those of [`default_embedder`](crate::default_embedder).
    pub fn embedder(&self) -> Result<Arc<OnnxEmbedder>> {
        let mut embedder = self.0.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*embedder {
            return Ok(Arc::clone(loaded));
        }
        let loaded = crate::default_embedder(&EncoderOptions::default(), &*self.0.on_setup)?;
        Ok(Arc::clone(embedder.insert(Arc::new(loaded))))
    }

    /// Takes what an agent's conversations begin with from the cache folder, or puts it there.
    async fn warm_start(
        &self,
        model: &OnnxModel,
        instructions: &str,
        tools: &[ToolSchema],
        adapter: Option<&str>,
    ) -> Result<()> {
        let prefix = model.prefix(instructions, tools)?;
        match model.warm_start(&prefix, adapter, &provision::cache_dir()?.join("prefixes")).await {
            // An agent whose prompt cannot be kept computes it, as it would without.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::Io | ErrorKind::ResourceExhausted
                ) =>
            {
                (self.0.on_setup)(SetupProgress::Line(format!("the agent does not start warm: {error}")));
                Ok(())
            }
            result => result.map(|_| ()),
        }
    }
}

/// An agent about to be built.
pub struct AgentBuilder {
    stack: Stack,
    spec: AgentSpec,
    tools: Vec<Arc<dyn Tool>>,
    model: Option<Arc<dyn Model>>,
    pub(crate) consent: Option<AskConsent>,
}

impl AgentBuilder {
    /// Adds a native tool, see [`tool`](crate::tool()).
    #[must_use]
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    /// Uses this model instead of the one the spec names.
    #[must_use]
    pub fn model(mut self, model: Arc<dyn Model>) -> Self {
        self.model = Some(model);
        self
    }

    /// Loads model and plugins.
    ///
    /// # Errors
    /// Whatever is missing or not sound: model folder, plugin, function, ONNX Runtime; a data folder that
    /// another process holds; two tools of one name; what a plugin may use was not agreed to.
    pub async fn build(self) -> Result<Agent> {
        Ok(self.build_parts().await?.0)
    }

    /// [`AgentBuilder::build`] with the plugin of this component at hand, so that another component can take its place
    /// while the agent runs.
    ///
    /// # Errors
    /// Those of [`AgentBuilder::build`]; not found when the spec names no such plugin.
    pub async fn build_live(self, component: &Path) -> Result<(Agent, LivePlugin)> {
        let file = |path: &Path| path.canonicalize().ok();
        let named = self.spec.tools.iter().position(|tool| file(&tool.plugin) == file(component));
        let named = named.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "agent `{0}` has no plugin `{1}`; add `- plugin: {1}` to its tools",
                    self.spec.name,
                    component.display()
                ),
            )
        })?;
        let (agent, mut plugins) = self.build_parts().await?;
        Ok((agent, plugins.swap_remove(named)))
    }

    /// The agent with its plugins, in the spec's order.
    async fn build_parts(self) -> Result<(Agent, Vec<LivePlugin>)> {
        let Self { stack, spec, mut tools, model, consent } = self;
        let form = output::form(&spec.output)?;
        let journal: Arc<dyn Journal> = if spec.memory.conversation {
            let stack = stack.clone();
            let conversations = blocking(move || stack.conversations()).await?;
            conversations.clear_up().await?;
            Arc::new(conversations)
        } else {
            Arc::clone(&stack.0.ephemeral) as _
        };
        // A missing plugin is told before a large model is loaded.
        let mut plugin_tools = Vec::new();
        let late_model = LateModel::default();
        let mut plugins = Vec::with_capacity(spec.tools.len());
        for named in &spec.tools {
            let plugin = stack.live_plugin(named, &spec.name, &late_model, consent.as_ref()).await?;
            plugin_tools.extend(plugin_setup::plugin_tools(named, &plugin));
            plugins.push(plugin);
        }
        plugin_tools.append(&mut tools);
        let (mut searches, numbers) = (Vec::new(), SourceNumbers::default());
        for knowledge in &spec.knowledge {
            let tool =
                stack.search_tool(knowledge, &spec.name, &late_model, &numbers, consent.as_ref()).await?;
            searches.push(tool.schema().name.clone());
            plugin_tools.push(tool);
        }
        // A file's path is as good a name as any.
        let adapter = spec.model.adapter.as_ref().map(|file| file.display().to_string());
        let (model, memory) = match model {
            Some(model) => {
                let memory = stack.memory(&spec, &model, &mut plugin_tools).await?;
                (model, memory)
            }
            None => {
                let (shared, model) = (stack.clone(), spec.model.clone());
                let named = adapter.clone();
                let model = blocking(move || {
                    let loaded = shared.model(&model)?;
                    if let (Some(file), Some(name)) = (&model.adapter, &named) {
                        loaded.load_adapter(name, file)?;
                    }
                    Ok(loaded)
                })
                .await?;
                if let Some(line) =
                    form.as_ref().map(|form| output::told(&model, form)).transpose()?.flatten()
                {
                    (stack.0.on_setup)(SetupProgress::Line(line));
                }
                let shared: Arc<dyn Model> = Arc::clone(&model) as _;
                let memory = stack.memory(&spec, &shared, &mut plugin_tools).await?;
                if spec.model.warm_start {
                    let schemas: Vec<_> = plugin_tools.iter().map(|tool| tool.schema().clone()).collect();
                    stack.warm_start(&model, &spec.instructions, &schemas, adapter.as_deref()).await?;
                }
                (shared, memory)
            }
        };
        late_model.set(&model);
        let defaults = Limits::default();
        let limits = Limits {
            steps: spec.limits.steps.map_or(defaults.steps, |steps| steps.get()),
            tokens: spec.limits.tokens.map_or(defaults.tokens, |tokens| tokens.get().into()),
            turn_time: spec.limits.time.map_or(defaults.turn_time, |time| time.0),
            call_time: spec.limits.tool_time.map_or(defaults.call_time, |time| time.0),
            parallel_calls: spec
                .limits
                .parallel_calls
                .map_or(defaults.parallel_calls, |calls| calls.get() as usize),
            ..defaults
        };
        let mut options = AgentOptions::new(spec.name, model, journal);
        options.instructions = spec.instructions;
        options.adapter = adapter;
        options.memory = memory;
        options.answer_check = (spec.output.citations && !searches.is_empty())
            .then(|| Arc::new(SourceCheck { tools: searches }) as Arc<dyn AnswerCheck>);
        options.tools = plugin_tools;
        options.tool_choice = spec.tool_choice;
        options.parallel_tool_calls = spec.parallel_tool_calls;
        options.output = form;
        options.options = spec.model.options;
        options.limits = limits;
        options.history = match spec.memory.history {
            puna_spec::HistoryPolicy::DropOldestTurns => HistoryPolicy::DropOldestTurns,
            puna_spec::HistoryPolicy::Error => HistoryPolicy::Error,
            puna_spec::HistoryPolicy::Summarize => HistoryPolicy::Summarize(summary_options(&spec.memory)),
        };
        options.locks = stack.0.locks.clone();
        Ok((Agent::new(options)?, plugins))
    }
}

fn summary_options(memory: &puna_spec::MemorySpec) -> SummaryOptions {
    let (summary, defaults) = (memory.summary.unwrap_or_default(), SummaryOptions::default());
    SummaryOptions {
        max_tokens: summary.max_tokens.map_or(defaults.max_tokens, |tokens| tokens.get()),
        fallback: match summary.fallback {
            puna_spec::SummaryFallback::DropOldestTurns => SummaryFallback::DropOldestTurns,
            puna_spec::SummaryFallback::Error => SummaryFallback::Error,
        },
    }
}

/// Runs what waits for disk or processor off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a blocking task broke").with_source(error))?
}
