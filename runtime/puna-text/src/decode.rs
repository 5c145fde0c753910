use puna_core::Result;

use crate::Tokenizer;

/// Most tokens held back for a character that is not complete: a character has at most four bytes, and a
/// byte costs at most one token; more pending tokens are not one character but bad bytes.
const MAX_PENDING: usize = 8;

/// Turns tokens into text as they come, and never gives out a part of a character.
///
/// The pieces joined are what [`Tokenizer::decode`] gives for all tokens at once.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// The tokens that the next text depends on: those given out last, then those pending.
    window: Vec<u32>,
    /// How many of the window's tokens were given out.
    given: usize,
    /// Their text: decoders treat a text's first token apart, so new text is the window's text less this.
    given_text: String,
}

impl StreamDecoder {
    /// A decoder at the start of an answer.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), given: 0, given_text: String::new() }
    }

    /// Takes a token, and gives the text that is complete with it, if any.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        let incomplete =
            text.ends_with(char::REPLACEMENT_CHARACTER) && self.window.len() - self.given < MAX_PENDING;
        if incomplete || text.len() <= self.given_text.len() {
            return Ok(None);
        }
        Ok(Some(self.give(text)?))
    }

    /// Gives what was held back.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.window)?;
        if text.len() <= self.given_text.len() { Ok(None) } else { Ok(Some(self.give(text)?)) }
    }

    fn give(&mut self, text: String) -> Result<String> {
        let new = text.get(self.given_text.len()..).unwrap_or_default().to_owned();
        // The tokens given out before now say nothing about what follows; those given out now do.
        self.window.drain(..self.given);
        self.given = self.window.len();
        self.given_text = self.tokenizer.decode(&self.window)?;
        Ok(new)
    }
}
