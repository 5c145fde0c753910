//! JSON Schemas that values are checked against: whatever schema and value are, in bounded time.

use std::{cell::Cell, collections::HashMap, fmt, panic, thread};

use jsonschema::{Keyword, Retrieve, Uri, ValidationError, Validator};
use puna_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

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

/// Longest text of a mistake in characters: it quotes what is wrong, which may be the whole answer.
const MISTAKE_CHARS: usize = 300;

/// Most schemas that checking one value may apply, each counted as often as it is applied: some hundred for each item of
/// a large answer, and about a second.
pub const MAX_CHECK_STEPS: u64 = 10_000_000;

/// The same for telling what is wrong with a value, which takes memory for each step, and time that doubles with each
/// level of the value where a definition refers to itself twice: the validator remembers what is valid, not why not.
const MAX_TELL_STEPS: u64 = 50_000;

/// The keyword that counts, which no author writes.
const STEP: &str = "\u{0}step";

/// Keywords whose value has a schema under each name.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// Keywords whose value is data.
const DATA: [&str; 5] = ["enum", "const", "default", "examples", "required"];

/// A schema that values are checked against. It is never fetched from elsewhere.
pub(crate) struct Schema(Validator);

/// What is wrong with a value.
pub(crate) struct Mistake {
    /// Where, as a JSON pointer; empty for the whole value.
    pub path: String,
    pub text: String,
}

impl Schema {
    /// Reads a schema; `what` names it in errors. With `formats`, `format` is checked whatever the draft says.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for one that is wrong or refers to elsewhere;
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) for one beyond a limit.
    pub(crate) fn new(what: &str, schema: &Value, formats: bool) -> Result<Self> {
        vet(schema).map_err(|error| Error::new(error.kind(), format!("the {what} {error}")))?;
        let build = || {
            let mut options = jsonschema::options().with_retriever(Nowhere).with_keyword(STEP, step);
            if formats {
                options = options.should_validate_formats(true);
            }
            let mut counting = schema.clone();
            count_steps(&mut counting);
            options.build(&counting).map(Self).map_err(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { String::new() } else { format!(" at `{at}`") };
                Error::invalid_input(format!("the {what} is not valid{at}: {}", cut(&error.to_string())))
            })
        };
        on_large_stack(build)?
    }

    /// The first mistakes of a value, none for one that satisfies the schema.
    ///
    /// # Errors
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when that cannot be told within [`MAX_CHECK_STEPS`].
    pub(crate) fn mistakes(&self, value: &Value, most: usize) -> Result<Vec<Mistake>> {
        let valid = on_large_stack(|| {
            LEFT.set(MAX_CHECK_STEPS);
            self.0.is_valid(value)
        });
        if valid? {
            return Ok(Vec::new());
        }
        let told = on_large_stack(|| {
            LEFT.set(MAX_TELL_STEPS);
            let mistakes = self.0.iter_errors(value).take(most);
            let told = mistakes.map(|error| Mistake {
                path: error.instance_path().to_string(),
                text: cut(&error.to_string()),
            });
            told.collect::<Vec<_>>()
        });
        // Too much to tell: then that alone.
        Ok(told.unwrap_or_default()).map(|mut told| {
            if told.is_empty() {
                told.push(Mistake { path: String::new(), text: "it does not satisfy the schema".to_owned() });
            }
            told
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Schema").finish_non_exhaustive()
    }
}

thread_local! {
    /// Steps left to the check that runs on this thread.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Counts a step, and ends the check where none is left.
struct Step;

/// What a check unwinds with that takes too many steps: validators have no way to stop, and go on to the next part.
struct TooManySteps;

impl Step {
    fn count() {
        match LEFT.get().checked_sub(1) {
            Some(left) => LEFT.set(left),
            // Tells no panic hook: nothing is broken.
            None => panic::resume_unwind(Box::new(TooManySteps)),
        }
    }
}

impl Keyword for Step {
    fn validate<'i>(&self, _: &'i Value) -> std::result::Result<(), ValidationError<'i>> {
        Self::count();
        Ok(())
    }

    fn is_valid(&self, _: &Value) -> bool {
        Self::count();
        true
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what makes keywords may fail")]
fn step<'a>(
    _: &'a Map<String, Value>,
    _: &'a Value,
    _: jsonschema::paths::Location,
) -> std::result::Result<Box<dyn Keyword>, ValidationError<'a>> {
    Ok(Box::new(Step))
}

/// Puts the keyword that counts into a schema and all that it holds. The depth is vetted.
fn count_steps(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map.iter_mut().filter(|(keyword, _)| !DATA.contains(&keyword.as_str())) {
        match value {
            Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                named.values_mut().for_each(count_steps);
            }
            Value::Array(schemas) => schemas.iter_mut().for_each(count_steps),
            value => count_steps(value),
        }
    }
    map.insert(STEP.to_owned(), Value::Bool(true));
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
        return Err(Error::invalid_input("is no JSON object"));
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
    Error::new(ErrorKind::ResourceExhausted, what)
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
        let builder = thread::Builder::new().name("puna-schema".to_owned()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work).map_err(|error| {
            Error::new(ErrorKind::ResourceExhausted, "cannot start a thread to check a value")
                .with_source(error)
        })?;
        thread.join().map_err(|panic| match panic.is::<TooManySteps>() {
            true => exhausted(format!("takes more than {MAX_CHECK_STEPS} steps to check this value with")),
            false => Error::internal("checking a value broke; write its schema in a simpler way"),
        })
    })
}
