//! JSON Schemas that a stranger wrote: vetted before they are compiled, bounded when they run.

use jsonschema::{Draft, PatternOptions, Validator};
use puna_core::{Error, Result, ToolError, ToolErrorKind};
use serde_json::Value;

use crate::guest::scrub;

/// Largest schema, as JSON: it goes into every prompt.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Deepest nesting of a schema.
pub const MAX_SCHEMA_DEPTH: usize = 32;

/// Most JSON values in a schema. Validation takes at most this many steps for each value of the
/// document, because references are refused.
pub const MAX_SCHEMA_NODES: usize = 2_000;

/// Largest regular expression once compiled, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Keywords that point elsewhere. References let a small schema expand without bound or reach for the
/// network, and a model reads a schema better with everything in its place.
const REFERENCES: [&str; 6] = ["$ref", "$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"];

/// Compiles a schema after vetting it.
///
/// # Errors
/// Invalid input that says what about the schema is refused, and where.
pub fn compile(schema: &Value) -> Result<Validator> {
    vet(schema)?;
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(
            // The linear engine: a guest's pattern cannot take exponential time.
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES),
        )
        .should_validate_formats(false)
        .build(schema)
        .map_err(|error| {
            Error::invalid_input(format!(
                "not a JSON Schema at `{}`: {}",
                error.instance_path(),
                scrub(&error.to_string(), 300)
            ))
        })
}

/// Checks arguments or a result; a failure points at the first value that does not fit.
pub fn check(validator: &Validator, value: &Value, kind: ToolErrorKind) -> Result<(), ToolError> {
    validator.validate(value).map_err(|error| {
        ToolError::new(kind, scrub(&error.to_string(), 300)).at(scrub(error.instance_path().as_str(), 200))
    })
}

fn vet(schema: &Value) -> Result<()> {
    if !schema.is_object() {
        return Err(Error::invalid_input("a schema is a JSON object"));
    }
    let mut nodes = 0;
    // A stack of its own: the depth is the guest's to choose.
    let mut pending = vec![(schema, 0)];
    while let Some((value, depth)) = pending.pop() {
        nodes += 1;
        if nodes > MAX_SCHEMA_NODES {
            return Err(Error::invalid_input(format!(
                "the schema holds more than {MAX_SCHEMA_NODES} values"
            )));
        }
        if depth > MAX_SCHEMA_DEPTH {
            return Err(Error::invalid_input(format!("the schema is nested deeper than {MAX_SCHEMA_DEPTH}")));
        }
        match value {
            Value::Object(map) => {
                if let Some(keyword) =
                    REFERENCES.iter().find(|key| map.get(**key).is_some_and(Value::is_string))
                {
                    return Err(Error::invalid_input(format!(
                        "the schema uses `{keyword}`; write the type in its place, references are not followed"
                    )));
                }
                pending.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::Array(items) => pending.extend(items.iter().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA_BYTES {
        return Err(Error::invalid_input(format!("the schema takes {bytes} bytes of {MAX_SCHEMA_BYTES}")));
    }
    Ok(())
}
