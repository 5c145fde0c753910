//! A plugin in one page: a struct for the arguments, one for the result, a function.

use puna_plugin::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest text taken, in bytes: whoever calls decides what comes back, so it has a bound.
const MAX_TEXT: usize = 10_000;

#[derive(Deserialize, JsonSchema)]
struct Shout {
    /// What to say louder
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Shouted {
    text: String,
}

fn shout(arguments: Shout) -> Result<Shouted, Error> {
    if arguments.text.len() > MAX_TEXT {
        return Err(Error::invalid_input(format!("`text` has at most {MAX_TEXT} bytes")).at("/text"));
    }
    Ok(Shouted { text: arguments.text.to_uppercase() + "!" })
}

puna_plugin::tools! {
    "shout": shout => "Say a text louder.",
}
