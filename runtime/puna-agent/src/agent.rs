use std::{fmt, sync::Arc};

use puna_core::{
    AnswerCheck, CancellationToken, Error, ErrorKind, GenerateOptions, Journal, Memory, Message, Model,
    OutputForm, Result, Role, Tool, ToolChoice, TurnForm,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    Conversation, DEFAULT_SUMMARY_TOKENS, EventStream, Limits, OutputSchema, SessionLocks, TypedStream,
    driver::Driver, tools::Toolbox,
};

/// What an agent is made of.
pub struct AgentOptions {
    /// Its name, recorded with every turn.
    pub name: String,
    /// The system message; empty for none.
    pub instructions: String,
    /// Who answers.
    pub model: Arc<dyn Model>,
    /// What the model may call, in the order in which it is shown them.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Whether tools are called. What is `required` or named holds for a turn's first step alone, so that the turn can
    /// end.
    pub tool_choice: ToolChoice,
    /// Whether a step may have several calls; on by default.
    pub parallel_tool_calls: bool,
    /// The form of an answer; without it, any text. With tools, what is no call has it.
    pub output: Option<OutputForm>,
    /// How the model continues.
    pub options: GenerateOptions,
    /// What a turn may use.
    pub limits: Limits,
    /// What happens when the conversation does not fit the model's context.
    pub history: HistoryPolicy,
    /// The adapter that the model is asked to be changed by.
    pub adapter: Option<String>,
    /// What is remembered beyond a conversation.
    pub memory: Option<Arc<dyn Memory>>,
    /// Holds answers without a form against the sources that tools gave, for an
    /// [`Event::CitationsChecked`](puna_core::Event::CitationsChecked).
    pub answer_check: Option<Arc<dyn AnswerCheck>>,
    /// Where sessions are recorded.
    pub journal: Arc<dyn Journal>,
    /// Shared by all agents over the same journal.
    pub locks: SessionLocks,
}

impl AgentOptions {
    /// An agent without instructions and tools, everything else by default.
    pub fn new(name: impl Into<String>, model: Arc<dyn Model>, journal: Arc<dyn Journal>) -> Self {
        Self {
            name: name.into(),
            instructions: String::new(),
            model,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            output: None,
            options: GenerateOptions::default(),
            limits: Limits::default(),
            history: HistoryPolicy::default(),
            adapter: None,
            memory: None,
            answer_check: None,
            journal,
            locks: SessionLocks::default(),
        }
    }
}

/// What happens when the conversation does not fit the model's context. Nothing is ever cut in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryPolicy {
    /// The turn fails with `context_overflow`.
    Error,
    /// The model is shown as many of the newest turns as fit, whole, and an
    /// [`Event::HistoryPacked`](puna_core::Event::HistoryPacked) says how many it is not shown. The turn
    /// fails with `context_overflow` only when it does not fit by itself. The journal keeps everything.
    #[default]
    DropOldestTurns,
    /// The model summarises the oldest turns, is shown the summary in their place from then on, and an
    /// [`Event::HistorySummarized`](puna_core::Event::HistorySummarized) shows it. The journal keeps summary and turns.
    Summarize(SummaryOptions),
}

/// How a summary comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryOptions {
    /// Most tokens of a summary; never more than a quarter of the model's context.
    pub max_tokens: u32,
    /// What happens when there can be none, after an [`Event::SummaryFailed`](puna_core::Event::SummaryFailed).
    pub fallback: SummaryFallback,
}

impl Default for SummaryOptions {
    fn default() -> Self {
        Self { max_tokens: DEFAULT_SUMMARY_TOKENS, fallback: SummaryFallback::default() }
    }
}

/// What happens when the oldest turns cannot be summarised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SummaryFallback {
    /// As [`HistoryPolicy::DropOldestTurns`].
    #[default]
    DropOldestTurns,
    /// The turn fails with the error.
    Error,
}

