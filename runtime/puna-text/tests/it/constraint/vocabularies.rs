//! Vocabularies of every kind: bytes as characters, pieces of text with a fallback to bytes, special tokens.

use std::fs;

use puna_core::{Constraint, ErrorKind, ToolChoice};
use puna_text::{AnswerForm, ConstraintCompiler, Dialect, Tokenizer};
use serde_json::{Map, Value, json};

use super::{TOKENIZER, tool, walk_of};

/// How a tokenizer of pieces writes a text's beginning and blanks, as Llama 2's and Mistral's files do.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    /// In its normaliser, decoded by a sequence.
    Prepended,
    /// In its pre-tokeniser, decoded by that.
    Metaspace,
    /// Nothing before the text.
    Plain,
}

/// A tokenizer of pieces with a token for each byte; `added` are tokens, and whether they are special.
fn pieces(kind: Pieces, added: &[(&str, bool)]) -> Tokenizer {
    let mut vocabulary = Map::new();
    let mut add = |token: String| {
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| json!(next));
    };
    ["<unk>", "<s>", "</s>"].into_iter().for_each(|token| add(token.to_owned()));
    (0..=255_u8).for_each(|byte| add(format!("<0x{byte:02X}>")));
    add("▁".to_owned());
    ('!'..='~').for_each(|c| add(c.to_string()));
    let merges = [
        ("▁", "{"),
        ("{", "\""),
        ("\"", ":"),
        ("▁", "\""),
        ("n", "a"),
        ("m", "e"),
        ("na", "me"),
        ("▁", "f"),
        ("e", "s"),
        ("[", "{"),
    ];
    merges.iter().for_each(|(a, b)| add(format!("{a}{b}")));
    let mut tokens: Vec<Value> = Vec::new();
    for (name, special) in [("<unk>", true), ("<s>", true), ("</s>", true)].iter().chain(added) {
        let next = vocabulary.len() + tokens.len();
        let id = vocabulary.get(*name).cloned().unwrap_or_else(|| json!(next));
        tokens.push(json!({
            "id": id, "content": name, "special": special,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }));
    }
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let back = json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " });
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
    let bytes = json!({ "type": "ByteFallback" });
    let fuse = json!({ "type": "Fuse" });
    let (normalizer, pre_tokenizer, decoder) = match kind {
        Pieces::Prepended => (
            json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace] }),
            Value::Null,
            json!({ "type": "Sequence", "decoders": [back, bytes, fuse, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] }),
        ),
        Pieces::Metaspace => {
            (Value::Null, metaspace.clone(), json!({ "type": "Sequence", "decoders": [bytes, metaspace] }))
        }
        Pieces::Plain => {
            (replace, Value::Null, json!({ "type": "Sequence", "decoders": [back, bytes, fuse] }))
        }
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "post_processor": null,
        "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true, "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges.map(|(a, b)| format!("{a} {b}")),
        },
    });
    read(&file).expect("a tokenizer")
}

fn read(file: &Value) -> puna_core::Result<Tokenizer> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("a file");
    Tokenizer::from_folder(folder.path())
}

/// The end of a text.
const END: u32 = 2;

