//! What JSON Schemas generate satisfies them.

use jsonschema::{Draft, Validator};
use puna_core::ErrorKind;
use puna_text::Compiled;
use serde::Deserialize;
use serde_json::Value;

use super::{TOKENIZER, accepts, schema, walk};

/// A case of the JSON-Schema-Test-Suite.
#[derive(Deserialize)]
struct Case {
    case: String,
    schema: Value,
    /// Whether a value satisfies the schema, and the value.
    values: Vec<(bool, Value)>,
}

fn suite() -> Vec<Case> {
    serde_json::from_str(include_str!("../../constraint/json_schema_test_suite.json")).expect("the extract")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

/// What is wrong with what a schema generates, by seeds; how many walks came to an end.
fn check(name: &str, written: &Value, compiled: &Compiled, seeds: u64) -> usize {
    let validator = validator(written);
    let mut finished = 0;
    for seed in 0..seeds {
        let Some(tokens) = walk(&mut compiled.matcher(), seed) else { continue };
        let text = TOKENIZER.decode(&tokens).expect("text");
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        if compiled.unconstrained().is_empty() {
            assert!(validator.is_valid(&value), "{name}: {text} is not of {written}");
            finished += 1;
        }
    }
    finished
}

/// The suite's own values too: what a schema forbids is refused where the whole schema is held.
#[test]
fn the_test_suite_of_json_schema() {
    let (mut finished, mut held, mut allowed) = (0, 0, 0);
    for Case { case, schema: written, values } in suite() {
        let compiled = match schema(&written) {
            Ok(compiled) => compiled,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{case}: {error}");
                let elsewhere = error.to_string().contains("nothing is fetched");
                assert!(elsewhere || values.iter().all(|(valid, _)| !valid), "{case}: {error}");
                continue;
            }
        };
        finished += check(&case, &written, &compiled, 8);
        if compiled.unconstrained().is_empty() {
            held += 1;
            for (valid, value) in values {
                let accepted = accepts(&compiled, &value.to_string());
                assert!(valid || !accepted, "{case}: {value} is not of {written}");
                allowed += usize::from(valid && accepted);
            }
        }
    }
    assert!(finished > 1_000, "only {finished} pairs of schema and seed came to an end");
    assert!(
        held > 150 && allowed > 300,
        "{held} schemas are held, which accept {allowed} of the suite's values"
    );
}
