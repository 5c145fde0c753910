use std::{path::Path, sync::Arc};

use puna_core::{Error, Result};
use tokenizers::{PostProcessor, utils::truncation::TruncationDirection};

use crate::Tokenizer;

/// The tokenizer of a model that reads texts whole: a text's tokens between those that its kind of model wants around
/// them. Clones share it.
#[derive(Clone)]
pub struct EncoderTokenizer(Arc<tokenizers::Tokenizer>);

/// A text, or a part of one that is too long, as a model takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens' numbers.
    pub ids: Vec<u32>,
    /// Of each token whether it is of the first text or the second.
    pub types: Vec<u32>,
}

impl EncoderTokenizer {
    /// Reads `tokenizer.json` in a model's folder.
    ///
    /// # Errors
    /// Those of [`Tokenizer::from_folder`].
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let mut inner = Tokenizer::from_folder(folder)?.inner().clone();
        // The name of a special token in a text is text.
        inner.set_encode_special_tokens(true);
        Ok(Self(Arc::new(inner)))
    }

    /// A text in parts of at most `limit` tokens, each whole for the model; one part where it fits. Parts overlap by
    /// `overlap` tokens. With a `query`, each part stands behind it.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when the query leaves less than half of the limit to the
    /// text; [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn parts(
        &self,
        query: Option<&str>,
        text: &str,
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Encoded>> {
        let inner = &*self.0;
        let failed = |error| Error::internal("the tokenizer failed").with_source(error);
        let added = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(query.is_some()));
        let query = query.map(|query| inner.encode(query, false)).transpose().map_err(failed)?;
        let taken = added + query.as_ref().map_or(0, |query| query.len());
        if taken + limit / 2 > limit {
            return Err(Error::invalid_input(format!(
                "the query has {} tokens; at most half of the model's {limit} are taken",
                taken - added
            )));
        }
        let room = limit - taken;
        let mut encoding = inner.encode(text, false).map_err(failed)?;
        encoding.truncate(room, overlap.min(room / 2), TruncationDirection::Right);
        let others = encoding.take_overflowing();
        std::iter::once(encoding)
            .chain(others)
            .map(|part| {
                let whole = match &query {
                    Some(query) => inner.post_process(query.clone(), Some(part), true),
                    None => inner.post_process(part, None, true),
                };
                let whole = whole.map_err(failed)?;
                Ok(Encoded { ids: whole.get_ids().to_vec(), types: whole.get_type_ids().to_vec() })
            })
            .collect()
    }

    /// Where each token of a text ends, in bytes; what the model wants around a text is not counted.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn ends(&self, text: &str) -> Result<Vec<usize>> {
        let encoding = self.0.encode(text, false);
        let encoding =
            encoding.map_err(|error| Error::internal("the tokenizer failed").with_source(error))?;
        Ok(encoding.get_offsets().iter().map(|(_, end)| *end).collect())
    }

    /// The number of the token that fills rows up; 0 where the tokenizer does not say.
    pub fn padding(&self) -> u32 {
        ["[PAD]", "<pad>"].iter().find_map(|name| self.0.token_to_id(name)).unwrap_or(0)
    }
}
