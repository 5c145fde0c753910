use std::sync::Arc;

use puna_core::{Embedder, Result};
use unicode_segmentation::UnicodeSegmentation;

/// Tells how long texts are, in units of its own.
pub trait Measure: Send + Sync {
    /// A text's units.
    ///
    /// # Errors
    /// The measure's own.
    fn length(&self, text: &str) -> Result<usize>;

    /// Where each unit of a text ends, in bytes and in order; none when the measure tells only lengths. The units of a
    /// part are about those that end in it; chunks are measured again on their own.
    ///
    /// # Errors
    /// The measure's own.
    fn ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        let _ = text;
        Ok(None)
    }
}

/// Counts characters (Unicode scalar values).
#[derive(Clone, Copy, Debug)]
pub struct CharacterMeasure;

impl Measure for CharacterMeasure {
    fn length(&self, text: &str) -> Result<usize> {
        Ok(text.chars().count())
    }

    fn ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        Ok(Some(text.char_indices().map(|(at, c)| at + c.len_utf8()).collect()))
    }
}

/// Counts words as Unicode's annex 29 has them.
#[derive(Clone, Copy, Debug)]
pub struct WordMeasure;

impl Measure for WordMeasure {
    fn length(&self, text: &str) -> Result<usize> {
        Ok(text.unicode_words().count())
    }

    fn ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        Ok(Some(text.unicode_word_indices().map(|(at, word)| at + word.len()).collect()))
    }
}

/// Counts an embedder's tokens; words where it tells none.
#[derive(Clone)]
pub struct TokenMeasure(Arc<dyn Embedder>);

impl TokenMeasure {
    /// Counts as this embedder does.
    pub fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self(embedder)
    }
}

impl Measure for TokenMeasure {
    fn length(&self, text: &str) -> Result<usize> {
        match self.0.token_ends(text)? {
            Some(ends) => Ok(ends.len()),
            None => WordMeasure.length(text),
        }
    }

    fn ends(&self, text: &str) -> Result<Option<Vec<usize>>> {
        match self.0.token_ends(text)? {
            Some(ends) => Ok(Some(ends)),
            None => WordMeasure.ends(text),
        }
    }
}

/// Counts with a function.
#[derive(Clone, Copy, Debug)]
pub struct FunctionMeasure<F>(pub F);

impl<F: Fn(&str) -> usize + Send + Sync> Measure for FunctionMeasure<F> {
    fn length(&self, text: &str) -> Result<usize> {
        Ok((self.0)(text))
    }
}
