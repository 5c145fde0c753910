//! A knowledge base as a tool: the model asks, and gets numbered sources.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use puna_core::{
    Embedder, Error, ErrorKind, Result, Retriever, Tool, ToolContext, ToolError, ToolErrorKind, ToolSchema,
};
use puna_inference::{EncoderOptions, OnnxEmbedder, Runtime};
use puna_knowledge::{
    BaseOptions, BaseRetriever, IngestOptions, KnowledgeBase, Measure, PackPolicy, SearchMode, SearchOptions,
    SplitOptions, TokenMeasure, find_files, load_files, pack,
};
use puna_spec::{KnowledgeMode, KnowledgeSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{SetupProgress, Stack, stack::blocking};

/// The namespace of agents' knowledge bases, which is the one that `puna knowledge` uses.
const NAMESPACE: &str = "default";

/// Passages of a search.
const RESULTS: u32 = 5;

/// Tokens of all passages of a search together: a quarter of a small model's context.
const BUDGET: u32 = 1000;

/// What the model asks.
#[derive(Deserialize, JsonSchema)]
struct Question {
    /// What to look for, in whole words
    query: String,
}

/// A tool that searches with a retriever and gives numbered sources, as many as fit.
pub struct SearchTool {
    schema: ToolSchema,
    retriever: Arc<dyn Retriever>,
    measure: Arc<dyn Measure>,
    results: usize,
    budget: usize,
}

impl SearchTool {
    /// The tool `name`, which finds at most `results` passages of together at most `budget` units of `measure`.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        retriever: Arc<dyn Retriever>,
        measure: Arc<dyn Measure>,
        results: usize,
        budget: usize,
    ) -> Self {
        Self { schema: ToolSchema::of::<Question>(name, description), retriever, measure, results, budget }
    }
}

#[async_trait]
impl Tool for SearchTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, _: &ToolContext) -> Result<Value, ToolError> {
        let Question { query } = serde_json::from_value(arguments)
            .map_err(|error| ToolError::new(ToolErrorKind::InvalidInput, error.to_string()))?;
        let failed = |error: Error| {
            let kind = match error.kind() {
                ErrorKind::InvalidInput => ToolErrorKind::InvalidInput,
                ErrorKind::NotFound => ToolErrorKind::NotFound,
                ErrorKind::ResourceExhausted | ErrorKind::Unavailable => ToolErrorKind::Unavailable,
                _ => ToolErrorKind::Internal,
            };
            ToolError::new(kind, error.to_string())
        };
        let page = self.retriever.retrieve(&query, self.results, &Value::Null, None).await.map_err(failed)?;
        let packed = pack(&page.hits, self.budget, &*self.measure, PackPolicy::CutLast).map_err(failed)?;
        let sources: Vec<Value> = packed
            .sources
            .iter()
            .map(|source| {
                let mut shown = json!({ "number": source.number, "document": source.hit.document });
                if let Some(title) = source.hit.metadata.get("title") {
                    shown["title"] = title.clone();
                }
                if let Some(span) = source.hit.span {
                    shown["span"] = json!([span.start, span.end]);
                }
                shown["text"] = source.hit.text.clone().into();
                shown
            })
            .collect();
        let mut found = json!({ "sources": sources });
        if packed.left_out > 0 {
            found["left_out"] = packed.left_out.into();
        }
        Ok(found)
    }
}

impl Stack {
    /// Opens a knowledge base as an agent's file describes it, and brings it up to date with its sources.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a source that names no file, and for a base without sources that is not there;
    /// those of the embedding model and the store. A file that cannot be read is told and left out.
    pub async fn knowledge_base(&self, spec: &KnowledgeSpec) -> Result<KnowledgeBase> {
        let embedder = self.embedder_of(spec.model.as_deref()).await?;
        let split = spec.size.map(|size| {
            let (size, default) = (size.get() as usize, SplitOptions::default());
            SplitOptions { size, overlap: default.overlap.min(size / 2), ..default }
        });
        let options = BaseOptions { split, ..BaseOptions::default() };
        let knowledge = self.knowledge()?;
        if spec.sources.is_empty() {
            return knowledge.open_existing(NAMESPACE, &spec.name, &options, embedder).await;
        }
        // What is missing is told before anything is made.
        let mut sources = Vec::new();
        for source in &spec.sources {
            let source = source.display().to_string();
            sources.push((find_files(&source)?, source));
        }
        let loaders = self.loaders(&spec.loaders).await?;
        let base = knowledge.open(NAMESPACE, &spec.name, &options, embedder).await?;
        for (files, source) in sources {
            let options = IngestOptions { source, prune: true, ..IngestOptions::default() };
            let report = base.ingest(load_files(files, loaders.clone()), &options, &|_| ()).await?;
            for failed in report.failed {
                self.told(SetupProgress::Line(format!("knowledge base `{}`: {}", spec.name, failed.message)));
            }
        }
        Ok(base)
    }

    /// The tool with which an agent searches a knowledge base.
    pub(crate) async fn search_tool(&self, spec: &KnowledgeSpec) -> Result<Arc<dyn Tool>> {
        let base = self.knowledge_base(spec).await?;
        let mode = match spec.mode {
            None | Some(KnowledgeMode::Hybrid) => SearchMode::Hybrid,
            Some(KnowledgeMode::Vector) => SearchMode::Vector,
            Some(KnowledgeMode::Keyword) => SearchMode::Keyword,
        };
        let what = spec.description.as_deref().unwrap_or(&spec.name);
        let description =
            format!("Search the knowledge base: {what} Gives numbered sources; say which you use, as [1].");
        let measure = Arc::new(TokenMeasure::new(base.embedder()));
        let options = SearchOptions { mode, ..SearchOptions::default() };
        Ok(Arc::new(SearchTool::new(
            format!("search_{}", spec.name),
            description,
            Arc::new(BaseRetriever { base, options, reranker: None }),
            measure,
            spec.results.map_or(RESULTS, |results| results.get()) as usize,
            spec.budget.map_or(BUDGET, |budget| budget.get()) as usize,
        )))
    }

    async fn embedder_of(&self, folder: Option<&Path>) -> Result<Arc<dyn Embedder>> {
        let (stack, folder) = (self.clone(), folder.map(Path::to_owned));
        blocking(move || {
            let Some(folder) = folder else { return stack.embedder() };
            let runtime = Runtime::get(&|step| stack.told(step.into()))?;
            Ok(Arc::new(OnnxEmbedder::load(&runtime, &folder, &EncoderOptions::default())?)
                as Arc<dyn Embedder>)
        })
        .await
    }
}
