//! Relative positions in buckets: near ones each their own, far ones together.

use super::config::Disentangled;

/// The bucket of each distance `key - query` from `-(length - 1)` to `length - 1`, as MPNet counts them.
pub(super) fn mpnet(length: usize, buckets: usize) -> Vec<i64> {
    /// The distance from which on all are one bucket.
    const FURTHEST: f32 = 128.0;
    let half = buckets / 2;
    let exact = (half / 2).max(1);
    distances(length)
        .map(|distance| {
            // A key behind the query has the upper half.
            let side = if distance > 0 { half } else { 0 };
            let far = usize::try_from(distance.unsigned_abs()).unwrap_or(usize::MAX);
            let within = if far < exact {
                far
            } else {
                let share = (far as f32 / exact as f32).ln() / (FURTHEST / exact as f32).ln();
                (exact + floor(share * (half - exact) as f32)).min(half - 1)
            };
            number(side + within)
        })
        .collect()
}

/// The row of DeBERTa's table of positions for each distance `query - key` from `-(length - 1)` to `length - 1`.
pub(super) fn deberta(length: usize, how: &Disentangled) -> Vec<i64> {
    let span = number(how.span);
    distances(length).map(|distance| (bucket(distance, how) + span).clamp(0, 2 * span - 1)).collect()
}

fn bucket(distance: i64, how: &Disentangled) -> i64 {
    let middle = how.buckets / 2;
    let far = distance.unsigned_abs() as f32;
    if middle == 0 || far <= middle as f32 {
        return distance;
    }
    let share = (far / middle as f32).ln() / ((how.max_relative as f32 - 1.0) / middle as f32).ln();
    let place = number(ceil(share * (middle - 1) as f32) + middle);
    place * distance.signum()
}

fn distances(length: usize) -> impl Iterator<Item = i64> {
    let last = number(length) - 1;
    -last..=last
}

fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small bucket's number")]
fn floor(value: f32) -> usize {
    value.max(0.0) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small bucket's number")]
fn ceil(value: f32) -> usize {
    value.max(0.0).ceil() as usize
}
