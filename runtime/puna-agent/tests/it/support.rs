//! Doubles of the traits: a model that follows a script, a journal in memory that can die, tools with a log.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use puna_agent::{Agent, AgentOptions, EventStream, RunOptions, SUMMARY_INSTRUCTIONS};
use puna_core::{
    CancellationToken, Completion, Content, Error, ErrorKind, Event, GenerateRequest, InvalidToolCall,
    Journal, JournalEntry, Message, Model, ModelEvent, ModelInfo, ModelStream, Record, Result, Role,
    SessionSummary, StopReason, Tool, ToolCall, ToolContext, ToolError, ToolErrorKind, ToolOutcome,
    ToolResult, ToolSchema, TurnOutcome, Usage,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One answer of the scripted model.
#[derive(Clone, Debug)]
pub struct Reply {
    pub content: Vec<Content>,
    pub stop: StopReason,
    pub tokens: u64,
    pub before_ms: u64,
    pub end: End,
}

/// How an answer ends after its content.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Finished,
    Error(ErrorKind),
    Hang,
    Nothing,
}

pub fn say(text: &str) -> Reply {
    let (stop, end) = (StopReason::EndOfTurn, End::Finished);
    Reply { content: vec![Content::text(text)], stop, tokens: 10, before_ms: 0, end }
}

pub fn call(calls: &[(&str, &str, Value)]) -> Reply {
    let part = |(id, name, arguments): &(&str, &str, Value)| {
        let (id, name, arguments) = (id.to_string(), name.to_string(), arguments.clone());
        Content::ToolCall(ToolCall { id, name, arguments })
    };
    Reply { content: calls.iter().map(part).collect(), stop: StopReason::ToolCalls, ..say("") }
}

pub fn unreadable(id: &str, text: &str) -> Reply {
    let (id, text, reason) = (id.to_owned(), text.to_owned(), "a brace is missing".to_owned());
    let part = Content::InvalidToolCall(InvalidToolCall { id, name: None, text, reason });
    Reply { content: vec![part], stop: StopReason::ToolCalls, ..say("") }
}

/// Answers by the last user message's text and the number of answers after it, so that it says the same
/// in a later process. A token of its prompt is a byte of text.
pub struct ScriptedModel {
    pub info: ModelInfo,
    pub script: BTreeMap<String, Vec<Reply>>,
    pub requests: Mutex<Vec<GenerateRequest>>,
    /// What it says when it is asked for summaries, in turn.
    pub summaries: Mutex<VecDeque<Reply>>,
    /// Whether it notices cancellation and deadlines.
    pub polite: bool,
}

impl ScriptedModel {
    pub fn new(script: &[(&str, Vec<Reply>)]) -> Self {
        let script = script.iter().map(|(input, replies)| (input.to_string(), replies.clone())).collect();
        let info = ModelInfo { name: "scripted".into(), context_length: 100_000, constraints: false };
        Self { info, script, requests: Mutex::default(), summaries: Mutex::default(), polite: true }
    }

    pub fn last_messages(&self) -> Vec<Message> {
        self.requests.lock().unwrap().last().expect("the model was asked").messages.clone()
    }
}

#[async_trait]
impl Model for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        self.requests.lock().unwrap().push(request.clone());
        let prompt: usize = request.messages.iter().map(|message| message.plain_text().len()).sum();
        let room = request.options.max_tokens.unwrap_or(1) as usize;
        if prompt + room > self.info.context_length {
            return Err(Error::new(ErrorKind::ContextOverflow, format!("{prompt} tokens do not fit")));
        }
        if request.messages[0].plain_text() == SUMMARY_INSTRUCTIONS {
            let reply = self.summaries.lock().unwrap().pop_front().expect("a summary in the script");
            return Ok(play(reply, request, self.polite));
        }
        // The reasons of refused answers are the user's messages, too.
        let scripted = |message: &Message| {
            message.role == Role::User && self.script.contains_key(&said_by_user(message))
        };
        let user = request.messages.iter().rposition(scripted).expect("a script for what the user says");
        let index = request.messages[user..].iter().filter(|message| message.role == Role::Assistant).count();
        let input = said_by_user(&request.messages[user]);
        let replies = &self.script[&input];
        let reply = replies.get(index).unwrap_or_else(|| panic!("no reply {index} for `{input}`")).clone();
        Ok(play(reply, request, self.polite))
    }
}

