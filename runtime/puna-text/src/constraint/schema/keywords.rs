//! Keywords about values of one type.

use puna_core::Result;
use serde_json::{Map, Number, Value, json};

use super::{
    MAX_COUNT, MAX_OPTIONAL_PROPERTIES, Preparer, exhausted, formats, is_simple, join, nothing, patterns,
    wrong,
};

/// The largest whole number that every reader of JSON takes exactly: 2^53 - 1 (RFC 8259, section 6).
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The largest number where a schema has no bound: it has as many digits as a double holds exactly.
const MAX_NUMBER: i64 = 999_999_999_999_999;

/// Largest step without its zeros: the engine has a state for each remainder.
const MAX_STEP: u64 = 10_000;

/// Most digits of a step with its zeros: what a double holds.
const MAX_STEP_DIGITS: usize = 12;

/// Largest step, and most of them, in schemas that are combined: their common multiple is the step then.
const MAX_COMBINED_STEP: u64 = 100;
const MAX_COMBINED_STEPS: usize = 3;

/// Types of JSON Schema; a number may be whole.
const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// The keywords read here.
const KEYWORDS: [&str; 23] = [
    "additionalItems",
    "additionalProperties",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Any JSON value.
pub(super) fn any() -> Value {
    let any = any_reference();
    json!({ "anyOf": [
        { "type": ["null", "boolean", "string"] },
        { "type": ["number"], "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER },
        { "type": ["array"], "items": any },
        { "type": ["object"], "additionalProperties": any },
    ] })
}

/// A reference to [`any`].
pub(super) fn any_reference() -> Map<String, Value> {
    Map::from_iter([("$ref".to_owned(), json!("#/$defs/any"))])
}

/// Whether the engine writes a number as it is.
pub(super) fn is_exact(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number.abs() <= MAX_INTEGER as f64)
}

/// A step's digits without the zeros around them; none for more than 64 bits hold.
fn digits(step: f64) -> Option<u64> {
    let digits: String = step.to_string().chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').parse().ok().filter(|_| digits.len() < MAX_STEP_DIGITS)
}

/// Whether a character is written with its number alone, as no other may be.
pub(super) fn is_unwritten(c: char) -> bool {
    c < ' ' && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}')
}

impl<'a> Preparer<'a> {
    /// The keywords about one type each; none when there are none. `named` says that the values are listed beside.
    pub(super) fn simple(
        &mut self,
        map: &'a Map<String, Value>,
        pointer: &str,
        closed: bool,
        named: bool,
    ) -> Result<Option<Map<String, Value>>> {
        let types = match map.get("type") {
            Some(types) => types_of(types, pointer)?,
            None if map.keys().any(|key| KEYWORDS.contains(&key.as_str())) => TYPES.to_vec(),
            None => return Ok(None),
        };
        let mut out = Map::from_iter([("type".to_owned(), json!(types))]);
        if types.contains(&"number") || types.contains(&"integer") {
            let most = match types.contains(&"number") {
                _ if named => None,
                true => Some(MAX_NUMBER),
                false => Some(MAX_INTEGER),
            };
            self.number(map, pointer, closed, most, &mut out)?;
        }
        if types.contains(&"string") {
            self.string(map, pointer, closed, &mut out)?;
        }
        if types.contains(&"array") {
            self.array(map, pointer, closed, &mut out)?;
        }
        if types.contains(&"object") {
            self.object(map, pointer, closed, &mut out)?;
        }
        Ok(Some(out))
    }

