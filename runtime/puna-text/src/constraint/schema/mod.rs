//! JSON Schemas made ready for the engine: vetted, and rewritten into one that it holds exactly.
//!
//! What is rewritten is never wider than what was written, apart from the keywords that are left out and told:
//! whatever the result generates satisfies the schema, once nothing was left out. Where JSON itself is wider than its
//! readers are, it is made narrower: numbers are such that a double holds them, objects have the properties that are
//! declared, formats are those that every validator agrees on.

mod disjoint;
mod ends;
mod formats;
mod keywords;
pub(super) mod patterns;

use std::collections::HashMap;

use puna_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

/// Largest schema, as JSON.
pub const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// Deepest nesting of a schema: it is read by recursion.
pub const MAX_SCHEMA_DEPTH: usize = 64;

/// Most JSON values in a schema: each becomes a part of a grammar.
pub const MAX_SCHEMA_NODES: usize = 10_000;

/// Most definitions that a schema refers to: a chain of them is followed by recursion.
pub const MAX_SCHEMA_DEFINITIONS: usize = 512;

/// Longest `pattern`.
pub const MAX_PATTERN_BYTES: usize = 4 << 10;

/// Most patterns in schemas that are combined for one value: what they have in common grows as a power of their number.
pub const MAX_COMBINED_PATTERNS: usize = 12;

/// Most properties that an object may leave out: each of them may come next.
pub const MAX_OPTIONAL_PROPERTIES: usize = 400;

/// Largest `minLength`, `minItems` or `minProperties`; a larger maximum is taken as this one.
pub const MAX_COUNT: u64 = 10_000;

/// Keywords that say nothing about a value.
const ANNOTATIONS: [&str; 18] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords that the engine does not hold: they are left out and told.
const LEFT_OUT: [&str; 14] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// A schema for the engine.
pub(super) struct Prepared {
    pub(super) schema: Value,
    /// JSON pointers to the keywords that it does not hold.
    pub(super) unconstrained: Vec<String>,
}

/// Vets and rewrites a schema.
///
/// # Errors
/// `ResourceExhausted` for one beyond a limit; `InvalidInput` for one that is wrong or refers to elsewhere.
pub(super) fn prepare(schema: &Value) -> Result<Prepared> {
    let mut preparer = Preparer {
        root: schema,
        anchors: vet(schema)?,
        definitions: HashMap::new(),
        pending: Vec::new(),
        left_out: Vec::new(),
        combined: HashMap::new(),
        steps: 0,
    };
    let mut prepared = preparer.schema(schema, "", true)?;
    let mut definitions = Map::new();
    definitions.insert("any".to_owned(), keywords::any());
    while let Some((name, pointer, closed)) = preparer.pending.pop() {
        let target = preparer.target(&pointer)?;
        let definition = preparer.schema(target, &pointer, closed)?;
        definitions.insert(name, Value::Object(definition));
    }
    if !ends::keep_finite(&mut prepared, &mut definitions) {
        return Err(Error::invalid_input(
            "nothing satisfies the schema: it asks for itself without end, or is `false`",
        ));
    }
    prepared.insert("$defs".to_owned(), Value::Object(definitions));
    let mut unconstrained = preparer.left_out;
    unconstrained.sort_unstable();
    unconstrained.dedup();
    Ok(Prepared { schema: Value::Object(prepared), unconstrained })
}

/// Checks a schema's size; gives its anchors with the pointers to them.
fn vet(schema: &Value) -> Result<HashMap<String, String>> {
    let mut anchors = HashMap::new();
    let mut nodes = 0;
    // A stack of its own: the depth is not known yet.
    let mut pending = vec![(schema, String::new(), 0)];
    while let Some((value, pointer, depth)) = pending.pop() {
        nodes += 1;
        if nodes > MAX_SCHEMA_NODES {
            return Err(exhausted(format!(
                "the schema holds more than {MAX_SCHEMA_NODES} values; make it smaller"
            )));
        }
        if depth > MAX_SCHEMA_DEPTH {
            return Err(exhausted(format!(
                "the schema is nested deeper than {MAX_SCHEMA_DEPTH}; name its parts in `$defs`"
            )));
        }
        match value {
            Value::Object(map) => {
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(name) = map.get(keyword).and_then(Value::as_str) {
                        anchors.entry(name.to_owned()).or_insert_with(|| pointer.clone());
                    }
                }
                pending.extend(map.iter().map(|(key, value)| (value, join(&pointer, key), depth + 1)));
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                pending.extend(items.map(|(index, value)| (value, join(&pointer, index), depth + 1)));
            }
            _ => {}
        }
    }
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA_BYTES {
        return Err(exhausted(format!(
            "the schema takes {bytes} bytes of {MAX_SCHEMA_BYTES}; make it smaller"
        )));
    }
    Ok(anchors)
}

