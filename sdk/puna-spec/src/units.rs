use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A size above 0, written with its unit: `64MiB`, `500kB`, `1024B`.
///
/// ```
/// use puna_spec::ByteSize;
/// assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
/// assert_eq!(ByteSize(2048).to_string(), "2KiB");
/// assert_eq!("64".parse::<ByteSize>(), Err("expected a size with its unit, for example 64MiB".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time above 0 in whole milliseconds, written with its unit: `500ms`, `5s`, `2m`, `1h`.
///
/// ```
/// use std::time::Duration;
/// use puna_spec::Span;
/// assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
/// assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500ms");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Unit, and how many bytes it has. The largest that divides a size is the one it is shown in.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// Unit, and how many milliseconds it has.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn parse(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let wrong = || format!("expected {what}");
    let end = text.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let (_, factor) =
        units.iter().find(|(name, _)| *name == unit.trim_start_matches(' ')).ok_or_else(wrong)?;
    // Only digits: what does not parse is too large.
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)) {
        Some(0) => Err(format!("{}, more than 0", wrong())),
        Some(value) => Ok(value),
        None => Err(format!("{}, below 2^64 {}", wrong(), units.last().map_or("", |(unit, _)| unit))),
    }
}

fn show(value: u64, units: &[(&str, u64)], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(fits).or(units.last()).copied().unwrap_or(("", 1));
    write!(formatter, "{}{unit}", value / factor)
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SIZES, "a size with its unit, for example 64MiB").map(Self)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &TIMES, "a time with its unit, for example 500ms or 5s")
            .map(|ms| Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &SIZES, formatter)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Spans come from whole milliseconds that fit.
        show(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &TIMES, formatter)
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $about:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}

as_text!(
    ByteSize,
    "ByteSize",
    r"^0*[1-9][0-9]* *(GiB|GB|MiB|MB|KiB|kB|B)$|\$\{",
    "A size with its unit, for example 64MiB"
);
as_text!(Span, "Span", r"^0*[1-9][0-9]* *(h|m|s|ms)$|\$\{", "A time with its unit, for example 500ms or 5s");
