//! A knowledge base as a tool: the model asks, and gets numbered sources, against which its answer is checked.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use puna_core::{
    AnswerCheck, CitationCheck, Error, ErrorKind, Hit, Result, Retriever, Span, Tool, ToolContext, ToolError,
    ToolErrorKind, ToolOutcome, ToolResult, ToolSchema,
};
use puna_knowledge::{Measure, PackPolicy, Source, check_citations, pack, rewrite_question};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::plugin_setup::LateModel;

/// Turns whose numbers are remembered: those that are under way, many times over.
const TURNS: usize = 1_024;

/// What the model asks.
#[derive(Deserialize, JsonSchema)]
struct Question {
    /// What to look for, in whole words
    query: String,
}

/// How a [`SearchTool`] searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchToolOptions {
    /// Most passages.
    pub results: usize,
    /// Most units of all passages together.
    pub budget: usize,
    /// What becomes of passages that do not fit.
    pub pack: PackPolicy,
}

/// 5 passages of together 1000 tokens: a quarter of a small model's context.
impl Default for SearchToolOptions {
    fn default() -> Self {
        Self { results: 5, budget: 1000, pack: PackPolicy::CutLast }
    }
}

/// A tool that searches with a retriever and gives numbered sources, as many as fit.
pub struct SearchTool {
    schema: ToolSchema,
    retriever: Arc<dyn Retriever>,
    measure: Arc<dyn Measure>,
    options: SearchToolOptions,
    numbers: SourceNumbers,
    /// Who puts a question in other words, and in how many.
    rewrites: Option<(LateModel, NonZeroU32)>,
}

/// A source as the model is shown it.
#[derive(Serialize, Deserialize)]
struct Shown {
    number: usize,
    document: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<(u64, u64)>,
    text: String,
}

impl SearchTool {
    /// The tool `name`. `measure` counts what its options' budget is of.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        retriever: Arc<dyn Retriever>,
        measure: Arc<dyn Measure>,
        options: SearchToolOptions,
    ) -> Self {
        let schema = ToolSchema::of::<Question>(name, description);
        Self { schema, retriever, measure, options, numbers: SourceNumbers::default(), rewrites: None }
    }

    /// Numbers its sources together with the other tools that have these numbers, so that within a turn none stands for two.
    #[must_use]
    pub fn numbered(mut self, numbers: SourceNumbers) -> Self {
        self.numbers = numbers;
        self
    }

    pub(crate) fn rewriting(mut self, rewrites: Option<(LateModel, NonZeroU32)>) -> Self {
        self.rewrites = rewrites;
        self
    }

    /// The question in other words. A search is worth more than its rewrites: where they fail, it goes on without.
    async fn queries(&self, query: &str, context: &ToolContext) -> (Vec<String>, Option<Error>) {
        let Some((model, count)) = &self.rewrites else { return (Vec::new(), None) };
        let written = async {
            let count = count.get() as usize;
            rewrite_question(&*model.model()?, query, count, context.cancel.clone()).await
        };
        match written.await {
            Ok(queries) => (queries, None),
            Err(error) => (Vec::new(), Some(error)),
        }
    }
}

#[async_trait]
impl Tool for SearchTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let Question { query } = serde_json::from_value(arguments)
            .map_err(|error| ToolError::new(ToolErrorKind::InvalidInput, error.to_string()))?;
        let (queries, unwritten) = self.queries(&query, context).await;
        let options = if queries.is_empty() { Value::Null } else { json!({ "queries": queries }) };
        let page = self.retriever.retrieve(&query, self.options.results, &options, None);
        let page = page.await.map_err(failed)?;
        let packed =
            pack(&page.hits, self.options.budget, &*self.measure, self.options.pack).map_err(failed)?;
        let before = self.numbers.take(context, packed.sources.len());
        let sources: Vec<Shown> = packed
            .sources
            .into_iter()
            .map(|Source { number, mut hit }| Shown {
                number: before + number,
                title: hit.metadata.shift_remove("title"),
                document: hit.document,
                span: hit.span.map(|span| (span.start, span.end)),
                text: hit.text,
            })
            .collect();
        let mut found = json!({ "sources": sources });
        if packed.left_out > 0 {
            found["left_out"] = packed.left_out.into();
        }
        if !queries.is_empty() {
            found["also_searched"] = queries.into();
        }
        if let Some(error) = unwritten {
            found["not_rewritten"] = error.to_string().into();
        }
        Ok(found)
    }
}

fn failed(error: Error) -> ToolError {
    let kind = match error.kind() {
        ErrorKind::InvalidInput => ToolErrorKind::InvalidInput,
        ErrorKind::NotFound => ToolErrorKind::NotFound,
        ErrorKind::ResourceExhausted | ErrorKind::Unavailable => ToolErrorKind::Unavailable,
        _ => ToolErrorKind::Internal,
    };
    ToolError::new(kind, error.to_string())
}

/// The numbers of a turn's sources, counted over all its searches. Clones share them. In a turn that another process began
/// they start again at 1.
#[derive(Clone, Default)]
pub struct SourceNumbers(Arc<Mutex<VecDeque<Turn>>>);

struct Turn {
    session: String,
    turn: String,
    taken: usize,
}

impl SourceNumbers {
    /// Takes the next `count` numbers of a call's turn, and gives the one before the first of them.
    fn take(&self, context: &ToolContext, count: usize) -> usize {
        if context.turn.is_empty() {
            return 0;
        }
        // Nothing in here panics.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            turns.iter_mut().rev().find(|turn| turn.turn == context.turn && turn.session == context.session);
        if let Some(turn) = known {
            turn.taken += count;
            return turn.taken - count;
        }
        if turns.len() == TURNS {
            turns.pop_front();
        }
        let (session, turn) = (context.session.clone(), context.turn.clone());
        turns.push_back(Turn { session, turn, taken: count });
        0
    }
}

/// Holds answers against the sources that search tools gave.
pub(crate) struct SourceCheck {
    /// The names of the tools.
    pub(crate) tools: Vec<String>,
}

impl SourceCheck {
    fn sources(&self, result: &ToolResult) -> Vec<Source> {
        let ToolOutcome::Success { value } = &result.outcome else { return Vec::new() };
        if !self.tools.contains(&result.name) {
            return Vec::new();
        }
        let shown = value["sources"].as_array().into_iter().flatten();
        let read = shown.filter_map(|shown| Shown::deserialize(shown).ok());
        read.map(|Shown { number, document, span, text, .. }| {
            let span = span.map(|(start, end)| Span { start, end });
            Source { number, hit: Hit { document, text, span, score: 0.0, metadata: Map::new() } }
        })
        .collect()
    }
}

impl AnswerCheck for SourceCheck {
    fn check(&self, answer: &str, turn: &[&ToolResult], before: &[&ToolResult]) -> Option<CitationCheck> {
        let mut sources: Vec<Source> = turn.iter().flat_map(|result| self.sources(result)).collect();
        // What a turn before was given is cited by its number where this turn has no source of that number.
        for result in before.iter().rev() {
            let older = self.sources(result);
            let new = |source: &Source| sources.iter().all(|known| known.number != source.number);
            let older: Vec<Source> = older.into_iter().filter(new).collect();
            sources.extend(older);
        }
        let check = check_citations(answer, &sources);
        let searched = turn.iter().any(|result| self.tools.contains(&result.name));
        (searched || !check.markers.is_empty()).then_some(check)
    }
}
