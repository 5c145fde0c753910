use std::{path::Path, sync::Arc};

use puna_core::{Error, ErrorKind, Result};

use crate::{Prompt, files};

/// A model's tokenizer, from its `tokenizer.json`. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    special: Arc<[String]>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in a model's folder.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is none, [`InvalidInput`](ErrorKind::InvalidInput) when it is
    /// not a tokenizer.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let Some(text) = files::read(&path)? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no `{}`; a model's folder holds its tokenizer", path.display()),
            ));
        };
        let mut inner: tokenizers::Tokenizer = text.parse().map_err(|error| {
            Error::invalid_input(format!("`{}` is not a tokenizer", path.display())).with_source(error)
        })?;
        // Training settings that would change what a prompt becomes.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::internal("cannot switch truncation off").with_source(error))?;
        let mut special: Vec<String> = inner
            .get_added_tokens_decoder()
            .into_values()
            .filter(|token| token.special && !token.content.is_empty())
            .map(|token| token.content)
            .collect();
        special.sort_unstable();
        Ok(Self { inner: Arc::new(inner), special: special.into() })
    }

    /// A prompt's tokens. Special tokens are those that the template wrote, never those in what was said.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer itself fails.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for piece in prompt.pieces() {
            ids.extend(self.encode_piece(piece)?);
        }
        Ok(ids)
    }

    /// The tokens of plain text: a special token's name in it is ordinary text. No token is added.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer itself fails.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_prompt(&Prompt::of_text(text, &self.special))
    }

    /// The tokens that the tokenizer puts before a text by itself: Llama's token that begins one, or none.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer itself fails.
    pub fn start_tokens(&self) -> Result<Vec<u32>> {
        let failed = |error| Error::internal("the tokenizer failed").with_source(error);
        let plain = self.inner.encode_fast("a", false).map_err(failed)?;
        let whole = self.inner.encode_fast("a", true).map_err(failed)?;
        let (plain, whole) = (plain.get_ids(), whole.get_ids());
        let start = whole.windows(plain.len().max(1)).position(|window| window == plain);
        Ok(whole[..start.unwrap_or(0)].to_vec())
    }

    fn encode_piece(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::internal("the tokenizer failed").with_source(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens; special tokens are left out.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the tokenizer itself fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| Error::internal("the tokenizer failed").with_source(error))
    }

    /// How many tokens there are, added ones included.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// A token's number.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A number's token, as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The library's own.
    pub(crate) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The special tokens, sorted.
    pub fn special_tokens(&self) -> &[String] {
        &self.special
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}
