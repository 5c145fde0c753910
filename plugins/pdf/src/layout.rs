//! Pieces of text in the order in which they are read.
//!
//! Columns are found by gutters: a line down the page that no piece crosses for some lines, with running text on both
//! sides. What stands above and below of such a stretch is read before and after it, and its sides one after the other;
//! each part is looked through in the same way. Short pieces side by side are no columns but a table, which is read by lines.

use std::cmp::Reverse;

use crate::collect::{LINE_DRIFT, PIECE_GAP, Piece, WAYS};

/// Most gutters that are tried for a part, those that most pieces begin at first.
const MAX_GUTTERS: usize = 24;

/// Fewest pieces on each side of a gutter.
const LEAST_PIECES: usize = 3;

/// Shortest pieces on average, in ems, that running text has: shorter ones are cells.
const LEAST_EMS: f64 = 7.0;

/// How close beginnings of pieces are that stand below each other, in ems.
const SAME_START: f64 = 0.5;

/// Most parts within parts.
const MAX_DEPTH: usize = 12;

/// Distance between lines, in ems, that parts paragraphs, beyond that which most lines have.
const PARAGRAPH_GAP: f64 = 1.35;

/// The text of a page, from its pieces by the way in which they run.
pub fn text(groups: [Vec<Piece>; WAYS]) -> String {
    let mut text = String::new();
    for pieces in groups {
        let mut ordered = Vec::new();
        arrange(merged(pieces), 0, &mut ordered);
        if !text.is_empty() && !ordered.is_empty() {
            text.push_str("\n\n");
        }
        write(&ordered, &mut text);
    }
    text.trim().to_owned()
}

/// By lines from above, and along each line; pieces of a line that stand close are one.
fn merged(mut pieces: Vec<Piece>) -> Vec<Piece> {
    by_lines(&mut pieces);
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match merged.last_mut() {
            Some(last)
                if (last.line - piece.line).abs() < LINE_DRIFT * piece.size.min(last.size)
                    && (-0.5..PIECE_GAP)
                        .contains(&((piece.start - last.end) / piece.size.max(last.size))) =>
            {
                if !last.text.ends_with(' ') && piece.start > last.end + 0.1 * piece.size {
                    last.text.push(' ');
                }
                last.text.push_str(&piece.text);
                last.end = last.end.max(piece.end);
                last.size = last.size.max(piece.size);
            }
            _ => merged.push(piece),
        }
    }
    merged
}

/// Sorts by lines, then along each line. What is on a line with the piece before it is told by that, so that a line may
/// drift.
fn by_lines(pieces: &mut [Piece]) {
    pieces.sort_by(|one, other| one.line.total_cmp(&other.line));
    let mut start = 0;
    while start < pieces.len() {
        let first = &pieces[start];
        let reach = first.line + LINE_DRIFT * first.size;
        let length = pieces[start..].iter().take_while(|piece| piece.line <= reach).count().max(1);
        pieces[start..start + length].sort_by(|one, other| one.start.total_cmp(&other.start));
        start += length;
    }
}

/// A gutter, and the lines between which nothing crosses it.
struct Gutter {
    at: f64,
    above: f64,
    below: f64,
    pieces: usize,
}

fn arrange(mut pieces: Vec<Piece>, depth: usize, ordered: &mut Vec<Vec<Piece>>) {
    let gutter = if depth < MAX_DEPTH { gutter(&pieces) } else { None };
    let Some(gutter) = gutter else {
        by_lines(&mut pieces);
        if !pieces.is_empty() {
            ordered.push(pieces);
        }
        return;
    };
    let (before, rest): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| piece.line <= gutter.above);
    let (within, after): (Vec<_>, Vec<_>) = rest.into_iter().partition(|piece| piece.line < gutter.below);
    let (left, right) = within.into_iter().partition(|piece| piece.start < gutter.at);
    for part in [before, left, right, after] {
        arrange(part, depth + 1, ordered);
    }
}