/// What the user said themselves: what is remembered stands before it.
fn said_by_user(message: &Message) -> String {
    message.content.last().and_then(Content::as_text).unwrap_or_default().to_owned()
}

fn play(reply: Reply, request: GenerateRequest, polite: bool) -> ModelStream {
    let message = Message { role: Role::Assistant, content: reply.content.clone() };
    let usage = Usage { prompt_tokens: 5, completion_tokens: reply.tokens, ..Usage::default() };
    let deltas: Vec<_> = message.plain_text().chars().map(|c| ModelEvent::TextDelta(c.into())).collect();
    let delay = Duration::from_millis(reply.before_ms);
    let start = stream::once(tokio::time::sleep(delay)).filter_map(|()| async { None });
    let deltas = stream::iter(deltas.into_iter().map(Ok));
    let end = stream::once(async move {
        let stop = match &reply.end {
            End::Nothing => return None,
            End::Error(kind) => return Some(Err(Error::new(*kind, "the script says so"))),
            End::Finished => reply.stop,
            End::Hang if polite => {
                let deadline = request.deadline.map(tokio::time::Instant::from_std);
                let far = tokio::time::Instant::now() + Duration::from_secs(1 << 20);
                tokio::select! {
                    () = request.cancel.cancelled() => StopReason::Cancelled,
                    () = tokio::time::sleep_until(deadline.unwrap_or(far)) => StopReason::Deadline,
                }
            }
            End::Hang => std::future::pending().await,
        };
        Some(Ok(ModelEvent::Finished(Completion { message, stop, usage })))
    });
    Box::pin(start.chain(deltas).chain(end.filter_map(|event| async { event })))
}

/// When a journal's process dies: at the n-th append from now (0 is the next), before or after it is durable.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub at: usize,
    pub durable: bool,
}

#[derive(Default)]
pub struct MemoryJournal {
    sessions: Mutex<BTreeMap<String, Vec<JournalEntry>>>,
    death: Mutex<Option<Death>>,
    pub died: Notify,
}

impl MemoryJournal {
    pub fn die_at(&self, death: Option<Death>) {
        *self.death.lock().unwrap() = death;
    }

    pub fn entries(&self, session: &str) -> Vec<JournalEntry> {
        self.sessions.lock().unwrap().get(session).cloned().unwrap_or_default()
    }

    /// Appends without checks.
    pub fn write(&self, session: &str, records: &[Record]) {
        let mut sessions = self.sessions.lock().unwrap();
        let entries = sessions.entry(session.to_owned()).or_default();
        for record in records {
            let sequence = entries.len() as u64;
            entries.push(JournalEntry { sequence, at_ms: 0, record: record.clone() });
        }
    }

    fn dies_now(&self) -> Option<bool> {
        let mut death = self.death.lock().unwrap();
        let Death { at, durable } = death.as_mut()?;
        if *at == 0 {
            return Some(*durable);
        }
        *at -= 1;
        None
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn read(&self, session: &str, from: u64) -> Result<Vec<JournalEntry>> {
        Ok(self.entries(session).into_iter().skip(from as usize).collect())
    }

    async fn append(&self, session: &str, next: u64, records: &[Record]) -> Result<u64> {
        tokio::task::yield_now().await;
        let death = self.dies_now();
        if death != Some(false) {
            if self.entries(session).len() as u64 != next {
                return Err(Error::new(ErrorKind::Conflict, "somebody else appended first"));
            }
            self.write(session, records);
        }
        if death.is_some() {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(next + records.len() as u64)
    }

    async fn sessions(&self) -> Result<Vec<SessionSummary>> {
        Err(Error::internal("the agent lists no sessions"))
    }

    async fn delete(&self, _: &str) -> Result<bool> {
        Err(Error::internal("the agent deletes no sessions"))
    }
}

/// Calls that reached a tool, by call id, in order of their start.
pub type CallLog = Arc<Mutex<Vec<String>>>;

type Behaviour = fn(&Value) -> Result<Value, ToolError>;

/// A tool that waits for its argument `ms` (milliseconds) and then behaves.
pub struct TestTool {
    schema: ToolSchema,
    behaviour: Behaviour,
    pub log: CallLog,
}

#[async_trait]
impl Tool for TestTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        self.log.lock().unwrap().push(context.call_id.clone());
        let wait = arguments["ms"].as_u64().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        (self.behaviour)(&arguments)
    }
}

