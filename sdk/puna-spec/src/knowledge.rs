//! Knowledge bases, as they stand in a file.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use puna_core::Filter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Grant, PluginLimits,
    node::{Kind, Node, quote},
    values::Decoder,
};

/// Most rewrites of a question: each is a search of its own.
pub const MAX_REWRITES: u32 = 8;

/// Longest name: with `search_` in front it is a tool's.
const MAX_NAME_CHARS: usize = 57;

/// Most passages of a search that a model is given.
const MAX_RESULTS: u32 = 100;

/// What a knowledge base's name looks like.
const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,57}$";

/// What a retriever's name looks like.
const RETRIEVER_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

/// A knowledge base that the model searches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeSpec {
    /// Its name: letters, digits, `-` and `_`. It is the one that `puna knowledge` shows.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// What it has, for the model to know when to search it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Files, folders, patterns such as `docs/**/*.md`, and addresses of pages (`https://example.com/handbook`), brought up
    /// to date when the agent starts; a relative path begins at this file's folder. Without any, what `puna knowledge add`
    /// put there is searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub sources: Vec<String>,
    /// Whether the addresses may be of this machine or its network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private_addresses: bool,
    /// Components of plugins whose loaders read files that are read otherwise or not at all, by their endings; a relative
    /// path starts at this file's folder. A loader is granted nothing but the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub loaders: Vec<PathBuf>,
    /// The embedding model's folder; a relative path starts at this file's folder. Without it, all-MiniLM-L6-v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub model: Option<PathBuf>,
    /// How texts are split; without it, as the knowledge base does, by each document's format at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// What is compared; without it, meaning and words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<KnowledgeMode>,
    /// Which documents may be found, as a condition on what is known of them: `{ eq: [lang, ko] }`, `{ and: [...] }`. Other
    /// retrievers have conditions of their own, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// In how many other words the agent's model puts each question, from 1 to 8; what is found for any of them is fused.
    /// Without it, the question is searched as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_REWRITES))]
    pub rewrites: Option<NonZeroU32>,
    /// Retrievers of plugins that are searched beside the knowledge base; what all find is fused by rank.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retrievers: Vec<RetrieverSpec>,
    /// What reads the best candidates again, beside the question: `late_interaction`, or `{ model: DIR }` for a
    /// cross-encoder. Without it, the order is that of the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankSpec>,
    /// Between passages that answer best (1) and passages that differ most (0): maximal marginal relevance, 0.5 is usual.
    /// Without it, passages may say the same. Not together with `rerank`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub diversity: Option<f32>,
    /// Whether the larger part that a chunk belongs to is given in its place; needs `split.parent_size`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parents: bool,
    /// How many passages a search gives; without it, 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub results: Option<NonZeroU32>,
    /// Most tokens of all passages of a search together, counted as the embedding model does; without it, 1000. What does
    /// not fit is left out, and the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<NonZeroU32>,
    /// What becomes of passages that do not fit into the budget; without it, `cut_last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackSpec>,
}

/// How texts are split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Where texts are split; without it, as each document's format says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SplitKind>,
    /// What is counted; without it, tokens of the embedding model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<SplitUnit>,
    /// The most of a chunk; without it, 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<NonZeroU32>,
    /// The most that a chunk repeats of the one before it, half of `size` at most; without it, 20 or half of `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u32>,
    /// The most of a parent, which a search can give for its chunk (`parents: true`); without it, there are no parents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_size: Option<NonZeroU32>,
}

/// Where texts are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// At paragraphs, lines, sentences, words.
    Recursive,
    /// At headings and blocks of Markdown.
    Markdown,
    /// At headings and blocks of HTML.
    Html,
    /// At definitions.
    Code,
    /// Where the meaning of neighbouring sentences turns.
    Semantic,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitUnit {
    /// Tokens of the embedding model.
    Tokens,
    /// Characters.
    Characters,
    /// Words.
    Words,
}

/// What a search compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KnowledgeMode {
    /// Meaning and words, fused by their ranks.
    Hybrid,
    /// Meaning.
    Vector,
    /// Words.
    Keyword,
}

/// What reads candidates again beside the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerankSpec {
    /// The embedding model: each token of the question is compared with each token of the passage.
    LateInteraction,
    /// A cross-encoder's folder; a relative path starts at this file's folder.
    Model(#[schemars(length(min = 1))] PathBuf),
}

/// What becomes of passages that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackSpec {
    /// Each is whole or left out; smaller ones behind one that is left out are tried.
    Whole,
    /// The first that does not fit is cut at the end of a sentence, and what comes after it is left out.
    CutLast,
}

