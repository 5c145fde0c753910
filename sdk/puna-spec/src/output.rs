use std::collections::HashSet;

use puna_core::ToolChoice;
use serde_json::{Map, Number, Value};

use crate::{
    OutputSpec, SchemaSpec,
    node::{Kind, Node, Place, quote, truth_value},
    values::Decoder,
};

const CHOICES: [&str; 3] = ["auto", "none", "required"];

impl Decoder<'_> {
    pub(crate) fn output(&mut self, node: &Node) -> Option<OutputSpec> {
        let mut f = self.fields(node, "`output`")?;
        let default = OutputSpec::default();
        let output = OutputSpec {
            schema: self.optional(f.take("schema"), Self::output_schema),
            repairs: self.optional(f.take("repairs"), |d, n| d.parsed(n, "a whole number, 0 for none")),
            citations: self.optional(f.take("citations"), Self::boolean).unwrap_or(default.citations),
            stream: self.optional(f.take("stream"), Self::boolean).unwrap_or(default.stream),
            show_tools: self.optional(f.take("show_tools"), Self::boolean).unwrap_or(default.show_tools),
        };
        self.finish(f);
        Some(output)
    }

    pub(crate) fn tool_choice(&mut self, node: &Node) -> Option<ToolChoice> {
        match &node.kind {
            Kind::Mapping(_) => {
                let mut f = self.fields(node, "`tool_choice`")?;
                let name = self.required(&mut f, "named", None).and_then(|node| self.text(node));
                self.finish(f);
                Some(ToolChoice::Named(name?))
            }
            Kind::Scalar { text, .. } if CHOICES.contains(&&**text) => text.parse().ok(),
            Kind::Scalar { text, .. } => {
                let help =
                    format!("known: {}; a tool is chosen with `{{ named: {text} }}`", CHOICES.join(", "));
                // Of a long text nothing would be a tool's name.
                let help = (text.len() <= crate::MAX_NAME_CHARS).then_some(help);
                self.report_help(node.place, format!("{} is not known here", node.describe()), help);
                None
            }
            Kind::Sequence(_) => self.expected(node, "a word, or a mapping with `named`"),
        }
    }

    fn output_schema(&mut self, node: &Node) -> Option<SchemaSpec> {
        if !matches!(node.kind, Kind::Mapping(_)) {
            return match node.is_text() {
                true => self.path(node).map(SchemaSpec::File),
                false => self.expected(node, "a JSON Schema as a mapping, or the file that holds it"),
            };
        }
        let Value::Object(schema) = self.json(node)? else { return None };
        let schema = Value::Object(schema);
        let mistake = match jsonschema::meta::validator_for(&schema) {
            Err(_) => Some(("/$schema".to_owned(), "its `$schema` is no draft that is known".to_owned())),
            Ok(known) => known.validate(&schema).err().map(|error| {
                let plain = |c: char| if c.is_control() { ' ' } else { c };
                let message = error.to_string().chars().take(MISTAKE_CHARS).map(plain).collect();
                (error.instance_path().to_string(), message)
            }),
        };
        if let Some((pointer, message)) = mistake {
            self.report(place_of(node, &pointer), format!("this is not JSON Schema: {message}"));
            return None;
        }
        // One with a name of its own may be referred to by it.
        if schema.get("$id").is_none() {
            self.remote_references(node);
        }
        match schema {
            Value::Object(schema) => Some(SchemaSpec::Inline(schema)),
            _ => None,
        }
    }

    fn remote_references(&mut self, node: &Node) {
        match &node.kind {
            Kind::Mapping(pairs) => {
                for (key, value) in pairs.iter() {
                    match (&key.kind, &value.kind) {
                        (Kind::Scalar { text: key, .. }, Kind::Scalar { text, .. })
                            if &**key == "$ref" && !text.starts_with('#') =>
                        {
                            let help = "put what it refers to into `$defs`".to_owned();
                            let message = format!("schemas are not fetched: {} is elsewhere", quote(text));
                            self.report_help(value.place, message, Some(help));
                        }
                        _ => self.remote_references(value),
                    }
                }
            }
            Kind::Sequence(items) => items.iter().for_each(|item| self.remote_references(item)),
            Kind::Scalar { .. } => {}
        }
    }

    /// A value of any kind as it stands, by the core schema of YAML 1.2.
    pub(crate) fn json(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Scalar { .. } if node.is_null() => Some(Value::Null),
            Kind::Scalar { text, .. } if node.is_text() => Some(Value::String(text.to_string())),
            Kind::Scalar { text, .. } => {
                let value = truth_value(text).map(Value::Bool).or_else(|| number(text).map(Value::Number));
                value.or_else(|| self.expected(node, "a number that JSON can write"))
            }
            Kind::Sequence(items) => {
                let values: Vec<Option<Value>> = items.iter().map(|item| self.json(item)).collect();
                values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Kind::Mapping(pairs) => {
                let (mut map, mut seen) = (Map::new(), HashSet::new());
                let mut whole = true;
                for (key, value) in pairs.iter() {
                    let Kind::Scalar { text, .. } = &key.kind else {
                        self.report(key.place, "a key must be a word");
                        whole = false;
                        continue;
                    };
                    if !seen.insert(&**text) {
                        self.report(key.place, format!("{} stands here a second time", quote(text)));
                        whole = false;
                    }
                    match self.json(value) {
                        Some(value) => drop(map.insert(text.to_string(), value)),
                        None => whole = false,
                    }
                }
                whole.then_some(Value::Object(map))
            }
        }
    }
}

/// Longest text of a mistake in a schema, in characters: it quotes what is wrong.
const MISTAKE_CHARS: usize = 200;

/// Where a JSON pointer leads, or as far as it leads.
fn place_of(node: &Node, pointer: &str) -> Place {
    let mut node = node;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &node.kind {
            Kind::Mapping(pairs) => pairs.iter().find_map(|(key, value)| match &key.kind {
                Kind::Scalar { text, .. } if **text == *part => Some(value),
                _ => None,
            }),
            Kind::Sequence(items) => part.parse::<usize>().ok().and_then(|at| items.get(at)),
            Kind::Scalar { .. } => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.place
}

/// A plain scalar that YAML reads as a number.
fn number(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}
