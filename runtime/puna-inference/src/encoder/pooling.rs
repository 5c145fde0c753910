//! From the tokens' vectors to a text's.

use crate::folder::Pooling;

/// A text's vector from those of its tokens, `[tokens, width]`, without padding.
pub(super) fn pool(tokens: &[f32], width: usize, how: Pooling) -> Vec<f32> {
    let count = (tokens.len() / width).max(1);
    let mut out = vec![0.0; width];
    match how {
        Pooling::Cls => out.copy_from_slice(&tokens[..width]),
        Pooling::Last => out.copy_from_slice(&tokens[tokens.len() - width..]),
        Pooling::Max => {
            out.copy_from_slice(&tokens[..width]);
            for row in tokens.chunks_exact(width) {
                out.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(*value));
            }
        }
        Pooling::Mean | Pooling::MeanSqrt => {
            for row in tokens.chunks_exact(width) {
                out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            let count = count as f32;
            let by = if how == Pooling::Mean { count } else { count.sqrt() };
            out.iter_mut().for_each(|sum| *sum /= by);
        }
    }
    out
}

/// Scales a vector to a length of 1; one of zeros stays.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}
