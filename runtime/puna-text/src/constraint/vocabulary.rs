//! A tokenizer's tokens as bytes, in the trie that masks are computed over.

use llguidance::toktrie::{TokRxInfo, TokTrie, TokenizerEnv};
use puna_core::{Error, Result};
use serde_json::Value;

use crate::Tokenizer;

/// A character that no text begins with and no token holds beside others: put before a text that goes on from another,
/// where a tokenizer would treat a text's beginning apart.
const SENTINEL: &str = "\u{1}";

/// A tokenizer as the grammar engine sees it.
pub(super) struct Vocabulary {
    trie: TokTrie,
    tokenizer: Tokenizer,
    /// Whether the tokenizer puts a blank before a text, as sentencepiece's do.
    blank_before: bool,
    /// The numbers of tokens: those from here on stand for bytes that no token writes.
    size: u32,
}

impl Vocabulary {
    /// The trie of all tokens. Those of `eos` end a text; special tokens are no text.
    pub(super) fn new(tokenizer: Tokenizer, eos: &[u32]) -> Result<Self> {
        let mut words = token_bytes(&tokenizer, eos)?;
        let size = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let Some(first) = eos.first().filter(|_| eos.iter().all(|id| *id < size)) else {
            return Err(Error::invalid_input(format!(
                "the tokens that end a text are {eos:?}; a constraint needs at least one, each below {size}"
            )));
        };
        // The engine passes over a byte that it forces and no token writes; so each has a number.
        let unwritten = (0..=u8::MAX).filter(|byte| !words.iter().any(|word| word == &[*byte]));
        words.extend(unwritten.map(|byte| vec![byte]).collect::<Vec<_>>());
        let all = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let trie = TokTrie::from(&TokRxInfo::new(all, *first), &words).with_eos_tokens(eos);
        let mut vocabulary = Self { trie, tokenizer, blank_before: false, size };
        let start = vocabulary.tokenizer.encode_text("a")?;
        vocabulary.blank_before = vocabulary.trie.decode_raw(&start) == b" a";
        Ok(vocabulary)
    }

    /// The numbers of tokens. The engine gives ones beyond where nothing that is in the vocabulary can be written.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The number of a special token.
    pub(super) fn special(&self, name: &str) -> Option<u32> {
        self.trie.get_special_token(name)
    }

    /// The tokens of a text that goes on from another.
    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let encode = |text: &str| self.tokenizer.encode_text(text).ok();
        let tokens = if self.blank_before {
            let tokens = encode(&format!("{SENTINEL}{text}"))?;
            let mut before = 0;
            let cut = tokens.iter().position(|token| {
                before += self.trie.token(*token).len();
                before == SENTINEL.len() + 1
            })?;
            tokens[cut + 1..].to_vec()
        } else {
            encode(text)?
        };
        // A tokenizer that normalises gives another text's tokens.
        (self.trie.decode_raw(&tokens) == text.as_bytes()).then_some(tokens)
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.encode(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }
}

/// The bytes of every token, by its number; none for numbers that are no token. What is special, and what ends a text,
/// has the marker before it that no text has.
fn token_bytes(tokenizer: &Tokenizer, eos: &[u32]) -> Result<Vec<Vec<u8>>> {
    let decoder = Decoder::of(tokenizer)?;
    let vocabulary = tokenizer.entries();
    let size = vocabulary.iter().map(|(_, id)| *id as usize + 1).max().unwrap_or_default();
    // More numbers than that are a file that lies: the trie holds 22 bits' worth of nodes.
    if size > MAX_VOCABULARY {
        return Err(Error::invalid_input(format!(
            "the tokenizer numbers its tokens up to {size}; a constraint takes {MAX_VOCABULARY}"
        )));
    }
    let mut words = vec![Vec::new(); size];
    for (token, id) in vocabulary {
        words[id as usize] = decoder.bytes(&token);
    }
    for (id, added) in tokenizer.added() {
        let Some(word) = words.get_mut(id as usize) else { continue };
        *word = added.content.into_bytes();
        if added.special && !eos.contains(&id) {
            word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
    }
    for id in eos {
        if let Some(word) = words.get_mut(*id as usize) {
            word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
    }
    // More parents than the trie's nodes count.
    words.iter_mut().filter(|word| word.len() > MAX_TOKEN_BYTES).for_each(Vec::clear);
    Ok(words)
}

/// Most tokens: the largest known vocabularies have 262,144, and the trie's nodes, several a token, are counted in 22
/// bits.
const MAX_VOCABULARY: usize = 1 << 20;

/// Longest token that a text may hold: the trie counts a node's parents in 10 bits.
const MAX_TOKEN_BYTES: usize = 1000;

/// How a vocabulary writes bytes.
enum Decoder {
    /// A character for each byte, as in GPT-2.
    ByteLevel,
    /// Characters as they are, one of them for a blank, and `<0x0A>` for bytes, as in sentencepiece.
    Fallback { blank: char },
}

impl Decoder {
    fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let decoder = tokenizer.decoder();
        let mut parts = vec![&decoder];
        let mut fallback = None;
        while let Some(part) = parts.pop() {
            match part["type"].as_str() {
                Some("ByteLevel") => return Ok(Self::ByteLevel),
                Some("Metaspace") => fallback = fallback.or(part["replacement"].as_str()),
                Some("Replace") if part["content"] == " " => {
                    fallback = part["pattern"]["String"].as_str().or(fallback);
                }
                Some("ByteFallback") => fallback = fallback.or(Some("▁")),
                _ => {}
            }
            parts.extend(part["decoders"].as_array().into_iter().flatten());
        }
        match fallback.and_then(|blank| blank.chars().next()) {
            Some(blank) => Ok(Self::Fallback { blank }),
            None => Err(Error::invalid_input(format!(
                "the tokenizer's decoder `{}` is not one that a constraint can be held against; byte-level and byte-fallback ones are",
                decoder["type"].as_str().unwrap_or("none")
            ))),
        }
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            // A token with a character that stands for no byte was put there as it is.
            Self::ByteLevel => {
                token.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Fallback { blank } => match byte_token(token) {
                Some(byte) => vec![byte],
                None => token.replace(*blank, " ").into_bytes(),
            },
        }
    }
}

/// The byte that a character of GPT-2's byte-level alphabet stands for: printable Latin-1 for itself, the others, in
/// their order, from 256 on.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(c);
    let byte = match code {
        0..=0xff => Some(code).filter(|code| printable(*code)),
        _ => (0..=0xff).filter(|byte| !printable(*byte)).nth(code as usize - 0x100),
    };
    byte.and_then(|byte| u8::try_from(byte).ok())
}

/// The byte of a token like `<0x0A>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Tokenizer {
    /// Every token as the vocabulary writes it, with its number.
    fn entries(&self) -> Vec<(String, u32)> {
        self.inner().get_vocab(true).into_iter().collect()
    }

    /// The tokens beside the model's own, by their number.
    fn added(&self) -> impl Iterator<Item = (u32, tokenizers::AddedToken)> {
        self.inner().get_added_tokens_decoder().into_iter()
    }

    /// How tokens become text, as its file writes it.
    fn decoder(&self) -> Value {
        self.inner()
            .get_decoder()
            .and_then(|decoder| serde_json::to_value(decoder).ok())
            .unwrap_or(Value::Null)
    }
}
