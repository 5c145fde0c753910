//! Schemas, expressions and grammars that anybody sends: compiling ends in time, and so does every mask.
#![no_main]

use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use puna_core::{Constraint, ToolChoice, ToolSchema};
use puna_text::{AnswerForm, ConstraintCompiler, Dialect, Tokenizer};
use serde_json::Value;

static COMPILER: LazyLock<ConstraintCompiler> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/puna-tiny");
    let tokenizer = Tokenizer::from_folder(&folder).expect("the bundled tokenizer");
    let end = tokenizer.token_to_id("<|eot_id|>").expect("a token that ends a turn");
    ConstraintCompiler::new(&tokenizer, &[end]).expect("a tokenizer of bytes")
});

fuzz_target!(|data: &[u8]| {
    let [kind, seed, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (mut tools, mut answer) = (Vec::new(), None);
    match kind % 4 {
        0 => answer = Some(Constraint::Regex(text.to_owned())),
        1 => answer = Some(Constraint::Lark(text.to_owned())),
        form => {
            let Ok(schema) = serde_json::from_str::<Value>(text) else { return };
            if form == 2 {
                answer = Some(Constraint::JsonSchema(schema));
            } else {
                let name = "f".to_owned();
                tools.push(ToolSchema { name, description: String::new(), parameters: schema, output: None });
            }
        }
    }
    let dialects = [Dialect::LlamaJson, Dialect::Pythonic, Dialect::Hermes, Dialect::Mistral];
    let choice = if tools.is_empty() { ToolChoice::Auto } else { ToolChoice::Required };
    let form = AnswerForm {
        dialect: dialects[usize::from(kind / 4 % 4)],
        tools: &tools,
        choice: &choice,
        parallel: kind & 16 == 0,
        answer: answer.as_ref(),
    };
    let Ok(compiled) = COMPILER.compile(&form) else { return };
    let mut matcher = compiled.matcher();
    for step in 0..24 {
        let forced = matcher.forced();
        let Ok(mask) = matcher.mask() else { return };
        if let Some(token) = forced.first() {
            assert_eq!(mask.only(), Some(*token), "a forced token is the only one");
        }
        assert!(mask.count() > 0, "something may come, or an error says that nothing can");
        let nth = (usize::from(*seed) * 7_919 + step * 104_729) % mask.count();
        let Some(token) = mask.tokens().nth(nth) else { return };
        if matcher.is_finished() || matcher.commit(token).is_err() {
            return;
        }
    }
});
