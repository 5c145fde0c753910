//! Schemas, expressions and grammars that mean harm: each ends in a typed error, or in a constraint whose masks do.

use puna_core::{Constraint, ErrorKind, ToolChoice};
use puna_text::{AnswerForm, Compiled, Dialect, MAX_COUNT, MAX_SCHEMA_DEFINITIONS, MAX_SCHEMA_NODES};
use serde_json::{Map, Value, json};

use super::{COMPILER, EOS, answer, tool};

/// What becomes of a constraint.
#[derive(Debug, PartialEq)]
enum Outcome {
    Held,
    /// A keyword is told.
    Told,
    Refused(ErrorKind),
}
use Outcome::{Held, Refused, Told};

const LARGE: Outcome = Refused(ErrorKind::ResourceExhausted);
const WRONG: Outcome = Refused(ErrorKind::InvalidInput);

fn nested(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({ "type": "string" }), |inner, _| wrap(inner))
}

fn named(count: usize, schema: impl Fn(usize) -> (String, Value)) -> Value {
    Value::Object((0..count).map(schema).collect())
}

fn strings(count: usize) -> Value {
    named(count, |index| (format!("p{index}"), json!({ "type": "string" })))
}

/// So many alternatives, each asking for a property of its own.
fn alternatives(count: usize, name: &str) -> Value {
    let option = |index: usize| {
        let name = format!("{name}{index}");
        json!({ "properties": { name.clone(): { "type": "integer" } }, "required": [name] })
    };
    json!({ "anyOf": (0..count).map(option).collect::<Vec<_>>() })
}

