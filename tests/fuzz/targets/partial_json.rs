//! Any text as JSON that is still being written: what is certain stays so, and what one reader takes the other does.
#![no_main]

use puna_agent::PartialJson;
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut json = PartialJson::default();
    let mut before = None;
    for character in text.chars() {
        json.push(character.encode_utf8(&mut [0; 4]));
        let part = json.value();
        if let (Some(before), Some(part)) = (&before, &part) {
            assert!(grows_to(before, part), "{before} then {part}");
        }
        before = part;
    }
    if let Ok(value) = json.finish() {
        assert!(serde_json::from_str::<Value>(text).is_ok());
        if let Some(before) = &before {
            assert!(grows_to(before, &value), "{before} then {value}");
        }
    }
});

fn grows_to(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() <= whole.len() && part.iter().zip(whole).all(|(part, whole)| grows_to(part, whole))
        }
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| grows_to(part, whole)))
        }
        _ => part == whole,
    }
}
