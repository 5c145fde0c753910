//! `puna plugin test`: cases that stand in a YAML file beside the source, with the clock, randomness and network that they
//! say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use puna::{
    Error, ErrorKind, Result, Stack, ToolContext, ToolError, ToolErrorKind,
    plugins::{Clock, HttpBounds, HttpRequest, HttpResponse, HttpService, Plugin, Random, Services, Setup},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::function::{Function, Kind};
use crate::{render, run, sessions::print_json, spec::print_line};

/// The file of cases in a plugin's folder.
pub(super) const CASES_FILE: &str = "tests.yaml";

/// Most of a value that a line shows.
const SHOWN_CHARS: usize = 300;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

/// One call and what it must come to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Shown; the function's name without it.
    #[serde(default)]
    name: Option<String>,
    /// The function: one of these three.
    #[serde(default)]
    tool: Option<String>,
    #[serde(default)]
    loader: Option<String>,
    #[serde(default)]
    retriever: Option<String>,
    #[serde(default)]
    input: Value,
    /// The whole result; of a loader the list of its documents.
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    /// A part of the result: objects may have more keys, also those in a list.
    #[serde(default, deserialize_with = "present")]
    output_has: Option<Value>,
    #[serde(default)]
    error: Option<Expected>,
    /// As an agent's file has them, each as YAML.
    #[serde(default)]
    grants: Vec<Value>,
    #[serde(default)]
    config: Value,
    /// The time, as RFC 3339.
    #[serde(default)]
    clock: Option<String>,
    /// What randomness begins with.
    #[serde(default)]
    seed: Option<u64>,
    /// What the network answers; what is not here cannot be reached.
    #[serde(default)]
    http: Vec<Answer>,
    /// What the store holds at first.
    #[serde(default)]
    store: BTreeMap<String, String>,
}

impl Case {
    /// # Errors
    /// Invalid input for none, or more than one.
    fn function(&self) -> Result<(Kind, &str)> {
        match (&self.tool, &self.loader, &self.retriever) {
            (Some(name), None, None) => Ok((Kind::Tool, name)),
            (None, Some(name), None) => Ok((Kind::Loader, name)),
            (None, None, Some(name)) => Ok((Kind::Retriever, name)),
            _ => Err(Error::invalid_input(
                "a case names a `tool`, a `loader` or a `retriever`, and one of them",
            )),
        }
    }
}

/// `null` is a value, unlike a key that is missing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A failure: its kind alone, or more.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Kind(ToolErrorKind),
    Error(ExpectedError),
}

/// A failure: its kind, and what its message and path are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedError {
    kind: ToolErrorKind,
    #[serde(default)]
    message_has: Option<String>,
    #[serde(default)]
    path: Option<String>,
}

/// An answer of the network.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "success")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

fn get() -> String {
    "GET".to_owned()
}

fn success() -> u16 {
    200
}

/// How a case came out.
#[derive(Serialize)]
pub(super) struct Outcome {
    name: String,
    pub(super) passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the cases of a plugin's folder, or of a file of cases, on its component, and shows how they came out.
///
/// # Errors
/// Those of the files; invalid input when a case does not come out as it must.
pub(super) async fn test(path: &Path, component: Option<&Path>, json: bool) -> Result<()> {
    let outcomes = run_cases(&run::open_stack(None)?, path, component).await?;
    if json {
        print_json(&outcomes)?;
    } else {
        outcomes.iter().try_for_each(|outcome| print_line(&outcome.line()))?;
    }
    judge_all(&outcomes)?;
    if json { Ok(()) } else { print_line(&format!("{} cases passed", outcomes.len())) }
}

/// # Errors
/// Invalid input when a case did not come out as it must.
pub(super) fn judge_all(outcomes: &[Outcome]) -> Result<()> {
    match outcomes.iter().filter(|outcome| !outcome.passed).count() {
        0 => Ok(()),
        failed => Err(Error::invalid_input(format!("{failed} of {} cases failed", outcomes.len()))),
    }
}

impl Outcome {
    /// To show.
    pub(super) fn line(&self) -> String {
        let sign = if self.passed { "ok    " } else { "FAILED" };
        let reason = self.reason.as_ref().map(|reason| format!("\n       {reason}")).unwrap_or_default();
        format!("{sign} {}{}", render::printable(&self.name), render::printable(&reason))
    }
}

/// How the cases come out of a plugin's folder, or of a file of cases.
///
/// # Errors
/// Those of the files; invalid input when there are no cases.
pub(super) async fn run_cases(stack: &Stack, path: &Path, component: Option<&Path>) -> Result<Vec<Outcome>> {
    let file = if path.is_dir() { path.join(CASES_FILE) } else { path.to_owned() };
    let text = fs::read_to_string(&file).map_err(|error| Error::from_io("read", &file, error))?;
    let name = file.display().to_string();
    let value = puna::value_of_yaml(&text, &name).map_err(Error::from)?;
    let cases: Cases =
        serde_json::from_value(value).map_err(|error| Error::invalid_input(format!("`{name}`: {error}")))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let component = match component {
        Some(component) => component.to_owned(),
        None => component_in(folder)?,
    };
    if cases.cases.is_empty() {
        return Err(Error::invalid_input(format!("`{name}` has no cases")));
    }
    let plugin = stack.plugins().load(&component).await?;
    let mut outcomes = Vec::new();
    for (number, case) in cases.cases.iter().enumerate() {
        let (_, function) = case.function()?;
        let name = case.name.clone().unwrap_or_else(|| format!("{function} {}", number + 1));
        let reason = run_case(&plugin, case, folder).await?;
        outcomes.push(Outcome { name, passed: reason.is_none(), reason });
    }
    Ok(outcomes)
}

/// The one component in a folder.
fn component_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| Error::from_io("read", folder, error))?;
    let mut components: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    match (components.pop(), components.is_empty()) {
        (Some(component), true) => Ok(component),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("no component in `{0}`; build it with `puna plugin build {0}`", folder.display()),
        )),
        (Some(_), false) => Err(Error::invalid_input(format!(
            "several components in `{}`; name one with `--component`",
            folder.display()
        ))),
    }
}

