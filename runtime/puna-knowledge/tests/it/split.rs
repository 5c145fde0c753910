//! Every chunk is where its span says, nothing is lost, and sizes are kept: for any text and every splitter.

use std::sync::Arc;

use proptest::prelude::*;
use puna_knowledge::{
    CharacterMeasure, Chunk, Format, FunctionMeasure, Measure, SplitBy, SplitOptions, Splitter, Unit,
    WordMeasure,
};

use crate::support::{HashEmbedder, block_on};

const ALL: [SplitBy; 5] =
    [SplitBy::Recursive, SplitBy::Markdown, SplitBy::Html, SplitBy::Code, SplitBy::Semantic];

fn measures() -> Vec<Arc<dyn Measure>> {
    let bytes = |text: &str| text.len();
    vec![Arc::new(CharacterMeasure), Arc::new(WordMeasure), Arc::new(FunctionMeasure(bytes))]
}

/// Texts with what splitters look at: headings, fences, tags, indentation, letters of all kinds, joined emoji.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,9} ",
        2 => "[A-Z][a-z]{1,5}[.!?] ",
        2 => Just("\n".to_owned()),
        2 => Just("\n\n".to_owned()),
        1 => "#{1,7} [a-z]{1,8}\n",
        1 => Just("```\n".to_owned()),
        1 => Just("===\n".to_owned()),
        1 => "- [a-z]{1,5}\n",
        1 => "</?(p|div|h[1-6]|li|br|b)( a=\"[<>]?\")?>",
        1 => Just("<!-- x -->".to_owned()),
        1 => Just("<".to_owned()),
        1 => "(    |\t){0,3}(fn|def|\\}) [a-z]{1,4}[{(:]?\n",
        1 => "[가-힣]{1,6}[ 。]?",
        1 => "[一-龠]{1,12}[。]?",
        1 => Just("👩‍👩‍👧‍👦🇧🇴e\u{301}\u{323}\u{327}".to_owned()),
        1 => Just("\r\n\u{2028}\u{a0}\u{feff}\0".to_owned()),
        1 => "\\PC{1,6}",
        1 => "[a-z]{30,80}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn options() -> impl Strategy<Value = SplitOptions> {
    (0..ALL.len(), 1_usize..60, 0_usize..30, prop::option::of(1_usize..4)).prop_map(
        |(by, size, overlap, parents)| SplitOptions {
            by: ALL[by],
            unit: Unit::Characters,
            size,
            overlap: overlap.min(size / 2),
            parent_size: parents.map(|parents| parents * size),
        },
    )
}

fn split(text: &str, options: &SplitOptions, measure: Arc<dyn Measure>) -> Vec<Chunk> {
    let splitter = if options.by == SplitBy::Semantic {
        // It measures with its own, which is characters here.
        Splitter::for_embedder(options.clone(), Arc::new(HashEmbedder::default()))
    } else {
        Splitter::new(options.clone(), measure)
    };
    block_on(splitter.expect("sound options").split(text, Format::Text)).expect("chunks")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn chunks_are_true(text in text(), options in options(), measure in 0_usize..3) {
        let measure = if options.by == SplitBy::Semantic {
            Arc::new(CharacterMeasure)
        } else {
            Arc::clone(&measures()[measure])
        };
        let chunks = split(&text, &options, Arc::clone(&measure));
        let mut covered = 0;
        let mut before: Option<&Chunk> = None;
        for chunk in &chunks {
            let said = text.get(chunk.span.clone());
            prop_assert!(said.is_some(), "{chunk:?} is no part of the text");
            let said = said.unwrap_or_default();
            prop_assert!(!said.is_empty() && said.trim() == said, "{said:?} has blanks around it");
            prop_assert_eq!(measure.length(said).expect("a length"), chunk.length);
            prop_assert!(
                chunk.length <= options.size || said.chars().count() == 1,
                "{:?} has {} units of {}", said, chunk.length, options.size
            );
            prop_assert!(chunk.parent.start <= chunk.span.start && chunk.span.end <= chunk.parent.end);
            if chunk.span.start > covered {
                let skipped = &text[covered..chunk.span.start];
                prop_assert!(skipped.trim().is_empty(), "{skipped:?} is in no chunk");
            } else if let Some(before) = before.filter(|_| chunk.span.start < covered) {
                let twice = &text[chunk.span.start..covered];
                let length = measure.length(twice).expect("a length");
                prop_assert!(length <= options.overlap, "{twice:?} is repeated: {length} units");
                prop_assert!(chunk.span.start > before.span.start && chunk.span.end > before.span.end);
            }
            if options.parent_size.is_none() {
                prop_assert_eq!(&chunk.parent, &chunk.span);
            }
            covered = chunk.span.end;
            before = Some(chunk);
        }
        prop_assert!(text[covered..].trim().is_empty(), "{:?} is in no chunk", &text[covered..]);
    }
}

