//! Loaders of tables: CSV in any dialect and encoding, and workbooks of Excel. A document is some rows as a table in
//! Markdown, with the names of the columns on top.
//!
//! Invariant: memory is bounded by the constants here and in the crates of plugins, however long the table.

mod csv;
mod format;
mod page;
mod row;
mod xlsx;

use puna_plugin::{Documents, Error, Source};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a table of text is read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The character between cells, as `;`, where a guess is wrong
    delimiter: Option<char>,
    /// The character around cells that hold others, as `'`, where a guess is wrong
    quote: Option<char>,
    /// Whether the first row names the columns, where a guess is wrong
    header: Option<bool>,
    /// Most rows of a document; default 100
    #[schemars(range(min = 1, max = 1_000))]
    rows: Option<usize>,
    /// Encoding such as `euc-kr`, where a guess is wrong
    encoding: Option<String>,
}

fn csv(source: Source, options: Csv) -> Result<Documents, Error> {
    let title = source.stem().to_owned();
    let shape = page::Shape { title, header: options.header, rows: options.rows };
    let records = csv::Records::new(source, &options)?;
    Ok(Box::new(page::Pages::new(records, shape)))
}

/// How a workbook is read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Xlsx {
    /// The names of the sheets to read; all without it
    sheets: Option<Vec<String>>,
    /// Whether the first row of a sheet names the columns, where a guess is wrong
    header: Option<bool>,
    /// Most rows of a document; default 100
    #[schemars(range(min = 1, max = 1_000))]
    rows: Option<usize>,
}

fn xlsx(source: Source, options: Xlsx) -> Result<Documents, Error> {
    let title = source.stem().to_owned();
    let shape = page::Shape { title, header: options.header, rows: options.rows };
    let workbook = xlsx::Workbook::open(source, options.sheets.as_deref())?;
    Ok(Box::new(workbook.flat_map(move |sheet| -> Documents {
        match sheet {
            Ok(sheet) => Box::new(page::Pages::new(sheet, shape.clone())),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })))
}

puna_plugin::loaders! {
    "csv": csv => {
        description: "CSV, TSV and the like in any encoding, some rows a document.",
        media_types: ["text/csv", "text/tab-separated-values"],
        extensions: ["csv", "tsv"],
    },
    "xlsx": xlsx => {
        description: "Workbooks of Excel, some rows of a sheet a document.",
        media_types: ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
        extensions: ["xlsx", "xlsm"],
    },
}
