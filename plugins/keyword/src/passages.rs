/// Longest passage, in bytes: some two hundred words, enough to answer from.
const MAX_PASSAGE_BYTES: usize = 1_200;

/// Where a passage may end, best first.
const ENDS: [&[&str]; 3] = [&["\n\n"], &[". ", "? ", "! ", ".\n", "。", "？", "！"], &["\n", " "]];

/// The passages of a text: first byte, and one past the last. They end where a paragraph does, else a sentence, else a
/// word, and cover everything but the space between them.
pub fn passages(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        start += rest.len() - rest.trim_start().len();
        let rest = &text[start..];
        let length = length_of_first(rest);
        let passage = rest[..length].trim_end();
        if !passage.is_empty() {
            spans.push((start, start + passage.len()));
        }
        start += length;
    }
    spans
}

fn length_of_first(text: &str) -> usize {
    if text.len() <= MAX_PASSAGE_BYTES {
        return text.len();
    }
    let window = &text[..text.floor_char_boundary(MAX_PASSAGE_BYTES)];
    for ends in ENDS {
        let end = ends.iter().filter_map(|end| window.rfind(end).map(|at| at + end.len())).max();
        // A short passage says little: a lesser end further on is better.
        if let Some(end) = end.filter(|end| *end > MAX_PASSAGE_BYTES / 3) {
            return end;
        }
    }
    window.len()
}
