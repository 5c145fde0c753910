use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use puna_core::{GenerateOptions, ToolChoice};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ByteSize, Diagnostics, Grant, KnowledgeSpec, Span, decode, environment};

/// Longest name of an agent or a function, in characters: it is part of keys, file names and prompts.
pub const MAX_NAME_CHARS: usize = 64;

/// What a device's name looks like.
const DEVICE_PATTERN: &str = "^(cpu|cuda(:[0-9]{1,2})?)$";

/// What a function's name looks like.
const FUNCTION_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

/// What an agent's name looks like, or a text that takes it from the environment.
const NAME_PATTERN: &str = r"^[A-Za-z0-9_-]{1,64}$|\$\{";

/// An agent as `agent.yaml` describes it.
///
/// [`AgentSpec::from_file`] and [`AgentSpec::parse`] check everything; `serde` alone checks only the shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// The version of this file's form.
    pub version: Version,
    /// The agent's name: letters, digits, `-` and `_`.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// What the agent is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The model that speaks.
    pub model: ModelSpec,
    /// What the agent is told before every conversation.
    #[serde(default)]
    pub instructions: String,
    /// The plugins whose functions the model may call.
    #[serde(default)]
    pub tools: Vec<PluginSpec>,
    /// Whether the model calls them: `auto`, `none`, `required`, or `{ named: calculate }` for one of them. What is required
    /// is so when the model is first asked, so that it can answer afterwards.
    #[serde(default, skip_serializing_if = "is_auto")]
    pub tool_choice: ToolChoice,
    /// Whether the model may ask for several calls at a time.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub parallel_tool_calls: bool,
    /// Knowledge bases, each of which the model searches with a tool of its own, `search_NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knowledge: Vec<KnowledgeSpec>,
    /// What is remembered.
    #[serde(default)]
    pub memory: MemorySpec,
    /// What a turn may use up.
    #[serde(default)]
    pub limits: AgentLimits,
    /// The form of the answer, and what the command line shows.
    #[serde(default)]
    pub output: OutputSpec,
}

fn is_auto(choice: &ToolChoice) -> bool {
    *choice == ToolChoice::Auto
}

fn yes() -> bool {
    true
}

/// The version of the form of `agent.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl Version {
    /// The version that this Puna reads and writes.
    pub const NUMBER: u64 = 1;
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(serde::de::Error::custom(format!(
                "unsupported version {other}; this Puna reads {}",
                Self::NUMBER
            ))),
        }
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": Self::NUMBER, "description": "The version of this file's form" })
    }
}

/// The model that speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The model's folder; a relative path starts at this file's folder.
    #[schemars(length(min = 1))]
    pub path: PathBuf,
    /// Threads for one step of the model; without it, the machine's cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroU32>,
    /// What the model is computed on: `cpu`, `cuda`, or `cuda:1` for the second GPU; without it, the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DEVICE_PATTERN))]
    pub device: Option<String>,
    /// Most tokens of prompt and answer together; without it, what the model holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<NonZeroU32>,
    /// Which of the folder's graphs, by name or file: `q4`, `onnx/model_int8.onnx`; without it, the fastest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub variant: Option<String>,
    /// An adapter that the model answers with, a file that `puna model adapter` wrote; a relative path starts at this
    /// file's folder. Agents with the same model and different adapters share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub adapter: Option<PathBuf>,
    /// What the folder's second graph is used for; without it, prompts, where it is faster and memory allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion: Option<CompanionPolicy>,
    /// Requests computed at the same time; without it, 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 256))]
    pub slots: Option<NonZeroU32>,
    /// Most memory for keys and values; without it, half of what is free when the model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_memory: Option<ByteSize>,
    /// Whether an answer is the same to the bit whatever runs beside it; requests are computed one row at a time then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
    /// Tokens guessed ahead when a request runs alone, 0 for none; without it, 8. It changes no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_tokens: Option<u32>,
    /// Whether what every conversation begins with (instructions and tools) is kept on the disk once it is computed, so
    /// that a fresh process does not compute it again; takes as much of the cache folder as the cache takes memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm_start: bool,
    /// How tokens are chosen and when an answer stops.
    #[serde(default)]
    pub options: GenerateOptions,
}

