use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{
    CancellationToken, Constraint, Error, ErrorKind, GenerateOptions, GenerateRequest, Message, Model,
    ModelEvent, ModelInfo, ModelStream, Result, TokenScore, ToolChoice, ToolSchema,
};
use puna_text::{AnswerForm, ChatTemplate, ConstraintCompiler, Matcher, RenderOptions, Tokenizer};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    LoadOptions, ModelDetails, Perplexity, Runtime, Sampler,
    adapter::{Adapter, Adapters},
    beam,
    engine::{Calls, EachLogits, Engine, EngineStatus, Generate, Job, Score, Task},
    load::{self, Loaded, default_budget},
    prefix,
    score::{Window, windows},
    worker::{Worker, WorkerOptions, common_prefix},
};

/// An ONNX Llama in this process. Requests are computed together, as many as there are slots; more wait in the order
/// they came.
pub struct OnnxModel {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    engine: Engine,
    details: ModelDetails,
    origin: (String, PathBuf),
    fingerprint: OnceLock<[u8; prefix::DIGEST]>,
    eos: Vec<u32>,
    adapters: Adapters,
    constrain_calls: bool,
    compiler: OnceLock<ConstraintCompiler>,
}

/// Tokens to continue as they stand.
#[derive(Clone, Debug, Default)]
pub struct CompletionRequest {
    /// The tokens.
    pub prompt: Vec<u32>,
    /// How to continue.
    pub options: GenerateOptions,
    /// As [`GenerateRequest::logit_bias`].
    pub logit_bias: BTreeMap<u32, f32>,
    /// As [`GenerateRequest::logprobs`].
    pub logprobs: Option<u32>,
    /// As [`GenerateRequest::constraint`].
    pub constraint: Option<Constraint>,
    /// As [`GenerateRequest::adapter`].
    pub adapter: Option<String>,
    /// Whether to go on after the tokens that end an answer, as measuring speed does.
    pub ignore_end: bool,
    /// Stops the generation within one step, with [`StopReason::Cancelled`](puna_core::StopReason::Cancelled).
    pub cancel: CancellationToken,
    /// Stops the generation within one step, with [`StopReason::Deadline`](puna_core::StopReason::Deadline).
    pub deadline: Option<Instant>,
}

impl OnnxModel {
    /// Loads a model's folder: the graph, its tokenizer and its chat template. Blocks while it loads.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for files that are missing, [`Corrupt`](ErrorKind::Corrupt) for a graph
    /// that does not load, [`InvalidInput`](ErrorKind::InvalidInput) for files that do not belong together.
    pub fn load(runtime: &Runtime, folder: &Path, options: LoadOptions) -> Result<Self> {
        let Loaded { graphs, tokenizer, template, eos, details, openings, origin } =
            load::load(runtime, folder, &options)?;
        let info = ModelInfo {
            name: details.name.clone(),
            context_length: details.context_length,
            constraints: true,
        };
        let worker = WorkerOptions {
            slots: options.slots,
            budget: options.cache_memory.map_or_else(|| default_budget(options.device), Ok)?,
            deterministic: options.deterministic,
            draft: options.draft_tokens,
        };
        let engine = Engine::start(options.queue, |shared| {
            Worker::new(graphs, tokenizer.clone(), eos.clone(), worker, shared)
        })?;
        Ok(Self {
            info,
            tokenizer,
            template,
            engine,
            details,
            origin,
            fingerprint: OnceLock::new(),
            eos,
            adapters: Adapters::new(folder, openings),
            constrain_calls: options.constrain_calls,
            compiler: OnceLock::new(),
        })
    }

    /// What the model turned out to be.
    pub fn details(&self) -> &ModelDetails {
        &self.details
    }

