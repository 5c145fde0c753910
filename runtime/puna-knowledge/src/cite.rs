//! Whether an answer's citations hold: each `[n]` is a source that was given, and what it quotes stands there.

use std::ops::Range;

use puna_core::{Citation, CitationCheck, Marker, Quote, Verdict};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::Source;

/// Fewest letters and digits of a quotation that is checked: shorter ones are names and single words.
const MIN_QUOTE: usize = 8;

/// Most citations and quotations looked at: bounds the work for a text that is nothing else.
const MAX_FOUND: usize = 1_000;

/// Checks an answer against the sources that it was given. Quotations are compared without regard to case, white space and
/// the kind of quotation marks and dashes.
pub fn check_citations(answer: &str, sources: &[Source]) -> CitationCheck {
    let mut check = CitationCheck::default();
    let markers = markers(answer, sources);
    let plain: Vec<Plain> = sources.iter().map(|source| Plain::new(&source.hit.text)).collect();
    let sentences = sentences(answer);
    let quotes = quotes(answer);
    for (index, quote) in quotes.iter().cloned().enumerate() {
        let sentence =
            sentences.iter().find(|sentence| sentence.contains(&quote.start)).cloned().unwrap_or_default();
        let next = quotes.get(index + 1).map_or(usize::MAX, |next| next.start);
        let of_sentence = markers.iter().filter(|marker| sentence.contains(&marker.span.start));
        // The markers right behind it are its own; without any, those of its sentence are.
        let behind = of_sentence.clone().filter(|marker| (quote.end..next).contains(&marker.span.start));
        let mut cited: Vec<usize> = behind.map(|marker| marker.number).collect();
        if cited.is_empty() {
            cited.extend(of_sentence.map(|marker| marker.number));
        }
        let text = &answer[quote.clone()];
        let wanted = Plain::new(text);
        let mut found =
            sources.iter().zip(&plain).filter_map(|(source, plain)| Some((source, plain.find(&wanted)?)));
        let mut all: Vec<_> = found.by_ref().collect();
        all.sort_by_key(|(source, _)| !cited.contains(&source.number));
        let verdict = match all.first() {
            None => Verdict::NotFound,
            Some((source, _)) if !cited.is_empty() && !cited.contains(&source.number) => {
                Verdict::Misattributed { source: source.number }
            }
            Some((source, place)) => {
                let span = source.hit.span.map(|span| puna_core::Span {
                    start: span.start + place.start as u64,
                    end: span.start + place.end as u64,
                });
                let quote = source.hit.text[place.clone()].to_owned();
                let citation = Citation { source: source.hit.document.clone(), span, quote };
                Verdict::Found { source: source.number, citation }
            }
        };
        check.quotes.push(Quote { text: text.to_owned(), span: quote, verdict });
    }
    let cites = |sentence: &&Range<usize>| markers.iter().any(|marker| sentence.contains(&marker.span.start));
    let says = |sentence: &&Range<usize>| answer[(*sentence).clone()].chars().any(char::is_alphanumeric);
    check.uncited_sentences = sentences.iter().filter(says).filter(|sentence| !cites(sentence)).count();
    check.markers = markers;
    check
}

/// `[1]`, and `[1, 2]` as two of them.
fn markers(answer: &str, sources: &[Source]) -> Vec<Marker> {
    let mut markers = Vec::new();
    for (at, _) in answer.match_indices('[') {
        let Some(end) = answer[at..].bytes().take(64).position(|byte| byte == b']') else { continue };
        let inside = &answer[at + 1..at + end];
        let numbers: Option<Vec<usize>> = inside.split(',').map(|part| part.trim().parse().ok()).collect();
        for number in numbers.into_iter().flatten() {
            if markers.len() < MAX_FOUND {
                let source = sources.iter().find(|source| source.number == number);
                let document = source.map(|source| source.hit.document.clone());
                markers.push(Marker { number, span: at..at + end + 1, document });
            }
        }
    }
    markers
}

/// An answer's sentences; markers behind a full stop belong to the sentence before it.
fn sentences(answer: &str) -> Vec<Range<usize>> {
    let mut sentences: Vec<Range<usize>> = Vec::new();
    for (at, text) in answer.split_sentence_bound_indices() {
        let mut start = at;
        if let Some(before) = sentences.last_mut() {
            let mut rest = text;
            // `... it hums. [1] The next ...`
            while let Some(end) = rest.trim_start().strip_prefix('[').and_then(|inside| {
                let end = inside.find(']')?;
                inside[..end].chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ')).then_some(end)
            }) {
                let blank = rest.len() - rest.trim_start().len();
                let taken = blank + end + 2;
                start += taken;
                rest = &rest[taken..];
            }
            before.end = start;
        }
        if start < at + text.len() {
            sentences.push(start..at + text.len());
        }
    }
    sentences
}

/// What stands between quotation marks.
fn quotes(answer: &str) -> Vec<Range<usize>> {
    const MARKS: [(char, char); 6] =
        [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」'), ('『', '』')];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((offset, open)) =
        answer[at..].char_indices().find(|(_, c)| MARKS.iter().any(|(open, _)| open == c))
    {
        let start = at + offset + open.len_utf8();
        let ends = |c: char| MARKS.contains(&(open, c));
        let Some(length) = answer[start..].find(ends) else {
            at = start;
            continue;
        };
        let close = answer[start + length..].chars().next().map_or(1, char::len_utf8);
        let letters = answer[start..start + length].chars().filter(|c| c.is_alphanumeric()).count();
        if letters >= MIN_QUOTE && found.len() < MAX_FOUND {
            found.push(start..start + length);
        }
        at = start + length + close;
    }
    found
}

/// A text without what quotations are free in, and where each of its characters came from.
struct Plain {
    text: String,
    /// Of each byte of `text`, the range of the character that it is from.
    places: Vec<Range<u32>>,
}

impl Plain {
    fn new(text: &str) -> Self {
        let mut plain = Self { text: String::new(), places: Vec::new() };
        for (at, c) in text.char_indices() {
            let place = at as u32..(at + c.len_utf8()) as u32;
            if c.is_whitespace() {
                if !plain.text.is_empty() && !plain.text.ends_with(' ') {
                    plain.push(' ', place);
                }
                continue;
            }
            let c = match c {
                '“' | '”' | '„' | '«' | '»' => '"',
                '‘' | '’' => '\'',
                '–' | '—' | '‑' => '-',
                c => c,
            };
            for c in std::iter::once(c).nfkc().flat_map(char::to_lowercase) {
                plain.push(c, place.clone());
            }
        }
        while plain.text.ends_with(' ') {
            plain.text.pop();
            plain.places.pop();
        }
        plain
    }

    fn push(&mut self, c: char, place: Range<u32>) {
        self.text.push(c);
        self.places.resize(self.text.len(), place);
    }

    /// Where another text stands in this one, in bytes of the text that this one is from. `…` and `...` at the ends of a
    /// quotation, and its closing comma or full stop, are the answer's.
    fn find(&self, wanted: &Self) -> Option<Range<usize>> {
        let wanted = wanted.text.trim_matches(|c: char| c == '.' || c == ',' || c.is_whitespace());
        if wanted.is_empty() {
            return None;
        }
        let at = self.text.find(wanted)?;
        let (first, last) = (&self.places[at], &self.places[at + wanted.len() - 1]);
        Some(first.start as usize..last.end as usize)
    }
}