/// Definitions that refer to the next one each.
fn chain(length: usize, link: impl Fn(Value) -> Value) -> Value {
    let reference = |index: usize| json!({ "$ref": format!("#/$defs/d{index}") });
    let mut definitions: Map<String, Value> =
        (0..length).map(|index| (format!("d{index}"), link(reference(index + 1)))).collect();
    definitions.insert(format!("d{length}"), json!({ "type": "string" }));
    json!({ "$ref": "#/$defs/d0", "$defs": definitions })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn all_of(count: usize, schema: impl Fn(usize) -> Value) -> Value {
    json!({ "allOf": (0..count).map(schema).collect::<Vec<_>>() })
}

fn schemas() -> Vec<(&'static str, Value, Outcome)> {
    let itself = json!({ "$ref": "#" });
    let tree = |name: &str| json!({ "type": "object", "properties": { "x": { "$ref": format!("#/$defs/{name}") } } });
    vec![
        // Depth.
        ("arrays", nested(30, |inner| json!({ "type": "array", "items": inner })), Held),
        ("objects", nested(30, |inner| json!({ "properties": { "a": inner }, "required": ["a"] })), Held),
        ("alternatives", nested(30, |inner| json!({ "anyOf": [inner, { "type": "null" }] })), Held),
        ("combinations", nested(30, |inner| json!({ "allOf": [inner, { "minLength": 1 }] })), Held),
        ("without types", nested(60, |inner| json!({ "items": inner })), Held),
        ("too deep", nested(2_000, |inner| json!({ "items": inner })), LARGE),
        ("a chain", chain(MAX_SCHEMA_DEFINITIONS - 12, |next| next), Held),
        ("a chain of objects", chain(MAX_SCHEMA_DEFINITIONS - 12, |next| json!({ "items": next })), Held),
        ("a chain too long", chain(MAX_SCHEMA_DEFINITIONS + 1, |next| next), LARGE),
        // Size.
        ("values", json!({ "enum": (0..5_000).map(|index| format!("v{index}")).collect::<Vec<_>>() }), Held),
        ("too many values", json!({ "enum": (0..MAX_SCHEMA_NODES).collect::<Vec<_>>() }), LARGE),
        ("properties", json!({ "type": "object", "properties": strings(400) }), Held),
        ("too many properties", json!({ "type": "object", "properties": strings(401) }), LARGE),
        ("a long text", json!({ "const": "x".repeat(300_000) }), LARGE),
        // Exponential.
        ("10 ^ 6 combinations", all_of(6, |index| alternatives(10, &format!("k{index}_"))), LARGE),
        ("2 ^ 12 combinations", all_of(12, |index| alternatives(2, &format!("k{index}_"))), LARGE),
        (
            "many of a large one",
            json!({ "properties": strings(300), "allOf": [alternatives(200, "k"), alternatives(200, "l")] }),
            LARGE,
        ),
        ("many patterns", all_of(30, |index| pattern(&format!("x{index}"))), LARGE),
        ("hard patterns", all_of(12, |index| pattern(&format!("a.{{{}}}b", 5 * index + 3))), LARGE),
        (
            "many patterns in definitions",
            json!({
                "allOf": (0..30).map(|index| json!({ "$ref": format!("#/$defs/d{index}") })).collect::<Vec<_>>(),
                "$defs": named(30, |index| (format!("d{index}"), pattern(&format!("x{index}")))),
            }),
            LARGE,
        ),
        (
            "many patterns of a property",
            all_of(30, |index| json!({ "properties": { "a": pattern(&format!("x{index}")) } })),
            LARGE,
        ),
        // Elsewhere, and in circles.
        ("remote", json!({ "$ref": "https://example.com/schema.json" }), WRONG),
        ("a file", json!({ "items": { "$ref": "file:///etc/passwd" } }), WRONG),
        ("nowhere", json!({ "$ref": "#/$defs/none" }), WRONG),
        ("itself", itself.clone(), WRONG),
        ("all of itself", json!({ "allOf": [itself] }), WRONG),
        ("any of itself", json!({ "anyOf": [itself, itself] }), WRONG),
        (
            "each other",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
            WRONG,
        ),
        (
            "a list that holds itself",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "array", "items": { "$ref": "#/$defs/a" }, "minItems": 1 } } }),
            WRONG,
        ),
        (
            "what may be left out",
            json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "$defs": { "a": { "$ref": "#/$defs/a" } } }),
            Held,
        ),
        (
            "two trees at once",
            json!({ "allOf": [{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/b" }], "$defs": { "a": tree("a"), "b": tree("b") } }),
            LARGE,
        ),
        // Counts.
        (
            "many items",
            json!({ "type": "array", "minItems": MAX_COUNT, "items": { "type": "string" } }),
            Held,
        ),
        ("too many items", json!({ "type": "array", "minItems": MAX_COUNT + 1 }), LARGE),
        ("a large maximum", json!({ "type": "array", "maxItems": u64::MAX }), Held),
        (
            "many of many",
            nested(4, |inner| json!({ "type": "array", "items": inner, "minItems": 9_999 })),
            Held,
        ),
        ("a long string", json!({ "type": "string", "minLength": MAX_COUNT }), Held),
        ("too long a string", json!({ "type": "string", "minLength": 1e9 }), LARGE),
        ("a negative count", json!({ "minItems": -1 }), WRONG),
        ("half a count", json!({ "maxLength": 0.5 }), WRONG),
        // Numbers.
        ("a large bound", json!({ "type": "number", "minimum": 1e308 }), Told),
        ("a small bound", json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1e-300 }), Held),
        ("bounds without numbers", json!({ "type": "integer", "minimum": 5, "maximum": 4 }), WRONG),
        ("a prime step", json!({ "type": "integer", "multipleOf": 9_973 }), Held),
        ("a large prime step", json!({ "type": "integer", "multipleOf": 999_983 }), Told),
        ("many steps", all_of(9, |index| json!({ "type": "integer", "multipleOf": 90 + index })), Told),
        ("no step", json!({ "multipleOf": 0 }), WRONG),
        // Patterns.
        ("a repeated repetition", pattern("^(a+)+$"), Held),
        ("the nth from the end", pattern("(a|b)*a(a|b){1,60}$"), Held),
        ("counts of counts", pattern("^((a{1,100}){1,100}){1,100}$"), LARGE),
        ("counts of counts of classes", pattern("^(\\p{L}{0,1000}x){0,1000}$"), LARGE),
        ("too many counts", pattern("(a{99999}){99999}"), LARGE),
        ("a long pattern", pattern(&"a".repeat(5_000)), LARGE),
        ("a deep pattern", pattern(&format!("{}a{}", "(".repeat(100), ")".repeat(100))), LARGE),
        ("not read", pattern("^(?=a)a"), Told),
        (
            "many pattern properties",
            json!({ "patternProperties": named(100, |index| (format!("^x{index}.*y$"), json!({ "type": "null" }))) }),
            Told,
        ),
        // No schemas.
        ("a number", json!(7), WRONG),
        ("no type", json!({ "type": "text" }), WRONG),
        ("no list", json!({ "anyOf": { "type": "string" } }), WRONG),
        ("an empty list", json!({ "enum": [] }), WRONG),
        ("no names", json!({ "type": "object", "required": [7] }), WRONG),
        ("nothing", json!(false), WRONG),
    ]
}

