use std::{collections::BTreeMap, pin::Pin, time::Instant};

use async_trait::async_trait;
use futures_util::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CancellationToken, Message, Result, ToolSchema};

/// A language model that continues conversations.
#[async_trait]
pub trait Model: Send + Sync {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// Continues a conversation. The stream gives any number of deltas and ends with exactly one
    /// [`ModelEvent::Finished`] or one error. Dropping the stream stops the generation.
    ///
    /// # Errors
    /// [`ContextOverflow`](crate::ErrorKind::ContextOverflow) when the prompt does not fit;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for options or messages the model cannot take.
    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream>;

    /// How many tokens a text is; none where the model cannot tell.
    fn count_tokens(&self, text: &str) -> Option<usize> {
        let _ = text;
        None
    }
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name: the folder's, or the remote name.
    pub name: String,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// Whether answers are held to [`GenerateRequest::constraint`] while they are generated. A model without is not given
    /// one: it is told the form in words, and its answers are checked.
    #[serde(default)]
    pub constraints: bool,
}

/// What to continue, and how.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools the model may call.
    pub tools: Vec<ToolSchema>,
    /// Whether it may or must.
    pub tool_choice: ToolChoice,
    /// Whether it may call several in one answer; on by default.
    pub parallel_tool_calls: bool,
    /// The form of an answer that is no call of a tool.
    pub constraint: Option<Constraint>,
    /// How to continue.
    pub options: GenerateOptions,
    /// Added to the logits of tokens, from -100 to 100, before they are chosen from.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Asks for a [`ModelEvent::Token`] for every token, with so many of the likeliest in its place.
    pub logprobs: Option<u32>,
    /// The name of an adapter that changes the model for this request alone; without it, the model is as it is.
    pub adapter: Option<String>,
    /// Stops the generation within one step, with [`StopReason::Cancelled`].
    pub cancel: CancellationToken,
    /// Stops the generation within one step, with [`StopReason::Deadline`].
    pub deadline: Option<Instant>,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: ToolChoice::default(),
            parallel_tool_calls: true,
            constraint: None,
            options: GenerateOptions::default(),
            logit_bias: BTreeMap::new(),
            logprobs: None,
            adapter: None,
            cancel: CancellationToken::default(),
            deadline: None,
        }
    }
}

/// Whether a model calls tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it finds best.
    #[default]
    Auto,
    /// Never.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

impl std::str::FromStr for ToolChoice {
    type Err = std::convert::Infallible;

    /// `auto`, `none`, `required`; every other text is a tool's name.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "none" => Self::None,
            "required" => Self::Required,
            name => Self::Named(name.to_owned()),
        })
    }
}

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON that satisfies a JSON Schema.
    JsonSchema(Value),
    /// Text that a regular expression matches from its start to its end.
    Regex(String),
    /// Text of a context-free grammar in Lark's notation, from its rule `start`.
    Lark(String),
}

/// How a model chooses tokens and when it stops. What is not said is as the model's authors chose, where they did
/// (`generation_config.json` and the like); else tokens are decoded greedily, up to the context's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateOptions {
    /// The most tokens to generate; without it, as many as the context holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token; higher values flatten the distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub temperature: Option<f32>,
    /// Only the k likeliest tokens; 0 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens whose probabilities reach this sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already seen (above 1 discourages, 1 is off), as in CTRL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub repetition_penalty: Option<f32>,
    /// Only tokens whose surprise is nearest to the expected one, the likeliest whose probabilities reach this sum
    /// (locally typical sampling: Meister et al., 2022).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub typical_p: Option<f32>,
    /// Taken from the logits of tokens for each time they were generated, from -2 to 2, as in OpenAI's interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: Option<f32>,
    /// Taken once from the logits of tokens that were generated, from -2 to 2, as in OpenAI's interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: Option<f32>,
    /// Discourages tokens that would go on with a passage that stood before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry: Option<DryOptions>,
    /// Searches for the likeliest answer as a whole, several continuations at a time. It comes at once when it is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beam: Option<BeamOptions>,
    /// The seed of sampling; the same seed, model and input give the same output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Strings that end the answer; they are not part of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

impl GenerateOptions {
    /// The same, with what is not said as `defaults` say it. A search for the likeliest answer takes no temperature.
    ///
    /// ```
    /// use puna_core::GenerateOptions;
    ///
    /// let authors = GenerateOptions { temperature: Some(0.6), top_p: Some(0.9), ..Default::default() };
    /// let asked = GenerateOptions { temperature: Some(0.0), ..Default::default() };
    /// let options = asked.with_defaults(&authors);
    /// assert_eq!((options.temperature, options.top_p), (Some(0.0), Some(0.9)));
    /// ```
    pub fn with_defaults(self, defaults: &Self) -> Self {
        let searched = self.beam.is_some();
        Self {
            max_tokens: self.max_tokens.or(defaults.max_tokens),
            temperature: self.temperature.or(defaults.temperature.filter(|_| !searched)),
            top_k: self.top_k.or(defaults.top_k),
            top_p: self.top_p.or(defaults.top_p),
            min_p: self.min_p.or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.or(defaults.repetition_penalty),
            typical_p: self.typical_p.or(defaults.typical_p),
            frequency_penalty: self.frequency_penalty.or(defaults.frequency_penalty),
            presence_penalty: self.presence_penalty.or(defaults.presence_penalty),
            dry: self.dry.or_else(|| defaults.dry.clone()),
            beam: self.beam.or_else(|| defaults.beam.clone()),
            seed: self.seed.or(defaults.seed),
            stop: if self.stop.is_empty() { defaults.stop.clone() } else { self.stop },
        }
    }
}

