//! A plugin for SQLite databases: what tables there are, and one reading statement at a time.
//!
//! Rows reach the model only where a statement asks for them; errors come with what helps to mend the statement.

mod mend;
mod rows;

use puna_plugin::{
    Error, ErrorKind, config,
    sql::{self, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use mend::mended;
pub use rows::{Answer, bounded};

/// Rows given where the caller does not say, and the most.
const DEFAULT_ROWS: u32 = 50;
const MAX_ROWS: u32 = 500;

/// Most columns that are described in one call: a model reads every one.
const MAX_DESCRIBED_COLUMNS: usize = 1_000;

/// The plugin's configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The database that is asked when a call names none.
    database: Option<String>,
}

puna_plugin::config!(Config);

/// The name of a database and what to say where it is missing.
fn database(named: Option<String>) -> Result<String, Error> {
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    let config: Option<Config> = config::get()?;
    if let Some(name) = config.and_then(|config| config.database) {
        return Ok(name);
    }
    // The host's refusal tells which there are.
    let mut error = sql::describe("").err().unwrap_or_else(|| Error::invalid_input("no database was named"));
    error.message = format!("name a `database`: {}", error.message);
    Err(error.at("/database"))
}

#[derive(Deserialize, JsonSchema)]
struct ListTables {
    database: Option<String>,
    /// Only these tables.
    tables: Option<Vec<String>>,
}

#[derive(Serialize, JsonSchema)]
struct Tables {
    tables: Vec<Described>,
    /// Whether there are more than are shown: ask for some by name.
    more: bool,
}

#[derive(Serialize, JsonSchema)]
struct Described {
    name: String,
    /// `table` or `view`.
    kind: String,
    /// Each with its type.
    columns: Vec<String>,
}

fn list_tables(arguments: ListTables) -> Result<Tables, Error> {
    let database = database(arguments.database)?;
    let known = sql::describe(&database).map_err(|error| error.at("/database"))?;
    if let Some(wanted) = &arguments.tables
        && let Some(missing) = wanted.iter().find(|name| !known.iter().any(|table| is_named(table, name)))
    {
        return Err(Error::not_found(mend::no_table(missing, &known)).at("/tables"));
    }
    let wanted = |table: &Table| {
        arguments.tables.as_ref().is_none_or(|names| names.iter().any(|name| is_named(table, name)))
    };
    let (mut shown, mut columns) = (Tables { tables: Vec::new(), more: false }, 0);
    for table in known.iter().filter(|table| wanted(table)) {
        columns += table.columns.len().max(1);
        if columns > MAX_DESCRIBED_COLUMNS {
            shown.more = true;
            break;
        }
        let described = table.columns.iter().map(|column| format!("{} {}", column.name, column.kind));
        shown.tables.push(Described {
            name: table.name.clone(),
            kind: table.kind.clone(),
            columns: described.map(|column| column.trim_end().to_owned()).collect(),
        });
    }
    Ok(shown)
}

fn is_named(table: &Table, name: &str) -> bool {
    table.name.eq_ignore_ascii_case(name)
}

#[derive(Deserialize, JsonSchema)]
struct QueryDatabase {
    database: Option<String>,
    /// One SELECT of SQLite's SQL.
    statement: String,
    /// Values in the place of `?`.
    parameters: Option<Vec<Value>>,
    #[schemars(range(min = 1, max = 500))]
    max_rows: Option<u32>,
}

fn query_database(arguments: QueryDatabase) -> Result<Answer, Error> {
    let database = database(arguments.database)?;
    // What models put around it.
    let statement = arguments.statement.trim().trim_end_matches(';').trim_end();
    if statement.is_empty() {
        return Err(Error::invalid_input("the statement is empty").at("/statement"));
    }
    let parameters = arguments.parameters.unwrap_or_default();
    let most = arguments.max_rows.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
    match sql::query(&database, statement, &parameters, most) {
        Ok(rows) => Ok(bounded(rows)),
        Err(error) => {
            let tables = match error.kind {
                ErrorKind::InvalidInput => sql::describe(&database).unwrap_or_default(),
                _ => Vec::new(),
            };
            Err(mended(error, statement, &tables))
        }
    }
}

puna_plugin::tools! {
    "list_tables": list_tables => "List the tables of a database with their columns.",
    "query_database": query_database => "Read rows of a database with one SQL statement.",
}
