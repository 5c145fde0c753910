//! Knowledge bases as an agent's file describes them: brought up to date, and searched as it says.

use std::{num::NonZeroU32, path::Path, sync::Arc};

use puna_core::{Error, Reranker, Result, Retriever, Tool};
use puna_inference::{EncoderOptions, LateInteraction, OnnxEmbedder, OnnxReranker, Runtime};
use puna_knowledge::{
    BaseOptions, BaseRetriever, FusedRetriever, IngestOptions, KnowledgeBase, PackPolicy, SearchMode,
    SearchOptions, SplitBy, SplitOptions, TokenMeasure, Unit,
};
use puna_spec::{
    KnowledgeMode, KnowledgeSpec, PackSpec, PluginSpec, RerankSpec, RetrieverSpec, SplitKind, SplitSpec,
    SplitUnit,
};
use serde_json::Value;

use crate::{
    SearchTool, SearchToolOptions, SetupProgress, SourceNumbers, Stack,
    consent::AskConsent,
    plugin_setup::LateModel,
    sources::{Sources, documents},
    stack::blocking,
};

/// The namespace of agents' knowledge bases, which is the one that `puna knowledge` uses.
const NAMESPACE: &str = "default";

impl Stack {
    /// Opens a knowledge base as an agent's file describes it, and brings it up to date with its sources.
    ///
    /// # Errors
    /// [`NotFound`](puna_core::ErrorKind::NotFound) for a source that names no file, and for a base without sources that is
    /// not there; those of the embedding model and the store. A file or page that cannot be read is told and left out.
    pub async fn knowledge_base(&self, spec: &KnowledgeSpec) -> Result<KnowledgeBase> {
        let embedder = self.embedder_of(spec.model.as_deref()).await?;
        self.base_of(spec, embedder).await
    }

    async fn base_of(&self, spec: &KnowledgeSpec, embedder: Arc<OnnxEmbedder>) -> Result<KnowledgeBase> {
        let options = BaseOptions { split: spec.split.map(split_options), ..BaseOptions::default() };
        let knowledge = self.knowledge()?;
        if spec.sources.is_empty() {
            return knowledge.open_existing(NAMESPACE, &spec.name, &options, embedder).await;
        }
        // What is missing is told before anything is made.
        let sources: Vec<Sources> =
            spec.sources.iter().map(|source| Sources::find(source)).collect::<Result<_>>()?;
        let loaders = self.loaders(&spec.loaders).await?;
        let base = knowledge.open(NAMESPACE, &spec.name, &options, embedder).await?;
        for source in sources {
            let options =
                IngestOptions { source: source.name().to_owned(), prune: true, ..IngestOptions::default() };
            let documents = documents(source, &base, loaders.clone(), spec.private_addresses);
            for failed in base.ingest(documents, &options, &|_| ()).await?.failed {
                self.told(SetupProgress::Line(format!("knowledge base `{}`: {}", spec.name, failed.message)));
            }
        }
        Ok(base)
    }

    /// The tool with which an agent searches a knowledge base.
    pub(crate) async fn search_tool(
        &self,
        spec: &KnowledgeSpec,
        agent: &str,
        model: &LateModel,
        numbers: &SourceNumbers,
        consent: Option<&AskConsent>,
    ) -> Result<Arc<dyn Tool>> {
        let embedder = self.embedder_of(spec.model.as_deref()).await?;
        let base = self.base_of(spec, Arc::clone(&embedder)).await?;
        let reranker = match &spec.rerank {
            None => None,
            Some(RerankSpec::LateInteraction) => {
                Some(Arc::new(LateInteraction::new(embedder)) as Arc<dyn Reranker>)
            }
            Some(RerankSpec::Model(folder)) => Some(self.reranker(folder).await?),
        };
        let mode = match spec.mode {
            None | Some(KnowledgeMode::Hybrid) => SearchMode::Hybrid,
            Some(KnowledgeMode::Vector) => SearchMode::Vector,
            Some(KnowledgeMode::Keyword) => SearchMode::Keyword,
        };
        let options = SearchOptions {
            mode,
            filter: spec.filter.clone(),
            diversity: spec.diversity,
            parents: spec.parents,
            ..SearchOptions::default()
        };
        let what = spec.description.as_deref().unwrap_or(&spec.name);
        let description =
            format!("Search the knowledge base: {what} Gives numbered sources; say which you use, as [1].");
        let measure = Arc::new(TokenMeasure::new(base.embedder()));
        let retriever: Arc<dyn Retriever> = if spec.retrievers.is_empty() {
            Arc::new(BaseRetriever { base, options, reranker })
        } else {
            let own: Arc<dyn Retriever> = Arc::new(BaseRetriever { base, options, reranker: None });
            let mut retrievers = vec![(own, Value::Null)];
            for retriever in &spec.retrievers {
                let found = self.retriever(retriever, agent, model, consent).await?;
                retrievers.push((found, retriever.options.clone()));
            }
            Arc::new(FusedRetriever { retrievers, reranker })
        };
        let defaults = SearchToolOptions::default();
        let size = |given: Option<NonZeroU32>, default| given.map_or(default, |given| given.get() as usize);
        let options = SearchToolOptions {
            results: size(spec.results, defaults.results),
            budget: size(spec.budget, defaults.budget),
            pack: match spec.pack {
                None => defaults.pack,
                Some(PackSpec::Whole) => PackPolicy::Whole,
                Some(PackSpec::CutLast) => PackPolicy::CutLast,
            },
        };
        let name = format!("search_{}", spec.name);
        let tool = SearchTool::new(name, description, retriever, measure, options);
        let rewrites = spec.rewrites.map(|count| (model.clone(), count));
        Ok(Arc::new(tool.numbered(numbers.clone()).rewriting(rewrites)))
    }