/// Why a case did not come out as it must, if so.
async fn run_case(plugin: &Plugin, case: &Case, folder: &Path) -> Result<Option<String>> {
    let grants =
        case.grants.iter().map(|grant| grant.to_string().parse()).collect::<Result<Vec<puna::Grant>>>()?;
    let grants = grants.into_iter().map(|grant| grant.resolved(folder)).collect::<Vec<_>>();
    let clock = match &case.clock {
        None => Clock::default(),
        Some(time) => Clock::At(since_epoch(time)?),
    };
    let services = Services {
        clock,
        random: case.seed.map_or(Random::default(), Random::Seed),
        http: Arc::new(Network(case.http.clone())),
        store: Some(Arc::new(Memory(Mutex::new(
            case.store.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect(),
        )))),
        ..Services::default()
    };
    let (kind, name) = case.function()?;
    let grants = puna::grants(&grants)?;
    let limits = kind.limits();
    let setup = Setup { grants, limits, config: case.config.clone(), services, ..Setup::default() };
    let function = match Function::new(&plugin.ready(setup)?, kind, name) {
        Ok(function) => function,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut given = Vec::new();
    let context = ToolContext::new("test", "puna-plugin-test");
    let called = function.call(case.input.clone(), folder, &context, |value| {
        given.push(value);
        Ok(())
    });
    let result = called.await.map_err(ToolError::from);
    let result = result.map(|()| match kind {
        Kind::Loader => Value::Array(given),
        Kind::Tool | Kind::Retriever => given.pop().unwrap_or_default(),
    });
    Ok(judge(case, result))
}

/// Holds a result against what a case expects.
fn judge(case: &Case, result: Result<Value, ToolError>) -> Option<String> {
    let shown = |value: &Value| value.to_string().chars().take(SHOWN_CHARS).collect::<String>();
    match (&case.error, result) {
        (None, Err(error)) => Some(format!("it failed: {error}")),
        (Some(_), Ok(value)) => Some(format!("it did not fail and gave {}", shown(&value))),
        (None, Ok(value)) => {
            if let Some(output) = case.output.as_ref().filter(|output| **output != value) {
                return Some(format!("expected {}, got {}", shown(output), shown(&value)));
            }
            let part = case.output_has.as_ref().filter(|part| !has(&value, part))?;
            Some(format!("expected at least {}, got {}", shown(part), shown(&value)))
        }
        (Some(expected), Err(error)) => {
            let (kind, message, path) = match expected {
                Expected::Kind(kind) => (kind, None, None),
                Expected::Error(error) => (&error.kind, error.message_has.as_ref(), error.path.as_ref()),
            };
            let fits = *kind == error.kind
                && message.is_none_or(|message| error.message.contains(message))
                && path.is_none_or(|path| error.path.as_ref() == Some(path));
            (!fits).then(|| format!("it failed otherwise: {error}"))
        }
    }
}

/// Whether a value has at least what a part says.
fn has(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, part)| value.get(key).is_some_and(|value| has(value, part)))
        }
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(value, part)| has(value, part))
        }
        _ => value == part,
    }
}

fn since_epoch(time: &str) -> Result<Duration> {
    let time: jiff::Timestamp = time.parse().map_err(|error| {
        Error::invalid_input(format!("`{time}` is no time like `2026-01-31T12:00:00Z`: {error}"))
    })?;
    Duration::try_from(time.as_duration())
        .map_err(|_| Error::invalid_input(format!("`{time}` is before 1970-01-01")))
}

/// A network of answers.
struct Network(Vec<Answer>);

#[async_trait]
impl HttpService for Network {
    async fn send(&self, request: HttpRequest, bounds: HttpBounds) -> Result<HttpResponse, ToolError> {
        let answer =
            self.0.iter().find(|answer| answer.url == request.url && answer.method == request.method);
        let Some(answer) = answer else {
            return Err(ToolError::new(
                ToolErrorKind::Unavailable,
                format!("the case has no answer to `{} {}`", request.method, request.url),
            ));
        };
        let body = match &answer.body {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        };
        if body.len() as u64 > bounds.body_bytes {
            return Err(ToolError::new(ToolErrorKind::TooLarge, "the answer is too long"));
        }
        let headers =
            answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        Ok(HttpResponse { status: answer.status, headers, body })
    }
}

/// A store of one case.
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl puna::plugins::KeyValue for Memory {
    async fn get(&self, _: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let map = self.map();
        Ok(keys.iter().map(|key| map.get(key).cloned()).collect())
    }

    async fn write(&self, _: &str, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        let mut map = self.map();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    async fn keys(&self, _: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let map = self.map();
        let keys = map.keys().filter(|key| key.starts_with(prefix));
        Ok(keys.filter(|key| after.is_none_or(|after| key.as_str() > after)).take(limit).cloned().collect())
    }
}
