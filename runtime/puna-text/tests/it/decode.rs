//! Tokens to text as they come.

use std::fs;

use proptest::prelude::*;
use puna_text::{Dialect, StreamDecoder, Tokenizer};
use serde_json::{Map, json};

use crate::tokenizer;

const BROKEN: char = char::REPLACEMENT_CHARACTER;

fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut decoder = StreamDecoder::new(tokenizer.clone());
    let mut given: Vec<String> =
        ids.iter().filter_map(|id| decoder.push(*id).expect("a known token")).collect();
    given.extend(decoder.finish().expect("a known token"));
    given
}

/// The pieces are the whole, and none of them is empty.
#[track_caller]
fn check(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let whole = tokenizer.decode(ids).expect("known tokens");
    let given = stream(tokenizer, ids);
    assert!(given.iter().all(|piece| !piece.is_empty()), "{given:?}");
    assert_eq!(given.concat(), whole, "{ids:?}");
    whole
}

/// A tokenizer in the manner of Llama 2: words begin with `▁`, what is no word is bytes.
fn byte_fallback() -> Tokenizer {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let words = ["<unk>", "▁", "▁Hello", "▁world", "a", "é", "�"].map(str::to_owned);
    let vocab: Map<_, _> = bytes.chain(words).zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Prepend", "prepend": "▁" },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": { "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab, "merges": [] },
    });
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    Tokenizer::from_folder(folder.path()).expect("a tokenizer")
}

/// Tokens by name; a string of bytes is a token for each.
fn named(tokenizer: &Tokenizer, names: &[&str]) -> Vec<u32> {
    names.iter().map(|name| tokenizer.token_to_id(name).unwrap_or_else(|| panic!("no `{name}`"))).collect()
}

fn bytes(text: &[u8]) -> Vec<u32> {
    text.iter().map(|byte| u32::from(*byte)).collect()
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let tokenizer = tokenizer();
    for text in ["🦙", "Grüße aus Zürich", "東京 and 서울", "a👩‍👩‍👧b", "नमस्ते", "\u{10FFFF}"]
    {
        let ids = tokenizer.encode_text(text).expect("text");
        assert!(ids.len() > 1, "`{text}` takes several tokens");
        assert_eq!(check(&tokenizer, &ids), text);
    }
}

#[test]
fn a_text_comes_as_early_as_it_can() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode_text("a🦙b").expect("text");
    let mut decoder = StreamDecoder::new(tokenizer);
    let given: Vec<Option<String>> = ids.iter().map(|id| decoder.push(*id).expect("a token")).collect();
    let given: Vec<&str> = given.iter().map(|piece| piece.as_deref().unwrap_or("-")).collect();
    assert_eq!(given, ["a", "-", "-", "-", "🦙", "b"]);
}

#[test]
fn a_character_that_never_ends_is_given_at_the_end() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode_text("ab🦙").expect("text");
    assert_eq!(check(&tokenizer, &ids[..ids.len() - 1]), format!("ab{BROKEN}"));
}

/// Bad bytes beyond any window that a decoder could keep.
#[test]
fn bad_bytes_without_end() {
    let tokenizer = tokenizer();
    let llama = tokenizer.encode_text("🦙").expect("text");
    let end = tokenizer.encode_text(" end").expect("text");
    for count in (0..200).step_by(3).chain(60..70) {
        let ids = [vec![llama[0]; count], llama.clone(), end.clone()].concat();
        assert_eq!(check(&tokenizer, &ids), format!("{}🦙 end", BROKEN.to_string().repeat(count)));
    }
}

#[test]
fn words_begin_with_blanks_and_characters_fall_back_to_bytes() {
    let tokenizer = byte_fallback();
    let (hello, world) = (named(&tokenizer, &["▁Hello"]), named(&tokenizer, &["▁world"]));
    let ids = [hello, world.clone(), bytes("🦙é東".as_bytes()), world].concat();
    assert_eq!(check(&tokenizer, &ids), "Hello world🦙é東 world");
}

/// This decoder takes back what it gave when a bad byte follows; what comes after is given all the same.
#[test]
fn text_behind_a_bad_byte_is_not_lost() {
    let tokenizer = byte_fallback();
    for before in ["é", "🦙", "é🦙é", "x"] {
        let ids =
            [bytes(before.as_bytes()), bytes(b"\xff"), named(&tokenizer, &["a", "▁world", "é"])].concat();
        let given = stream(&tokenizer, &ids).concat();
        assert!(given.starts_with(before) && given.ends_with("a worldé"), "{before}: {given}");
    }
}

proptest! {
    /// Also of a text that was cut in the middle of a character.
    #[test]
    fn the_pieces_are_the_whole(text in any::<String>(), cut in 0usize..4) {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text(&text).expect("text");
        prop_assert_eq!(check(&tokenizer, &ids), text.as_str());
        check(&tokenizer, &ids[..ids.len().saturating_sub(cut)]);
        if !text.contains(BROKEN) {
            prop_assert!(stream(&tokenizer, &ids).iter().all(|piece| !piece.contains(BROKEN)));
        }
    }

    #[test]
    fn the_pieces_are_the_whole_in_bytes(text in "[ aéü東🦙\u{FFFD}\u{10FFFF}]{0,60}") {
        let tokenizer = byte_fallback();
        let ids = tokenizer.encode_text(&text).expect("text");
        prop_assert_eq!(check(&tokenizer, &ids), text.as_str());
        if !text.contains(BROKEN) {
            prop_assert!(stream(&tokenizer, &ids).iter().all(|piece| !piece.contains(BROKEN)));
        }
    }

    /// Models write tokens that no text has.
    #[test]
    fn any_tokens_give_what_decoding_them_at_once_gives(ids in prop::collection::vec(0u32..3047, 0..200)) {
        check(&tokenizer(), &ids);
    }

    /// Single bytes, of which most do not make a character.
    #[test]
    fn any_bytes_give_what_decoding_them_at_once_gives(ids in prop::collection::vec(0u32..320, 0..200)) {
        check(&tokenizer(), &ids);
    }
}

/// Marks of calls reach the parser where they are special tokens, and no other special token does.
#[test]
fn kept_special_tokens_are_text() {
    let tokenizer = tokenizer();
    let text = |text: &str| tokenizer.encode_text(text).expect("tokens");
    let ids: Vec<u32> = [
        text("Zür"),
        named(&tokenizer, &["<|eom_id|>", "<|python_tag|>", "<|eot_id|>"]),
        text("ich 🦙"),
        named(&tokenizer, &["<|python_tag|>"]),
        // A character that the mark cuts.
        text("🦙")[..1].to_vec(),
        named(&tokenizer, &["<|python_tag|>"]),
        text(" end"),
    ]
    .concat();
    let stream = |kept: &'static [&'static str]| {
        let mut decoder = StreamDecoder::new(tokenizer.clone()).keeping(kept);
        let mut given: String =
            ids.iter().filter_map(|id| decoder.push(*id).expect("a known token")).collect();
        given.extend(decoder.finish().expect("a known token"));
        given
    };
    assert_eq!(
        stream(Dialect::LlamaJson.marks()),
        format!("Zür<|python_tag|>ich 🦙<|python_tag|>{BROKEN}<|python_tag|> end")
    );
    assert_eq!(stream(&[]), tokenizer.decode(&ids).expect("known tokens"));
    assert_eq!(stream(Dialect::Mistral.marks()), stream(&[]), "what the vocabulary has not");
}
