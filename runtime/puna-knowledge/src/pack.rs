//! Hits into a prompt: numbered sources within a budget.

use puna_core::{Hit, Result};
use serde::{Deserialize, Serialize};

use crate::Measure;

/// What becomes of hits that do not fit. Nothing is left out without a word: [`Packed`] tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackPolicy {
    /// Best first, each whole; one that does not fit is left out, and smaller ones behind it are tried.
    #[default]
    Whole,
    /// Best first; the first that does not fit is cut at the end of a sentence or line, and what comes after it is left out.
    CutLast,
}

/// A hit with the number that it is cited by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// From 1.
    pub number: usize,
    /// What was found.
    pub hit: Hit,
}

/// Sources for a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// The sources that fit, by number.
    pub sources: Vec<Source>,
    /// Them as the model reads them: `[1] title`, and below it the text.
    pub text: String,
    /// The text's length in the measure's units.
    pub length: usize,
    /// How many hits were left out.
    pub left_out: usize,
    /// Whether the last source is cut.
    pub cut: bool,
}

/// Takes hits, best first, as long as they fit into `budget` units of `measure`.
///
/// # Errors
/// The measure's own.
pub fn pack(hits: &[Hit], budget: usize, measure: &dyn Measure, policy: PackPolicy) -> Result<Packed> {
    let mut packed = Packed::default();
    for (index, hit) in hits.iter().enumerate() {
        let number = packed.sources.len() + 1;
        let whole = format!("{}{}", packed.text, block(number, hit, &hit.text));
        // Measured as a whole: tokens can reach over the border of two sources.
        let length = measure.length(&whole)?;
        if length <= budget {
            (packed.text, packed.length) = (whole, length);
            packed.sources.push(Source { number, hit: hit.clone() });
            continue;
        }
        if policy == PackPolicy::Whole {
            packed.left_out += 1;
            continue;
        }
        if let Some((part, text, length)) = cut(&packed.text, number, hit, budget, measure)? {
            let end = hit.span.map(|span| span.start + part.len() as u64);
            let span = hit.span.zip(end).map(|(span, end)| puna_core::Span { start: span.start, end });
            (packed.text, packed.length, packed.cut) = (text, length, true);
            packed.sources.push(Source { number, hit: Hit { text: part, span, ..hit.clone() } });
            packed.left_out += hits.len() - index - 1;
        } else {
            packed.left_out += hits.len() - index;
        }
        break;
    }
    Ok(packed)
}

fn block(number: usize, hit: &Hit, text: &str) -> String {
    let title = hit.metadata.get("title").and_then(serde_json::Value::as_str).unwrap_or(&hit.document);
    // A title of several lines could pose as another source.
    let title: Vec<&str> = title.split_whitespace().collect();
    format!("[{number}] {}\n{text}\n\n", title.join(" "))
}

/// The longest beginning of a hit that ends with a sentence and fits; none where not even one does.
fn cut(
    before: &str,
    number: usize,
    hit: &Hit,
    budget: usize,
    measure: &dyn Measure,
) -> Result<Option<(String, String, usize)>> {
    use unicode_segmentation::UnicodeSegmentation;
    let mut ends: Vec<usize> = hit
        .text
        .split_sentence_bound_indices()
        .map(|(at, sentence)| at + sentence.trim_end().len())
        .collect();
    ends.dedup();
    let fits = |end: usize| -> Result<Option<(String, usize)>> {
        let whole = format!("{before}{}", block(number, hit, &hit.text[..end]));
        let length = measure.length(&whole)?;
        Ok((length <= budget).then_some((whole, length)))
    };
    let (mut low, mut high, mut best) = (0, ends.len(), None);
    while low < high {
        let middle = (low + high) / 2;
        match fits(ends[middle])? {
            Some((whole, length)) => {
                best = Some((hit.text[..ends[middle]].to_owned(), whole, length));
                low = middle + 1;
            }
            None => high = middle,
        }
    }
    Ok(best.filter(|(part, ..)| !part.trim().is_empty()))
}