/// How repeated passages are discouraged ("don't repeat yourself", DRY): a token that would make a passage of `n`
/// tokens, which stood before, longer by one loses `multiplier * base ^ (n - allowed_length)` of its logit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DryOptions {
    /// How strongly; 0 is off.
    #[schemars(range(min = 0.0))]
    pub multiplier: f32,
    /// How fast it grows with the passage's length.
    #[schemars(range(min = 1.0))]
    pub base: f32,
    /// Passages of up to so many tokens are free.
    pub allowed_length: u32,
    /// Texts that no passage goes across: a token that holds one ends it.
    pub sequence_breakers: Vec<String>,
}

impl Default for DryOptions {
    /// What its author proposes.
    fn default() -> Self {
        Self {
            multiplier: 0.8,
            base: 1.75,
            allowed_length: 2,
            sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).into(),
        }
    }
}

/// How the likeliest answer as a whole is searched for: of all continuations of the `beams` likeliest beginnings the
/// likeliest go on. The answer is the one with the largest sum of log-probabilities, divided by `length ^
/// length_penalty`. As Hugging Face's `generate` with `num_beams`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BeamOptions {
    /// Continuations at a time, from 2 to 64.
    #[schemars(range(min = 2, max = 64))]
    pub beams: u32,
    /// Above 0 favours long answers, below 0 short ones; 1 compares the mean log-probability of a token.
    pub length_penalty: f32,
    /// Whether to end as soon as there are as many answers as beams, rather than when none can become better.
    pub early_stopping: bool,
}

impl Default for BeamOptions {
    fn default() -> Self {
        Self { beams: 4, length_penalty: 1.0, early_stopping: false }
    }
}

/// How likely a token was where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability after the tokens before it, from the model's own logits.
    pub logprob: f64,
    /// The likeliest tokens there and their log-probabilities, the likeliest first.
    pub top: Vec<(u32, f64)>,
}

/// What a model sends while it generates.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelEvent {
    /// More text of the answer; never a part of a character, never the text of a tool call.
    TextDelta(String),
    /// More of a tool call while it is written.
    ToolCallDelta(ToolCallDelta),
    /// A token that was generated, where [`GenerateRequest::logprobs`] asks for it.
    Token(TokenScore),
    /// The end.
    Finished(Completion),
}

/// More of a tool call while it is written, to show it: what counts is the message in [`ModelEvent::Finished`],
/// in which the call may turn out to be invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which of the message's calls, from 0, the invalid ones counted.
    pub index: usize,
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The next characters of the arguments as JSON; none with a call's first delta at times.
    pub arguments: String,
}

/// A stream of [`ModelEvent`]s.
pub type ModelStream = Pin<Box<dyn Stream<Item = Result<ModelEvent>> + Send>>;

/// A finished generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The assistant's message: text and tool calls in order.
    pub message: Message,
    /// Why it ended.
    pub stop: StopReason,
    /// What it cost.
    pub usage: Usage,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The model ended its turn.
    EndOfTurn,
    /// The model asks for tool calls.
    ToolCalls,
    /// `max_tokens` was reached: the answer is cut.
    MaxTokens,
    /// The context is full: the answer is cut.
    ContextFull,
    /// A stop string appeared.
    StopString,
    /// The caller cancelled.
    Cancelled,
    /// The deadline passed.
    Deadline,
}

/// What a generation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt, the cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the prompt whose keys and values were already in the cache.
    pub cached_tokens: u64,
    /// Tokens generated, the one that ended the answer included.
    pub completion_tokens: u64,
    /// Time to process the prompt, in milliseconds.
    pub prefill_ms: f64,
    /// Time to generate, in milliseconds.
    pub decode_ms: f64,
    /// Tokens of the prompt that another graph computed than the one that generates.
    #[serde(skip_serializing_if = "is_zero")]
    pub companion_tokens: u64,
    /// Tokens guessed ahead and computed with the ones before them.
    #[serde(skip_serializing_if = "is_zero")]
    pub drafted_tokens: u64,
    /// Guessed tokens that were right, each of which saved a step.
    #[serde(skip_serializing_if = "is_zero")]
    pub accepted_tokens: u64,
    /// Tokens that the form of the answer left no choice of, each of which saved a step.
    #[serde(skip_serializing_if = "is_zero")]
    pub forced_tokens: u64,
    /// Time to work out which tokens the form of the answer allows, in milliseconds; most of it while the model runs.
    #[serde(skip_serializing_if = "is_none")]
    pub mask_ms: f64,
    /// How much of that the model waited for, in milliseconds.
    #[serde(skip_serializing_if = "is_none")]
    pub mask_wait_ms: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none(time: &f64) -> bool {
    *time == 0.0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.prefill_ms += other.prefill_ms;
        self.decode_ms += other.decode_ms;
        self.companion_tokens += other.companion_tokens;
        self.drafted_tokens += other.drafted_tokens;
        self.accepted_tokens += other.accepted_tokens;
        self.forced_tokens += other.forced_tokens;
        self.mask_ms += other.mask_ms;
        self.mask_wait_ms += other.mask_wait_ms;
    }
}
