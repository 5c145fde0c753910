//! Conditions on what is known of documents.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Most conditions in a filter, and how deep they may be nested: bounds what a search does for each document.
pub const MAX_FILTER_CONDITIONS: usize = 256;

/// See [`MAX_FILTER_CONDITIONS`].
pub const MAX_FILTER_DEPTH: usize = 16;

/// A condition on a document's metadata. Fields within objects are named with dots, `author.name`; `_id` and `_source` are
/// the document's own. As JSON: `{"and": [{"gte": ["year", 2020]}, {"in": ["language", ["ko", "ja"]]}]}`.
///
/// Values are compared with values of their type: a number is never less than a text. Of a field that is absent only
/// [`Ne`](Self::Ne) and what stands under [`Not`](Self::Not) holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// All of them hold.
    And(Vec<Filter>),
    /// One of them holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// The field is this.
    Eq(String, Value),
    /// The field is not this, or absent.
    Ne(String, Value),
    /// The field is less.
    Lt(String, Value),
    /// The field is less or the same.
    Lte(String, Value),
    /// The field is more.
    Gt(String, Value),
    /// The field is more or the same.
    Gte(String, Value),
    /// The field is one of these.
    In(String, Vec<Value>),
    /// The field is a list with this in it, or a text with this text in it.
    Contains(String, Value),
    /// The field is there, and not null.
    Exists(String),
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The document's id, `_id` in filters.
    pub id: &'a str,
    /// The source it came from, `_source` in filters.
    pub source: &'a str,
    /// What else is known of it.
    pub metadata: &'a Map<String, Value>,
}

impl Filter {
    /// Whether it is within its limits.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is too deep or has too many conditions.
    pub fn check(&self) -> Result<()> {
        let mut conditions = 0;
        self.count(1, &mut conditions)
    }

    fn count(&self, depth: usize, conditions: &mut usize) -> Result<()> {
        *conditions += if let Self::In(_, values) = self { values.len().max(1) } else { 1 };
        if depth > MAX_FILTER_DEPTH || *conditions > MAX_FILTER_CONDITIONS {
            return Err(Error::invalid_input(format!(
                "the filter has more than {MAX_FILTER_CONDITIONS} conditions or is nested more than {MAX_FILTER_DEPTH} deep"
            )));
        }
        match self {
            Self::And(all) | Self::Or(all) => {
                all.iter().try_for_each(|filter| filter.count(depth + 1, conditions))
            }
            Self::Not(filter) => filter.count(depth + 1, conditions),
            _ => Ok(()),
        }
    }

    /// Whether it holds of a document.
    pub fn holds(&self, document: &Described<'_>) -> bool {
        let compare = |field: &String, value: &Value, wanted: fn(Ordering) -> bool| {
            of(document, field, |found| found.is_some_and(|found| order(found, value).is_some_and(wanted)))
        };
        match self {
            Self::And(all) => all.iter().all(|filter| filter.holds(document)),
            Self::Or(all) => all.iter().any(|filter| filter.holds(document)),
            Self::Not(filter) => !filter.holds(document),
            Self::Eq(field, value) => {
                of(document, field, |found| found.is_some_and(|found| same(found, value)))
            }
            Self::Ne(field, value) => {
                of(document, field, |found| !found.is_some_and(|found| same(found, value)))
            }
            Self::Lt(field, value) => compare(field, value, Ordering::is_lt),
            Self::Lte(field, value) => compare(field, value, Ordering::is_le),
            Self::Gt(field, value) => compare(field, value, Ordering::is_gt),
            Self::Gte(field, value) => compare(field, value, Ordering::is_ge),
            Self::In(field, values) => of(document, field, |found| {
                found.is_some_and(|found| values.iter().any(|value| same(found, value)))
            }),
            Self::Contains(field, value) => of(document, field, |found| match (found, value) {
                (Some(Value::Array(list)), value) => list.iter().any(|item| same(item, value)),
                (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            }),
            Self::Exists(field) => of(document, field, |found| found.is_some_and(|found| !found.is_null())),
        }
    }
}

/// Looks a field up and tells what `asked` says of it.
fn of(document: &Described<'_>, field: &str, asked: impl FnOnce(Option<&Value>) -> bool) -> bool {
    match field {
        "_id" => asked(Some(&Value::String(document.id.to_owned()))),
        "_source" => asked(Some(&Value::String(document.source.to_owned()))),
        _ => {
            // A field whose name has dots comes before one within objects.
            let whole = document.metadata.get(field);
            asked(whole.or_else(|| {
                let mut parts = field.split('.');
                let first = document.metadata.get(parts.next()?)?;
                parts.try_fold(first, |value, part| value.get(part))
            }))
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// How two values of one type stand to each other.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            // Whole numbers are compared with every digit.
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
