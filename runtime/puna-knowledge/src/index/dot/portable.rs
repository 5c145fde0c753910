//! What every processor does; compilers turn the eight sums into whatever it has.

use super::{Number, Row};

const LANES: usize = 8;

pub(super) fn scan<N: Number>(query: &[f32], rows: &[N], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = dot(query, row);
    }
}

pub(super) fn gather<N: Number>(query: &[f32], all: &[N], rows: &[Row], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = dot(query, &all[*row as usize * query.len()..][..query.len()]);
    }
}

pub(super) fn widen<N: Number>(numbers: &[N], floats: &mut [f32]) {
    floats.iter_mut().zip(numbers).for_each(|(float, number)| *float = number.decode());
}

fn dot<N: Number>(query: &[f32], row: &[N]) -> f32 {
    let mut sums = [0.0; LANES];
    let ((asked, asked_rest), (own, own_rest)) = (query.as_chunks::<LANES>(), row.as_chunks::<LANES>());
    for (asked, own) in asked.iter().zip(own) {
        for (sum, (x, y)) in sums.iter_mut().zip(asked.iter().zip(own)) {
            *sum += x * y.decode();
        }
    }
    let rest: f32 = asked_rest.iter().zip(own_rest).map(|(x, y)| x * y.decode()).sum();
    sums.iter().sum::<f32>() + rest
}