/// Takes masks for a while; whether all came, and if not, that a typed error said so.
fn run(name: &str, compiled: &Compiled) {
    for seed in 0..3 {
        let mut matcher = compiled.matcher();
        for step in 0..60 {
            let allowed: Vec<u32> = match matcher.mask() {
                Ok(mask) => mask.tokens().filter(|token| !EOS.contains(token)).collect(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{name}: {error}");
                    break;
                }
            };
            if allowed.is_empty() {
                break;
            }
            if let Err(error) = matcher.commit(allowed[(seed * 7_919 + step * 31) % allowed.len()]) {
                assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{name}: {error}");
                break;
            }
        }
    }
}

#[test]
fn hostile_schemas_end_in_typed_errors() {
    for (name, schema, expected) in schemas() {
        let outcome = match answer(&Constraint::JsonSchema(schema)) {
            Ok(compiled) => {
                run(name, &compiled);
                if compiled.unconstrained().is_empty() { Held } else { Told }
            }
            Err(error) => Refused(error.kind()),
        };
        assert_eq!(outcome, expected, "{name}");
    }
}

/// Python's arguments are written from the same schemas.
#[test]
fn hostile_arguments_end_in_typed_errors() {
    for (name, schema, expected) in schemas() {
        let definitions = schema["$defs"].clone();
        let parameters = json!({
            "type": "object",
            "properties": { "a": schema, "b": { "type": "boolean" } },
            "required": ["a"],
            "$defs": definitions,
        });
        let tools = [tool("f", parameters)];
        let form = AnswerForm {
            dialect: Dialect::Pythonic,
            tools: &tools,
            choice: &ToolChoice::Required,
            parallel: true,
            answer: None,
        };
        match COMPILER.compile(&form) {
            Ok(compiled) => {
                run(name, &compiled);
                // `#` is another schema there, and what cannot be combined is told.
                assert!(
                    expected == Held || !compiled.unconstrained().is_empty() || name.ends_with("of itself"),
                    "{name}"
                );
            }
            Err(error) => {
                let kinds = [ErrorKind::ResourceExhausted, ErrorKind::InvalidInput];
                assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
                assert_ne!(expected, Held, "{name}: {error}");
            }
        }
    }
}

#[test]
fn hostile_grammars_end_in_typed_errors() {
    let rules = |count: usize, body: fn(usize) -> String, last: &str| {
        (0..count).map(body).collect::<String>() + &format!("{last}{count}: \"a\"\nstart: {last}0\n")
    };
    let deep = format!("start: {}\"a\"{}", "(".repeat(5_000), ")".repeat(5_000));
    let table: &[(String, Outcome)] = &[
        ("start: start start | \"a\"".into(), Held),
        ("start: \"a\"{100000}".into(), Held),
        ("start: (\"a\"{1000}){1000}".into(), Held),
        ("start: /((a{1,100}){1,100}){1,100}/".into(), Held),
        (rules(3_000, |index| format!("r{index}: r{} r{}\n", index + 1, index + 1), "r"), Held),
        (rules(40, |index| format!("r{index}: r{}{{1000}}\n", index + 1), "r"), Held),
        (rules(40, |index| format!("T{index}: T{} T{}\n", index + 1, index + 1), "T"), LARGE),
        (deep, LARGE),
        (format!("start: {}", "\"a\" ".repeat(20_000)), LARGE),
        ("start: start".into(), WRONG),
        ("start: A\nA: B\nB: A".into(), WRONG),
        ("start: /(/".into(), WRONG),
        ("start: x".into(), WRONG),
        ("start: <|nothing|>".into(), WRONG),
        ("start: @other".into(), WRONG),
        ("start: %json {\"type\": \"arr".into(), WRONG),
        ("a: \"b\"".into(), WRONG),
        (String::new(), WRONG),
    ];
    for (source, expected) in table {
        let name: String = source.chars().take(60).collect();
        let outcome = match answer(&Constraint::Lark(source.clone())) {
            Ok(compiled) => {
                run(&name, &compiled);
                Held
            }
            Err(error) => Refused(error.kind()),
        };
        assert_eq!(outcome, *expected, "{name}");
    }
    for (source, expected) in [
        ("a{4294967296}", WRONG),
        ("(", WRONG),
        ("(?=a)", WRONG),
        ("(a+)+", Held),
        ("((a{1,100}){1,100}){1,100}", LARGE),
    ] {
        let outcome = answer(&Constraint::Regex(source.to_owned())).map_or_else(
            |error| Refused(error.kind()),
            |compiled| {
                run(source, &compiled);
                Held
            },
        );
        assert_eq!(outcome, expected, "{source}");
    }
}