#[test]
fn pieces_of_text_are_held_as_bytes_are() {
    let tools = [tool(
        "f",
        json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] }),
    )];
    for kind in [Pieces::Prepended, Pieces::Metaspace, Pieces::Plain] {
        let tokenizer = pieces(kind, &[]);
        let compiler = ConstraintCompiler::new(&tokenizer, &[END]).expect("a tokenizer of bytes");
        for dialect in [Dialect::LlamaJson, Dialect::Hermes, Dialect::Mistral, Dialect::Pythonic] {
            let form = AnswerForm {
                dialect,
                tools: &tools,
                choice: &ToolChoice::Required,
                parallel: false,
                answer: None,
            };
            let compiled = compiler.compile(&form).expect("a tool");
            let mut matcher = compiled.matcher();
            let forced = matcher.forced();
            let (open, close) = match dialect {
                Dialect::LlamaJson => ("{\"name\": \"f\", \"parameters\": {\"a\": \"", "\"}}"),
                Dialect::Hermes => {
                    ("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"", "\"}}\n</tool_call>")
                }
                Dialect::Mistral => ("[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": \"", "\"}}]"),
                _ => ("[f(a=\"", "\")]"),
            };
            // The last quote may be one token with what follows it.
            let text = tokenizer.decode(&forced).expect("text");
            let rest = open.strip_prefix(&text).unwrap_or_else(|| panic!("{kind:?}, {dialect}: {text}"));
            assert!([" \"", "\"", ""].contains(&rest), "{kind:?}, {dialect}: {text}");
            // The tokens are the tokenizer's own for a text that goes on.
            let whole = tokenizer.encode_text(&format!("x{text}")).expect("tokens");
            assert!(whole.ends_with(&forced), "{kind:?}, {dialect}: {forced:?} of {whole:?}");
            forced.into_iter().for_each(|token| matcher.commit(token).expect("forced"));
            if !rest.is_empty() {
                let quote = tokenizer.token_to_id(&rest.replace(' ', "▁")).expect("a piece");
                matcher.commit(quote).expect("the string begins");
            }
            // A character that only bytes write.
            for byte in "ü".bytes() {
                let token = tokenizer.token_to_id(&format!("<0x{byte:02X}>")).expect("a byte");
                assert!(matcher.mask().expect("a mask").allows(token), "{kind:?}, {dialect}");
                matcher.commit(token).expect("allowed");
            }
            let quote = tokenizer.token_to_id("\"").expect("a quote");
            matcher.commit(quote).expect("the string ends");
            let rest = matcher.forced();
            for token in &rest {
                matcher.commit(*token).expect("forced");
            }
            let rest = tokenizer.decode(&rest).expect("text");
            assert!(
                close.ends_with(rest.trim_start()) && matcher.is_finished(),
                "{kind:?}, {dialect}: {rest}"
            );
        }
    }
}

/// Random walks over pieces: what they decode to is JSON.
#[test]
fn pieces_of_text_make_json() {
    let answer = Constraint::JsonSchema(
        json!({ "type": "object", "properties": { "name": { "type": "string", "maxLength": 9 }, "n": { "type": "integer" } }, "required": ["name"] }),
    );
    for kind in [Pieces::Prepended, Pieces::Metaspace, Pieces::Plain] {
        let tokenizer = pieces(kind, &[]);
        let compiler = ConstraintCompiler::new(&tokenizer, &[END]).expect("a tokenizer of bytes");
        let form = AnswerForm {
            dialect: Dialect::Hermes,
            tools: &[],
            choice: &ToolChoice::None,
            parallel: true,
            answer: Some(&answer),
        };
        let compiled = compiler.compile(&form).expect("a schema");
        let mut finished = 0;
        for seed in 0..40 {
            let Some(tokens) = walk_of(&tokenizer, &[END], &mut compiled.matcher(), seed) else { continue };
            let text = tokenizer.decode(&tokens).expect("text");
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind:?}: {error}: {text}"));
            assert!(value["name"].is_string(), "{text}");
            finished += 1;
        }
        assert!(finished > 20, "{kind:?}: {finished}");
    }
}