    /// A plugin's retriever.
    async fn retriever(
        &self,
        spec: &RetrieverSpec,
        agent: &str,
        model: &LateModel,
        consent: Option<&AskConsent>,
    ) -> Result<Arc<dyn Retriever>> {
        let plugin = PluginSpec {
            plugin: spec.plugin.clone(),
            functions: None,
            grants: spec.grants.clone(),
            config: spec.config.clone(),
            reuse: None,
            limits: spec.limits,
        };
        let (plugin, setup) = self.plugin(&plugin, agent, model, consent).await?;
        let ready = plugin.ready(setup)?;
        let name = retriever_name(spec, &ready.manifest().retrievers)?;
        Ok(Arc::new(ready.retriever(name)?))
    }

    async fn reranker(&self, folder: &Path) -> Result<Arc<dyn Reranker>> {
        let (stack, folder) = (self.clone(), folder.to_owned());
        blocking(move || {
            let runtime = Runtime::get(&|step| stack.told(step.into()))?;
            Ok(Arc::new(OnnxReranker::load(&runtime, &folder, &EncoderOptions::default())?)
                as Arc<dyn Reranker>)
        })
        .await
    }

    async fn embedder_of(&self, folder: Option<&Path>) -> Result<Arc<OnnxEmbedder>> {
        let (stack, folder) = (self.clone(), folder.map(Path::to_owned));
        blocking(move || {
            let Some(folder) = folder else { return stack.embedder() };
            let runtime = Runtime::get(&|step| stack.told(step.into()))?;
            Ok(Arc::new(OnnxEmbedder::load(&runtime, &folder, &EncoderOptions::default())?))
        })
        .await
    }
}

/// Which of a plugin's retrievers is meant.
pub(crate) fn retriever_name<'a>(
    spec: &'a RetrieverSpec,
    known: &'a [puna_plugins::RetrieverManifest],
) -> Result<&'a str> {
    let plugin = spec.plugin.display();
    let names: Vec<&str> = known.iter().map(|retriever| retriever.name.as_str()).collect();
    match (&spec.retriever, names.as_slice()) {
        (_, []) => Err(Error::invalid_input(format!("plugin `{plugin}` has no retrievers"))),
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::invalid_input(format!(
            "plugin `{plugin}` has the retrievers {}; name one with `retriever`",
            names.join(", ")
        ))),
        (Some(name), _) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), _) => Err(Error::invalid_input(format!(
            "plugin `{plugin}` has no retriever `{name}`; it has {}",
            names.join(", ")
        ))),
    }
}

fn split_options(spec: SplitSpec) -> SplitOptions {
    let defaults = SplitOptions::default();
    let size = spec.size.map_or(defaults.size, |size| size.get() as usize);
    SplitOptions {
        by: spec.by.map_or(defaults.by, |by| match by {
            SplitKind::Recursive => SplitBy::Recursive,
            SplitKind::Markdown => SplitBy::Markdown,
            SplitKind::Html => SplitBy::Html,
            SplitKind::Code => SplitBy::Code,
            SplitKind::Semantic => SplitBy::Semantic,
        }),
        unit: spec.unit.map_or(defaults.unit, |unit| match unit {
            SplitUnit::Tokens => Unit::Tokens,
            SplitUnit::Characters => Unit::Characters,
            SplitUnit::Words => Unit::Words,
        }),
        size,
        overlap: spec.overlap.map_or(defaults.overlap.min(size / 2), |overlap| overlap as usize),
        parent_size: spec.parent_size.map(|size| size.get() as usize),
    }
}