/// A plugin's retriever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrieverSpec {
    /// The plugin's component; a relative path starts at this file's folder.
    #[schemars(length(min = 1))]
    pub plugin: PathBuf,
    /// Which of its retrievers; without it, the only one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = RETRIEVER_PATTERN))]
    pub retriever: Option<String>,
    /// The retriever's options, as its manifest describes them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub options: Value,
    /// What the plugin may do beyond computing; nothing unless it stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The plugin's configuration, as its manifest describes it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// What a call may use up; a limit that is not given has the host's default.
    #[serde(default)]
    pub limits: PluginLimits,
}

impl KnowledgeSpec {
    /// Makes relative paths paths from `folder`.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        // `join` leaves an absolute path as it is.
        for source in self.sources.iter_mut().filter(|source| !is_address(source)) {
            *source = folder.join(&*source).display().to_string();
        }
        let reranker = match &mut self.rerank {
            Some(RerankSpec::Model(path)) => Some(path),
            _ => None,
        };
        for retriever in &mut self.retrievers {
            retriever.plugin = folder.join(&retriever.plugin);
            retriever.grants.iter_mut().for_each(|grant| grant.resolve(folder));
        }
        let paths = self.loaders.iter_mut().chain(&mut self.model).chain(reranker);
        paths.for_each(|path| *path = folder.join(&*path));
    }
}

/// Whether a source is the address of a page, rather than a path.
pub fn is_address(source: &str) -> bool {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}

const MODES: [(&str, KnowledgeMode); 3] = [
    ("hybrid", KnowledgeMode::Hybrid),
    ("vector", KnowledgeMode::Vector),
    ("keyword", KnowledgeMode::Keyword),
];

const SPLITS: [(&str, SplitKind); 5] = [
    ("recursive", SplitKind::Recursive),
    ("markdown", SplitKind::Markdown),
    ("html", SplitKind::Html),
    ("code", SplitKind::Code),
    ("semantic", SplitKind::Semantic),
];

const UNITS: [(&str, SplitUnit); 3] =
    [("tokens", SplitUnit::Tokens), ("characters", SplitUnit::Characters), ("words", SplitUnit::Words)];

const PACKS: [(&str, PackSpec); 2] = [("whole", PackSpec::Whole), ("cut_last", PackSpec::CutLast)];

/// What [`SplitSpec::size`] is without one.
const DEFAULT_SIZE: u32 = 200;