/// The gutter with most pieces on its weaker side.
fn gutter(pieces: &[Piece]) -> Option<Gutter> {
    let mut starts: Vec<(f64, f64)> = pieces.iter().map(|piece| (piece.start, piece.size)).collect();
    starts.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut places: Vec<(usize, f64)> = Vec::new();
    let mut next = 0;
    while let Some((place, size)) = starts.get(next) {
        let count =
            starts[next..].iter().take_while(|(start, _)| start - place <= SAME_START * size).count().max(1);
        if count >= LEAST_PIECES {
            places.push((count, place - SAME_START * size));
        }
        next += count;
    }
    places.sort_by_key(|(count, _)| Reverse(*count));
    places.truncate(MAX_GUTTERS);
    let found = places.iter().filter_map(|(_, place)| stretch(pieces, *place));
    found.max_by_key(|gutter| gutter.pieces)
}

/// The best stretch of a place that is a gutter, if one is.
fn stretch(pieces: &[Piece], at: f64) -> Option<Gutter> {
    let mut crossing: Vec<f64> = pieces
        .iter()
        .filter(|piece| piece.start < at && piece.end > at + 0.1 * piece.size)
        .map(|piece| piece.line)
        .collect();
    crossing.push(f64::NEG_INFINITY);
    crossing.push(f64::INFINITY);
    crossing.sort_by(f64::total_cmp);
    let mut lines: Vec<&Piece> = pieces.iter().collect();
    lines.sort_by(|one, other| one.line.total_cmp(&other.line));
    let (mut best, mut next) = (None::<Gutter>, 0);
    for pair in crossing.windows(2) {
        let (above, below) = (pair[0], pair[1]);
        let first = next + lines[next..].iter().take_while(|piece| piece.line <= above).count();
        next = first + lines[first..].iter().take_while(|piece| piece.line < below).count();
        let (left, right): (Vec<&Piece>, Vec<&Piece>) =
            lines[first..next].iter().copied().partition(|piece| piece.start < at);
        let weaker = left.len().min(right.len());
        let better = best.as_ref().is_none_or(|best| weaker > best.pieces);
        if weaker >= LEAST_PIECES && better && runs(&left) && runs(&right) && beside(&left, &right) {
            best = Some(Gutter { at, above, below, pieces: weaker });
        }
    }
    best
}

/// Whether pieces are running text.
fn runs(pieces: &[&Piece]) -> bool {
    let ems: f64 = pieces.iter().map(|piece| (piece.end - piece.start) / piece.size).sum();
    #[allow(clippy::cast_precision_loss, reason = "a count of pieces")]
    let count = pieces.len() as f64;
    ems >= LEAST_EMS * count
}

/// Whether sides stand beside each other and not one below the other.
fn beside(left: &[&Piece], right: &[&Piece]) -> bool {
    let span = |side: &[&Piece]| {
        let lines = side.iter().map(|piece| piece.line);
        (lines.clone().fold(f64::INFINITY, f64::min), lines.fold(f64::NEG_INFINITY, f64::max))
    };
    let ((left_top, left_end), (right_top, right_end)) = (span(left), span(right));
    let overlap = left_end.min(right_end) - left_top.max(right_top);
    overlap > 0.3 * (left_end - left_top).min(right_end - right_top)
}

fn write(parts: &[Vec<Piece>], text: &mut String) {
    for (index, pieces) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str("\n\n");
        }
        let mut steps: Vec<f64> = pieces.windows(2).map(step).filter(|step| *step > LINE_DRIFT).collect();
        steps.sort_by(f64::total_cmp);
        let usual = steps.get(steps.len() / 2).copied().unwrap_or(1.2);
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                let step = step(&pieces[at - 1..=at]);
                let between = if step.abs() < LINE_DRIFT {
                    " "
                } else if step > PARAGRAPH_GAP * usual {
                    "\n\n"
                } else {
                    "\n"
                };
                if text.ends_with(' ') {
                    text.pop();
                }
                text.push_str(between);
            }
            text.push_str(piece.text.trim_start());
        }
    }
}

/// From a line to the next, in ems.
fn step(pair: &[Piece]) -> f64 {
    (pair[1].line - pair[0].line) / pair[0].size.max(pair[1].size)
}
