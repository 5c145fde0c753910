//! Arguments as Python writes them: `True`, `False` and `None` where JSON has `true`, `false` and `null`; numbers,
//! strings, lists and dictionaries as in JSON.

use std::collections::{HashMap, HashSet};

use puna_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::grammar::{Writer, literal};

/// The keyword arguments of a rewritten schema, as a Lark expression.
///
/// # Errors
/// `InvalidInput` for a required argument whose name is none in Python.
pub(super) fn arguments(writer: &mut Writer, tool: &str, prepared: &Value) -> Result<String> {
    let definitions = prepared["$defs"].as_object().cloned().unwrap_or_default();
    let mut python = Python { writer, tool, definitions, rules: HashMap::new() };
    let root = python.followed(prepared);
    let properties = root["properties"].as_object().cloned().unwrap_or_default();
    if ["allOf", "anyOf"].iter().any(|key| root.get(*key).is_some()) {
        python.writer.leave_out(format!("{tool}#/"));
    }
    let mut items = Vec::new();
    for (name, schema) in &properties {
        let required = is_required(&root, name);
        if !is_name(name) {
            if required {
                return Err(Error::invalid_input(format!(
                    "tool `{tool}` needs `{name}`, which is no name in Python, in which this model writes calls; rename it"
                )));
            }
            continue;
        }
        if is_nothing(schema) && !required {
            continue;
        }
        let value = python.value(schema)?;
        items.push((format!("{} {value}", literal(&format!("{name}="))), required));
    }
    Ok(python.sequence(&items))
}

struct Python<'a> {
    writer: &'a mut Writer,
    tool: &'a str,
    definitions: Map<String, Value>,
    /// The rule of each definition.
    rules: HashMap<String, String>,
}

