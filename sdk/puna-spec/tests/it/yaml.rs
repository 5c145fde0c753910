//! YAML as JSON values, by the core schema of YAML 1.2: what an editor holds against the JSON Schema.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// The value of a text without aliases; none for what is not YAML, has tags or complex keys.
pub fn to_json(text: &str) -> Option<Value> {
    let mut open: Vec<(bool, Vec<Value>)> = Vec::new();
    let mut root = None;
    for item in Parser::new_from_str(text) {
        let value = match item.ok()?.0 {
            Event::DocumentStart(_) if root.is_some() => return None,
            Event::Alias(_) => return None,
            Event::Scalar(text, style, _, None) => scalar(&text, style == ScalarStyle::Plain),
            Event::SequenceStart(_, None) => {
                open.push((false, Vec::new()));
                continue;
            }
            Event::MappingStart(_, None) => {
                open.push((true, Vec::new()));
                continue;
            }
            Event::SequenceEnd => Value::Array(open.pop()?.1),
            Event::MappingEnd => object(open.pop()?.1)?,
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => return None,
            _ => continue,
        };
        match open.last_mut() {
            Some((_, items)) => items.push(value),
            None => root = Some(value),
        }
    }
    root
}

fn object(items: Vec<Value>) -> Option<Value> {
    let mut map = Map::new();
    for pair in items.chunks_exact(2) {
        let key = match &pair[0] {
            Value::String(key) => key.clone(),
            Value::Array(_) | Value::Object(_) => return None,
            other => other.to_string(),
        };
        if map.insert(key, pair[1].clone()).is_some() {
            return None;
        }
    }
    Some(Value::Object(map))
}

fn scalar(text: &str, plain: bool) -> Value {
    if !plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => number(text).unwrap_or_else(|| text.into()),
    }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.trim_start_matches(['+', '-']);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let text = text.trim_start_matches('+');
    let integer = text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<i64>().map(Value::from));
    integer.ok().or_else(|| Number::from_f64(text.parse().ok()?).map(Value::Number))
}