fn exhausted(message: String) -> Error {
    Error::new(ErrorKind::ResourceExhausted, message)
}

/// A keyword whose value is of the wrong kind.
fn wrong(at: &str, wanted: &str, value: &Value) -> Error {
    let value: String = value.to_string().chars().take(100).collect();
    Error::invalid_input(format!("`{at}` in the schema must be {wanted}; it is `{value}`"))
}

/// A JSON pointer with one more step.
fn join(pointer: &str, step: impl std::fmt::Display) -> String {
    format!("{pointer}/{}", step.to_string().replace('~', "~0").replace('/', "~1"))
}

/// The schema that nothing satisfies.
fn nothing() -> Map<String, Value> {
    Map::from_iter([("allOf".to_owned(), json!([false]))])
}

/// The schema that everything satisfies. The engine cannot combine the one that refers to itself with itself.
fn anything(closed: bool) -> Map<String, Value> {
    if closed { keywords::any_reference() } else { Map::new() }
}

struct Preparer<'a> {
    root: &'a Value,
    /// Pointers to what has a name.
    anchors: HashMap<String, String>,
    /// The name of each definition referred to, by its pointer and whether its objects are closed.
    definitions: HashMap<(String, bool), String>,
    /// Those that are not rewritten yet.
    pending: Vec<(String, String, bool)>,
    left_out: Vec<String>,
    /// How many patterns may have to hold together, by their places without the steps that combine schemas.
    combined: HashMap<String, usize>,
    /// How many steps of numbers stand in combinations.
    steps: usize,
}

impl<'a> Preparer<'a> {
    /// Rewrites the schema that stands at `pointer`. `closed` says that no other schema is about the same value, so that
    /// what an object does not declare can be kept from it.
    fn schema(&mut self, schema: &'a Value, pointer: &str, closed: bool) -> Result<Map<String, Value>> {
        let map = match schema {
            Value::Bool(true) => return Ok(anything(closed)),
            Value::Bool(false) => return Ok(nothing()),
            Value::Object(map) => map,
            other => return Err(wrong(pointer, "a schema: an object or a boolean", other)),
        };
        let alone = closed && map.keys().filter(|key| !ANNOTATIONS.contains(&key.as_str())).count() == 1;
        let mut values = Map::new();
        let mut all = Vec::new();
        let mut reference = None;
        for (key, value) in map {
            let at = join(pointer, key);
            match key.as_str() {
                "$ref" => reference = Some(self.reference(value, &at, alone)?),
                "allOf" => all.extend(self.options(value, &at, false)?),
                "anyOf" => all.push(json!({ "anyOf": self.options(value, &at, alone)? })),
                "oneOf" => {
                    all.push(json!({ "anyOf": self.options(value, &at, alone)? }));
                    if !self.are_disjoint(value) {
                        self.left_out.push(at);
                    }
                }
                "const" | "enum" => {
                    self.values(key, value, &at)?;
                    values.insert(key.clone(), value.clone());
                }
                "unevaluatedItems" | "unevaluatedProperties" if is_simple(map) => {}
                key if LEFT_OUT.contains(&key) && !says_nothing(key, value) => self.left_out.push(at),
                _ => {}
            }
        }
        let named = !values.is_empty();
        let combined = named || !all.is_empty() || reference.is_some();
        let mut out = values;
        if let Some(simple) = self.simple(map, pointer, closed && !combined, named)? {
            out.extend(simple);
        }
        if let Some(reference) = reference {
            out.insert("$ref".to_owned(), reference);
        }
        match (all.len(), out.is_empty()) {
            (0, true) => return Ok(anything(closed)),
            (0, false) => {}
            (1, true) => {
                if let Some(Value::Object(only)) = all.pop() {
                    return Ok(only);
                }
            }
            _ => match out.get_mut("allOf") {
                Some(Value::Array(before)) => before.append(&mut all),
                _ => {
                    out.insert("allOf".to_owned(), Value::Array(all));
                }
            },
        }
        Ok(out)
    }

