//! The host's models.

use super::{GuestState, failure, from_core, limit_reached};
use crate::{
    Grant,
    contract::bindings::puna::plugin::{models, types},
};

/// Longest text for a model, in bytes; longer than any context that is common.
const MAX_TEXT_BYTES: usize = 1 << 20;

impl models::Host for GuestState {
    async fn embed(&mut self, texts: Vec<String>) -> wasmtime::Result<Result<Vec<Vec<f32>>, types::Error>> {
        Ok(self.embed_texts(&texts).await)
    }

    async fn generate(
        &mut self,
        instructions: Option<String>,
        prompt: String,
        max_tokens: u32,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(self.generate_text(instructions.as_deref(), &prompt, max_tokens).await)
    }
}

impl GuestState {
    async fn embed_texts(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, types::Error> {
        self.need(Grant::Embed)?;
        let embedder = self.setup.services.embedder.clone().ok_or_else(|| missing("embedding model"))?;
        texts.iter().try_for_each(|text| check_text(text))?;
        let count = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let Some(left) = self.left.embed_texts.checked_sub(count) else {
            return Err(limit_reached(&self.plugin, "embed_texts", self.setup.limits.embed_texts.into()));
        };
        self.left.embed_texts = left;
        embedder.embed(texts).await.map_err(|error| from_core(&error))
    }

    async fn generate_text(
        &mut self,
        instructions: Option<&str>,
        prompt: &str,
        max_tokens: u32,
    ) -> Result<String, types::Error> {
        self.need(Grant::Generate)?;
        let generator = self.setup.services.generator.clone().ok_or_else(|| missing("language model"))?;
        check_text(prompt)?;
        check_text(instructions.unwrap_or_default())?;
        let Some(left) = self.left.generate_tokens.checked_sub(max_tokens) else {
            let most = self.setup.limits.generate_tokens.into();
            return Err(limit_reached(&self.plugin, "generate_tokens", most));
        };
        self.left.generate_tokens = left;
        generator.generate(instructions, prompt, max_tokens).await.map_err(|error| from_core(&error))
    }
}

fn missing(what: &str) -> types::Error {
    failure(types::ErrorKind::Unavailable, format!("this host lends plugins no {what}"))
}

fn check_text(text: &str) -> Result<(), types::Error> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(failure(
        types::ErrorKind::TooLarge,
        format!("a text of {} bytes; the most is {MAX_TEXT_BYTES}", text.len()),
    ))
}
