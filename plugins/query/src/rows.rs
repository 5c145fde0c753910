use puna_plugin::sql::Rows;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Longest text in a cell, in bytes: a model asks for the rest with `substr()`.
const MAX_CELL_BYTES: usize = 2_000;

/// Most bytes of one answer's cells: some ten thousand tokens.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What a cell that is no text counts for.
const OTHER_CELL_BYTES: usize = 16;

/// The rows of a statement.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows.
    pub more: bool,
    /// How many cells were cut.
    pub cut_cells: usize,
}

/// As many rows as a model may be given, with long texts cut.
pub fn bounded(rows: Rows) -> Answer {
    let mut answer = Answer { columns: rows.columns, rows: Vec::new(), more: rows.more, cut_cells: 0 };
    let mut bytes = 0;
    for mut row in rows.rows {
        let mut cut = 0;
        for cell in &mut row {
            if let Value::String(text) = cell
                && text.len() > MAX_CELL_BYTES
            {
                text.truncate(text.floor_char_boundary(MAX_CELL_BYTES));
                text.push('…');
                cut += 1;
            }
            bytes += cell.as_str().map_or(OTHER_CELL_BYTES, |text| text.len() + 2);
        }
        if bytes > MAX_ANSWER_BYTES && !answer.rows.is_empty() {
            answer.more = true;
            break;
        }
        answer.cut_cells += cut;
        answer.rows.push(row);
    }
    answer
}
