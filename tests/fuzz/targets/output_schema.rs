//! Any JSON as the schema of an answer, and any text as the answer: one is refused, or the value is read in bounded time.
#![no_main]

use puna_agent::OutputSchema;
use serde_json::Value;

fn check(text: &str) {
    // The schema stands in the first line.
    let Some((schema, answer)) = text.split_once('\n') else { return };
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return };
    let Ok(schema) = OutputSchema::new(&schema) else { return };
    if let Ok(value) = schema.read(answer) {
        // What was read is JSON, and is read again.
        assert_eq!(schema.read(&value.to_string()).expect("the same"), value);
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| check(text));
