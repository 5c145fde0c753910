use puna_core::{Error, ErrorKind, Result};

/// The tokens that may come next: a bit for each, the lowest bit of the first word for token 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
}

impl Mask {
    /// Of bits for the engine's tokens, those of the first `size`.
    fn new(words: &[u32], size: u32) -> Self {
        let mut words = words.to_vec();
        let last = size as usize / 32;
        words.iter_mut().skip(last + 1).for_each(|word| *word = 0);
        if let Some(word) = words.get_mut(last) {
            *word &= (1 << (size % 32)) - 1;
        }
        Self { words }
    }

    /// The bits, 32 tokens a word; a token beyond them may not come.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether a token may come.
    pub fn allows(&self, token: u32) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// How many tokens may come.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The tokens that may come, in their order.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        (0_u32..).zip(&self.words).flat_map(|(index, word)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 32 + bit)
        })
    }

    /// The token, where only one may come.
    pub fn only(&self) -> Option<u32> {
        let mut tokens = self.tokens();
        tokens.next().filter(|_| tokens.next().is_none())
    }

    /// Makes every token that may not come impossible: its logit becomes negative infinity. `logits` holds one for each
    /// token, `[vocabulary]`, and may hold more.
    pub fn apply(&self, logits: &mut [f32]) {
        let mut chunks = logits.chunks_mut(32);
        for (word, chunk) in self.words.iter().zip(&mut chunks) {
            match *word {
                u32::MAX => {}
                0 => chunk.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        chunks.for_each(|chunk| chunk.fill(f32::NEG_INFINITY));
    }
}

/// Follows one answer through a constraint.
///
/// Before each token, [`mask`](Self::mask) says what may come; [`commit`](Self::commit) takes what came. Where the
/// constraint leaves no choice, [`forced`](Self::forced) gives the tokens ahead. A clone goes on by itself.
///
/// Cost: a mask is computed once for each place and takes tens of microseconds, a hard one milliseconds, so it is best
/// computed while the model runs; everything else is as good as free.
#[derive(Clone)]
pub struct Matcher {
    inner: llguidance::Matcher,
    eos: std::sync::Arc<[u32]>,
    /// The numbers of tokens.
    size: u32,
    /// The mask of this place, where it was asked for.
    mask: Option<Mask>,
    /// Tokens committed behind the end.
    beyond: usize,
}

impl Matcher {
    pub(super) fn new(inner: llguidance::Matcher, eos: std::sync::Arc<[u32]>, size: u32) -> Self {
        Self { inner, eos, size, mask: None, beyond: 0 }
    }

    /// The tokens that may come next; at least one. Where the text is complete, those that end it are among them.
    ///
    /// # Errors
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when the constraint is too complex at this place;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when nothing that the vocabulary holds can come next.
    pub fn mask(&mut self) -> Result<&Mask> {
        if self.mask.is_none() {
            let mask = self.inner.compute_mask_or_eos().map_err(|error| self.failed(error))?;
            let mask = Mask::new(mask.as_slice(), self.size);
            if mask.count() == 0 {
                return Err(self.failed("NoExtensionBias"));
            }
            self.mask = Some(mask);
        }
        self.mask.as_ref().ok_or_else(|| Error::internal("a mask was computed and is not there"))
    }

    /// Takes the token that came.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a token that the mask does not allow; the matcher is of no more use
    /// then. [`ResourceExhausted`](ErrorKind::ResourceExhausted) as for [`mask`](Self::mask).
    pub fn commit(&mut self, token: u32) -> Result<()> {
        if self.is_finished() && self.eos.contains(&token) {
            self.beyond += 1;
            return Ok(());
        }
        self.mask = None;
        self.inner.consume_token(token).map_err(|error| self.failed(error))
    }

    /// The tokens that come next whatever the model says, as the tokenizer writes them; none where there is a choice.
    /// They are not committed: each goes through [`commit`](Self::commit) as one that was chosen.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.is_finished() {
            return Vec::new();
        }
        let mut forced = self.inner.compute_ff_tokens();
        let written = forced.iter().take_while(|token| **token < self.size).count();
        forced.truncate(written);
        forced
    }

    /// How many of these tokens may come next, one after another; none is committed. Spellings of forced text that
    /// [`mask`](Self::mask) would not choose count as well.
    ///
    /// # Errors
    /// As for [`mask`](Self::mask).
    pub fn validate(&mut self, tokens: &[u32]) -> Result<usize> {
        if self.is_finished() {
            return Ok(tokens.iter().take(1).filter(|token| self.eos.contains(token)).count());
        }
        self.inner.validate_tokens(tokens).map_err(|error| self.failed(error))
    }

    /// Takes the last tokens back.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for more tokens than were committed.
    pub fn rollback(&mut self, count: usize) -> Result<()> {
        let beyond = count.min(self.beyond);
        self.beyond -= beyond;
        if count > beyond {
            self.mask = None;
            self.inner.rollback(count - beyond).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub fn is_accepting(&mut self) -> bool {
        self.is_finished() || self.inner.is_accepting().unwrap_or(false)
    }

    /// Whether the text is complete and nothing but its end may follow.
    pub fn is_finished(&self) -> bool {
        !self.inner.is_error() && self.inner.is_stopped()
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        let message = super::first_line(&error.to_string());
        match super::kind_of(&message) {
            ErrorKind::InvalidInput if message == "NoExtensionBias" => Error::invalid_input(
                "the constraint cannot go on: no token of the vocabulary writes what it allows, or nothing that it allows ever ends",
            ),
            kind => Error::new(kind, format!("the constraint cannot go on: {message}")),
        }
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Matcher").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}