/// What a model's second graph is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompanionPolicy {
    /// Nothing; it is not loaded.
    Never,
    /// Prompts.
    Prefill,
    /// Prompts and answers, in place of the first: for many requests at a time.
    Always,
}

/// A plugin's functions as tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    /// The plugin's component; a relative path starts at this file's folder.
    #[schemars(length(min = 1))]
    pub plugin: PathBuf,
    /// Only these functions; without it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(regex(pattern = FUNCTION_PATTERN)), extend("uniqueItems" = true))]
    pub functions: Option<Vec<String>>,
    /// What the plugin may do beyond computing; nothing unless it stands here.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// The plugin's configuration, as its manifest describes it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// How often an instance is used again: faster for a plugin that takes long to start, and what it keeps in memory
    /// goes from call to call. Without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<NonZeroU32>,
    /// What a call may use up; a limit that is not given has the host's default.
    #[serde(default)]
    pub limits: PluginLimits,
}

/// What a plugin's call may use up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginLimits {
    /// Memory of one call, all of the component's memories together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Time of one call, instantiation included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// Time of one call on a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Size of a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ByteSize>,
    /// Requests of one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_requests: Option<NonZeroU32>,
    /// What the requests of one call send and receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_bytes: Option<ByteSize>,
    /// What one call reads and writes of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<ByteSize>,
    /// Tokens that one call has the model generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_tokens: Option<NonZeroU32>,
    /// Rows that one statement gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_rows: Option<NonZeroU32>,
}

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySpec {
    /// Keep conversations on the disk, so that they go on in a later process. Otherwise they end with the process.
    pub conversation: bool,
    /// What to do when a conversation outgrows the model's context.
    pub history: HistoryPolicy,
    /// How the oldest turns are summarised; only where `history` is `summarize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<SummarySpec>,
    /// Facts that are kept beyond a conversation; without it, none. A key without a value has everything by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_term: Option<LongTermSpec>,
}

impl Default for MemorySpec {
    fn default() -> Self {
        Self { conversation: true, history: HistoryPolicy::default(), summary: None, long_term: None }
    }
}

/// What to do when a conversation outgrows the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryPolicy {
    /// Leave the oldest turns out of the prompt, whole, and report how many.
    #[default]
    DropOldestTurns,
    /// End the turn with an error.
    Error,
    /// Let the model summarise the oldest turns, and show it the summary in their place.
    Summarize,
}

/// Facts that are kept beyond a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LongTermSpec {
    /// Whose facts they are.
    pub scope: FactScope,
    /// How facts are found.
    pub search: FactSearch,
    /// Offer the tools `remember`, `recall` and `forget` to the model.
    pub tools: bool,
    /// Let the model write down after every answered turn what is worth keeping of it.
    pub extract: bool,
    /// Most tokens of facts that the model is shown with a question, 0 for none; without it, 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_tokens: Option<u32>,
    /// How long a fact is kept; without it, until it is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

impl Default for LongTermSpec {
    fn default() -> Self {
        Self {
            scope: FactScope::default(),
            search: FactSearch::default(),
            tools: true,
            extract: false,
            recall_tokens: None,
            ttl: None,
        }
    }
}

/// Whose facts they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactScope {
    /// What this agent knows of this user.
    #[default]
    UserAndAgent,
    /// What every agent with this scope knows of this user.
    User,
    /// What this agent knows, whoever speaks.
    Agent,
}

/// How facts are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactSearch {
    /// By meaning and by words; the default embedding model is fetched when it is first needed.
    #[default]
    Hybrid,
    /// By words alone.
    Keyword,
}

/// How the oldest turns are summarised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SummarySpec {
    /// Most tokens of a summary, which never takes more than a quarter of the context; without it, 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<NonZeroU32>,
    /// What to do when the model gives no summary.
    pub fallback: SummaryFallback,
}