/// What [`Agent::run`] does when the session's last turn is unfinished, because its process died or its
/// stream was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfinished {
    /// Finishes it first; its events come first in the stream. The default, because the user was promised
    /// an answer and later turns may build on it.
    #[default]
    Resume,
    /// Records it as cancelled.
    Abandon,
    /// Ends the stream with a [`Conflict`](puna_core::ErrorKind::Conflict).
    Refuse,
}

/// How to run a turn.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Ends the turn with [`TurnOutcome::Cancelled`](puna_core::TurnOutcome::Cancelled), recorded.
    pub cancel: CancellationToken,
    /// What to do about an unfinished turn. It goes on in its own form, not in this run's.
    pub unfinished: Unfinished,
    /// The form of the answer, in place of the agent's.
    pub output: Option<OutputForm>,
    /// Whether tools are called, in place of the agent's choice.
    pub tool_choice: Option<ToolChoice>,
    /// Whether a step may have several calls, in place of the agent's setting.
    pub parallel_tool_calls: Option<bool>,
    /// Who speaks: recorded with the turn and told to tools. The host has made sure of it; nothing here does.
    pub user: Option<String>,
}

/// A model with instructions, tools and limits that holds conversations in a journal. Clones share it.
#[derive(Clone)]
pub struct Agent {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) instructions: String,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) toolbox: Toolbox,
    pub(crate) form: TurnForm,
    pub(crate) options: GenerateOptions,
    pub(crate) limits: Limits,
    pub(crate) history: HistoryPolicy,
    pub(crate) adapter: Option<String>,
    pub(crate) memory: Option<Arc<dyn Memory>>,
    pub(crate) answer_check: Option<Arc<dyn AnswerCheck>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) locks: SessionLocks,
}

