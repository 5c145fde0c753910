//! SQLite databases that were granted by name, to read. A plugin that does asks for the grant `sql`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// What a statement gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows: a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether there were more rows than asked for.
    pub more: bool,
}

/// A table or view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// `table` or `view`.
    pub kind: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its declared type; may be empty.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The tables of a database.
///
/// # Errors
/// Denied for a database that was not granted. Natively always denied.
pub fn describe(database: &str) -> Result<Vec<Table>, Error> {
    serde_json::from_str(&host::describe(database)?)
        .map_err(|error| Error::internal(format!("the host's description of `{database}`: {error}")))
}

/// Performs one statement that only reads, with `parameters` in the place of `?`; at most `max_rows` rows.
///
/// # Errors
/// Denied for a database or table that was not granted and for a statement that does more than read, invalid-input for
/// one that is wrong, timeout for one that takes too long. Natively always denied.
pub fn query(database: &str, statement: &str, parameters: &[Value], max_rows: u32) -> Result<Rows, Error> {
    let parameters = Value::from(parameters.to_vec()).to_string();
    host::query(database, statement, &parameters, max_rows)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Rows;
    use crate::{Error, guest::bindings::host::puna::plugin::sql};

    pub fn describe(database: &str) -> Result<String, Error> {
        Ok(sql::describe(database)?)
    }

    pub fn query(database: &str, statement: &str, parameters: &str, max_rows: u32) -> Result<Rows, Error> {
        let answer = sql::query(database, statement, parameters, max_rows)?;
        let rows = serde_json::from_str(&answer.rows)
            .map_err(|error| Error::internal(format!("the host's rows: {error}")))?;
        Ok(Rows { columns: answer.columns, rows, more: answer.more })
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::Rows;
    use crate::{Error, ErrorKind};

    pub fn describe(_: &str) -> Result<String, Error> {
        Err(Error::new(ErrorKind::Denied, "the grant `sql` is missing"))
    }

    pub fn query(_: &str, _: &str, _: &str, _: u32) -> Result<Rows, Error> {
        Err(Error::new(ErrorKind::Denied, "the grant `sql` is missing"))
    }
}
