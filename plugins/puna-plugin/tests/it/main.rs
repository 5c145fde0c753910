//! A plugin as an author writes it, run natively.

use std::time::Duration;

use puna_plugin::{Error, ErrorKind, clock, log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A doc comment of the type is for people: the model reads the tool's description.
#[derive(Deserialize, JsonSchema)]
struct Calculate {
    /// The sum to work out.
    expression: String,
}

#[derive(Deserialize, JsonSchema)]
struct Convert {
    amount: f64,
    from: String,
    to: String,
}

#[derive(Deserialize, JsonSchema)]
struct Nested {
    items: Vec<Item>,
    note: Option<String>,
    /// How many.
    #[serde(default)]
    count: u8,
}

#[derive(Deserialize, JsonSchema)]
struct Item {
    unit: Unit,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Metre,
    Mile,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Output {
    value: String,
}

fn calculate(arguments: Calculate) -> Result<Output, Error> {
    log::debug(&arguments.expression);
    Ok(Output { value: arguments.expression })
}

fn convert(arguments: Convert) -> Result<Output, Error> {
    Ok(Output { value: format!("{} {} {}", arguments.amount, arguments.from, arguments.to) })
}

fn nested(arguments: Nested) -> Result<Output, Error> {
    let metres = arguments.items.iter().filter(|item| matches!(item.unit, Unit::Metre)).count();
    let note = arguments.note.unwrap_or_default();
    Ok(Output { value: format!("{metres} of {}, {note}, {}", arguments.items.len(), arguments.count) })
}

fn now(_: Nothing) -> Result<Output, Error> {
    Ok(Output { value: clock::now()?.as_secs().to_string() })
}

puna_plugin::tools! {
    "calculate": calculate => "Work out an arithmetic expression.",
    "convert_units": convert => "Convert an amount.",
    "nested": nested => "Nested arguments.",
    "now": now => "Tell the time.",
}

/// Compares text, because the order of keys is part of what a model was trained on.
#[track_caller]
fn check_parameters(tool: &str, expect: &str) {
    let tools = manifest();
    let found = tools.iter().find(|description| description.name == tool).expect("a tool of this plugin");
    assert_eq!(found.parameters.to_string(), expect);
    assert_eq!(
        found.output.as_ref().map(ToString::to_string).unwrap_or_default(),
        r#"{"type":"object","properties":{"value":{"type":"string"}},"required":["value"]}"#
    );
}

#[test]
fn schemas_have_the_short_form_in_a_fixed_order() {
    check_parameters(
        "calculate",
        r#"{"type":"object","properties":{"expression":{"description":"The sum to work out.","type":"string"}},"required":["expression"]}"#,
    );
    check_parameters(
        "convert_units",
        r#"{"type":"object","properties":{"amount":{"type":"number"},"from":{"type":"string"},"to":{"type":"string"}},"required":["amount","from","to"]}"#,
    );
    check_parameters(
        "nested",
        r#"{"type":"object","properties":{"items":{"items":{"properties":{"unit":{"enum":["metre","mile"],"type":"string"}},"required":["unit"],"type":"object"},"type":"array"},"note":{"type":"string"},"count":{"default":0,"description":"How many.","maximum":255,"minimum":0,"type":"integer"}},"required":["items"]}"#,
    );
    check_parameters("now", r#"{"type":"object","properties":{}}"#);
}

#[track_caller]
fn check_call(tool: &str, arguments: &str, expect: Result<&str, (ErrorKind, Option<&str>)>) {
    let found = call(tool, arguments);
    let found = found.as_deref().map_err(|error| (error.kind, error.path.as_deref()));
    assert_eq!(found, expect, "{tool} {arguments}");
}

#[test]
fn calls_read_json_and_write_json() {
    check_call("calculate", r#"{"expression":"1+1"}"#, Ok(r#"{"value":"1+1"}"#));
    check_call("convert_units", r#"{"amount":5,"from":"km","to":"m"}"#, Ok(r#"{"value":"5 km m"}"#));
    check_call("nested", r#"{"items":[{"unit":"mile"},{"unit":"metre"}]}"#, Ok(r#"{"value":"1 of 2, , 0"}"#));
}

#[test]
fn bad_arguments_are_invalid_input_with_a_path() {
    let invalid = |path| Err((ErrorKind::InvalidInput, Some(path)));
    check_call("calculate", "", invalid(""));
    check_call("calculate", "{", invalid(""));
    check_call("calculate", "{}", invalid(""));
    check_call("calculate", r#"{"expression":"1"} x"#, invalid(""));
    check_call("calculate", r#"{"expression":1}"#, invalid("/expression"));
    check_call("nested", r#"{"items":[{"unit":"metre"},{"unit":"ell"}]}"#, invalid("/items/1/unit"));
    check_call("no_such", "{}", Err((ErrorKind::NotFound, None)));
}

#[test]
fn the_clock_is_denied_until_it_is_set() {
    check_call("now", "{}", Err((ErrorKind::Denied, None)));
    clock::at(Duration::from_secs(7), || check_call("now", "{}", Ok(r#"{"value":"7"}"#)));
    check_call("now", "{}", Err((ErrorKind::Denied, None)));
}
