use puna_core::Result;

use crate::Tokenizer;

/// Most tokens kept while the text does not end with a whole character: only a model that writes bad bytes
/// without end gets there, and the window is decoded anew for every token.
const MAX_WINDOW: usize = 64;

/// Most replacement characters at the end that may still become a character: its first three bytes.
const MAX_BROKEN: usize = 3;

/// Turns tokens into text as they come, and never gives out a part of a character.
///
/// The pieces joined are what [`Tokenizer::decode`] gives for all tokens at once, with the kept special tokens
/// between.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// The tokens that the next text depends on: those given out last, then those whose text is not whole.
    window: Vec<u32>,
    /// How many bytes of the window's text were given out.
    given: usize,
    /// How many tokens were in the window when its text was last whole.
    whole: usize,
    /// Special tokens that are given as text.
    kept: Vec<(u32, &'static str)>,
}

impl StreamDecoder {
    /// A decoder at the start of an answer.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), given: 0, whole: 0, kept: Vec::new() }
    }

    /// Gives these tokens as text even where they are special, as parsers need the
    /// [marks](crate::Dialect::marks) of a dialect. All other special tokens are left out.
    #[must_use]
    pub fn keeping(mut self, tokens: &'static [&'static str]) -> Self {
        let special = self.tokenizer.special_tokens();
        let special = tokens.iter().filter(|token| special.iter().any(|special| special == *token));
        let known = special.filter_map(|token| Some((self.tokenizer.token_to_id(token)?, *token)));
        self.kept = known.collect();
        self
    }

    /// Takes a token, and gives the text that is complete with it, if any.
    ///
    /// # Errors
    /// [`Internal`](puna_core::ErrorKind::Internal) when the tokenizer itself fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        if let Some(&(_, token)) = self.kept.iter().find(|(kept, _)| *kept == id) {
            // A character that is not complete here never will be.
            let before = self.finish()?.unwrap_or_default();
            return Ok(Some(before + token));
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        // A character that is not complete decodes to one replacement character with byte-level tokenizers;
        // those that fall back to bytes break the characters before it as well.
        let mut sure = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        if sure < text.len() && self.window.len() >= MAX_WINDOW {
            sure = sure.max(text.len() - MAX_BROKEN * char::REPLACEMENT_CHARACTER.len_utf8());
        }
        let new = self.give(&text, sure);
        if sure == text.len() {
            // What was given out before now says nothing about what follows; what is given out now does,
            // because decoders treat a text's first token apart.
            self.window.drain(..self.whole);
            self.whole = self.window.len();
            self.given = self.tokenizer.decode(&self.window)?.len();
        } else if self.window.len() >= MAX_WINDOW {
            // What is held depends on the last tokens only, so fewer of them end with the same.
            self.window.drain(..MAX_WINDOW / 2);
            self.whole = 0;
            self.given = self.tokenizer.decode(&self.window)?.len().saturating_sub(text.len() - sure);
        }
        Ok(new)
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
        // Decoders may break a character that they gave whole, when bad bytes follow it: then the place
        // where it ended is none any more.
        let start = text.ceil_char_boundary(self.given);
        let new = text.get(start..end).filter(|new| !new.is_empty())?.to_owned();
        self.given = end;
        Some(new)
    }
}
