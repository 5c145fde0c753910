//! The echo that is measured, for Puna.

use puna_plugin::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize, JsonSchema)]
struct Said {
    /// What is said
    text: String,
}

fn echo(said: Said) -> Result<Said, Error> {
    Ok(said)
}

puna_plugin::tools! {
    "echo": echo => "Say what it hears.",
}
