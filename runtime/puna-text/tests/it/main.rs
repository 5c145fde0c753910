//! Text to tokens and back.

mod calls;
mod constraint;
mod decode;
mod dialect;
mod stop;
mod template;
mod tokenizer;

use std::path::PathBuf;

use puna_text::Tokenizer;

/// The bundled model's folder.
fn bundled() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/puna-tiny")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_folder(&bundled()).expect("the bundled tokenizer")
}

/// A text cut into pieces at these places, modulo what is left of it.
fn pieces<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    for cut in cuts {
        let boundaries: Vec<usize> = rest.char_indices().map(|(at, _)| at).collect();
        if boundaries.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at(boundaries[cut % boundaries.len()]);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// A text's characters, one piece each.
fn characters(text: &str) -> Vec<&str> {
    text.split("").filter(|piece| !piece.is_empty()).collect()
}
