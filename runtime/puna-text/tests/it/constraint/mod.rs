//! What may come next, so that an answer has its form.

mod cache;
mod calls;
mod hostile;
mod parsed;
mod schemas;
mod vocabularies;

use std::sync::{Arc, LazyLock};

use puna_core::{Constraint, Result, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, Compiled, ConstraintCompiler, Dialect, Matcher, Tokenizer};
use serde_json::Value;

/// The bundled model's tokens that end a turn.
const EOS: [u32; 3] = [3048, 3051, 3052];

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(crate::tokenizer);

/// One compiler for all tests, as one model has one for all requests.
static COMPILER: LazyLock<ConstraintCompiler> =
    LazyLock::new(|| ConstraintCompiler::new(&TOKENIZER, &EOS).expect("the bundled tokenizer"));

fn answer(constraint: &Constraint) -> Result<Arc<Compiled>> {
    COMPILER.compile(&AnswerForm {
        dialect: Dialect::LlamaJson,
        tools: &[],
        choice: &ToolChoice::Auto,
        parallel: true,
        answer: Some(constraint),
    })
}

fn schema(schema: &Value) -> Result<Arc<Compiled>> {
    answer(&Constraint::JsonSchema(schema.clone()))
}

fn tool(name: &str, parameters: Value) -> ToolSchema {
    ToolSchema { name: name.to_owned(), description: String::new(), parameters, output: None }
}

/// Whether a text is accepted whole.
fn accepts(compiled: &Compiled, text: &str) -> bool {
    let tokens = TOKENIZER.encode_text(text).expect("tokens");
    let mut matcher = compiled.matcher();
    matcher.validate(&tokens).expect("in the vocabulary") == tokens.len()
        && tokens.iter().all(|token| matcher.commit(*token).is_ok())
        && matcher.is_accepting()
}

/// A source of random numbers: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }
}

/// The most tokens of a walk.
const LONGEST: usize = 400;

/// The tokens that a model without any sense would write, which likes to end things: none where it does not come to an
/// end.
fn walk(matcher: &mut Matcher, seed: u64) -> Option<Vec<u32>> {
    walk_of(&TOKENIZER, &EOS, matcher, seed)
}

/// The same with another tokenizer.
fn walk_of(tokenizer: &Tokenizer, eos: &[u32], matcher: &mut Matcher, seed: u64) -> Option<Vec<u32>> {
    // Whether a token ends a string, an array or an object.
    let closes = |token: u32| {
        let text = tokenizer.id_to_token(token).unwrap_or_default();
        text.starts_with(['"', '}', ']', ')']) && text.len() <= 2
    };
    let mut random = Random(seed);
    let mut tokens = Vec::new();
    while tokens.len() < LONGEST {
        if matcher.is_finished() || (matcher.is_accepting() && random.below(3) > 0) {
            return Some(tokens);
        }
        let mask = matcher.mask().expect("a mask");
        let allowed: Vec<u32> = mask.tokens().filter(|token| !eos.contains(token)).collect();
        if allowed.is_empty() {
            return Some(tokens);
        }
        let closing: Vec<u32> = allowed.iter().copied().filter(|token| closes(*token)).collect();
        let from = if closing.is_empty() || random.below(4) == 0 { &allowed } else { &closing };
        let token = from[random.below(from.len())];
        matcher.commit(token).expect("the mask allows it");
        tokens.push(token);
    }
    None
}
