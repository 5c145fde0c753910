//! Front matter: YAML between lines of `---` at the start of a text.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Longest front matter: a screen of text, and bounds the parser's time.
const MAX_BYTES: usize = 64 << 10;

/// Deepest nesting: bounds recursion.
const MAX_DEPTH: usize = 16;

/// What the front matter says, and the text after it. What is no mapping in YAML, or uses aliases, is text: a text may
/// well begin with a line of its own.
pub fn split(text: &str) -> (Map<String, Value>, &str) {
    match parts(text).and_then(|(yaml, body)| Some((mapping(yaml)?, body))) {
        Some(parts) => parts,
        None => (Map::new(), text),
    }
}

fn parts(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---")?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if end > MAX_BYTES {
            return None;
        }
        if matches!(line.trim_end(), "---" | "...") {
            let body = rest[end + line.len()..].trim_start_matches(['\r', '\n']);
            return Some((&rest[..end], body));
        }
        end += line.len();
    }
    None
}

fn mapping(yaml: &str) -> Option<Map<String, Value>> {
    let mut events = Parser::new_from_str(yaml).map_while(|event| event.ok().map(|(event, _)| event));
    loop {
        match events.next()? {
            Event::StreamStart | Event::DocumentStart(_) => {}
            // An empty one.
            Event::StreamEnd => return Some(Map::new()),
            event => {
                let Value::Object(map) = value(event, &mut events, MAX_DEPTH)? else { return None };
                let ended = matches!(events.next()?, Event::DocumentEnd);
                return (ended && matches!(events.next()?, Event::StreamEnd)).then_some(map);
            }
        }
    }
}

fn value<'input>(
    event: Event<'input>,
    events: &mut impl Iterator<Item = Event<'input>>,
    depth: usize,
) -> Option<Value> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, None) => Some(plain(&text)),
        Event::Scalar(text, ..) => Some(Value::String(text.into_owned())),
        Event::SequenceStart(..) if depth > 0 => {
            let mut items = Vec::new();
            loop {
                match events.next()? {
                    Event::SequenceEnd => return Some(Value::Array(items)),
                    event => items.push(value(event, events, depth - 1)?),
                }
            }
        }
        Event::MappingStart(..) if depth > 0 => {
            let mut map = Map::new();
            loop {
                let key = match events.next()? {
                    Event::MappingEnd => return Some(Value::Object(map)),
                    Event::Scalar(key, ..) => key.into_owned(),
                    _ => return None,
                };
                let next = events.next()?;
                map.insert(key, value(next, events, depth - 1)?);
            }
        }
        _ => None,
    }
}

/// A scalar without quotes, by YAML's core schema. Dates stay text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Value::String(text.to_owned());
    }
    // A leading zero is a code, not a number: `007` stays as it is written.
    let coded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let number = match text.parse::<i64>() {
        _ if coded => None,
        Ok(number) => Some(Number::from(number)),
        Err(_) => text.parse().ok().and_then(Number::from_f64),
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}
