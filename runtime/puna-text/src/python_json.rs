use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A value as Python's `json.dumps(value, ensure_ascii=False)` writes it: `", "` and `": "` between
/// items. Chat templates print tools and arguments so, and models were trained on that form.
///
/// ```
/// let value = serde_json::json!({ "city": "Zürich", "days": [1, 2] });
/// assert_eq!(puna_text::python_json(&value), r#"{"city": "Zürich", "days": [1, 2]}"#);
/// ```
pub fn python_json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        // Only a map with keys that are not strings: JSON has no such thing.
        Err(_) => "null".to_owned(),
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