/// The chunks' texts.
#[track_caller]
fn check(by: SplitBy, size: usize, text: &str, expected: &[&str]) {
    let options = SplitOptions { by, unit: Unit::Characters, size, overlap: 0, parent_size: None };
    let chunks = split(text, &options, Arc::new(CharacterMeasure));
    let chunks: Vec<&str> = chunks.into_iter().map(|chunk| &text[chunk.span]).collect();
    assert_eq!(chunks, expected);
}

#[test]
fn paragraphs_come_before_sentences() {
    check(
        SplitBy::Recursive,
        40,
        "The first one. It is short.\n\nThe second has more. It has to be cut somewhere. Here.",
        &["The first one. It is short.", "The second has more.", "It has to be cut somewhere. Here."],
    );
}

#[test]
fn sentences_of_chinese_and_japanese_are_kept() {
    check(
        SplitBy::Recursive,
        12,
        "高原很冷。骆驼会哼唱。湖水是咸的。",
        &["高原很冷。骆驼会哼唱。", "湖水是咸的。"],
    );
    check(
        SplitBy::Recursive,
        14,
        "高原は寒いです。ラマは鳴きます。",
        &["高原は寒いです。", "ラマは鳴きます。"],
    );
}

#[test]
fn words_longer_than_a_chunk_are_cut_between_letters_as_seen() {
    check(
        SplitBy::Recursive,
        4,
        "abcdefghij e\u{301}e\u{301}e\u{301}",
        &["abcd", "efgh", "ij", "e\u{301}e\u{301}", "e\u{301}"],
    );
}

#[test]
fn headings_begin_chunks_and_code_stays_together() {
    let text = "# A\n\nShort.\n\n## B\n\nText of b.\n\n```rust\nfn a() {}\n\nfn b() {}\n```\n\n# C\n\nEnd.\n";
    check(
        SplitBy::Markdown,
        40,
        text,
        &["# A\n\nShort.", "## B\n\nText of b.", "```rust\nfn a() {}\n\nfn b() {}\n```", "# C\n\nEnd."],
    );
}

#[test]
fn elements_are_kept_and_tags_are_not_cut() {
    let text = "<h1>One</h1><p>First paragraph.</p><p>Second <a href=\"a b c d e f\">one</a>.</p><h2>Two</h2><p>Third.</p>";
    check(
        SplitBy::Html,
        48,
        text,
        &[
            "<h1>One</h1><p>First paragraph.</p>",
            "<p>Second <a href=\"a b c d e f\">one</a>.</p>",
            "<h2>Two</h2><p>Third.</p>",
        ],
    );
}

#[test]
fn definitions_are_kept() {
    let text = "use a;\n\n/// Adds.\nfn add() {\n    let x = 1;\n\n    x\n}\n\nfn sub() {\n    2\n}\n";
    check(
        SplitBy::Code,
        50,
        text,
        &["use a;", "/// Adds.\nfn add() {\n    let x = 1;\n\n    x\n}", "fn sub() {\n    2\n}"],
    );
    let text =
        "import a\n\nclass B:\n    def c(self):\n        return 1\n\n    def d(self):\n        return 2\n";
    check(
        SplitBy::Code,
        52,
        text,
        &["import a", "class B:\n    def c(self):\n        return 1", "def d(self):\n        return 2"],
    );
}

#[test]
fn meaning_turns_where_words_change() {
    let llama = "The llama hums in the cold highland. The llama eats grass of the highland. A llama of the highland carries wool. ";
    let ship = "The ship sails across the ocean to port. A ship leaves the port by ocean. The ocean carries the ship.";
    let text = format!("{llama}{ship}");
    let options = SplitOptions {
        by: SplitBy::Semantic,
        unit: Unit::Characters,
        size: 400,
        overlap: 0,
        parent_size: None,
    };
    let chunks = split(&text, &options, Arc::new(CharacterMeasure));
    let starts: Vec<usize> = chunks.iter().map(|chunk| chunk.span.start).collect();
    assert!(starts.contains(&llama.len()), "{starts:?}");
}

#[test]
fn options_that_cannot_be_kept_are_refused() {
    for (options, message) in [
        (SplitOptions { size: 0, overlap: 0, ..Default::default() }, "`size` is `0`"),
        (SplitOptions { size: 10, overlap: 6, ..Default::default() }, "`overlap` is `6`"),
        (SplitOptions { size: 50, parent_size: Some(49), ..Default::default() }, "`parent_size` is `49`"),
    ] {
        let error = Splitter::new(options, Arc::new(WordMeasure)).err().expect("refused");
        assert!(error.to_string().contains(message), "{error}");
    }
    let options = SplitOptions { by: SplitBy::Semantic, ..Default::default() };
    let splitter = Splitter::new(options, Arc::new(WordMeasure)).expect("sound");
    let error = block_on(splitter.split("a b", Format::Text)).expect_err("no embedder");
    assert!(error.to_string().contains("embedding model"), "{error}");
}
