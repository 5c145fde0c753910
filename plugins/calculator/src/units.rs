//! Units, with exact factors to their dimension's base unit.
//!
//! Sources: the international yard and pound agreement of 1959 (foot, mile, pound, ounce), US customary
//! measures (gallon of 231 cubic inches and its parts), SI and IEC 80000-13 prefixes, the thermochemical calorie,
//! the international table of the imperial gallon (4.54609 l).

use num_bigint::BigInt;
use num_rational::BigRational;
use puna_plugin::Error;

use crate::number::{self, Number};

/// A unit: its names, its dimension, and `base = (amount + offset) * factor`.
struct Unit {
    /// The first is the one that suggestions show. Names with a capital are told from those without only
    /// where both exist (`Mb` and `MB`).
    names: &'static [&'static str],
    dimension: &'static str,
    factor: &'static str,
    offset: &'static str,
}

const fn unit(dimension: &'static str, factor: &'static str, names: &'static [&'static str]) -> Unit {
    Unit { names, dimension, factor, offset: "0" }
}

#[rustfmt::skip]
const UNITS: &[Unit] = &[
    unit("length", "1", &["meters", "meter", "metres", "metre", "m"]),
    unit("length", "1000", &["kilometers", "kilometer", "kilometres", "kilometre", "km", "kms"]),
    unit("length", "0.01", &["centimeters", "centimeter", "centimetres", "centimetre", "cm"]),
    unit("length", "0.001", &["millimeters", "millimeter", "millimetres", "millimetre", "mm"]),
    unit("length", "0.000001", &["micrometers", "micrometer", "microns", "micron", "um", "µm"]),
    unit("length", "0.000000001", &["nanometers", "nanometer", "nm"]),
    unit("length", "1609.344", &["miles", "mile", "mi"]),
    unit("length", "0.9144", &["yards", "yard", "yd", "yds"]),
    unit("length", "0.3048", &["feet", "foot", "ft"]),
    unit("length", "0.0254", &["inches", "inch", "in"]),
    unit("length", "1852", &["nautical miles", "nautical mile", "nmi"]),
    unit("mass", "1", &["kilograms", "kilogram", "kg", "kilos", "kilo"]),
    unit("mass", "0.001", &["grams", "gram", "g", "grammes"]),
    unit("mass", "0.000001", &["milligrams", "milligram", "mg"]),
    unit("mass", "1000", &["tonnes", "tonne", "t", "metric tons", "metric ton"]),
    unit("mass", "907.18474", &["tons", "ton", "short tons", "short ton"]),
    unit("mass", "0.45359237", &["pounds", "pound", "lb", "lbs"]),
    unit("mass", "0.028349523125", &["ounces", "ounce", "oz"]),
    unit("mass", "6.35029318", &["stone", "stones", "st"]),
    unit("time", "1", &["seconds", "second", "s", "sec", "secs"]),
    unit("time", "0.001", &["milliseconds", "millisecond", "ms"]),
    unit("time", "60", &["minutes", "minute", "min", "mins"]),
    unit("time", "3600", &["hours", "hour", "h", "hr", "hrs"]),
    unit("time", "86400", &["days", "day", "d"]),
    unit("time", "604800", &["weeks", "week"]),
    unit("area", "1", &["square meters", "square meter", "square metres", "square metre", "m2", "m²", "sqm"]),
    unit("area", "1000000", &["square kilometers", "square kilometer", "square kilometres", "km2", "km²"]),
    unit("area", "10000", &["hectares", "hectare", "ha"]),
    unit("area", "4046.8564224", &["acres", "acre"]),
    unit("area", "0.09290304", &["square feet", "square foot", "ft2", "ft²", "sqft"]),
    unit("area", "2589988.110336", &["square miles", "square mile", "mi2"]),
    unit("volume", "1", &["liters", "liter", "litres", "litre", "l"]),
    unit("volume", "0.001", &["milliliters", "milliliter", "millilitres", "millilitre", "ml"]),
    unit("volume", "0.01", &["centiliters", "centiliter", "cl"]),
    unit("volume", "1000", &["cubic meters", "cubic meter", "cubic metres", "m3", "m³"]),
    unit("volume", "3.785411784", &["gallons", "gallon", "gal"]),
    unit("volume", "4.54609", &["imperial gallons", "imperial gallon"]),
    unit("volume", "0.946352946", &["quarts", "quart", "qt"]),
    unit("volume", "0.473176473", &["pints", "pint", "pt"]),
    unit("volume", "0.2365882365", &["cups", "cup"]),
    unit("volume", "0.0295735295625", &["fluid ounces", "fluid ounce", "fl oz"]),
    unit("volume", "0.01478676478125", &["tablespoons", "tablespoon", "tbsp"]),
    unit("volume", "0.00492892159375", &["teaspoons", "teaspoon", "tsp"]),
    unit("speed", "1", &["meters per second", "metres per second", "m/s", "mps"]),
    unit("speed", "1/3.6", &["kilometers per hour", "kilometres per hour", "km/h", "kmh", "kph"]),
    unit("speed", "0.44704", &["miles per hour", "mph"]),
    unit("speed", "1852/3600", &["knots", "knot", "kn"]),
    unit("data", "1", &["bytes", "byte", "B"]),
    unit("data", "0.125", &["bits", "bit", "b"]),
    unit("data", "1000", &["kilobytes", "kilobyte", "kB", "KB"]),
    unit("data", "1000000", &["megabytes", "megabyte", "MB"]),
    unit("data", "1000000000", &["gigabytes", "gigabyte", "GB"]),
    unit("data", "1000000000000", &["terabytes", "terabyte", "TB"]),
    unit("data", "1024", &["kibibytes", "kibibyte", "KiB"]),
    unit("data", "1048576", &["mebibytes", "mebibyte", "MiB"]),
    unit("data", "1073741824", &["gibibytes", "gibibyte", "GiB"]),
    unit("data", "1099511627776", &["tebibytes", "tebibyte", "TiB"]),
    unit("data", "125", &["kilobits", "kilobit", "kb", "kbit"]),
    unit("data", "125000", &["megabits", "megabit", "Mb", "Mbit"]),
    unit("data", "125000000", &["gigabits", "gigabit", "Gb", "Gbit"]),
    unit("energy", "1", &["joules", "joule", "J"]),
    unit("energy", "1000", &["kilojoules", "kilojoule", "kJ"]),
    unit("energy", "4.184", &["calories", "calorie", "cal"]),
    unit("energy", "4184", &["kilocalories", "kilocalorie", "kcal"]),
    unit("energy", "3600000", &["kilowatt hours", "kilowatt hour", "kWh"]),
    unit("energy", "3600", &["watt hours", "watt hour", "Wh"]),
    unit("pressure", "1", &["pascals", "pascal", "Pa"]),
    unit("pressure", "100", &["hectopascals", "hectopascal", "hPa", "millibars", "mbar"]),
    unit("pressure", "1000", &["kilopascals", "kilopascal", "kPa"]),
    unit("pressure", "100000", &["bars", "bar"]),
    unit("pressure", "101325", &["atmospheres", "atmosphere", "atm"]),
    Unit { names: &["celsius", "C", "°C", "degrees celsius", "degrees C", "centigrade"], dimension: "temperature", factor: "1", offset: "273.15" },
    Unit { names: &["fahrenheit", "F", "°F", "degrees fahrenheit", "degrees F"], dimension: "temperature", factor: "5/9", offset: "459.67" },
    Unit { names: &["kelvin", "K", "kelvins"], dimension: "temperature", factor: "1", offset: "0" },
];