    /// The schemas of a combination.
    fn options(&mut self, value: &'a Value, at: &str, closed: bool) -> Result<Vec<Value>> {
        let Some(options) = value.as_array().filter(|options| !options.is_empty()) else {
            return Err(wrong(at, "a list of schemas that is not empty", value));
        };
        let options = options.iter().enumerate();
        options
            .map(|(index, option)| Ok(Value::Object(self.schema(option, &join(at, index), closed)?)))
            .collect()
    }

    /// Counts a pattern that stands in a combination of schemas.
    fn combine(&mut self, pointer: &str) -> Result<()> {
        let mut steps = pointer.split('/').peekable();
        let mut place = String::new();
        while let Some(step) = steps.next() {
            match step {
                "allOf" | "anyOf" | "oneOf" => drop(steps.next()),
                // Any definition may be meant beside any other.
                "$defs" | "definitions" => {
                    steps.next();
                    place.clear();
                }
                step => place = join(&place, step),
            }
        }
        let count = self.combined.entry(place).or_default();
        *count += 1;
        if *count > MAX_COMBINED_PATTERNS {
            return Err(exhausted(format!(
                "`{pointer}` in the schema is one of more than {MAX_COMBINED_PATTERNS} patterns that may have to hold together; write fewer"
            )));
        }
        Ok(())
    }

    /// Checks the values that are named, and tells numbers that the engine does not write as they are.
    fn values(&mut self, key: &str, value: &Value, at: &str) -> Result<()> {
        if key == "enum" && value.as_array().is_none_or(Vec::is_empty) {
            return Err(wrong(at, "a list that is not empty", value));
        }
        let mut pending = vec![value];
        while let Some(value) = pending.pop() {
            match value {
                Value::Number(number) if !keywords::is_exact(number) => self.left_out.push(at.to_owned()),
                Value::String(text) if text.contains(keywords::is_unwritten) => {
                    self.left_out.push(at.to_owned())
                }
                Value::Array(items) => pending.extend(items),
                Value::Object(map) => pending.extend(map.values()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A reference to the definition that another one points to.
    fn reference(&mut self, value: &Value, at: &str, closed: bool) -> Result<Value> {
        let Some(reference) = value.as_str() else { return Err(wrong(at, "a string", value)) };
        let pointer = self.local(reference).ok_or_else(|| {
            Error::invalid_input(format!(
                "`{at}` in the schema refers to `{reference}`, which is not in it; put it into `$defs`, nothing is fetched"
            ))
        })?;
        self.target(&pointer)?;
        let count = self.definitions.len();
        if count > MAX_SCHEMA_DEFINITIONS {
            return Err(exhausted(format!(
                "the schema refers to more than {MAX_SCHEMA_DEFINITIONS} definitions; make it smaller"
            )));
        }
        let pending = &mut self.pending;
        let name = self.definitions.entry((pointer.clone(), closed)).or_insert_with(|| {
            let name = format!("d{count}");
            pending.push((name.clone(), pointer, closed));
            name
        });
        Ok(Value::String(format!("#/$defs/{name}")))
    }

    /// The pointer that a reference within the schema means.
    fn local(&self, reference: &str) -> Option<String> {
        let id = self.root.get("$id").and_then(Value::as_str).map(|id| id.trim_end_matches('#'));
        let fragment = match reference.split_once('#') {
            Some((base, fragment)) if base.is_empty() || Some(base) == id => fragment,
            None if Some(reference) == id => "",
            _ => return None,
        };
        let fragment = percent_decoded(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return Some(fragment);
        }
        self.anchors.get(&fragment).cloned()
    }

    fn target(&self, pointer: &str) -> Result<&'a Value> {
        self.root.pointer(pointer).ok_or_else(|| {
            Error::invalid_input(format!("the schema refers to `#{pointer}`, which is not in it"))
        })
    }
}

/// Whether a schema says nothing about a value by way of others, so that what it does not evaluate is what it does not
/// declare.
fn is_simple(map: &Map<String, Value>) -> bool {
    let others =
        ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "not", "dependentSchemas", "contains"];
    others.iter().all(|key| !map.contains_key(*key))
}

/// Whether a keyword that is left out asks for nothing with this value.
fn says_nothing(key: &str, value: &Value) -> bool {
    match key {
        "not" | "uniqueItems" => *value == Value::Bool(false),
        "contains" => false,
        _ => *value == Value::Bool(true) || value.as_object().is_some_and(Map::is_empty),
    }
}

/// A URI's fragment without its escapes. None where it has wrong ones.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).ok()
}