/// Marks that are special tokens stand for themselves; as added tokens that are not, and as plain text, they are text.
#[test]
fn marks_are_tokens_where_the_vocabulary_has_them() {
    let tools = [tool("f", json!({}))];
    for (dialect, open, close) in
        [(Dialect::Hermes, "<tool_call>", Some("</tool_call>")), (Dialect::Mistral, "[TOOL_CALLS]", None)]
    {
        for special in [true, false] {
            let added: Vec<_> = std::iter::once(open).chain(close).map(|mark| (mark, special)).collect();
            let tokenizer = pieces(Pieces::Plain, &added);
            let id = |mark: &str| tokenizer.token_to_id(mark).expect("added");
            let compiler = ConstraintCompiler::new(&tokenizer, &[END]).expect("a tokenizer of bytes");
            let compile = |choice| {
                let form =
                    AnswerForm { dialect, tools: &tools, choice: &choice, parallel: false, answer: None };
                compiler.compile(&form).expect("a tool").matcher()
            };
            let mut matcher = compile(ToolChoice::Named("f".into()));
            let mut forced = Vec::new();
            while !matcher.is_finished() {
                let next = matcher.forced();
                assert!(!next.is_empty(), "{dialect}: nothing is left to choose behind {forced:?}");
                next.iter().for_each(|token| matcher.commit(*token).expect("forced"));
                forced.extend(next);
            }
            assert_eq!(forced.first(), Some(&id(open)), "{dialect}, special: {special}");
            assert!(
                close.is_none_or(|close| forced.last() == Some(&id(close))),
                "{dialect}, special: {special}"
            );
            // In free text too, and nowhere else.
            let mut matcher = compile(ToolChoice::Auto);
            matcher.commit(tokenizer.token_to_id("e").expect("a letter")).expect("free text");
            assert!(matcher.mask().expect("a mask").allows(id(open)), "{dialect}, special: {special}");
            let mut matcher = compile(ToolChoice::None);
            assert!(!matcher.mask().expect("a mask").allows(id(open)), "{dialect}, special: {special}");
        }
    }
}

#[test]
fn every_token_that_ends_a_text_may_end_it() {
    let answer = Constraint::Regex("a*".to_owned());
    let form = AnswerForm {
        dialect: Dialect::LlamaJson,
        tools: &[],
        choice: &ToolChoice::None,
        parallel: true,
        answer: Some(&answer),
    };
    for eos in [&[3048][..], &[3051, 3048], &super::EOS] {
        let compiler = ConstraintCompiler::new(&TOKENIZER, eos).expect("the bundled tokenizer");
        let mut matcher = compiler.compile(&form).expect("an expression").matcher();
        let mask = matcher.mask().expect("a mask");
        for token in super::EOS {
            assert_eq!(mask.allows(token), eos.contains(&token), "{token} of {eos:?}");
        }
        for end in eos {
            let mut ended = matcher.clone();
            ended.commit(*end).expect("the end");
            assert!(ended.is_finished());
        }
    }
}

#[test]
fn tokenizers_that_cannot_be_held_are_refused() {
    let check = |tokenizer: &Tokenizer, eos: &[u32], message: &str| {
        let error = ConstraintCompiler::new(tokenizer, eos).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(message), "{error}");
    };
    check(&TOKENIZER, &[], "the tokens that end a text are []");
    check(&TOKENIZER, &[1, 1 << 20], "each below 3");
    let words = json!({
        "version": "1.0", "truncation": null, "padding": null, "post_processor": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": { "a": 0 } },
    });
    check(&read(&words).expect("a tokenizer"), &[0], "the tokenizer's decoder `WordPiece`");
}

/// A digit that ends a text is in no text: what asks for it cannot go on, and nothing stands in its place.
#[test]
fn a_byte_that_no_token_writes_is_told() {
    let zero = TOKENIZER.token_to_id("0").expect("a digit");
    let compiler = ConstraintCompiler::new(&TOKENIZER, &[zero]).expect("a tokenizer of bytes");
    let constraint = Constraint::Regex("(1|2|20)!".to_owned());
    let form = AnswerForm {
        dialect: Dialect::LlamaJson,
        tools: &[],
        choice: &ToolChoice::Auto,
        parallel: true,
        answer: Some(&constraint),
    };
    let compiled = compiler.compile(&form).expect("an expression");
    let mut matcher = compiled.matcher();
    matcher.commit(TOKENIZER.token_to_id("2").expect("a digit")).expect("allowed");
    assert_eq!(matcher.mask().expect("a mask").only(), TOKENIZER.token_to_id("!"));
    let constraint = Constraint::Regex("(1!|20!)".to_owned());
    let compiled =
        compiler.compile(&AnswerForm { answer: Some(&constraint), ..form }).expect("an expression");
    let mut matcher = compiled.matcher();
    matcher.commit(TOKENIZER.token_to_id("2").expect("a digit")).expect("allowed");
    assert!(matcher.forced().is_empty());
    let error = matcher.mask().expect_err("no token");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("no token of the vocabulary"), "{error}");
}
