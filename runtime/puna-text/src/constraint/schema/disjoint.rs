//! Whether schemas share a value: `oneOf` is as good as `anyOf` where they do not.

use serde_json::{Map, Value};

use super::Preparer;

/// Most options that are compared with each other.
const MAX_OPTIONS: usize = 64;

/// How deep properties are compared.
const MAX_DEPTH: usize = 3;

/// Most references followed for one schema.
const MAX_REFERENCES: usize = 8;

impl<'a> Preparer<'a> {
    /// Whether no value satisfies two of these schemas, as far as is easily seen.
    pub(super) fn are_disjoint(&self, options: &'a Value) -> bool {
        let Some(options) = options.as_array().filter(|options| options.len() <= MAX_OPTIONS) else {
            return false;
        };
        options.iter().enumerate().all(|(index, one)| {
            options[index + 1..].iter().all(|other| self.shares_nothing(one, other, MAX_DEPTH))
        })
    }

    fn shares_nothing(&self, one: &'a Value, other: &'a Value, depth: usize) -> bool {
        let (one, other) = (self.followed(one), self.followed(other));
        let (Value::Object(one), Value::Object(other)) = (one, other) else {
            return *one == Value::Bool(false) || *other == Value::Bool(false);
        };
        if let (Some(values), Some(others)) = (values_of(one), values_of(other)) {
            return !values.iter().any(|value| others.iter().any(|other| is_same(value, other)));
        }
        if let (Some(types), Some(others)) = (types_of(one), types_of(other))
            && !types.iter().any(|kind| others.contains(kind))
        {
            return true;
        }
        // A value that both take is an object, and has the properties that either asks for.
        let objects = |schema| types_of(schema).is_some_and(|types| types == ["object"]);
        depth > 0
            && (objects(one) || objects(other))
            && required(one).chain(required(other)).any(|name| {
                match (property(one, name), property(other, name)) {
                    (Some(a), Some(b)) => self.shares_nothing(a, b, depth - 1),
                    _ => refuses(one, name) || refuses(other, name),
                }
            })
    }

    /// What a schema that refers to another one means.
    fn followed(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..MAX_REFERENCES {
            let target = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| self.root.pointer(&self.local(reference)?));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }
}

/// The values that a schema lists.
fn values_of(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// The types that a schema allows, whole numbers as numbers.
fn types_of(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    let number = |name| if name == "integer" { "number" } else { name };
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match schema.get("type") {
        Some(Value::String(name)) => Some(vec![number(name)]),
        Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(number)).collect(),
        _ => values_of(schema).map(|values| values.into_iter().map(of_value).collect()),
    }
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn property<'a>(schema: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(name)
}

/// Whether an object of this schema cannot have the property.
fn refuses(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && !schema.contains_key("patternProperties")
        && property(schema, name).is_none()
}

/// Whether JSON Schema takes two values for the same: numbers by their value.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        // Numbers within may be spelled apart.
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        _ => one == other,
    }
}
