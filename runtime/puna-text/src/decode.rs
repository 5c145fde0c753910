use puna_core::Result;

use crate::Tokenizer;

/// Most tokens kept while the text does not end with a whole character: only a model that writes bad bytes
/// without end gets there, and the window is decoded anew for every token.
const MAX_WINDOW: usize = 64;

/// Turns tokens into text as they come, and never gives out a part of a character.
///
/// The pieces joined are what [`Tokenizer::decode`] gives for all tokens at once.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// The tokens that the next text depends on: those given out last, then those whose text is not whole.
    window: Vec<u32>,
    /// How many bytes of the window's text were given out.
    given: usize,
    /// How many tokens were in the window when its text was last whole.
    whole: usize,
}

impl StreamDecoder {
    /// A decoder at the start of an answer.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), given: 0, whole: 0 }
    }

    /// Takes a token, and gives the text that is complete with it, if any.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        // The bytes of a character that is not complete decode to one replacement character, at the end.
        let sure = text.strip_suffix(char::REPLACEMENT_CHARACTER).unwrap_or(&text).len();
        if sure == text.len() || self.window.len() >= MAX_WINDOW {
            let new = self.give(&text, text.len());
            // What was given out before now says nothing about what follows; what is given out now does,
            // because decoders treat a text's first token apart.
            self.window.drain(..self.whole);
            self.whole = self.window.len();
            self.given = self.tokenizer.decode(&self.window)?.len();
            return Ok(new);
        }
        Ok(self.give(&text, sure))
    }

    /// Gives what was held back.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.window)?;
        Ok(self.give(&text, text.len()))
    }

    /// The text that was not given out yet, up to a place.
    fn give(&mut self, text: &str, end: usize) -> Option<String> {
        let new = text.get(self.given..end).filter(|new| !new.is_empty())?.to_owned();
        self.given = end;
        Some(new)
    }
}