    /// Numbers within `most`, which a double holds.
    fn number(
        &mut self,
        map: &Map<String, Value>,
        pointer: &str,
        closed: bool,
        most: Option<i64>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        let format = map.get("format").and_then(Value::as_str).and_then(formats::integer_range);
        let range = most.map(|most| {
            let (least, greatest) = format.unwrap_or((-most, most));
            (least.max(-most), greatest.min(most))
        });
        for (key, is_least) in
            [("minimum", true), ("exclusiveMinimum", true), ("maximum", false), ("exclusiveMaximum", false)]
        {
            let Some(value) = map.get(key) else { continue };
            let at = join(pointer, key);
            let Some(bound) = value.as_f64() else { return Err(wrong(&at, "a number", value)) };
            let wider =
                range.is_some_and(
                    |(least, greatest)| {
                        if is_least { bound < least as f64 } else { bound > greatest as f64 }
                    },
                );
            if wider {
                continue;
            }
            if bound.abs() > MAX_INTEGER as f64 {
                // The engine counts digits in 64 bits.
                self.left_out.push(at);
            } else {
                out.insert(key.to_owned(), value.clone());
            }
        }
        if let Some((least, greatest)) = range {
            if !out.contains_key("minimum") && !out.contains_key("exclusiveMinimum") {
                out.insert("minimum".to_owned(), json!(least));
            }
            if !out.contains_key("maximum") && !out.contains_key("exclusiveMaximum") {
                out.insert("maximum".to_owned(), json!(greatest));
            }
        }
        if let Some(value) = map.get("multipleOf") {
            let at = join(pointer, "multipleOf");
            match value.as_f64().filter(|step| *step > 0.0) {
                None => return Err(wrong(&at, "a number above 0", value)),
                Some(step) => {
                    self.steps += usize::from(!closed);
                    let most = if closed { MAX_STEP } else { MAX_COMBINED_STEP };
                    if digits(step).is_some_and(|digits| digits <= most) && self.steps <= MAX_COMBINED_STEPS {
                        out.insert("multipleOf".to_owned(), value.clone());
                    } else {
                        self.left_out.push(at);
                    }
                }
            }
        }
        Ok(())
    }

    fn string(
        &mut self,
        map: &Map<String, Value>,
        pointer: &str,
        closed: bool,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        counts(map, pointer, ["minLength", "maxLength"], out)?;
        let mut all = Vec::new();
        if let Some(value) = map.get("pattern") {
            let at = join(pointer, "pattern");
            let Some(pattern) = value.as_str() else { return Err(wrong(&at, "a string", value)) };
            if self.takes_pattern(pattern, &at)? {
                all.push(json!(pattern));
            }
        }
        if let Some(value) = map.get("format") {
            let at = join(pointer, "format");
            let Some(format) = value.as_str() else { return Err(wrong(&at, "a string", value)) };
            match formats::pattern(format) {
                Some(pattern) => all.push(json!(format!("^(?:{pattern})$"))),
                None if formats::integer_range(format).is_some() => {}
                None => self.left_out.push(at),
            }
        }
        if !closed {
            for _ in &all {
                self.combine(pointer)?;
            }
        }
        let mut all = all.into_iter();
        if let Some(first) = all.next() {
            out.insert("pattern".to_owned(), first);
        }
        if let Some(second) = all.next() {
            out.insert("allOf".to_owned(), json!([{ "pattern": second }]));
        }
        Ok(())
    }

    /// Whether the engine reads a regular expression; one that it does not is left out.
    fn takes_pattern(&mut self, pattern: &str, at: &str) -> Result<bool> {
        patterns::check(pattern, at)?;
        let taken = patterns::is_read(pattern);
        if !taken {
            self.left_out.push(at.to_owned());
        }
        Ok(taken)
    }

    fn array(
        &mut self,
        map: &'a Map<String, Value>,
        pointer: &str,
        closed: bool,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        counts(map, pointer, ["minItems", "maxItems"], out)?;
        // Before 2020-12, a list of `items` came first and `additionalItems` were the rest.
        let old = map.get("items").is_some_and(Value::is_array);
        let (first, rest) = if old { ("items", "additionalItems") } else { ("prefixItems", "items") };
        if let Some(value) = map.get(first) {
            let at = join(pointer, first);
            let Some(items) = value.as_array() else { return Err(wrong(&at, "a list of schemas", value)) };
            let mut schemas = Vec::new();
            for (index, item) in items.iter().enumerate() {
                schemas.push(self.schema(item, &join(&at, index), closed)?);
            }
            out.insert("prefixItems".to_owned(), json!(schemas));
        }
        match map
            .get_key_value(rest)
            .or_else(|| map.get_key_value("unevaluatedItems").filter(|_| is_simple(map)))
        {
            Some((key, items)) => {
                out.insert("items".to_owned(), json!(self.schema(items, &join(pointer, key), closed)?));
            }
            None if closed => {
                out.insert("items".to_owned(), json!(any_reference()));
            }
            None => {}
        }
        Ok(())
    }

