//! Errors of SQLite with what a model needs to mend its statement.

use puna_plugin::{Error, ErrorKind, sql::Table};

/// Most names that an error lists.
const MAX_LISTED: usize = 40;

/// Most bytes of a database's own words.
const MAX_WORDS: usize = 400;

/// The error of a statement over tables, with the names that it may have meant or with what is allowed.
pub fn mended(mut error: Error, statement: &str, tables: &[Table]) -> Error {
    let message = &error.message;
    let words = &message[..message.floor_char_boundary(MAX_WORDS)];
    let after = |start: &str| {
        let (_, rest) = words.split_once(start)?;
        // SQLite's name ends where the library goes on with the statement.
        Some(rest.split([' ', '\n', ',']).next().unwrap_or(rest))
    };
    let help = match error.kind {
        ErrorKind::InvalidInput => match (after("no such table: "), after("no such column: ")) {
            (Some(name), _) => Some(no_table(name, tables)),
            (_, Some(name)) => Some(no_column(name, statement, tables)),
            _ if words.contains("syntax error") => Some("write one SELECT in the SQL of SQLite".to_owned()),
            _ if words.contains("parameter") => Some("give one of `parameters` for each `?`".to_owned()),
            _ => None,
        },
        ErrorKind::Denied => Some(
            "only one SELECT over the tables of `list_tables` is allowed; nothing can be changed".to_owned(),
        ),
        ErrorKind::Timeout => Some("narrow it with WHERE or read less".to_owned()),
        ErrorKind::TooLarge => Some("select fewer columns, or parts of them with substr()".to_owned()),
        _ => None,
    };
    let words = words.to_owned();
    error.message = match help {
        Some(help) => format!("{words}; {help}"),
        None => words,
    };
    error.path = Some("/statement".to_owned());
    error
}

/// What to say of a table that is not there.
pub fn no_table(name: &str, tables: &[Table]) -> String {
    let known = nearest(name, tables.iter().map(|table| table.name.as_str()));
    if known.is_empty() {
        return format!("there is no table `{name}`, nor any other");
    }
    format!("there is no table `{name}`; there are {known}")
}

/// The columns of the tables that the statement speaks of.
fn no_column(name: &str, statement: &str, tables: &[Table]) -> String {
    let column = name.rsplit('.').next().unwrap_or(name);
    let words: Vec<&str> = statement.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let spoken = |table: &&Table| words.iter().any(|word| word.eq_ignore_ascii_case(&table.name));
    let mut helps: Vec<String> = Vec::new();
    for table in tables.iter().filter(spoken).take(4) {
        let columns = nearest(column, table.columns.iter().map(|column| column.name.as_str()));
        helps.push(format!("`{}` has {columns}", table.name));
    }
    match helps.is_empty() {
        true => format!("there is no column `{name}`; `list_tables` shows them"),
        false => format!("there is no column `{name}`; {}", helps.join("; ")),
    }
}

/// Names, those most like one first.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_by_cached_key(|other| std::cmp::Reverse(shared(name, other)));
    let left_out = known.len().saturating_sub(MAX_LISTED);
    let listed: Vec<String> = known.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    format!("{}{more}", listed.join(", "))
}

/// How many pairs of letters of a name another has.
fn shared(one: &str, other: &str) -> usize {
    let pairs = |text: &str| -> Vec<(char, char)> {
        let letters: Vec<char> = text.chars().take(64).flat_map(char::to_lowercase).collect();
        letters.windows(2).map(|pair| (pair[0], pair[1])).collect()
    };
    let other = pairs(other);
    pairs(one).iter().filter(|pair| other.contains(pair)).count()
}
