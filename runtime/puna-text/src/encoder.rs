use std::{path::Path, sync::Arc};

use puna_core::{Error, Result};
use tokenizers::{
    Encoding, NormalizerWrapper, PostProcessor,
    normalizers::{Lowercase, Sequence},
    utils::truncation::TruncationDirection,
};

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
    /// The tokens at the beginning that the model's own mark and the prompt take; 0 without a prompt.
    pub prompt: usize,
}

/// What stands before a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before<'a> {
    /// A text of its own, such as a question: the two are a pair.
    pub query: Option<&'a str>,
    /// The beginning of the text itself, such as `query: `.
    pub prompt: &'a str,
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

    /// The same, with upper-case letters read as lower-case ones.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer does not take it.
    pub fn lower_cased(self) -> Result<Self> {
        let mut inner = Arc::unwrap_or_clone(self.0);
        let others = inner.get_normalizer().cloned();
        let all = std::iter::once(NormalizerWrapper::Lowercase(Lowercase)).chain(others).collect();
        inner
            .with_normalizer(Some(NormalizerWrapper::Sequence(Sequence::new(all))))
            .map_err(|error| Error::internal("the tokenizer takes no lower case").with_source(error))?;
        Ok(Self(Arc::new(inner)))
    }

    /// A text in parts of at most `limit` tokens, each whole for the model; one part where it fits. Parts overlap by
    /// `overlap` tokens. Each part stands behind what comes before the text.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when what comes before leaves less than half of the limit to
    /// the text; [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn parts(
        &self,
        before: Before<'_>,
        text: &str,
        limit: usize,
        overlap: usize,
    ) -> Result<Vec<Encoded>> {
        let inner = &*self.0;
        let failed = |error| Error::internal("the tokenizer failed").with_source(error);
        let added =
            inner.get_post_processor().map_or(0, |processor| processor.added_tokens(before.query.is_some()));
        let query = before.query.map(|query| inner.encode(query, false)).transpose().map_err(failed)?;
        let (prompt, mut rest) = if before.prompt.is_empty() {
            (None, inner.encode(text, false).map_err(failed)?)
        } else {
            let whole = inner.encode([before.prompt, text].concat(), false).map_err(failed)?;
            let (prompt, rest) = split(whole, before.prompt.len());
            (Some(prompt), rest)
        };
        let taken = [&query, &prompt].into_iter().flatten().map(Encoding::len).sum::<usize>();
        if added + taken + limit / 2 > limit {
            return Err(Error::invalid_input(format!(
                "what comes before the text has {taken} tokens; at most half of the model's {limit} are taken"
            )));
        }
        let room = limit - added - taken;
        rest.truncate(room, overlap.min(room / 2), TruncationDirection::Right);
        let others = rest.take_overflowing();
        std::iter::once(rest)
            .chain(others)
            .map(|part| {
                let part = match prompt.clone() {
                    Some(mut prompt) => {
                        prompt.merge_with(part, false);
                        prompt
                    }
                    None => part,
                };
                let whole = match &query {
                    Some(query) => inner.post_process(query.clone(), Some(part), true),
                    None => inner.post_process(part, None, true),
                };
                let whole = whole.map_err(failed)?;
                let marks = whole.get_special_tokens_mask().iter().take_while(|mark| **mark == 1).count();
                Ok(Encoded {
                    ids: whole.get_ids().to_vec(),
                    types: whole.get_type_ids().to_vec(),
                    prompt: prompt.as_ref().map_or(0, |prompt| marks + prompt.len()),
                })
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

/// The tokens that end within the first `bytes` of their text, and the others.
fn split(whole: Encoding, bytes: usize) -> (Encoding, Encoding) {
    let count = whole.get_offsets().iter().take_while(|(_, end)| *end <= bytes).count();
    let (mut first, mut rest) = (whole.clone(), whole);
    let others = rest.len() - count;
    first.truncate(count, 0, TruncationDirection::Right);
    rest.truncate(others, 0, TruncationDirection::Left);
    for half in [&mut first, &mut rest] {
        drop(half.take_overflowing());
    }
    (first, rest)
}
