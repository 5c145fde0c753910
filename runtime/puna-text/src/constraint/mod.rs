//! Constrained decoding: which tokens may come next, so that an answer has the form that was asked for.
//!
//! A [`ConstraintCompiler`] is built once for a tokenizer. It compiles an [`AnswerForm`] (tools in the model's dialect, a
//! JSON Schema, a regular expression or a grammar) into a [`Compiled`] one, kept for the next request that asks for the
//! same. Each answer is followed by a [`Matcher`].
//!
//! Three layers: `schema` turns a JSON Schema into one that the engine (llguidance) holds exactly, and tells what it
//! left out; `grammar` writes the dialects' calls and the text around them as one grammar; `vocabulary` shows the
//! tokenizer to the engine.

mod grammar;
mod matcher;
mod python;
mod schema;
mod vocabulary;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use llguidance::{
    ParserFactory, TokenParser,
    api::{ParserLimits, TopLevelGrammar},
    earley::SlicedBiasComputer,
    toktrie::{InferenceCapabilities, TokEnv},
};
use puna_core::{Constraint, Error, ErrorKind, Result, ToolChoice, ToolSchema};

use self::vocabulary::Vocabulary;
pub use self::{
    matcher::{Mask, Matcher},
    schema::{
        MAX_COMBINED_PATTERNS, MAX_COUNT, MAX_OPTIONAL_PROPERTIES, MAX_PATTERN_BYTES, MAX_SCHEMA_BYTES,
        MAX_SCHEMA_DEFINITIONS, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES,
    },
};
use crate::{Dialect, Tokenizer};

/// Compiled constraints kept: an agent and its tools are one, and each takes up to some megabytes.
const CACHED: usize = 64;

/// Longest regular expression or grammar taken.
pub const MAX_GRAMMAR_BYTES: usize = 64 << 10;

/// Deepest nesting of brackets in a regular expression or grammar: they are read by recursion.
const MAX_GRAMMAR_DEPTH: usize = 64;

/// Stack of the thread that compiles: schemas and grammars are read by recursion, whose depth the limits above bound.
const COMPILE_STACK: usize = 64 << 20;

/// States of a grammar's lexer that its matchers share before they begin anew: about 2 kB each.
const MAX_SHARED_STATES: usize = 10_000;

/// What the engine may spend.
fn limits() -> ParserLimits {
    ParserLimits {
        // About 20 ms of building regular expressions.
        initial_lexer_fuel: 1_000_000,
        // About 15 ms of one mask.
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        // About 50 MB.
        max_lexer_states: 2 * MAX_SHARED_STATES,
        max_grammar_size: 200_000,
        // Takes a walk over the whole vocabulary for each, and speeds up only unusually large ones.
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// What an answer may be: calls of tools, and text or an answer of a form.
#[derive(Clone, Copy, Debug)]
pub struct AnswerForm<'a> {
    /// How the model writes calls.
    pub dialect: Dialect,
    /// The tools it may call.
    pub tools: &'a [ToolSchema],
    /// Whether it may or must.
    pub choice: &'a ToolChoice,
    /// Whether a turn may have several calls.
    pub parallel: bool,
    /// The form of an answer that is no call; without it, any text.
    pub answer: Option<&'a Constraint>,
}

impl AnswerForm<'_> {
    /// Whether any text will do, so that nothing needs to be compiled.
    pub fn is_free(&self) -> bool {
        let callable = match self.choice {
            ToolChoice::Auto | ToolChoice::None => !self.tools.is_empty(),
            ToolChoice::Required | ToolChoice::Named(_) => true,
        };
        self.answer.is_none() && !callable
    }

    /// What tells it from others.
    fn key(&self) -> Result<String> {
        let tools = if *self.choice == ToolChoice::None && self.answer.is_some() { &[] } else { self.tools };
        let tools: Vec<_> = tools.iter().map(|tool| (&tool.name, &tool.parameters)).collect();
        serde_json::to_string(&(self.dialect.as_str(), tools, self.choice, self.parallel, self.answer))
            .map_err(|error| Error::internal("a constraint cannot be written as JSON").with_source(error))
    }
}

/// Compiles constraints for one tokenizer, and keeps them.
pub struct ConstraintCompiler {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
    eos: Arc<[u32]>,
    /// The latest used first.
    cache: Mutex<VecDeque<(String, Arc<Compiled>)>>,
}

