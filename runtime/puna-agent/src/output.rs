use std::{collections::HashMap, fmt, thread};

use jsonschema::{Retrieve, Uri, Validator};
use puna_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::PartialJson;

/// Largest schema, counting the bytes of its texts and keys: it may stand in the prompt.
pub const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// Deepest nesting of a schema: it is read by recursion.
pub const MAX_SCHEMA_DEPTH: usize = 64;

/// Most JSON values in a schema.
pub const MAX_SCHEMA_NODES: usize = 10_000;

/// Longest chain of references: they are followed by recursion.
pub const MAX_SCHEMA_CHAIN: usize = 512;

/// Most references that checking one value can follow, each counted as often as it is reached: definitions that refer to
/// each other twice would take time that doubles with each.
pub const MAX_SCHEMA_REFERENCES: u64 = 100_000;

/// Stack of the thread on which schemas are read and values checked: the limits above bound both.
const STACK: usize = 64 << 20;

/// Mistakes told of one answer: what mends the first few often mends the rest.
const TOLD_MISTAKES: usize = 3;

/// Longest text of a mistake in characters: it quotes what is wrong, which may be the whole answer.
const MISTAKE_CHARS: usize = 300;

/// A JSON Schema that answers are checked against, formats included. It is never fetched from elsewhere.
pub struct OutputSchema(Validator);

impl OutputSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for one that is wrong or refers to elsewhere;
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) for one beyond a limit.
    pub fn new(schema: &Value) -> Result<Self> {
        vet(schema)?;
        let build = || {
            let options = jsonschema::options().should_validate_formats(true).with_retriever(Nowhere);
            options.build(schema).map(Self).map_err(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { String::new() } else { format!(" at `{at}`") };
                Error::invalid_input(format!(
                    "the output schema is not valid{at}: {}",
                    cut(&error.to_string())
                ))
            })
        };
        on_large_stack(build)?
    }

    /// The value of an answer.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) with what is wrong, in words for the model.
    pub fn read(&self, text: &str) -> Result<Value> {
        let mut json = PartialJson::default();
        json.push(text);
        let value = json.finish()?;
        let mistakes = on_large_stack(|| {
            let mistakes = self.0.iter_errors(&value).take(TOLD_MISTAKES);
            let told = mistakes.map(|error| match error.instance_path().as_str() {
                "" => cut(&error.to_string()),
                path => format!("at `{path}`: {}", cut(&error.to_string())),
            });
            told.collect::<Vec<_>>()
        })?;
        if mistakes.is_empty() { Ok(value) } else { Err(Error::invalid_input(mistakes.join("; "))) }
    }
}

impl fmt::Debug for OutputSchema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OutputSchema").finish_non_exhaustive()
    }
}

/// What a model without constraints is told of the form, after its instructions.
pub(crate) fn instruction(schema: &Value) -> String {
    format!(
        "When you answer, and do not call a tool, answer with JSON alone, without any text or marks around it, that \
         satisfies this JSON Schema:\n{schema}"
    )
}

/// What a model is told of an answer without the form.
pub(crate) fn repair(reason: &str) -> String {
    format!(
        "Your answer does not have the form that was asked for: {reason}. Answer again, with the JSON alone."
    )
}

/// Fetches nothing.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> std::result::Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("schemas are not fetched: put `{uri}` into `$defs`").into())
    }
}

/// Refuses a schema that would take too much to read or to check with.
fn vet(schema: &Value) -> Result<()> {
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err(Error::invalid_input("an output schema is a JSON object"));
    }
    let (mut nodes, mut bytes) = (0, 0);
    // A stack of its own: the depth is not known yet.
    let mut pending = vec![(schema, 0)];
    while let Some((value, depth)) = pending.pop() {
        nodes += 1;
        bytes += value.as_str().map_or(0, str::len);
        match value {
            Value::Object(map) => {
                bytes += map.keys().map(String::len).sum::<usize>();
                pending.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::Array(items) => pending.extend(items.iter().map(|value| (value, depth + 1))),
            _ => {}
        }
        if depth > MAX_SCHEMA_DEPTH {
            let remedy = "name its parts in `$defs`";
            return Err(exhausted(format!("is nested deeper than {MAX_SCHEMA_DEPTH}; {remedy}")));
        }
        if nodes > MAX_SCHEMA_NODES {
            return Err(exhausted(format!("holds more than {MAX_SCHEMA_NODES} values; make it smaller")));
        }
        if bytes > MAX_SCHEMA_BYTES {
            return Err(exhausted(format!("holds more than {MAX_SCHEMA_BYTES} bytes; make it smaller")));
        }
    }
    References { root: schema, counted: HashMap::new() }.count(schema, 0).map(|_| ())
}

/// Counts the references that are followed from a part of a schema.
struct References<'a> {
    root: &'a Value,
    /// By the reference; 0 for one that is being counted, which is followed only as deep as the value goes.
    counted: HashMap<&'a str, u64>,
}

impl<'a> References<'a> {
    fn count(&mut self, part: &'a Value, chain: usize) -> Result<u64> {
        if chain > MAX_SCHEMA_CHAIN {
            return Err(exhausted(format!("has a chain of more than {MAX_SCHEMA_CHAIN} references")));
        }
        let mut total = 0_u64;
        for reference in references(part) {
            let known = self.counted.get(reference).copied();
            let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            let count = match (known, target) {
                (Some(count), _) => count,
                // Named otherwise, or missing: the validator tells.
                (None, None) => 0,
                (None, Some(target)) => {
                    self.counted.insert(reference, 0);
                    let count =
                        if std::ptr::eq(target, self.root) { 0 } else { self.count(target, chain + 1)? };
                    self.counted.insert(reference, count);
                    count
                }
            };
            total = total.saturating_add(count).saturating_add(1);
            if total > MAX_SCHEMA_REFERENCES {
                let remedy = "let its definitions refer to each other less often";
                return Err(exhausted(format!(
                    "follows more than {MAX_SCHEMA_REFERENCES} references; {remedy}"
                )));
            }
        }
        Ok(total)
    }
}

/// The references that stand in a part of a schema, definitions that stand in it left out.
fn references(part: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut pending = vec![part];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                let inner = map.iter().filter(|(key, _)| !matches!(key.as_str(), "$defs" | "definitions"));
                pending.extend(inner.map(|(_, value)| value));
            }
            Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    found
}

fn exhausted(what: String) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("the output schema {what}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MISTAKE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Runs what recurses as deep as a schema and a value together say: a host's thread may have a small stack.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("puna-output".to_owned()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work).map_err(|error| {
            Error::new(ErrorKind::ResourceExhausted, "cannot start a thread to check an answer")
                .with_source(error)
        })?;
        thread
            .join()
            .map_err(|_| Error::internal("checking an answer broke; write its schema in a simpler way"))
    })
}
