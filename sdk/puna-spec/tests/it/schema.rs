use std::path::Path;

use puna_spec::AgentSpec;
use serde_json::Value;

use crate::{files_of, parse, yaml};

/// Bad files that a JSON Schema cannot tell from good ones, with the reason.
const BEYOND_SCHEMA: [(&str, &str); 17] = [
    ("env_bad_name", "the schema does not read variables"),
    ("env_in_block", "the schema does not read variables"),
    ("env_secret_not_shown", "the schema does not read variables"),
    ("env_shell_default", "the schema does not read variables"),
    ("env_unclosed", "the schema does not read variables"),
    ("env_unset", "the schema does not read variables"),
    ("function_in_two_plugins", "two places"),
    ("knowledge_order", "two places"),
    ("knowledge_split_sizes", "two places"),
    ("knowledge_twice", "two places"),
    ("output_schema_reference", "another schema's rules"),
    ("output_schema_unknown", "another schema's rules"),
    ("output_schema_wrong", "another schema's rules"),
    ("plugin_twice", "two places"),
    ("plugin_twice_with_all", "two places"),
    ("summary_unused", "two places"),
    ("time_overflow", "arithmetic"),
];

pub fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&AgentSpec::json_schema()).unwrap()
}

#[test]
fn every_key_is_described() {
    fn check(path: &str, schema: &Value) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "`{path}.{key}` has no description: {property}");
        }
    }
    let schema = AgentSpec::json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    check("", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        check(name, definition);
        if definition["type"] == "object" {
            assert_eq!(definition["additionalProperties"], false, "{name} takes unknown keys");
        }
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn good_files_satisfy_the_schema() {
    let validator = validator();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let examples = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path().join("agent.yaml"));
    let examples: Vec<_> = examples.filter(|path| path.exists()).collect();
    assert!(!examples.is_empty());
    for path in examples.into_iter().chain(files_of("good")) {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(diagnostics) = parse(&text, &name) {
            panic!("{diagnostics}");
        }
        // Files with aliases are not for this reader; what they were read as is checked below like all.
        if let Some(value) = yaml::to_json(&text) {
            let errors: Vec<String> =
                validator.iter_errors(&without_nulls(value)).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
        let written = serde_json::to_value(parse(&text, &name).unwrap()).unwrap();
        assert!(validator.is_valid(&written), "{name} as written: {written}");
    }
}

#[test]
fn bad_files_fail_the_schema() {
    let validator = validator();
    let mut checked = 0;
    for path in files_of("bad") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // What is no YAML, no UTF-8 or has a key twice is nothing a schema judges.
        let Some(value) =
            String::from_utf8(std::fs::read(&path).unwrap()).ok().and_then(|text| yaml::to_json(&text))
        else {
            continue;
        };
        let beyond = BEYOND_SCHEMA.iter().any(|(known, _)| *known == name);
        assert_eq!(validator.is_valid(&value), beyond, "{name}: {value}");
        checked += 1;
    }
    assert!(checked > 40, "only {checked} files were held against the schema");
}

/// The value without keys that have no value: those that are known count as not given.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