impl Decoder<'_> {
    pub(crate) fn knowledge(&mut self, node: &Node) -> Option<Vec<KnowledgeSpec>> {
        let all = self.list(node, Self::knowledge_base)?;
        let Kind::Sequence(nodes) = &node.kind else { return Some(all) };
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (base, Node { place, .. }) in all.iter().zip(nodes.iter()) {
            if let Some(line) = lines.insert(&base.name, place.line) {
                self.report(
                    *place,
                    format!("the knowledge base of line {line} has the name {} too", quote(&base.name)),
                );
            }
        }
        Some(all)
    }

    fn knowledge_base(&mut self, node: &Node) -> Option<KnowledgeSpec> {
        let mut f = self.fields(node, "a knowledge base")?;
        let name = self.required(&mut f, "name", None).and_then(|node| self.knowledge_name(node));
        let description = self.optional(f.take("description"), Self::text);
        let sources = self.optional(f.take("sources"), |d, n| d.list(n, Self::source)).unwrap_or_default();
        let private_addresses = self.optional(f.take("private_addresses"), Self::boolean).unwrap_or_default();
        let loaders = self.optional(f.take("loaders"), |d, n| d.list(n, Self::path)).unwrap_or_default();
        let model = self.optional(f.take("model"), Self::path);
        let split = self.optional(f.take("split"), Self::split);
        let mode = self.optional(f.take("mode"), |d, n| d.word(n, &MODES));
        let filter = self.optional(f.take("filter"), Self::filter);
        let rewrites = self.optional(f.take("rewrites"), |d, n| d.at_most(n, MAX_REWRITES));
        let retrievers =
            self.optional(f.take("retrievers"), |d, n| d.list(n, Self::retriever)).unwrap_or_default();
        let reranked = f.take("rerank");
        let rerank = self.optional(reranked, Self::rerank);
        let varied = f.take("diversity");
        let diversity = self.optional(varied, |d, n| {
            d.float(n, "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
        });
        let parents = self.optional(f.take("parents"), Self::boolean).unwrap_or_default();
        let results = self.optional(f.take("results"), |d, n| d.at_most(n, MAX_RESULTS));
        let budget = self.optional(f.take("budget"), Self::count);
        let pack = self.optional(f.take("pack"), |d, n| d.word(n, &PACKS));
        self.finish(f);
        if let (Some(node), Some(_)) = (varied, reranked) {
            let help = Some("leave one of the two out".to_owned());
            self.report_help(node.place, "`diversity` and `rerank` each put the passages in order", help);
        }
        Some(KnowledgeSpec {
            name: name?,
            description,
            sources,
            private_addresses,
            loaders,
            model,
            split,
            mode,
            filter,
            rewrites,
            retrievers,
            rerank,
            diversity,
            parents,
            results,
            budget,
            pack,
        })
    }

    /// As it stands: a tool's name does not depend on the environment.
    fn knowledge_name(&mut self, node: &Node) -> Option<String> {
        let form = format!("a name of 1 to {MAX_NAME_CHARS} letters, digits, `-` and `_`");
        match &node.kind {
            Kind::Scalar { text, .. }
                if node.is_text() && text.len() <= MAX_NAME_CHARS && crate::decode::is_name(text) =>
            {
                Some(text.to_string())
            }
            _ => self.expected(node, form),
        }
    }

    fn source(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        if text.is_empty() || text.contains('\0') {
            return self.expected(node, "a path, a pattern or an address");
        }
        Some(text)
    }

    fn split(&mut self, node: &Node) -> Option<SplitSpec> {
        let mut f = self.fields(node, "`split`")?;
        let by = self.optional(f.take("by"), |d, n| d.word(n, &SPLITS));
        let unit = self.optional(f.take("unit"), |d, n| d.word(n, &UNITS));
        let size = self.optional(f.take("size"), Self::count);
        let overlapping = f.take("overlap");
        let overlap = self.optional(overlapping, |d, n| d.parsed(n, "a whole number, 0 for none"));
        let parent = f.take("parent_size");
        let parent_size = self.optional(parent, Self::count);
        self.finish(f);
        let of_chunk = size.map_or(DEFAULT_SIZE, NonZeroU32::get);
        if let (Some(node), Some(overlap)) = (overlapping, overlap)
            && overlap > of_chunk / 2
        {
            let message = format!("an overlap of {overlap} is more than half of `size`, {of_chunk}");
            self.report(node.place, message);
        }
        if let (Some(node), Some(parent)) = (parent, parent_size)
            && parent.get() < of_chunk
        {
            let message =
                format!("a parent of {parent} is smaller than its chunks, whose `size` is {of_chunk}");
            self.report(node.place, message);
        }
        Some(SplitSpec { by, unit, size, overlap, parent_size })
    }

    fn filter(&mut self, node: &Node) -> Option<Filter> {
        let read = serde_json::from_value::<Filter>(self.json(node)?);
        let checked = read.map_err(|error| error.to_string()).and_then(|filter| {
            filter.check().map_err(|error| error.to_string())?;
            Ok(filter)
        });
        match checked {
            Ok(filter) => Some(filter),
            Err(reason) => {
                let help = Some("write a condition such as `{ eq: [lang, ko] }`".to_owned());
                self.report_help(node.place, format!("this is no filter: {reason}"), help);
                None
            }
        }
    }

    fn rerank(&mut self, node: &Node) -> Option<RerankSpec> {
        if !matches!(node.kind, Kind::Mapping(_)) {
            return self.word(node, &[("late_interaction", ())]).map(|()| RerankSpec::LateInteraction);
        }
        let mut f = self.fields(node, "`rerank`")?;
        let model = self.required(&mut f, "model", None).and_then(|node| self.path(node));
        self.finish(f);
        model.map(RerankSpec::Model)
    }

    fn retriever(&mut self, node: &Node) -> Option<RetrieverSpec> {
        let mut f = self.fields(node, "a retriever")?;
        let plugin = self.required(&mut f, "plugin", None).and_then(|node| self.path(node));
        let retriever = self.optional(f.take("retriever"), |d, node| match &node.kind {
            Kind::Scalar { text, .. } if node.is_text() && crate::decode::is_name(text) => {
                Some(text.to_string())
            }
            _ => d.expected(node, format_args!("a retriever's name of {}", crate::decode::NAME_FORM)),
        });
        let options = self.optional(f.take("options"), Self::json).unwrap_or_default();
        let grants = self.optional(f.take("grants"), |d, n| d.list(n, Self::grant)).unwrap_or_default();
        let config = self.optional(f.take("config"), Self::json).unwrap_or_default();
        let limits = self.optional(f.take("limits"), Self::plugin_limits).unwrap_or_default();
        self.finish(f);
        Some(RetrieverSpec { plugin: plugin?, retriever, options, grants, config, limits })
    }

    fn at_most(&mut self, node: &Node, most: u32) -> Option<NonZeroU32> {
        let count = self.count(node)?;
        if count.get() <= most {
            return Some(count);
        }
        self.expected(node, format_args!("a whole number from 1 to {most}"))
    }
}
