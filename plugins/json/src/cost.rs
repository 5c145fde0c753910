//! How much a JSONPath may have to visit, from its form alone.

use puna_plugin::{Error, ErrorKind};
use serde_json::Value;

/// Most values that a query may visit: well under a second, and some ten megabytes of references.
const MAX_VISITS: u64 = 2_000_000;

/// Deepest brackets in a query: a parser goes back and forth at every one.
const MAX_NESTING: usize = 8;

/// Refuses a query whose brackets are nested too deep.
///
/// # Errors
/// Invalid-input.
pub fn check_nesting(query: &str) -> Result<(), Error> {
    let nesting = Form::of(query).nesting;
    if nesting <= MAX_NESTING {
        return Ok(());
    }
    Err(Error::invalid_input(format!("brackets are nested {nesting} deep; the most is {MAX_NESTING}")))
}

/// Refuses a query that may visit too much.
///
/// Every selector within a bracket may choose every value again (`[*,*]` doubles them), every descent after the first
/// reaches a value once for each of those above it (`$..*..*`), and a filter that begins anew at `$` does so for every
/// value it is asked about.
///
/// # Errors
/// Too-large, with what makes it so.
pub fn check(query: &str, document: &Value) -> Result<(), Error> {
    let form = Form::of(query);
    let (values, depth) = measure(document);
    let mut visits = values;
    for _ in 1..form.descents {
        visits = visits.saturating_mul(depth);
    }
    for _ in 0..form.roots_in_filters {
        visits = visits.saturating_mul(values);
    }
    visits = visits.saturating_mul(form.choices);
    if visits <= MAX_VISITS {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!(
            "the query may visit {visits} values of a document of {values}; the most is {MAX_VISITS}: \
             use fewer `..`, selectors in one bracket, and `$` within filters"
        ),
    ))
}

struct Form {
    /// How often it descends (`..`).
    descents: u32,
    /// How often a filter begins at the root.
    roots_in_filters: u32,
    /// In how many ways one value can be chosen.
    choices: u64,
    /// How deep brackets are nested.
    nesting: usize,
}

impl Form {
    /// Reads no more of a query than it needs: strings are passed over, the rest is counted.
    fn of(query: &str) -> Self {
        let mut form = Self { descents: 0, roots_in_filters: 0, choices: 1, nesting: 0 };
        let mut selectors: Vec<u64> = Vec::new();
        let mut bytes = query.bytes().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\'' | b'"' => {
                    while let Some((_, inner)) = bytes.next() {
                        match inner {
                            b'\\' => drop(bytes.next()),
                            _ if inner == byte => break,
                            _ => {}
                        }
                    }
                }
                b'.' if query.as_bytes().get(at + 1) == Some(&b'.') => form.descents += 1,
                b'$' => form.roots_in_filters += 1,
                b'[' | b'(' => {
                    selectors.push(1);
                    form.nesting = form.nesting.max(selectors.len());
                }
                b',' => {
                    if let Some(count) = selectors.last_mut() {
                        *count += 1;
                    }
                }
                b']' | b')' => form.choices = form.choices.saturating_mul(selectors.pop().unwrap_or(1)),
                _ => {}
            }
        }
        form
    }
}

/// How many values a document holds, and how deep it is.
fn measure(document: &Value) -> (u64, u64) {
    let (mut values, mut depth) = (0, 0);
    let mut pending = vec![(document, 1)];
    while let Some((value, level)) = pending.pop() {
        values += 1;
        depth = depth.max(level);
        match value {
            Value::Array(items) => pending.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(members) => pending.extend(members.values().map(|member| (member, level + 1))),
            _ => {}
        }
    }
    (values, depth)
}
