//! A plugin that calculates: exact decimals, percentages and units.
//!
//! Numbers are fractions of big integers, so nothing is rounded on the way. A result is printed in full
//! where its decimals end, and to 20 significant digits with the word `about` in front where they do not.
//!
//! Invariant: everything that grows with the input has a bound in [`number`] or [`expression`].

pub mod expression;
pub mod number;
pub mod units;

use puna_plugin::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Calculate {
    /// The expression in digits or words, for example 12 times 3 or 15% of 80
    expression: String,
}

#[derive(Serialize, JsonSchema)]
struct Calculated {
    value: String,
}

fn calculate(arguments: Calculate) -> Result<Calculated, Error> {
    let value = expression::evaluate(&arguments.expression).map_err(|error| error.at("/expression"))?;
    Ok(Calculated { value: value.to_string() })
}

#[derive(Deserialize, JsonSchema)]
struct ConvertUnits {
    amount: serde_json::Number,
    from: String,
    to: String,
}

#[derive(Serialize, JsonSchema)]
struct Converted {
    value: String,
    unit: String,
}

fn convert_units(arguments: ConvertUnits) -> Result<Converted, Error> {
    let amount = number::parse(&arguments.amount.to_string()).map_err(|error| error.at("/amount"))?;
    let value = units::convert(amount, &arguments.from, &arguments.to)?;
    Ok(Converted { value: value.to_string(), unit: arguments.to })
}

puna_plugin::tools! {
    "calculate": calculate => "Work out an arithmetic expression exactly.",
    "convert_units": convert_units => "Convert an amount from one unit to another.",
}
