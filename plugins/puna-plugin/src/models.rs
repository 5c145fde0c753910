//! The host's models. A plugin that asks them asks for the grants `embed` and `generate`.

use crate::Error;

/// One vector a text.
///
/// # Errors
/// Denied when it was not granted, unavailable when the host has no embedding model. Natively always denied.
pub fn embed(texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::guest::bindings::host::puna::plugin::models::embed(texts)?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = texts;
        Err(Error::new(crate::ErrorKind::Denied, "the grant `embed` is missing"))
    }
}

/// The model's answer to a prompt, of at most so many tokens.
///
/// # Errors
/// Denied when it was not granted, unavailable when the host has no language model. Natively always denied.
pub fn generate(instructions: Option<&str>, prompt: &str, max_tokens: u32) -> Result<String, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::guest::bindings::host::puna::plugin::models::generate(
        instructions,
        prompt,
        max_tokens,
    )?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = (instructions, prompt, max_tokens);
        Err(Error::new(crate::ErrorKind::Denied, "the grant `generate` is missing"))
    }
}