    fn object(
        &mut self,
        map: &'a Map<String, Value>,
        pointer: &str,
        closed: bool,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        counts(map, pointer, ["minProperties", "maxProperties"], out)?;
        let required = names(map, pointer)?;
        // A property may have to satisfy the schema of a pattern too.
        let alone = closed && !map.contains_key("patternProperties");
        for key in ["properties", "patternProperties"] {
            let Some(value) = map.get(key) else { continue };
            let at = join(pointer, key);
            let Some(properties) = value.as_object() else { return Err(wrong(&at, "an object", value)) };
            let mut schemas = Map::new();
            for (name, schema) in properties {
                let at = join(&at, name);
                if key == "properties" || self.takes_pattern(name, &at)? {
                    schemas.insert(name.clone(), json!(self.schema(schema, &at, alone)?));
                }
            }
            if key == "patternProperties" && !patterns::are_disjoint(schemas.keys()) {
                // Without them, their names are like others.
                self.left_out.push(at);
                continue;
            }
            out.insert(key.to_owned(), Value::Object(schemas));
        }
        let declared = |name: &&str| map.get("properties").is_some_and(|all| all.get(*name).is_some());
        let unevaluated = map.get_key_value("unevaluatedProperties").filter(|_| is_simple(map));
        let rest = match map.get_key_value("additionalProperties").or(unevaluated) {
            Some((key, schema)) => Some(self.schema(schema, &join(pointer, key), closed)?),
            None if !closed => None,
            // What is not declared is kept out, where that leaves an object.
            None if map.contains_key("properties")
                && !map.contains_key("patternProperties")
                && !map.contains_key("minProperties")
                && required.iter().all(declared) =>
            {
                Some(nothing())
            }
            None => Some(any_reference()),
        };
        if let Some(rest) = rest {
            out.insert("additionalProperties".to_owned(), json!(rest));
        }
        let optional = map
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|all| all.keys().any(|name| !required.contains(&name.as_str())));
        let left_out = map
            .get("properties")
            .and_then(Value::as_object)
            .map_or(0, Map::len)
            .saturating_sub(required.len());
        if left_out > MAX_OPTIONAL_PROPERTIES {
            return Err(exhausted(format!(
                "`{pointer}/properties` in the schema has {left_out} properties that may be left out; {MAX_OPTIONAL_PROPERTIES} are taken, so require some"
            )));
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        // A name may come twice and counts once; and the engine does not count what may be left out.
        let least = out.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > required.len() as u64 {
            self.left_out.push(join(pointer, "minProperties"));
        } else {
            out.remove("minProperties");
        }
        if optional {
            out.remove("minProperties");
            if out.remove("maxProperties").is_some() {
                self.left_out.push(join(pointer, "maxProperties"));
            }
        }
        Ok(())
    }
}

/// The types that a schema names.
fn types_of<'a>(value: &'a Value, pointer: &str) -> Result<Vec<&'a str>> {
    let wanted =
        "one of `null`, `boolean`, `integer`, `number`, `string`, `array` and `object`, or a list of them";
    let all = match value {
        Value::Array(all) if !all.is_empty() => all.iter().map(Value::as_str).collect(),
        one => one.as_str().map(|one| vec![one]),
    };
    let known = |name: &&str| TYPES.contains(name) || *name == "integer";
    all.filter(|all: &Vec<&str>| all.iter().all(known))
        .ok_or_else(|| wrong(&join(pointer, "type"), wanted, value))
}

/// The names of `required`.
fn names<'a>(map: &'a Map<String, Value>, pointer: &str) -> Result<Vec<&'a str>> {
    let Some(value) = map.get("required") else { return Ok(Vec::new()) };
    value
        .as_array()
        .and_then(|names| names.iter().map(Value::as_str).collect())
        .ok_or_else(|| wrong(&join(pointer, "required"), "a list of names", value))
}

/// A least and a greatest count.
fn counts(
    map: &Map<String, Value>,
    pointer: &str,
    [least, greatest]: [&str; 2],
    out: &mut Map<String, Value>,
) -> Result<()> {
    for key in [least, greatest] {
        let Some(value) = map.get(key) else { continue };
        let at = join(pointer, key);
        let count = value.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0);
        let Some(count) = count else { return Err(wrong(&at, "a whole number from 0", value)) };
        if count > MAX_COUNT as f64 {
            if key == least {
                return Err(exhausted(format!(
                    "`{at}` in the schema is `{value}`; at most {MAX_COUNT} can be asked for"
                )));
            }
            out.insert(key.to_owned(), json!(MAX_COUNT));
        } else {
            out.insert(key.to_owned(), json!(count as u64));
        }
    }
    Ok(())
}