    /// The prompt of a request, as tokens.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for messages that the model's template does not take.
    pub fn prompt(&self, request: &GenerateRequest) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the model `{}` has no chat template; only texts can be continued", self.info.name),
            )
        })?;
        let prompt = template.render(
            &request.messages,
            &RenderOptions { tools: &request.tools, ..RenderOptions::default() },
        )?;
        self.tokenizer.encode_prompt(&prompt)
    }

    /// Loads an adapter from a file, for requests that name it. Adapters in the model's own folder `adapters`, as
    /// `adapters/NAME.onnx_adapter`, need not be loaded: the first request that names one does it. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) without the file; [`Corrupt`](ErrorKind::Corrupt) when it is no adapter;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it is one for another model, or the graph takes none;
    /// [`Conflict`](ErrorKind::Conflict) when another adapter has the name.
    pub fn load_adapter(&self, name: &str, file: &Path) -> Result<()> {
        self.adapters.load(name, file).map(|_| ())
    }

    /// Lets go of an adapter, whose memory comes back when the last request with it ends. False where none of this name
    /// was loaded. One of the model's own folder is loaded again when a request names it.
    pub fn unload_adapter(&self, name: &str) -> bool {
        self.adapters.unload(name)
    }

    /// The names of the adapters that requests may ask for.
    pub fn adapters(&self) -> Vec<String> {
        self.adapters.names()
    }

    /// What the model is doing.
    pub fn status(&self) -> EngineStatus {
        self.engine.status()
    }

    /// A text's tokens, after those that begin a text where the model has them. The name of a special token is
    /// ordinary text.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.tokenizer.start_tokens()?;
        tokens.extend(self.tokenizer.encode_text(text)?);
        Ok(tokens)
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer fails.
    pub fn text(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens)
    }

    /// Continues tokens as they stand, without a chat template. No tool is called.
    ///
    /// # Errors
    /// Those of [`Model::generate`], and [`InvalidInput`](ErrorKind::InvalidInput) for no tokens.
    pub fn complete(&self, request: CompletionRequest) -> Result<ModelStream> {
        let CompletionRequest {
            prompt,
            options,
            logit_bias,
            logprobs,
            constraint,
            adapter,
            ignore_end,
            cancel,
            deadline,
        } = request;
        let request = GenerateRequest {
            options,
            logit_bias,
            logprobs,
            constraint,
            adapter,
            cancel,
            deadline,
            ..Default::default()
        };
        self.start(prompt, request, ignore_end)
    }

    /// Several answers to one request, each a stream of its own. The prompt is computed once. With a seed, the first
    /// answer has this seed and each further one the next number.
    ///
    /// # Errors
    /// Those of [`Model::generate`], and [`InvalidInput`](ErrorKind::InvalidInput) for no answer or more answers than
    /// slots.
    pub fn choices(&self, request: &GenerateRequest, count: usize) -> Result<Vec<ModelStream>> {
        if !(1..=self.details.slots).contains(&count) {
            return Err(Error::invalid_input(format!(
                "`{count}` answers are asked for; from 1 to {} are given at a time, as many as there are slots",
                self.details.slots
            )));
        }
        if request.options.beam.is_some() && count > 1 {
            return Err(Error::invalid_input(format!(
                "`{count}` answers are asked for, and `beam` finds one; leave one of them out"
            )));
        }
        let prompt = self.prompt(request)?;
        (0..count)
            .map(|index| {
                let mut options = request.options.clone();
                options.seed = options.seed.map(|seed| seed.wrapping_add(index as u64));
                self.start(prompt.clone(), GenerateRequest { options, ..request.clone() }, false)
            })
            .collect()
    }

    /// How likely the tokens from the `from`th on are, each after all before it, with the `top` likeliest tokens at
    /// each place; with an adapter by its name, as in [`GenerateRequest::adapter`].
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when `from` is 0, beyond the tokens, or `top` above 20;
    /// [`ContextOverflow`](ErrorKind::ContextOverflow) for more tokens than the context;
    /// [`NotFound`](ErrorKind::NotFound) for an adapter that there is not.
    pub async fn score(
        &self,
        tokens: &[u32],
        from: usize,
        top: usize,
        adapter: Option<&str>,
    ) -> Result<Vec<TokenScore>> {
        self.score_each(tokens, from, top, adapter, None).await
    }

    /// As [`score`](Self::score), and shows the logits of each place.
    pub(crate) async fn score_each(
        &self,
        tokens: &[u32],
        from: usize,
        top: usize,
        adapter: Option<&str>,
        each: Option<EachLogits>,
    ) -> Result<Vec<TokenScore>> {
        if from == 0 || from >= tokens.len() {
            return Err(Error::invalid_input(format!(
                "tokens are scored from `{from}` of {}; the first has nothing before it, and one must be left",
                tokens.len()
            )));
        }
        if top > MAX_TOP {
            return Err(too_many(top));
        }
        let vocabulary = self.details.vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::invalid_input(format!(
                "token `{token}` is beyond the model's vocabulary of {vocabulary}"
            )));
        }
        let context = self.info.context_length;
        if tokens.len() > context {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!(
                    "{} tokens do not fit the context of {context}; score them in windows, as `perplexity` does",
                    tokens.len()
                ),
            ));
        }
        let adapter = adapter.map(|name| self.adapters.get(name)).transpose()?;
        self.ask(tokens, adapter, |reply| Task::Score(Score { from, top, scores: Vec::new(), each, reply }))
            .await
    }

    /// How well the model expects a text, from its tokens. A text longer than the context is scored in windows of the
    /// context's length that overlap by half, so that every token but the first has at least half a context before it
    /// where there is as much.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for fewer than two tokens; [`NotFound`](ErrorKind::NotFound) for an
    /// adapter that there is not.
    pub async fn perplexity(&self, tokens: &[u32], adapter: Option<&str>) -> Result<Perplexity> {
        if tokens.len() < 2 {
            return Err(Error::invalid_input(format!(
                "the perplexity of {} tokens is asked for; there must be two at least",
                tokens.len()
            )));
        }
        let mut logprobs = Vec::with_capacity(tokens.len());
        for Window { tokens, from } in windows(tokens, self.info.context_length) {
            let scores = self.score(tokens, from, 0, adapter).await?;
            logprobs.extend(scores.iter().map(|score| score.logprob));
        }
        Ok(Perplexity::of(logprobs))
    }

    /// What every conversation with these instructions and tools begins with, as tokens.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what the model's template does not take.
    pub fn prefix(&self, instructions: &str, tools: &[ToolSchema]) -> Result<Vec<u32>> {
        let prompt = |user: &str| {
            let mut messages = vec![Message::user(user)];
            if !instructions.is_empty() {
                messages.insert(0, Message::system(instructions));
            }
            self.prompt(&GenerateRequest { messages, tools: tools.to_vec(), ..GenerateRequest::default() })
        };
        let mut prefix = prompt("0")?;
        let shared = common_prefix(&prefix, &prompt("a")?);
        prefix.truncate(shared);
        Ok(prefix)
    }

    /// Makes prompts that begin with these tokens start warm: takes their keys and values from a file in the folder, or
    /// computes them and writes the file. True where the file was there. Blocks while it reads or writes.
    ///
    /// The file is named after the tokens and what the model is: its graphs, tokenizer, adapter and ONNX Runtime's version.
    /// One that is damaged is computed anew and written over.
    ///
    /// # Errors
    /// [`ContextOverflow`](ErrorKind::ContextOverflow) for more tokens than the context;
    /// [`Io`](ErrorKind::Io) and its like when the file cannot be read or written.
    pub async fn warm_start(&self, tokens: &[u32], adapter: Option<&str>, folder: &Path) -> Result<bool> {
        let context = self.info.context_length;
        if tokens.is_empty() || tokens.len() > context {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!("a prefix of {} tokens is no beginning of a context of {context}", tokens.len()),
            ));
        }
        let adapter = adapter.map(|name| self.adapters.get(name)).transpose()?;
        let fingerprint =
            &prefix::adapted(self.fingerprint()?, adapter.as_ref().map(|adapter| &adapter.digest));
        let file = folder.join(prefix::file_name(fingerprint, tokens));
        let bytes = self.details.cache_bytes_per_token as u64;
        match prefix::read(&file, fingerprint, bytes, context) {
            Ok((found, values)) if found == tokens => {
                self.ask(tokens, adapter, |reply| Task::Restore(values, reply)).await?;
                return Ok(true);
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound) => {}
            Err(error) => tracing::info!(%error, "a saved prefix is computed again"),
        }
        let values = self.ask(tokens, adapter, Task::Save).await?;
        prefix::write(&file, fingerprint, tokens, &values)?;
        Ok(false)
    }

    fn fingerprint(&self) -> Result<&[u8; prefix::DIGEST]> {
        if self.fingerprint.get().is_none() {
            let (version, tokenizer) = &self.origin;
            let mut graphs = vec![self.details.graph.as_path()];
            graphs.extend(self.details.prefill_graph.as_deref());
            // Another thread finds the same.
            let _ = self.fingerprint.set(prefix::fingerprint(version, &graphs, tokenizer)?);
        }
        self.fingerprint.get().ok_or_else(|| Error::internal("the model has no fingerprint"))
    }

    /// Queues a task that replies once.
    async fn ask<T>(
        &self,
        tokens: &[u32],
        adapter: Option<Arc<Adapter>>,
        task: impl FnOnce(oneshot::Sender<Result<T>>) -> Task,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.engine.submit(Job {
            prompt: tokens.to_vec(),
            cancel: CancellationToken::default(),
            deadline: None,
            adapter,
            task: task(reply),
        })?;
        answer.await.map_err(|_| ended())?
    }

    /// The tokens that hold one of the texts.
    fn breakers(&self, texts: &[String]) -> Result<HashSet<u32>> {
        let count = u32::try_from(self.tokenizer.vocabulary_size()).unwrap_or(u32::MAX);
        let mut breakers = HashSet::new();
        for token in 0..count {
            let text = self.tokenizer.decode(&[token])?;
            if texts.iter().any(|breaker| text.contains(breaker.as_str())) {
                breakers.insert(token);
            }
        }
        Ok(breakers)
    }

    /// What follows an answer that must have a form.
    fn matcher(&self, request: &GenerateRequest) -> Result<Option<Box<Matcher>>> {
        let form = AnswerForm {
            dialect: self.details.dialect,
            tools: &request.tools,
            choice: &request.tool_choice,
            parallel: request.parallel_tool_calls,
            answer: request.constraint.as_ref(),
        };
        let explicit =
            form.answer.is_some() || matches!(form.choice, ToolChoice::Required | ToolChoice::Named(_));
        if form.is_free() || !(explicit || self.constrain_calls) {
            return Ok(None);
        }
        let compiler = match self.compiler() {
            // Calls are checked when they are made, too.
            Err(error) if !explicit => {
                tracing::warn!(%error, "calls are not held to their schemas");
                return Ok(None);
            }
            compiler => compiler?,
        };
        let compiled = compiler.compile(&form)?;
        if !compiled.unconstrained().is_empty() {
            tracing::debug!(keywords = ?compiled.unconstrained(), "not held while decoding");
        }
        Ok(Some(Box::new(compiled.matcher())))
    }

    /// What a JSON Schema asks for that answers are not held to while they are generated, as JSON pointers to keywords:
    /// such an answer is to be validated. Empty where every answer satisfies the schema.
    ///
    /// # Errors
    /// Those of [`ConstraintCompiler::compile`].
    pub fn unconstrained(&self, schema: &Value) -> Result<Vec<String>> {
        let constraint = Constraint::JsonSchema(schema.clone());
        let form = AnswerForm {
            dialect: self.details.dialect,
            tools: &[],
            choice: &ToolChoice::Auto,
            parallel: true,
            answer: Some(&constraint),
        };
        Ok(self.compiler()?.compile(&form)?.unconstrained().to_vec())
    }

    /// Built with the first constraint: it takes a fraction of a second for a large vocabulary.
    fn compiler(&self) -> Result<&ConstraintCompiler> {
        if let Some(compiler) = self.compiler.get() {
            return Ok(compiler);
        }
        let compiler = ConstraintCompiler::new(&self.tokenizer, &self.eos)?;
        // Another thread may have built the same.
        Ok(self.compiler.get_or_init(|| compiler))
    }

    /// Queues a request whose prompt is ready.
    fn start(&self, prompt: Vec<u32>, request: GenerateRequest, ignore_end: bool) -> Result<ModelStream> {
        let options = request.options.with_defaults(&self.details.generation);
        let request = GenerateRequest { options, ..request };
        if prompt.is_empty() {
            return Err(Error::invalid_input("the prompt is empty: there is nothing to continue"));
        }
        let context = self.info.context_length;
        let asked = request.options.max_tokens.map(|tokens| (tokens as usize).max(1));
        let needed = prompt.len() + asked.unwrap_or(1);
        if needed > context {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!(
                    "the prompt of {} tokens and {} for the answer do not fit the context of {context}; shorten the conversation, or lower `max_tokens`",
                    prompt.len(),
                    asked.unwrap_or(1)
                ),
            ));
        }
        let logprobs = request.logprobs.map_or(0, |top| top as usize);
        if logprobs > MAX_TOP {
            return Err(too_many(logprobs));
        }
        if let Some(beam) = &request.options.beam {
            beam::check(beam, &request.options, request.logprobs.is_some())?;
        }
        let mut sampler = Sampler::new(&request.options, &prompt)?.with_bias(&request.logit_bias)?;
        if let Some(dry) = &request.options.dry {
            sampler = sampler.with_breakers(self.breakers(&dry.sequence_breakers)?);
        }
        let matcher = self.matcher(&request)?;
        let adapter = request.adapter.as_deref().map(|name| self.adapters.get(name)).transpose()?;
        let callable = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let calls = callable.then(|| Calls {
            dialect: self.details.dialect,
            tools: request.tools.iter().map(|tool| tool.name.clone()).collect(),
        });
        let (events, receiver) = mpsc::unbounded_channel();
        self.engine.submit(Job {
            cancel: request.cancel,
            deadline: request.deadline,
            adapter,
            task: Task::Generate(Box::new(Generate {
                max_tokens: asked.unwrap_or(context - prompt.len()),
                asked: asked.is_some(),
                sampler,
                beam: request.options.beam,
                matcher,
                stop: request.options.stop,
                calls,
                ignore_end,
                logprobs: request.logprobs.map(|top| top as usize),
                events,
            })),
            prompt,
        })?;
        // A thread that ended, as after a defect, must not look like an answer that did.
        Ok(Box::pin(stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            let event = receiver.recv().await.unwrap_or_else(|| Err(ended()));
            let last = matches!(event, Ok(ModelEvent::Finished(_)) | Err(_));
            Some((event, (!last).then_some(receiver)))
        })))
    }
}

fn ended() -> Error {
    Error::internal("the inference thread has ended; load the model again")
}

fn too_many(top: usize) -> Error {
    Error::invalid_input(format!("the `{top}` likeliest tokens are asked for; at most {MAX_TOP} are given"))
}

/// The most likely tokens that are told with a score, as in OpenAI's interface.
const MAX_TOP: usize = 20;

#[async_trait]
impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        self.start(self.prompt(&request)?, request, false)
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.tokenizer.encode_text(text).ok().map(|tokens| tokens.len())
    }
}
