//! Every prefix of every JSON document gives a part of what the document holds.

use proptest::{collection::vec, prelude::*};
use puna_agent::{MAX_JSON_DEPTH, PartialJson};
use serde_json::{Map, Value, json};

fn read(text: &str) -> PartialJson {
    let mut json = PartialJson::default();
    json.push(text);
    json
}

/// Whether `part` can become `whole` by growing alone.
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

fn value() -> impl Strategy<Value = Value> {
    let text = "([ -~\n\t\u{1}\"\\\\]|[\u{e9}\u{4e00}\u{1f600}]){0,8}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((text, inner), 0..6).prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// A value as text: close together, wide, or with every character that is not ASCII escaped.
fn written(value: &Value, style: u8) -> String {
    match style {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(value).expect("JSON"),
        _ => {
            let mut units = [0; 2];
            let escape = |c: char| match c.is_ascii() {
                true => c.to_string(),
                false => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
            };
            value.to_string().chars().map(escape).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn prefixes_grow_to_the_whole(value in value(), style in 0..3_u8) {
        let text = written(&value, style);
        let mut json = PartialJson::default();
        let mut before = None;
        for character in text.chars() {
            json.push(character.encode_utf8(&mut [0; 4]));
            let part = json.value();
            if let Some(before) = &before {
                let part = part.as_ref().expect("what was certain stays");
                prop_assert!(grows_to(before, part), "{before} then {part} in {text}");
            }
            if let Some(part) = &part {
                prop_assert!(grows_to(part, &value), "{part} of {text}");
            }
            before = part;
        }
        // A number's end is not known before the text's.
        prop_assert!(value.is_number() || before.as_ref() == Some(&value), "{before:?} of {text}");
        prop_assert_eq!(json.finish().expect("JSON"), value);
    }

    #[test]
    fn pieces_do_not_matter(value in value(), cut in 0..200_usize) {
        let text = value.to_string();
        let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
        let mut json = read(&text[..cut]);
        prop_assert_eq!(json.value(), read(&text[..cut]).value());
        json.push(&text[cut..]);
        prop_assert_eq!(json.value(), read(&text).value());
    }

    /// What serde_json takes is taken, and what it refuses is refused.
    #[test]
    fn agrees_with_another_reader(text in "([\\[\\]{},:\"\\\\ ]|\\\\u[0-9d]{4}|true|null|-?[0-9.e]{1,3}|[a-z]){0,12}") {
        let wanted = serde_json::from_str::<Value>(&text);
        match read(&text).finish() {
            Ok(value) => match wanted {
                Ok(wanted) => prop_assert!(value == wanted || text.contains('{'), "{value} for {text}"),
                Err(error) => prop_assert!(false, "{text} is refused by the other: {error}"),
            },
            Err(error) => prop_assert!(wanted.is_err(), "{text} is refused: {error}"),
        }
    }
}

#[test]
fn the_largest_value_that_is_certain() {
    for (text, wanted) in [
        ("", None),
        (" \n", None),
        ("{", Some(json!({}))),
        (r#"{"a"#, Some(json!({}))),
        (r#"{"a":"#, Some(json!({}))),
        (r#"{"a": ""#, Some(json!({"a": ""}))),
        (r#"{"a": "x\"#, Some(json!({"a": "x"}))),
        (r#"{"a": "x\ud83d"#, Some(json!({"a": "x"}))),
        (r#"{"a": "x\ud83d\ude00"#, Some(json!({"a": "x😀"}))),
        (r#"{"a": [1"#, Some(json!({"a": []}))),
        (r#"{"a": [1,"#, Some(json!({"a": [1]}))),
        (r#"{"a": [1, t"#, Some(json!({"a": [1, true]}))),
        (r#"{"a": 1, "a": 2"#, Some(json!({"a": 1}))),
        ("12", None),
        ("12 ", Some(json!(12))),
        ("nul", Some(json!(null))),
        ("nil", None),
    ] {
        assert_eq!(read(text).value(), wanted, "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, wanted) in [
        ("", "not JSON: it is empty"),
        ("Sure: {}", "not JSON: character 1: expected a value, got 'S'"),
        ("```json", "not JSON: character 1: expected a value, got '`'"),
        ("{'a'", "not JSON: character 2: expected a key in quotes, got '\\''"),
        ("[1 2]", "not JSON: character 4: expected `,` or the end of a collection, got '2'"),
        ("[1}", "not JSON: character 3: '}' ends what is not open"),
        (r#"{"a" 1}"#, "not JSON: character 6: expected `:` after a key, got '1'"),
        ("{} and", "not JSON: character 4: the JSON has ended, and 'a' follows"),
        (r#"{"a": 1"#, "not JSON: it ends too early, after 7 characters"),
        ("\"a\nb\"", "not JSON: character 3: a control character in a string is not escaped"),
        (r#""\ud800x""#, "not JSON: character 8: `\\u` writes half of a character"),
        ("01", "not JSON: `01` is no number that JSON can write and a double can hold"),
        ("1e999", "not JSON: `1e999` is no number that JSON can write and a double can hold"),
    ] {
        assert_eq!(read(text).finish().expect_err(text).to_string(), wanted, "{text}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    read(&nested(MAX_JSON_DEPTH)).finish().expect("as deep as is read");
    let error = read(&nested(MAX_JSON_DEPTH + 1)).finish().expect_err("deeper");
    assert!(error.to_string().contains("nested deeper than 128"), "{error}");
    read(&"[".repeat(1 << 20)).finish().expect_err("deeper");
    // Read a character at a time.
    let long = json!(["x".repeat(1 << 20), vec![1; 1 << 16]]);
    let mut json = PartialJson::default();
    for character in long.to_string().chars() {
        json.push(character.encode_utf8(&mut [0; 4]));
    }
    assert_eq!(json.finish().expect("JSON"), long);
}
