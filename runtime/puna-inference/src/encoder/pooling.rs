//! From the tokens' vectors to a text's.

use crate::folder::Pooling;

/// A text's vector from those of its tokens, `[tokens, width]`, without padding, and without the first `left_out` of them
/// unless there are no others. What several ways give stands one behind the other. The formulas are those of
/// sentence-transformers' `Pooling`.
pub(super) fn pool(tokens: &[f32], width: usize, left_out: usize, ways: &[Pooling]) -> Vec<f32> {
    let count = tokens.len() / width;
    let first = if left_out < count { left_out } else { 0 };
    let rows = || tokens.chunks_exact(width).enumerate().skip(first);
    let mut pooled = vec![0.0; width * ways.len()];
    for (way, out) in ways.iter().zip(pooled.chunks_exact_mut(width)) {
        let mut sum = |weight: fn(usize) -> f32, divisor: f32| {
            for (place, row) in rows() {
                let weight = weight(place);
                out.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
            out.iter_mut().for_each(|sum| *sum /= divisor);
        };
        let length = (count - first).max(1) as f32;
        match way {
            Pooling::Mean => sum(|_| 1.0, length),
            Pooling::MeanSqrt => sum(|_| 1.0, length.sqrt()),
            Pooling::WeightedMean => {
                // Places keep the numbers that they have with what is left out.
                let weights: usize = (first + 1..=count).sum();
                sum(|place| (place + 1) as f32, weights.max(1) as f32);
            }
            Pooling::Cls => out.copy_from_slice(&tokens[first * width..][..width]),
            Pooling::Last => out.copy_from_slice(&tokens[tokens.len() - width..]),
            Pooling::Max => {
                out.fill(f32::NEG_INFINITY);
                for (_, row) in rows() {
                    out.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(*value));
                }
            }
        }
    }
    pooled
}

/// Scales a vector to a length of 1; one of zeros stays.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}