pub fn tool(name: &str, log: &CallLog, behaviour: Behaviour) -> TestTool {
    let parameters = json!({
        "type": "object",
        "properties": { "ms": { "type": "integer", "minimum": 0 } },
        "additionalProperties": false,
    });
    let (name, description) = (name.to_owned(), "For tests.".to_owned());
    TestTool {
        schema: ToolSchema { name, description, parameters, output: None },
        behaviour,
        log: log.clone(),
    }
}

/// The tools of every test: `wait` gives its arguments back, the others go wrong as named.
pub fn tools(log: &CallLog) -> Vec<Arc<dyn Tool>> {
    let mut liar = tool("liar", log, |_| Ok(json!({"count": "many"})));
    liar.schema.output = Some(json!({"type": "object", "properties": {"count": {"type": "integer"}}}));
    vec![
        Arc::new(tool("wait", log, |arguments| Ok(arguments.clone()))),
        Arc::new(tool("deny", log, |_| Err(ToolError::new(ToolErrorKind::Denied, "not today")))),
        Arc::new(tool("panic", log, |_| panic!("the tool is broken"))),
        Arc::new(tool("flood", log, |_| Ok(Value::String("x".repeat(1000))))),
        Arc::new(liar),
    ]
}

/// An agent with everything a test looks into.
pub struct Bench {
    pub agent: Agent,
    pub model: Arc<ScriptedModel>,
    pub journal: Arc<MemoryJournal>,
    pub log: CallLog,
}

pub const SESSION: &str = "s";

impl Bench {
    pub fn new(script: &[(&str, Vec<Reply>)]) -> Self {
        Self::with(ScriptedModel::new(script), |_| {})
    }

    pub fn with(model: ScriptedModel, change: impl FnOnce(&mut AgentOptions)) -> Self {
        let (model, journal, log) = (Arc::new(model), Arc::new(MemoryJournal::default()), CallLog::default());
        let mut options = AgentOptions::new("tester", model.clone(), journal.clone());
        options.tools = tools(&log);
        change(&mut options);
        Self { agent: Agent::new(options).expect("a valid agent"), model, journal, log }
    }

    pub fn start(&self, input: &str, cancel: &CancellationToken) -> EventStream {
        let options = RunOptions { cancel: cancel.clone(), ..RunOptions::default() };
        self.agent.run(SESSION, Message::user(input), options)
    }

    /// A turn from start to end.
    pub async fn run(&self, input: &str) -> Vec<Event> {
        collect(self.start(input, &CancellationToken::new())).await.expect("a turn without errors")
    }

    pub async fn messages(&self) -> Vec<Message> {
        self.agent.conversation(SESSION).await.expect("a well-formed session").messages(0)
    }

    pub fn records(&self) -> Vec<Record> {
        self.journal.entries(SESSION).into_iter().map(|entry| entry.record).collect()
    }
}

pub async fn collect(mut stream: EventStream) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

pub fn outcome(events: &[Event]) -> &TurnOutcome {
    match events.last() {
        Some(Event::TurnFinished { outcome, .. }) => outcome,
        last => panic!("the stream ended with {last:?}"),
    }
}

pub fn answered(text: &str) -> TurnOutcome {
    TurnOutcome::Answered { text: text.into(), value: None }
}

/// Messages in a short form, one line each.
pub fn transcript(messages: &[Message]) -> Vec<String> {
    let part = |part: &Content| match part {
        Content::Text { text } => text.clone(),
        Content::ToolCall(call) => format!("{}={}{}", call.id, call.name, call.arguments),
        Content::InvalidToolCall(call) => format!("{}=?{}", call.id, call.text),
        Content::ToolResult(result) => shown(result),
        other => format!("{other:?}"),
    };
    let line = |message: &Message| {
        let parts: Vec<String> = message.content.iter().map(part).collect();
        format!("{:?}: {}", message.role, parts.join(" ")).to_lowercase()
    };
    messages.iter().map(line).collect()
}

fn shown(result: &ToolResult) -> String {
    match &result.outcome {
        ToolOutcome::Success { value } => format!("{}->{value}", result.call_id),
        ToolOutcome::Failure { error } => format!("{}->{error}", result.call_id),
    }
}
