use puna_core::{Embedder, Result};
use unicode_segmentation::UnicodeSegmentation;

use super::border::{ALWAYS, Border, recursive, tidy};

/// The part of all neighbouring sentences between which the meaning does not turn.
const CALM: f64 = 0.9;

/// Sentences on each side that are read together with one: a short one alone says little.
const BESIDE: usize = 1;

/// Sentences embedded at a time: bounds memory.
const BATCH: usize = 256;

/// A border that always cuts before each tenth of the sentences that is farthest from the one before it, by the cosine
/// of their embeddings.
pub(super) async fn borders(text: &str, embedder: &dyn Embedder) -> Result<Vec<Border>> {
    let sentences: Vec<(usize, &str)> =
        text.split_sentence_bound_indices().filter(|(_, sentence)| !sentence.trim().is_empty()).collect();
    let mut distances: Vec<(usize, f32)> = Vec::new();
    let mut before: Option<Vec<f32>> = None;
    for first in (0..sentences.len()).step_by(BATCH) {
        let windows: Vec<String> = (first..sentences.len().min(first + BATCH))
            .map(|index| {
                let (from, to) = (index.saturating_sub(BESIDE), (index + BESIDE).min(sentences.len() - 1));
                let end = sentences[to].0 + sentences[to].1.len();
                text[sentences[from].0..end].to_owned()
            })
            .collect();
        for (index, vector) in (first..).zip(embedder.embed(&windows).await?) {
            if let Some(before) = &before {
                distances.push((sentences[index].0, 1.0 - cosine(before, &vector)));
            }
            before = Some(vector);
        }
    }
    let mut sorted: Vec<f32> = distances.iter().map(|(_, distance)| *distance).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut all = recursive(text);
    if let Some(bar) = sorted.get((sorted.len() as f64 * CALM) as usize) {
        let turns = distances.iter().filter(|(_, distance)| distance >= bar);
        all.extend(turns.map(|(at, _)| Border { at: *at, rank: ALWAYS }));
    }
    Ok(tidy(all))
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    dot / (length(a) * length(b)).max(f32::MIN_POSITIVE)
}
