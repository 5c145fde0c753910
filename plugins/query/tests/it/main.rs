//! What the plugin makes of a host's answers. That the host reads a database is tested with the host.

use proptest::prelude::*;
use puna_plugin::{
    Error, ErrorKind,
    sql::{Column, Rows, Table},
};
use puna_plugin_query::{bounded, call, mended};
use serde_json::{Value, json};

fn table(name: &str, columns: &[&str]) -> Table {
    let column = |name: &&str| Column { name: (*name).to_owned(), kind: "TEXT".to_owned() };
    Table { name: name.to_owned(), kind: "table".to_owned(), columns: columns.iter().map(column).collect() }
}

#[test]
fn errors_help_to_mend_the_statement() {
    let tables = [table("orders", &["id", "customer_id", "total"]), table("customers", &["id", "name"])];
    for (kind, message, statement, expect) in [
        (
            ErrorKind::InvalidInput,
            "no such table: order in SELECT * FROM order_ at offset 14",
            "SELECT * FROM order_",
            "there is no table `order`; there are `orders`, `customers`",
        ),
        (
            ErrorKind::InvalidInput,
            "no such column: customer in SELECT customer FROM orders at offset 7",
            "SELECT customer FROM orders",
            "`orders` has `customer_id`, `total`, `id`",
        ),
        (
            ErrorKind::InvalidInput,
            "no such column: c.nam in SELECT c.nam FROM Customers c at offset 7",
            "SELECT c.nam FROM Customers c",
            "`customers` has `name`, `id`",
        ),
        (ErrorKind::InvalidInput, "no such column: x", "SELECT x", "`list_tables` shows them"),
        (ErrorKind::InvalidInput, "near \"FORM\": syntax error", "SELECT 1 FORM", "SQL of SQLite"),
        (ErrorKind::Denied, "not authorized", "DELETE FROM orders", "only one SELECT"),
        (ErrorKind::Timeout, "interrupted", "SELECT 1", "WHERE"),
        (ErrorKind::TooLarge, "the rows take more", "SELECT 1", "substr"),
    ] {
        let error = mended(Error::new(kind, message), statement, &tables);
        assert_eq!((error.kind, error.path.as_deref()), (kind, Some("/statement")));
        assert!(error.message.contains(expect), "{}", error.message);
    }
    let error = mended(Error::invalid_input("no such table: a"), "SELECT 1 FROM a", &[]);
    assert!(error.message.ends_with("nor any other"), "{}", error.message);
    let names: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
    let tables: Vec<Table> = names.iter().map(|name| table(name, &[])).collect();
    let error = mended(Error::invalid_input("no such table: a"), "SELECT 1 FROM a", &tables);
    assert!(error.message.ends_with("and 60 more"), "{}", error.message);
}

#[test]
fn answers_are_bounded() {
    let rows = |rows: Vec<Vec<Value>>| bounded(Rows { columns: vec!["a".to_owned()], rows, more: false });
    let small = rows(vec![vec![json!(1)], vec![Value::Null]]);
    assert_eq!(
        serde_json::to_value(small).unwrap(),
        json!({"columns": ["a"], "rows": [[1], [null]], "more": false, "cut_cells": 0})
    );
    let cut = rows(vec![vec![json!("é".repeat(2_000))]]);
    assert_eq!(
        (cut.rows[0][0].as_str().unwrap().chars().count(), cut.cut_cells, cut.more),
        (1_001, 1, false)
    );
    let many = rows(vec![vec![json!("x".repeat(1_000))]; 500]);
    assert_eq!((many.rows.len(), many.more), (65, true));
}

#[test]
fn without_a_grant_everything_is_denied() {
    for (name, arguments) in [
        ("list_tables", json!({})),
        ("list_tables", json!({"database": "shop"})),
        ("query_database", json!({"database": "shop", "statement": "SELECT 1"})),
        ("query_database", json!({"statement": "SELECT 1"})),
    ] {
        assert_eq!(call(name, &arguments.to_string()).unwrap_err().kind, ErrorKind::Denied, "{name}");
    }
    let empty = call("query_database", r#"{"database": "shop", "statement": " ; "}"#).unwrap_err();
    assert_eq!((empty.kind, empty.path.as_deref()), (ErrorKind::InvalidInput, Some("/statement")));
}

proptest! {
    /// Whatever a database and a statement say, an error stays one of its kind, and short.
    #[test]
    fn any_words(message in "(no such (table|column): )?.{0,600}", statement in ".{0,200}", name in ".{0,20}") {
        let tables = [table(&name, &[&name])];
        let error = mended(Error::invalid_input(message), &statement, &tables);
        prop_assert_eq!(error.kind, ErrorKind::InvalidInput);
        prop_assert!(error.message.len() < 2_000);
    }
}