impl Agent {
    /// Checks the parts and puts them together.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for an empty name, a limit of 0, a tool name
    /// outside letters, digits, `_` and `-`, two tools of one name, a schema that is not valid or
    /// whose parameters are not an object, and a required call without tools;
    /// [`NotFound`](puna_core::ErrorKind::NotFound) for a tool that must be called and is none;
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) for an output schema beyond a limit.
    pub fn new(options: AgentOptions) -> Result<Self> {
        if options.name.is_empty() {
            return Err(Error::invalid_input("an agent needs a name; it is empty"));
        }
        options.limits.check()?;
        if let HistoryPolicy::Summarize(SummaryOptions { max_tokens: 0, .. }) = options.history {
            return Err(Error::invalid_input("a summary of 0 tokens says nothing; let it have at least 1"));
        }
        let toolbox = Toolbox::new(options.tools)?;
        let form = TurnForm {
            output: options.output,
            tool_choice: options.tool_choice,
            parallel_tool_calls: options.parallel_tool_calls,
        };
        check(&form, &toolbox)?;
        let inner = Inner {
            name: options.name,
            instructions: options.instructions,
            model: options.model,
            toolbox,
            form,
            options: options.options,
            limits: options.limits,
            history: options.history,
            adapter: options.adapter,
            memory: options.memory,
            answer_check: options.answer_check,
            journal: options.journal,
            locks: options.locks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The agent's limits.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Takes a turn: records the user's message, asks the model, performs its calls, and so on until it
    /// answers or a limit ends the turn. Needs a tokio runtime with time enabled.
    ///
    /// However the turn ends, the model's errors included, that is recorded and the last event is
    /// [`TurnFinished`](puna_core::Event::TurnFinished). If an unfinished turn was resumed first and the
    /// caller cancels it, the stream ends after it and `input` is not recorded.
    ///
    /// # Errors
    /// The stream ends with an `Err` instead where the end could not be recorded or nothing began:
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for an input that is not the user's, a form that
    /// [`new`](Self::new) would refuse with its kinds of errors,
    /// [`Conflict`](puna_core::ErrorKind::Conflict) when another turn of the session is in progress or
    /// the unfinished one cannot be resumed by this agent, and the journal's own errors.
    pub fn run(&self, session: impl Into<String>, input: Message, options: RunOptions) -> EventStream {
        let (inner, session) = (self.inner.clone(), session.into());
        EventStream::new(|emitter| async move {
            if input.role != Role::User {
                return Err(Error::invalid_input("a turn begins with a message of the role `user`"));
            }
            // The agent's own form was checked when it was made.
            let other = options.output.is_some() || options.tool_choice.is_some();
            let form = TurnForm {
                output: options.output.or_else(|| inner.form.output.clone()),
                tool_choice: options.tool_choice.unwrap_or_else(|| inner.form.tool_choice.clone()),
                parallel_tool_calls: options.parallel_tool_calls.unwrap_or(inner.form.parallel_tool_calls),
            };
            if other {
                check(&form, &inner.toolbox)?;
            }
            let mut driver = Driver::open(inner, session, options.cancel, emitter).await?;
            let goes_on = match options.unfinished {
                _ if driver.conversation.unfinished().is_none() => true,
                Unfinished::Resume => driver.resume().await?,
                Unfinished::Abandon => driver.abandon().await?,
                Unfinished::Refuse => return Err(driver.refusal("finish or abandon it first")),
            };
            if goes_on { driver.start(input, form, options.user).await } else { driver.close().await }
        })
    }

    /// Takes a turn as [`run`](Self::run) does, whose answer is a `T`: its JSON Schema is the form of the answer, with as
    /// many repairs as the run or else the agent has.
    ///
    /// ```no_run
    /// # async fn example(agent: puna_agent::Agent) -> puna_core::Result<()> {
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Price {
    ///     euros: u32,
    /// }
    /// let question = puna_core::Message::user("What is room 12?");
    /// let price: Price = agent.run_typed("s", question, Default::default()).value().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_typed<T: DeserializeOwned + JsonSchema>(
        &self,
        session: impl Into<String>,
        input: Message,
        mut options: RunOptions,
    ) -> TypedStream<T> {
        let mut form = OutputForm::of::<T>();
        if let Some(set) = options.output.as_ref().or(self.inner.form.output.as_ref()) {
            form.repairs = set.repairs;
        }
        options.output = Some(form);
        TypedStream::new(self.run(session, input, options))
    }

    /// Finishes the session's unfinished turn, or gives nothing where there is none. The session is held
    /// from this call on until the stream ends or is dropped.
    ///
    /// # Errors
    /// [`Conflict`](puna_core::ErrorKind::Conflict) when a turn of the session is in progress, and the
    /// journal's own errors. The stream's are those of [`run`](Self::run).
    pub async fn resume(&self, session: &str, cancel: CancellationToken) -> Result<Option<EventStream>> {
        let emitter = Default::default();
        let mut driver = Driver::open(self.inner.clone(), session.to_owned(), cancel, emitter).await?;
        if driver.conversation.unfinished().is_none() {
            return Ok(None);
        }
        Ok(Some(EventStream::new(|emitter| async move {
            driver.emitter = emitter;
            driver.resume().await?;
            driver.close().await
        })))
    }

    /// The session as its journal tells it; empty for a new one.
    ///
    /// # Errors
    /// [`Corrupt`](puna_core::ErrorKind::Corrupt) when the records do not follow from each other, and the
    /// journal's own errors.
    pub async fn conversation(&self, session: &str) -> Result<Conversation> {
        Conversation::fold(&self.inner.journal.read(session, 0).await?)
    }
}

/// Refuses a form that no turn could have.
fn check(form: &TurnForm, toolbox: &Toolbox) -> Result<()> {
    if let Some(output) = &form.output {
        OutputSchema::new(&output.schema)?;
    }
    let names: Vec<_> = toolbox.schemas().iter().map(|schema| schema.name.as_str()).collect();
    match &form.tool_choice {
        ToolChoice::Required if names.is_empty() => Err(Error::invalid_input(
            "a call is required and the agent has no tool; give it one, or choose `auto`",
        )),
        ToolChoice::Named(name) if !names.contains(&name.as_str()) => {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Error::new(
                ErrorKind::NotFound,
                format!("a call of `{name}` is required, which is no tool of the agent; it has {known}"),
            ))
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Agent").field("name", &self.inner.name).finish_non_exhaustive()
    }
}
