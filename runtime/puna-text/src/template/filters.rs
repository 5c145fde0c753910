//! What templates call: MiniJinja's filters and Python's methods, with a budget where a few bytes ask for many.

use std::{io, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters,
    value::{Kwargs, Rest, StringInput, ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{
    budget::Budget,
    guard::{JOINED, MADE, READ, SEEN},
};
use crate::python_json;

/// Filters that Jinja in Python does not have; some give values of any size that are computed when they are read.
const NOT_IN_PYTHON: [&str; 5] = ["chain", "zip", "split", "lines", "bool"];

/// Adds what templates of models call to an environment, charged to a budget.
pub(super) fn add(environment: &mut Environment<'_>, budget: &Arc<Budget>) {
    NOT_IN_PYTHON.iter().for_each(|name| environment.remove_filter(name));
    environment.remove_global("debug");
    let charged = || budget.clone();

    let budget = charged();
    environment.add_filter(READ, move |value: Value| budget.read(&value).map(|_| value));
    let budget = charged();
    environment.add_filter(SEEN, move |value: Value| match value.kind() {
        ValueKind::String => budget.read(&value).map(|_| value),
        _ => Ok(value),
    });
    let budget = charged();
    environment.add_filter(MADE, move |value: Value| budget.made(value, false));
    let budget = charged();
    environment.add_filter(JOINED, move |value: Value| budget.made(value, true));
    let budget = charged();
    environment.set_formatter(move |out, state, value| {
        minijinja::escape_formatter(out, state, &budget.made(value.clone(), false)?)
    });

    let budget = charged();
    environment.add_filter("tojson", move |value: &Value, kwargs: Kwargs| to_json(&budget, value, &kwargs));
    let budget = charged();
    environment.add_filter("join", move |state: &State, value: &Value, joiner: Option<StringInput>| {
        let with = joiner.as_ref().map_or(0, |joiner| joiner.as_str().len());
        budget.make(joined(&budget, value, with)?)?;
        filters::join(state, value, joiner)
    });
    let budget = charged();
    environment.add_filter(
        "replace",
        move |state: &State, value: StringInput, from: StringInput, to: StringInput| {
            budget.make(replaced(value.as_str(), from.as_str(), to.as_str()))?;
            filters::replace(state, value, from, to)
        },
    );
    let budget = charged();
    environment.add_filter(
        "indent",
        move |value: StringInput,
              width: Option<usize>,
              first: Option<bool>,
              blank: Option<bool>,
              kwargs: Kwargs| {
            let indent = width.or(kwargs.peek("width").ok()).unwrap_or(4) as u64;
            let lines = value.as_str().split('\n').count() as u64;
            budget.make(lines.saturating_mul(indent).saturating_add(value.as_str().len() as u64))?;
            filters::indent(value, width, first, blank, kwargs)
        },
    );
    let budget = charged();
    environment.add_filter("format", move |state: &State, text: &Value, args: Rest<Value>| {
        budget.make(formatted(&budget, text.as_str().unwrap_or_default(), &args)?)?;
        filters::format(state, text, args)
    });
    let budget = charged();
    environment.add_filter("batch", move |state: &State, value: Value, count: usize, fill: Option<Value>| {
        budget.make((count as u64).saturating_mul(size_of::<Value>() as u64))?;
        filters::batch(state, value, count, fill)
    });
    let budget = charged();
    environment.add_filter("slice", move |state: &State, value: Value, count: usize, fill: Option<Value>| {
        budget.make((count as u64).saturating_mul(size_of::<Value>() as u64))?;
        filters::slice(state, value, count, fill)
    });
    let budget = charged();
    environment.set_unknown_method_callback(move |state, value, method, args| {
        call_method(&budget, state, value, method, args)
    });
}

/// Python's methods.
fn call_method(
    budget: &Budget,
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match method {
            "replace" => {
                let (from, to, _): (&str, &str, Option<i32>) = from_args(args)?;
                budget.make(replaced(text, from, to))?;
            }
            "join" => {
                let (values,): (&Value,) = from_args(args)?;
                budget.make(joined(budget, values, text.len())?)?;
            }
            "format" => budget.make(formatted(budget, text, args)?)?,
            // MiniJinja's own goes on for ever.
            "count" if args.first().and_then(Value::as_str) == Some("") => {
                return Ok(Value::from(text.chars().count() + 1));
            }
            _ => {}
        }
    }
    unknown_method_callback(state, value, method, args)
}

/// Bytes of a text with each `from` become `to`.
fn replaced(text: &str, from: &str, to: &str) -> u64 {
    let places = text.matches(from).count() as u64;
    places.saturating_mul(to.len() as u64).saturating_add(text.len() as u64)
}

/// Bytes of a list's items with so many between each two.
fn joined(budget: &Budget, values: &Value, between: usize) -> Result<u64, Error> {
    let items = values.len().unwrap_or_default() as u64;
    Ok(items.saturating_mul(between as u64).saturating_add(budget.read(values)?))
}

/// Most bytes that a format can write: each of its fields may be as wide as the largest number in it, or be all of the
/// arguments.
fn formatted(budget: &Budget, format: &str, args: &[Value]) -> Result<u64, Error> {
    let fields = format.bytes().filter(|byte| matches!(byte, b'%' | b'{')).count() as u64;
    let numbers = format.split(|c: char| !c.is_ascii_digit());
    let widest =
        numbers.map(|digits| digits.parse().unwrap_or(u64::from(!digits.is_empty()) * u64::MAX)).max();
    let mut field = widest.unwrap_or_default();
    for arg in args {
        field = field.saturating_add(budget.read(arg)?);
    }
    Ok(fields.saturating_mul(field).saturating_add(format.len() as u64))
}

fn to_json(budget: &Budget, value: &Value, kwargs: &Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Python's other options change nothing that models were trained on.
    let _: Option<Value> = kwargs.get("ensure_ascii")?;
    let _: Option<Value> = kwargs.get("sort_keys")?;
    let _: Option<Value> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let value = serde_json::to_value(value).map_err(|error| bad_value(&error))?;
    let mut out = Charged { budget, text: Vec::new() };
    python_json::write(&mut out, &value, indent).map_err(|error| bad_value(&error))?;
    let text = String::from_utf8(out.text).map_err(|error| bad_value(&error))?;
    Ok(Value::from_safe_string(text))
}

fn bad_value(error: &dyn std::error::Error) -> Error {
    Error::new(ErrorKind::BadSerialization, error.to_string())
}

/// Output that is charged as it grows.
struct Charged<'a> {
    budget: &'a Budget,
    text: Vec<u8>,
}

impl io::Write for Charged<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.make(bytes.len() as u64).map_err(io::Error::other)?;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
