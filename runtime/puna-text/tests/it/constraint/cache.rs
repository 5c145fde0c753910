//! What is compiled is kept, and answers that share it do not disturb each other.

use std::{sync::Arc, thread};

use puna_core::{Constraint, ToolChoice};
use puna_text::{AnswerForm, ConstraintCompiler, Dialect};
use serde_json::json;

use super::{EOS, TOKENIZER, answer, schema, tool, walk};

#[test]
fn the_same_is_compiled_once() {
    let compiler = ConstraintCompiler::new(&TOKENIZER, &EOS).expect("the bundled tokenizer");
    let tools = [tool("f", json!({})), tool("g", json!({}))];
    let form = AnswerForm {
        dialect: Dialect::Hermes,
        tools: &tools,
        choice: &ToolChoice::Auto,
        parallel: true,
        answer: None,
    };
    let first = compiler.compile(&form).expect("tools");
    let again = |form: &AnswerForm<'_>| Arc::ptr_eq(&first, &compiler.compile(form).expect("tools"));
    assert!(again(&form));
    // What it is for tells one from another, and what only a person reads does not.
    let mut described = tools.clone();
    described[0].description = "Does it.".to_owned();
    assert!(again(&AnswerForm { tools: &described, ..form }));
    assert!(!again(&AnswerForm { dialect: Dialect::Mistral, ..form }));
    assert!(!again(&AnswerForm { choice: &ToolChoice::Required, ..form }));
    assert!(!again(&AnswerForm { choice: &ToolChoice::Named("f".into()), ..form }));
    assert!(!again(&AnswerForm { parallel: false, ..form }));
    assert!(!again(&AnswerForm { tools: &tools[..1], ..form }));
    assert!(!again(&AnswerForm { answer: Some(&Constraint::Regex("a".into())), ..form }));
    // The longest unused goes, in time.
    assert!(again(&form));
    for index in 0..100 {
        let answer = Constraint::Regex(format!("a{{{index}}}b"));
        compiler.compile(&AnswerForm { tools: &[], answer: Some(&answer), ..form }).expect("an expression");
    }
    assert!(!again(&form));
}

#[test]
fn any_text_needs_nothing() {
    let free = |tools: &[_], choice: ToolChoice, answer: Option<&Constraint>| {
        AnswerForm { dialect: Dialect::Hermes, tools, choice: &choice, parallel: true, answer }.is_free()
    };
    let tools = [tool("f", json!({}))];
    assert!(free(&[], ToolChoice::Auto, None) && free(&[], ToolChoice::None, None));
    assert!(!free(&tools, ToolChoice::Auto, None) && !free(&tools, ToolChoice::None, None));
    assert!(
        !free(&[], ToolChoice::Required, None)
            && !free(&[], ToolChoice::Auto, Some(&Constraint::Regex("a".into())))
    );
}

/// Answers side by side are what they are one after another.
#[test]
fn answers_share_a_constraint() {
    let compiled = schema(&json!({})).expect("a schema");
    let alone: Vec<_> = (0..16).map(|seed| walk(&mut compiled.matcher(), seed)).collect();
    let threads: Vec<_> = (0..16)
        .map(|seed| {
            let compiled = compiled.clone();
            thread::spawn(move || walk(&mut compiled.matcher(), seed))
        })
        .collect();
    let together: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a walk")).collect();
    assert_eq!(alone, together);
}

/// An answer in which a constraint became too hard does not spoil it for the next one.
#[test]
fn a_constraint_survives_a_hard_answer() {
    let compiled =
        answer(&Constraint::Lark("start: /((a{1,100}){1,100}){1,100}/".to_owned())).expect("a grammar");
    for _ in 0..3 {
        let mut matcher = compiled.matcher();
        let failed = (0..200).find_map(|_| {
            let token = matcher.mask().map(|mask| mask.tokens().find(|token| !EOS.contains(token)));
            match token {
                Ok(Some(token)) => matcher.commit(token).err(),
                Ok(None) => None,
                Err(error) => Some(error),
            }
        });
        let error = failed.expect("too hard in the end");
        assert!(error.to_string().starts_with("the constraint cannot go on: "), "{error}");
        assert!(matcher.mask().is_err() && matcher.commit(0).is_err(), "it stays so");
    }
}
