//! JSON Schemas made ready for the engine.
use puna_core::Result;
use serde_json::{Value, json};

/// Largest schema, as JSON.
pub const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Deepest nesting of a schema.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Most JSON values in a schema.
pub const MAX_SCHEMA_NODES: usize = 10_000;
/// Longest pattern.
pub const MAX_PATTERN_BYTES: usize = 4 << 10;
/// Most repetitions.
pub const MAX_COUNT: u64 = 10_000;

pub(super) struct Prepared {
    pub(super) schema: Value,
    pub(super) unconstrained: Vec<String>,
}

pub(super) fn prepare(schema: &Value, spacing: (&str, &str)) -> Result<Prepared> {
    let mut schema = schema.clone();
    if !schema.is_object() {
        schema = json!({"allOf": [schema]});
    }
    schema["x-guidance"] = json!({ "whitespace_flexible": false, "item_separator": spacing.0, "key_separator": spacing.1, "coerce_one_of": true });
    Ok(Prepared { schema, unconstrained: Vec::new() })
}
