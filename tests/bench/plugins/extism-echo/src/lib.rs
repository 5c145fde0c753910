//! The echo that is measured, for Extism.

use extism_pdk::{FnResult, FromBytes, Json, ToBytes, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize, FromBytes, ToBytes)]
#[encoding(Json)]
pub struct Said {
    text: String,
}

#[plugin_fn]
pub fn echo(said: Said) -> FnResult<Said> {
    Ok(said)
}
