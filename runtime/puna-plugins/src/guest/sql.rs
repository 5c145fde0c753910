//! SQLite databases, read by statements that a stranger or a model wrote: a read-only connection, one statement, an
//! authoriser that allows reading of granted tables alone, and bounds on time, rows and bytes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, OpenFlags,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::{Value as SqlValue, ValueRef},
};
use serde_json::{Value, json};

use super::{GuestState, failure, scrub};
use crate::{
    Grant, SqlGrant,
    contract::bindings::puna::plugin::{
        sql::{self, Rows},
        types,
    },
};

/// Longest statement, and deepest expression: parsing takes stack.
const MAX_STATEMENT_BYTES: usize = 64 << 10;
const MAX_EXPRESSION_DEPTH: i32 = 100;

/// Largest value that SQLite makes or reads.
const MAX_VALUE_BYTES: i32 = 4 << 20;

/// Most bytes of rows of one statement.
const MAX_ROWS_BYTES: usize = 4 << 20;

/// Most tables that are described.
const MAX_TABLES: usize = 500;

/// How often SQLite asks whether it may go on, in instructions of its machine.
const PROGRESS_INSTRUCTIONS: i32 = 10_000;

/// Functions that reach beyond the database or the statement.
const DENIED_FUNCTIONS: [&str; 6] =
    ["load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "sqlite_offset"];

impl sql::Host for GuestState {
    async fn describe(&mut self, database: String) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(self.on_database(&database, describe).await)
    }

    async fn query(
        &mut self,
        database: String,
        statement: String,
        parameters: String,
        max_rows: u32,
    ) -> wasmtime::Result<Result<Rows, types::Error>> {
        let most = max_rows.min(self.setup.limits.sql_rows) as usize;
        Ok(self.on_database(&database, move |open| query(open, &statement, &parameters, most)).await)
    }
}

/// An open database and until when it may be used.
struct Open {
    connection: Connection,
    grant: SqlGrant,
}

impl GuestState {
    async fn on_database<T: Send + 'static>(
        &mut self,
        name: &str,
        work: impl FnOnce(Open) -> Result<T, types::Error> + Send + 'static,
    ) -> Result<T, types::Error> {
        self.need(Grant::Sql)?;
        let Some(grant) = self.setup.grants.sql.get(name).cloned() else {
            let known: Vec<&str> = self.setup.grants.sql.keys().map(String::as_str).collect();
            return Err(failure(
                types::ErrorKind::Denied,
                format!("no database `{}` was granted; there are `{}`", scrub(name, 60), known.join("`, `")),
            ));
        };
        let time = self.setup.limits.time();
        let done = tokio::task::spawn_blocking(move || {
            work(Open { connection: open(&grant.path, time).map_err(|error| told(&error))?, grant })
        });
        done.await
            .unwrap_or_else(|_| Err(failure(types::ErrorKind::Internal, "the host broke while it queried")))
    }
}

fn open(path: &Path, time: Duration) -> rusqlite::Result<Connection> {
    // No URI: a name with `?` is a name.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(time)?;
    connection
        .execute_batch("PRAGMA query_only = on; PRAGMA trusted_schema = off; PRAGMA temp_store = memory;")?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
    connection
        .set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, i32::try_from(MAX_STATEMENT_BYTES).unwrap_or(i32::MAX))?;
    connection.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, MAX_EXPRESSION_DEPTH)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    let deadline = Instant::now() + time;
    connection.progress_handler(PROGRESS_INSTRUCTIONS, Some(move || Instant::now() >= deadline))?;
    Ok(connection)
}

fn describe(open: Open) -> Result<String, types::Error> {
    let read = || -> rusqlite::Result<Vec<Value>> {
        let mut names = open.connection.prepare(
            "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' \
             ESCAPE '\\' ORDER BY name",
        )?;
        let names = names.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut tables = Vec::new();
        for entry in names.take(MAX_TABLES) {
            let (name, kind) = entry?;
            if open.grant.tables.as_ref().is_some_and(|tables| !tables.contains(&name)) {
                continue;
            }
            let mut columns = open.connection.prepare("SELECT name, type FROM pragma_table_xinfo(?1)")?;
            let columns = columns.query_map([&name], |row| {
                Ok(json!({"name": row.get::<_, String>(0)?, "type": row.get::<_, String>(1)?}))
            })?;
            let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
            tables.push(json!({"name": name, "kind": kind, "columns": columns}));
        }
        Ok(tables)
    };
    Ok(Value::Array(read().map_err(|error| told(&error))?).to_string())
}