impl ConstraintCompiler {
    /// A compiler for a tokenizer, whose texts end with any of the tokens `eos`. Takes a fraction of a second for a
    /// vocabulary of 128,000 tokens.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when there is no token that ends a text, or the tokenizer is of a kind
    /// whose tokens are no bytes.
    pub fn new(tokenizer: &Tokenizer, eos: &[u32]) -> Result<Self> {
        let vocabulary = Arc::new(Vocabulary::new(tokenizer.clone(), eos)?);
        let environment: TokEnv = vocabulary.clone();
        let capabilities = InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let mut factory =
            ParserFactory::new(&environment, capabilities, &SlicedBiasComputer::general_slices())
                .map_err(|error| Error::internal(format!("cannot slice the vocabulary: {error}")))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, vocabulary, eos: eos.into(), cache: Mutex::default() })
    }

    /// Compiles what an answer may be, or gives what was compiled before.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a schema, expression or grammar that is wrong, refused, or that
    /// nothing satisfies; [`NotFound`](ErrorKind::NotFound) for a named tool that is none;
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) for one that is too large or takes too long.
    pub fn compile(&self, form: &AnswerForm<'_>) -> Result<Arc<Compiled>> {
        let key = form.key()?;
        if let Some(compiled) = self.cached(&key) {
            return Ok(compiled);
        }
        let compiled = Arc::new(self.compile_now(form)?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push_front((key, compiled.clone()));
        cache.truncate(CACHED);
        Ok(compiled)
    }

    fn cached(&self, key: &str) -> Option<Arc<Compiled>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.iter().position(|(cached, _)| cached == key)?;
        let entry = cache.remove(found)?;
        let compiled = entry.1.clone();
        cache.push_front(entry);
        Some(compiled)
    }

    fn compile_now(&self, form: &AnswerForm<'_>) -> Result<Compiled> {
        let compile = || {
            let (grammar, unconstrained) = grammar::write(form, &self.vocabulary)?;
            let compiled =
                Compiled::new(self.parser(grammar)?, self.eos.clone(), self.vocabulary.size(), unconstrained);
            // A grammar without an end, or one too hard from the start, is found here.
            compiled.matcher().mask()?;
            Ok(compiled)
        };
        // On a stack of its own: a host's thread may have a small one.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("puna-constraint".to_owned())
                .stack_size(COMPILE_STACK)
                .spawn_scoped(scope, compile)
                .map_err(|error| {
                    Error::new(ErrorKind::ResourceExhausted, "cannot start a thread to compile a constraint")
                        .with_source(error)
                })?;
            thread.join().unwrap_or_else(|_| {
                Err(Error::invalid_input("the constraint broke its compiler; write it in a simpler way"))
            })
        })
    }

    fn parser(&self, grammar: TopLevelGrammar) -> Result<TokenParser> {
        self.factory.create_parser(grammar).map_err(|error| {
            let message = first_line(&error.to_string());
            Error::new(kind_of(&message), format!("the constraint cannot be compiled: {message}"))
        })
    }
}

impl std::fmt::Debug for ConstraintCompiler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ConstraintCompiler").field("eos", &self.eos).finish_non_exhaustive()
    }
}

/// A compiled constraint; matchers of any number of answers come from it.
pub struct Compiled {
    /// As it was compiled.
    fresh: Mutex<TokenParser>,
    /// What matchers share, so that one's answer makes the next one's masks faster.
    shared: Mutex<TokenParser>,
    eos: Arc<[u32]>,
    /// The numbers of tokens.
    size: u32,
    unconstrained: Vec<String>,
}

impl Compiled {
    fn new(fresh: TokenParser, eos: Arc<[u32]>, size: u32, unconstrained: Vec<String>) -> Self {
        let shared = Mutex::new(fresh.deep_clone());
        Self { fresh: Mutex::new(fresh), shared, eos, size, unconstrained }
    }

    /// A matcher at the start of an answer.
    pub fn matcher(&self) -> Matcher {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = shared.parser.lexer_stats();
        // A lexer that ran out of fuel or room stays so.
        if stats.error || stats.num_states > MAX_SHARED_STATES {
            *shared = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        }
        Matcher::new(llguidance::Matcher::new(Ok(shared.clone())), self.eos.clone(), self.size)
    }

    /// What the schemas ask for and the constraint does not hold, as JSON pointers to keywords: an answer is to be
    /// validated against its schema afterwards. Empty when whatever is generated satisfies the schemas.
    pub fn unconstrained(&self) -> &[String] {
        &self.unconstrained
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compiled").field("unconstrained", &self.unconstrained).finish_non_exhaustive()
    }
}

/// Refuses a regular expression or a grammar that is too long or nested too deep.
fn check_source(what: &str, source: &str) -> Result<()> {
    if source.len() > MAX_GRAMMAR_BYTES {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("the {what} has {} bytes; {MAX_GRAMMAR_BYTES} are taken", source.len()),
        ));
    }
    let mut depth = 0_usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_GRAMMAR_DEPTH {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("the {what} is nested deeper than {MAX_GRAMMAR_DEPTH}"),
            ));
        }
    }
    Ok(())
}

/// What kind of error the engine means by what it says.
fn kind_of(message: &str) -> ErrorKind {
    let large = [
        "too large",
        "too big",
        "too complex",
        "too many",
        "fuel",
        "limit",
        "exceeded",
        "Unable to determine",
        "max is",
    ];
    match large.iter().any(|word| message.contains(word)) {
        true => ErrorKind::ResourceExhausted,
        false => ErrorKind::InvalidInput,
    }
}

/// What the engine says, without the state it dumps behind.
fn first_line(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    line.chars().take(300).collect()
}
