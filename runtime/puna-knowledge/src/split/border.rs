use unicode_segmentation::UnicodeSegmentation;

/// A place where a text may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Border {
    /// In bytes, on a character's border.
    pub(super) at: usize,
    pub(super) rank: Rank,
}

/// How good a place is, the best first.
pub(super) type Rank = u8;

/// A chunk ends here whatever else would fit.
pub(super) const ALWAYS: Rank = 0;
/// Before a heading of the first depth; deeper ones follow up to the sixth.
pub(super) const HEADING: Rank = 1;
/// Between paragraphs and other blocks.
pub(super) const BLOCK: Rank = 7;
/// Between the parts of a block that belongs together.
pub(super) const WITHIN_BLOCK: Rank = 8;
pub(super) const LINE: Rank = 9;
pub(super) const SENTENCE: Rank = 10;
pub(super) const WORD: Rank = 11;

/// Paragraphs, lines, sentences and words.
pub(super) fn recursive(text: &str) -> Vec<Border> {
    let mut borders = Vec::new();
    let mut blank = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 {
            borders.push(Border { at, rank: if blank { BLOCK } else { LINE } });
        }
        blank = line.trim().is_empty();
        at += line.len();
    }
    with_sentences(text, borders)
}

/// Adds sentences and words to what a structure gave.
pub(super) fn with_sentences(text: &str, mut borders: Vec<Border>) -> Vec<Border> {
    let sentences = text.split_sentence_bound_indices().map(|(at, _)| Border { at, rank: SENTENCE });
    borders.extend(sentences);
    borders.extend(text.split_word_bound_indices().map(|(at, _)| Border { at, rank: WORD }));
    tidy(borders)
}

/// In order, each place once and with its best rank.
pub(super) fn tidy(mut borders: Vec<Border>) -> Vec<Border> {
    borders.sort_unstable_by_key(|border| (border.at, border.rank));
    borders.dedup_by_key(|border| border.at);
    borders
}