/// An amount in another unit, exactly.
///
/// # Errors
/// Not-found for a unit that is not known, invalid-input for two units of different dimensions.
pub fn convert(amount: Number, from: &str, to: &str) -> Result<Number, Error> {
    let source = find(from).map_err(|error| error.at("/from"))?;
    let target = find(to).map_err(|error| error.at("/to"))?;
    if source.dimension != target.dimension {
        return Err(Error::invalid_input(format!(
            "cannot convert `{from}` ({}) to `{to}` ({})",
            source.dimension, target.dimension
        )));
    }
    let base = amount
        .combine(&constant(source.offset), |a, b| a + b)?
        .combine(&constant(source.factor), |a, b| a * b)?;
    base.divide(&constant(target.factor))?.combine(&constant(target.offset), |a, b| a - b)
}

fn find(name: &str) -> Result<&'static Unit, Error> {
    let name = name.trim().trim_end_matches('.');
    let exact = UNITS.iter().find(|unit| unit.names.contains(&name));
    let folded = || UNITS.iter().find(|unit| unit.names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    exact.or_else(folded).ok_or_else(|| {
        let near = UNITS
            .iter()
            .flat_map(|unit| unit.names)
            .min_by_key(|known| distance(&name.to_lowercase(), known));
        let shown: String = name.chars().take(40).collect();
        match near.filter(|known| distance(&name.to_lowercase(), known) <= 2 && known.len() > 3) {
            Some(near) => Error::not_found(format!("unknown unit `{shown}`; did you mean `{near}`?")),
            None => Error::not_found(format!("unknown unit `{shown}`")),
        }
    })
}

/// A factor of the table: a decimal, or a fraction of two.
fn constant(text: &str) -> Number {
    let decimal = |text: &str| {
        number::parse(text).map_or_else(|_| BigRational::from_integer(BigInt::from(0)), |n| n.value)
    };
    Number::exact(match text.split_once('/') {
        Some((numerator, denominator)) => decimal(numerator) / decimal(denominator),
        None => decimal(text),
    })
}

/// Levenshtein distance of the first 40 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(40).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(40).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
