use super::border::{BLOCK, Border, HEADING, LINE, WITHIN_BLOCK, tidy};
use unicode_segmentation::UnicodeSegmentation;

use super::border::WORD;

/// Columns of a tab.
const TAB: usize = 4;

/// Definitions: a line that is indented less than, or as, what came before it begins one; the less the better, and
/// better still behind a blank line. Lines that only close something belong to what they close.
pub(super) fn borders(text: &str) -> Vec<Border> {
    let mut borders = Vec::new();
    let mut blank = false;
    let mut before = String::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if !content.is_empty() {
            let depth = indent(line) / TAB;
            let closes =
                content.starts_with(['}', ')', ']']) || content == "end" || content.starts_with("</");
            // What stands over a definition belongs to it.
            let attached = before.starts_with(['#', '@']) || comment(&before);
            let rank = match (blank, depth) {
                _ if closes => LINE,
                (true, 0) => HEADING,
                (true, 1) => HEADING + 2,
                (true, _) => BLOCK,
                (false, 0) if !attached => HEADING + 1,
                (false, 1) if !attached => BLOCK,
                (false, _) if !attached => WITHIN_BLOCK,
                _ => LINE,
            };
            if at > 0 {
                borders.push(Border { at, rank });
            }
            content.clone_into(&mut before);
        }
        blank = content.is_empty();
        at += line.len();
    }
    borders.extend(text.split_word_bound_indices().map(|(at, _)| Border { at, rank: WORD }));
    tidy(borders)
}

fn comment(line: &str) -> bool {
    ["//", "/*", "*", "--", ";"].iter().any(|mark| line.starts_with(mark))
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| matches!(c, ' ' | '\t')).map(|c| if c == '\t' { TAB } else { 1 }).sum()
}