/// What to do when the oldest turns cannot be summarised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SummaryFallback {
    /// Leave them out of the prompt, whole, and report how many.
    #[default]
    DropOldestTurns,
    /// End the turn with an error.
    Error,
}

/// What a turn may use up; a limit that is not given has the default of `puna-agent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentLimits {
    /// How often the model may be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<NonZeroU32>,
    /// How many tokens the model may generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<NonZeroU32>,
    /// How long the turn may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// How long one tool call may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_time: Option<Span>,
    /// How many tool calls may run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_calls: Option<NonZeroU32>,
}

/// The form of the answer, and what the command line shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// The JSON Schema that the answer satisfies, here or in a file, whose relative path starts at this file's folder.
    /// Without it, the answer is any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSpec>,
    /// How often the model is asked again, with the reason, when its answer does not satisfy the schema; without it, 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<u32>,
    /// Hold what an answer cites and quotes against the passages that searches gave, and show what does not hold; only where
    /// there is `knowledge`.
    pub citations: bool,
    /// Show the answer as it comes; otherwise once it is complete.
    pub stream: bool,
    /// Show tool calls and their results on standard error.
    pub show_tools: bool,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self { schema: None, repairs: None, citations: true, stream: true, show_tools: true }
    }
}

/// A JSON Schema, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SchemaSpec {
    /// A file with JSON.
    File(PathBuf),
    /// The schema.
    Inline(Map<String, Value>),
}

impl JsonSchema for SchemaSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SchemaSpec".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // What stands in a schema is for the reader to check: a reference to the schema of schemas would have editors
        // fetch it.
        schemars::json_schema!({
            "description": "A JSON Schema, or the file that holds it",
            "type": ["string", "object"],
            "minLength": 1,
        })
    }
}

impl AgentSpec {
    /// Reads a file. Paths in it that are relative become paths from its folder.
    ///
    /// # Errors
    /// [`NotFound`](puna_core::ErrorKind::NotFound) and the like when it cannot be read; else
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) whose message is the rendered [`Diagnostics`].
    pub fn from_file(path: impl AsRef<Path>) -> puna_core::Result<Self> {
        let path = path.as_ref();
        let bytes = decode::read(path)?;
        let name = path.display().to_string();
        let spec = Self::parse(&bytes, &name, &environment::of_process);
        let mut spec = spec.map_err(puna_core::Error::from)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // `join` leaves an absolute path as it is.
        spec.model.path = folder.join(&spec.model.path);
        if let Some(adapter) = &mut spec.model.adapter {
            *adapter = folder.join(&*adapter);
        }
        if let Some(SchemaSpec::File(file)) = &mut spec.output.schema {
            *file = folder.join(&*file);
        }
        for tool in &mut spec.tools {
            tool.plugin = folder.join(&tool.plugin);
            tool.grants.iter_mut().for_each(|grant| grant.resolve(folder));
        }
        spec.knowledge.iter_mut().for_each(|knowledge| knowledge.resolve(folder));
        Ok(spec)
    }

    /// Reads a file's content. `name` stands for it in diagnostics; `environment` gives the values of `${NAME}`.
    /// Relative paths stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        content: &[u8],
        name: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Diagnostics> {
        decode::decode(content, name, environment)
    }

    /// The JSON Schema of `agent.yaml`, draft 2020-12. Every file that is read satisfies it, except that a
    /// key may stand without a value.
    pub fn json_schema() -> Value {
        let mut schema = schemars::schema_for!(AgentSpec).to_value();
        bound_integers(&mut schema);
        schema["title"] = "Puna agent".into();
        schema
    }
}

/// Gives 32-bit numbers their bound: to a validator a `format` says nothing.
fn bound_integers(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("format").is_some_and(|format| format == "uint32") {
                map.entry("maximum").or_insert_with(|| u32::MAX.into());
            }
            map.values_mut().for_each(bound_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        _ => {}
    }
}