fn query(mut open: Open, statement: &str, parameters: &str, most: usize) -> Result<Rows, types::Error> {
    let invalid = |message: String| failure(types::ErrorKind::InvalidInput, message);
    let parameters: Vec<Value> = serde_json::from_str(parameters)
        .map_err(|error| invalid(format!("the parameters are no JSON array: {error}")))?;
    let parameters = parameters.iter().map(to_sql).collect::<Vec<_>>();
    let tables = open.grant.tables.take();
    let authorise = move |context: AuthContext<'_>| authorise(&context, tables.as_ref());
    open.connection.authorizer(Some(authorise)).map_err(|error| told(&error))?;
    let mut prepared = open.connection.prepare(statement).map_err(|error| told(&error))?;
    if !prepared.readonly() {
        return Err(failure(types::ErrorKind::Denied, "only statements that read are allowed"));
    }
    let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
    let mut cursor = prepared.query(rusqlite::params_from_iter(parameters)).map_err(|error| told(&error))?;
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
    while let Some(row) = cursor.next().map_err(|error| told(&error))? {
        if rows.len() == most {
            more = true;
            break;
        }
        let mut values = Vec::with_capacity(columns.len());
        for index in 0..columns.len() {
            let value = from_sql(row.get_ref(index).map_err(|error| told(&error))?);
            bytes += value.as_str().map_or(16, str::len);
            values.push(value);
        }
        if bytes > MAX_ROWS_BYTES {
            return Err(failure(
                types::ErrorKind::TooLarge,
                format!("the rows take more than {MAX_ROWS_BYTES} bytes; select fewer columns or rows"),
            ));
        }
        rows.push(Value::Array(values));
    }
    Ok(Rows { columns, rows: Value::Array(rows).to_string(), more })
}

/// Reading of granted tables, and nothing else.
fn authorise(
    context: &AuthContext<'_>,
    tables: Option<&std::collections::BTreeSet<String>>,
) -> Authorization {
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Read { table_name, .. } => {
            // A view lends nothing of its tables: the name that SQLite gives for who reads is a view's or that of a
            // common table expression, which a statement chooses.
            // Common table expressions and such have no database.
            let own = context.database_name.is_none() && table_name.is_empty();
            let listed = tables.is_none_or(|tables| tables.contains(table_name));
            own || listed
        }
        AuthAction::Function { function_name } => {
            !DENIED_FUNCTIONS.iter().any(|denied| function_name.eq_ignore_ascii_case(denied))
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn to_sql(value: &Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(value) => SqlValue::Integer((*value).into()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => SqlValue::Integer(number),
            None => SqlValue::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => SqlValue::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => SqlValue::Text(value.to_string()),
    }
}

fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        // Bytes mean nothing to a model.
        ValueRef::Blob(bytes) => format!("[{} bytes]", bytes.len()).into(),
    }
}

fn told(error: &rusqlite::Error) -> types::Error {
    use rusqlite::ErrorCode;
    let kind = match error {
        rusqlite::Error::MultipleStatement => types::ErrorKind::Denied,
        // Of a function SQLite says it in words alone.
        _ if error.to_string().contains("not authorized") => types::ErrorKind::Denied,
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
                types::ErrorKind::Denied
            }
            Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                types::ErrorKind::Timeout
            }
            Some(ErrorCode::TooBig | ErrorCode::OutOfMemory) => types::ErrorKind::TooLarge,
            Some(ErrorCode::CannotOpen | ErrorCode::NotADatabase) => types::ErrorKind::NotFound,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => types::ErrorKind::Unavailable,
            _ => types::ErrorKind::InvalidInput,
        },
    };
    failure(kind, scrub(&error.to_string(), 500))
}