impl Python<'_> {
    /// A value, as the name of a grammar: what is written may be used more than once.
    fn value(&mut self, schema: &Value) -> Result<String> {
        let body = self.body(schema)?;
        if body.starts_with('@') || body.chars().all(char::is_alphanumeric) {
            return Ok(body);
        }
        let rule = self.writer.name();
        self.writer.rule(&rule, &body);
        Ok(rule)
    }

    /// A value, as a Lark expression.
    fn body(&mut self, schema: &Value) -> Result<String> {
        if self.is_plain(schema, &mut HashSet::new()) {
            let mut schema = schema.clone();
            schema["$defs"] = Value::Object(self.definitions.clone());
            return Ok(self.writer.json(schema));
        }
        if let Some(name) =
            schema["$ref"].as_str().filter(|_| schema.as_object().is_some_and(|map| map.len() == 1))
        {
            return self.definition(name.trim_start_matches("#/$defs/"));
        }
        let listed = match (schema.get("const"), schema["enum"].as_array()) {
            (Some(value), _) => Some(vec![value.clone()]),
            (None, Some(values)) => Some(values.clone()),
            _ => None,
        };
        if let Some(values) = listed {
            let fits = |value: &&Value| schema.get("type").is_none_or(|types| is_of(value, types));
            let texts: Vec<_> = values.iter().filter(fits).map(|value| literal(&text(value))).collect();
            return Ok(format!("({})", texts.join(" | ")));
        }
        if let (Some(options), 1) = (schema["anyOf"].as_array(), schema.as_object().map_or(0, Map::len)) {
            return self.options(options.clone());
        }
        let Some(types) = schema["type"]
            .as_array()
            .filter(|_| schema.get("$ref").is_none() && schema.get("anyOf").is_none())
        else {
            return self.unheld();
        };
        let mut options = Vec::new();
        for kind in types {
            let mut one = schema.clone();
            one["type"] = json!([kind]);
            options.push(match kind.as_str() {
                Some("boolean") => "\"True\" | \"False\"".to_owned(),
                Some("null") => "\"None\"".to_owned(),
                Some("array") if schema.get("allOf").is_none() => self.array(schema)?,
                Some("object") if schema.get("allOf").is_none() => self.object(schema)?,
                Some("string" | "number" | "integer") => self.value(&one)?,
                _ => return self.unheld(),
            });
        }
        Ok(format!("({})", options.join(" | ")))
    }

    /// Any value, in place of one whose schema cannot be written.
    fn unheld(&mut self) -> Result<String> {
        self.writer.leave_out(format!("{}#/", self.tool));
        self.definition("any")
    }

    fn options(&mut self, options: Vec<Value>) -> Result<String> {
        let options: Result<Vec<_>> =
            options.iter().filter(|option| !is_nothing(option)).map(|option| self.value(option)).collect();
        Ok(format!("({})", options?.join(" | ")))
    }

    /// The rule of a definition, which may refer to itself.
    fn definition(&mut self, name: &str) -> Result<String> {
        if let Some(rule) = self.rules.get(name) {
            return Ok(rule.clone());
        }
        let rule = self.writer.name();
        self.rules.insert(name.to_owned(), rule.clone());
        let schema = self.definitions.get(name).cloned().unwrap_or(Value::Null);
        let body = self.body(&schema)?;
        self.writer.rule(&rule, &body);
        Ok(rule)
    }

    fn array(&mut self, schema: &Value) -> Result<String> {
        let count = |key: &str| schema[key].as_u64();
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems"));
        let first = schema["prefixItems"].as_array().cloned().unwrap_or_default();
        let mut items = Vec::new();
        // As many of the first as there may be.
        for item in first.iter().take(most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX))
        {
            items.push(self.value(item)?);
        }
        let head = items.join(" \", \" ");
        let taken = items.len() as u64;
        let rest = &schema["items"];
        if is_nothing(rest) || most == Some(taken) {
            return Ok(format!("\"[\" {head} \"]\""));
        }
        let rest = if rest.is_null() { self.definition("any")? } else { self.value(rest)? };
        let more = |least: u64, most: Option<u64>| repeated(&format!("(\", \" {rest})"), least, most);
        Ok(if items.is_empty() {
            let more = more(least.saturating_sub(1), most.map(|most| most - 1));
            let optional = if least == 0 { "?" } else { "" };
            format!("\"[\" ({rest} {more}){optional} \"]\"")
        } else {
            let more = more(least.saturating_sub(taken), most.map(|most| most - taken));
            format!("\"[\" {head} {more} \"]\"")
        })
    }

    fn object(&mut self, schema: &Value) -> Result<String> {
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let mut items = Vec::new();
        for (name, value) in &properties {
            let required = is_required(schema, name);
            if !is_nothing(value) || required {
                let value = self.value(value)?;
                items.push((format!("{} {value}", literal(&format!("{}: ", json!(name)))), required));
            }
        }
        if !items.is_empty() {
            // Other names are kept out, so that none comes twice.
            let inner = self.sequence(&items);
            return Ok(format!("\"{{\" {inner} \"}}\""));
        }
        let mut entries = Vec::new();
        for (pattern, value) in schema["patternProperties"].as_object().into_iter().flatten() {
            let key = self.writer.json(json!({ "type": "string", "pattern": pattern }));
            entries.push(format!("{key} \": \" {}", self.value(value)?));
        }
        let rest = &schema["additionalProperties"];
        if entries.is_empty() && !is_nothing(rest) {
            let key = self.writer.json(json!({ "type": "string" }));
            let value = if rest.is_null() { self.definition("any")? } else { self.value(rest)? };
            entries.push(format!("{key} \": \" {value}"));
        }
        if entries.is_empty() {
            return Ok("\"{}\"".to_owned());
        }
        let entry = self.writer.name();
        self.writer.rule(&entry, &entries.join(" | "));
        let most = schema["maxProperties"].as_u64();
        let more = repeated(&format!("(\", \" {entry})"), 0, most.map(|most| most.saturating_sub(1)));
        let optional = if schema["minProperties"].as_u64().unwrap_or(0) == 0 { "?" } else { "" };
        Ok(match most {
            Some(0) => "\"{}\"".to_owned(),
            _ => format!("\"{{\" ({entry} {more}){optional} \"}}\""),
        })
    }

    /// Items apart by commas, in their order, those that are not required perhaps left out.
    fn sequence(&mut self, items: &[(String, bool)]) -> String {
        // For each item, what may follow once something stands before it, and once nothing does.
        let mut behind = String::new();
        let mut options: Vec<String> = Vec::new();
        for (item, required) in items.iter().rev() {
            let first = format!("{item} {behind}");
            if *required {
                options.clear();
            }
            options.push(first);
            let rule = self.writer.name();
            let optional = if *required { "" } else { "?" };
            self.writer.rule(&rule, &format!("(\", \" {item}){optional} {behind}"));
            behind = rule;
        }
        options.reverse();
        match (options.is_empty(), items.iter().any(|(_, required)| *required)) {
            (true, _) => String::new(),
            (false, true) => format!("({})", options.join(" | ")),
            (false, false) => format!("({})?", options.join(" | ")),
        }
    }

    /// Whether JSON and Python write every value of a schema alike.
    fn is_plain(&self, schema: &Value, seen: &mut HashSet<String>) -> bool {
        let Some(map) = schema.as_object() else { return false };
        let types: Option<Vec<&str>> = map
            .get("type")
            .and_then(Value::as_array)
            .map(|types| types.iter().filter_map(Value::as_str).collect());
        if let Some(types) = &types {
            if types.iter().all(|kind| matches!(*kind, "string" | "number" | "integer")) {
                return true;
            }
            if types.iter().any(|kind| matches!(*kind, "boolean" | "null")) {
                return false;
            }
        }
        if let Some(value) = map.get("const") {
            return is_plain_value(value);
        }
        if let Some(values) = map.get("enum") {
            return is_plain_value(values);
        }
        if let Some(name) = map.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/$defs/");
            // One that is looked at already is plain if the rest is.
            return !seen.insert(name.to_owned())
                || self.definitions.get(name).is_some_and(|schema| self.is_plain(schema, seen));
        }
        if is_nothing(schema) {
            return true;
        }
        if map.contains_key("allOf") {
            return false;
        }
        let mut all = |value: Option<&Value>| match value {
            Some(Value::Array(schemas)) => schemas.iter().all(|schema| self.is_plain(schema, seen)),
            Some(Value::Object(schemas)) => schemas.values().all(|schema| self.is_plain(schema, seen)),
            _ => true,
        };
        if !all(map.get("anyOf"))
            || !all(map.get("prefixItems"))
            || !all(map.get("properties"))
            || !all(map.get("patternProperties"))
        {
            return false;
        }
        let Some(types) = types else { return map.contains_key("anyOf") };
        let rest = |kind: &str, key: &str, seen: &mut HashSet<String>| {
            !types.contains(&kind) || map.get(key).is_some_and(|schema| self.is_plain(schema, seen))
        };
        rest("array", "items", seen) && rest("object", "additionalProperties", seen)
    }

    /// What a schema that refers to another one means.
    fn followed(&self, schema: &Value) -> Value {
        let mut schema = schema;
        // No longer than there are definitions.
        for _ in 0..self.definitions.len() {
            let name = schema["$ref"].as_str().map(|name| name.trim_start_matches("#/$defs/"));
            match name.and_then(|name| self.definitions.get(name)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema.clone()
    }
}

/// An expression so many times.
fn repeated(expression: &str, least: u64, most: Option<u64>) -> String {
    match most {
        Some(0) => String::new(),
        Some(most) => format!("{expression}{{{least},{most}}}"),
        None if least == 0 => format!("{expression}*"),
        None => format!("{expression}{{{least},}}"),
    }
}

/// Whether nothing satisfies a rewritten schema.
fn is_nothing(schema: &Value) -> bool {
    schema["allOf"].as_array().is_some_and(|all| all.contains(&Value::Bool(false)))
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
}

/// Whether Python and JSON write a value alike.
fn is_plain_value(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(is_plain_value),
        Value::Object(map) => map.values().all(is_plain_value),
    }
}

fn is_of(value: &Value, types: &Value) -> bool {
    let has = |name: &str| types.as_array().is_some_and(|types| types.iter().any(|kind| kind == name));
    match value {
        Value::Null => has("null"),
        Value::Bool(_) => has("boolean"),
        Value::Number(number) => {
            has("number") || (has("integer") && number.as_f64().is_some_and(|n| n.fract() == 0.0))
        }
        Value::String(_) => has("string"),
        Value::Array(_) => has("array"),
        Value::Object(_) => has("object"),
    }
}

/// A value as Python writes it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, value)| format!("{}: {}", json!(key), text(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Whether a name may stand before `=` in a call. Python's own words may, because a parser of calls knows none of them.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}
