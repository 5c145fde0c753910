use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Widest indentation written: bounds a prompt's size against a template's mistake.
const MAX_INDENT: usize = 16;

/// A value as Python's `json.dumps(value, ensure_ascii=False)` writes it: `", "` and `": "` between
/// items. Chat templates print tools and arguments so, and models were trained on that form.
///
/// ```
/// let value = serde_json::json!({ "city": "Zürich", "days": [1, 2], "most": 1e-7 });
/// assert_eq!(puna_text::python_json(&value), r#"{"city": "Zürich", "days": [1, 2], "most": 1e-07}"#);
/// ```
pub fn python_json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    match write(&mut out, value, None) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        // Only a map with keys that are not strings: JSON has no such thing.
        Err(_) => "null".to_owned(),
    }
}

/// The same into a writer, perhaps on lines with `indent=` spaces.
///
/// # Errors
/// When the writer fails, or the value has no form in JSON.
pub(crate) fn write(
    out: &mut impl io::Write,
    value: &impl Serialize,
    indent: Option<usize>,
) -> serde_json::Result<()> {
    let Some(indent) = indent else {
        return value.serialize(&mut Serializer::with_formatter(out, Spaced));
    };
    let spaces = " ".repeat(indent.min(MAX_INDENT));
    let formatter = Indented(PrettyFormatter::with_indent(spaces.as_bytes()));
    value.serialize(&mut Serializer::with_formatter(out, formatter))
}

/// A finite number as Python's `repr` writes it: the same digits as Rust's, an exponent of at least two
/// digits for numbers below 1e-4 or from 1e16 on.
fn python_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(digits, exponent)| {
        let exponent: i32 = exponent.parse().ok()?;
        Some((digits, exponent))
    });
    match exponent {
        Some((digits, exponent)) if !(-4..16).contains(&exponent) => format!("{digits}e{exponent:+03}"),
        _ if value.fract() == 0.0 => format!("{value}.0"),
        _ => value.to_string(),
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

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

/// Serde's own indentation, which is Python's, with Python's numbers.
struct Indented<'a>(PrettyFormatter<'a>);

impl Formatter for Indented<'_> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
