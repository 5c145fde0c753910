//! Which rewritten schemas a finite value satisfies: a definition may ask for itself without end.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::nothing;

/// Takes out the definitions that no finite value satisfies: what refers to them is satisfied by nothing. Whether
/// anything satisfies the root.
pub(super) fn keep_finite(root: &mut Map<String, Value>, definitions: &mut Map<String, Value>) -> bool {
    let mut finite = HashSet::new();
    // Each round finds those whose values are made of what earlier rounds found.
    loop {
        let found: Vec<String> = definitions
            .iter()
            .filter(|(name, schema)| !finite.contains(*name) && ends(schema, &finite))
            .map(|(name, _)| name.clone())
            .collect();
        if found.is_empty() {
            break;
        }
        finite.extend(found);
    }
    if finite.len() < definitions.len() {
        definitions.retain(|name, _| finite.contains(name));
        root.values_mut().chain(definitions.values_mut()).for_each(|value| prune(value, &finite));
    }
    root.iter().all(|(key, value)| keyword_ends(key, value, root, &finite))
}

/// Puts the schema that nothing satisfies in place of references to what was taken out.
fn prune(value: &mut Value, finite: &HashSet<String>) {
    match value {
        Value::Object(map) => {
            // A property may have that name, and what is listed is no schema.
            if map.get("$ref").is_some_and(|name| name.is_string() && !refers_to(name, finite)) {
                *map = nothing();
            }
            let schemas = map.iter_mut().filter(|(key, _)| !matches!(key.as_str(), "const" | "enum"));
            schemas.for_each(|(_, value)| prune(value, finite));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| prune(value, finite)),
        _ => {}
    }
}

fn refers_to(name: &Value, finite: &HashSet<String>) -> bool {
    name.as_str().is_some_and(|name| finite.contains(name.trim_start_matches("#/$defs/")))
}

fn ends(schema: &Value, finite: &HashSet<String>) -> bool {
    match schema {
        Value::Bool(takes) => *takes,
        Value::Object(map) => map.iter().all(|(key, value)| keyword_ends(key, value, map, finite)),
        _ => true,
    }
}

/// Whether a keyword leaves a finite value.
fn keyword_ends(key: &str, value: &Value, schema: &Map<String, Value>, finite: &HashSet<String>) -> bool {
    // A value of another type may do.
    let only =
        |kind: &str| schema.get("type").and_then(Value::as_array).is_some_and(|types| *types == [kind]);
    match key {
        "$ref" => refers_to(value, finite),
        "allOf" => value.as_array().is_some_and(|all| all.iter().all(|schema| ends(schema, finite))),
        "anyOf" => value.as_array().is_some_and(|all| all.iter().any(|schema| ends(schema, finite))),
        "required" if only("object") => {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).all(|name| {
                let declared = schema.get("properties").and_then(|all| all.get(name));
                declared.or(schema.get("additionalProperties")).is_none_or(|schema| ends(schema, finite))
            })
        }
        "minItems" if only("array") => {
            let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
            let rest = (count > first.len()).then(|| schema.get("items")).flatten();
            first.iter().take(count).chain(rest).all(|schema| ends(schema, finite))
        }
        _ => true,
    }
}
