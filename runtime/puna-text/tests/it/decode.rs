//! Tokens to text as they come.

use proptest::prelude::*;
use puna_text::StreamDecoder;

use crate::tokenizer;

fn stream(ids: &[u32]) -> Vec<String> {
    let mut decoder = StreamDecoder::new(tokenizer());
    let mut given: Vec<String> =
        ids.iter().filter_map(|id| decoder.push(*id).expect("a known token")).collect();
    given.extend(decoder.finish().expect("a known token"));
    given
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let tokenizer = tokenizer();
    for text in ["🦙", "Grüße aus Zürich", "東京 and 서울", "a👩‍👩‍👧b", "नमस्ते", "\u{10FFFF}"]
    {
        let ids = tokenizer.encode_text(text).expect("text");
        assert!(ids.len() > 1, "`{text}` takes several tokens");
        let given = stream(&ids);
        assert_eq!(given.concat(), text);
        assert!(given.iter().all(|piece| !piece.contains('\u{FFFD}')), "{given:?}");
    }
}

#[test]
fn a_character_that_never_ends_is_given_at_the_end() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode_text("ab🦙").expect("text");
    let given = stream(&ids[..ids.len() - 1]).concat();
    assert!(given.starts_with("ab") && given.ends_with('\u{FFFD}'), "{given:?}");
}

proptest! {
    #[test]
    fn the_pieces_are_the_whole(text in "\\PC{0,40}") {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_text(&text).expect("text");
        prop_assert_eq!(stream(&ids).concat(), text);
    }

    /// Models write tokens that no text has.
    #[test]
    fn any_tokens_give_what_decoding_them_at_once_gives(ids in prop::collection::vec(0u32..3000, 0..40)) {
        let whole = tokenizer().decode(&ids).expect("known tokens");
        let given = stream(&ids).concat();
        // Broken characters may be told one by one or together.
        let plain = |text: &str| text.replace('\u{FFFD}', "");
        prop_assert_eq!(plain(&given), plain(&whole));
    }
}
