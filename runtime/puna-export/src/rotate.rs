//! Rotations that leave what a model computes as it is and make its numbers easier to round.
//!
//! A residual stream `x` may be kept as `xR` for any orthogonal `R`: what writes to it is multiplied by `R`, what reads
//! from it by `Rᵀ`, all merged into the weights. A norm commutes with `R` once its weights are merged into the products
//! that follow it. A few channels that are much larger than the others, which is what rounding suffers from, are spread
//! over all of them (QuaRot, arXiv 2404.00456; SpinQuant, arXiv 2405.16406, without the parts that run beside the
//! model). The values of attention are rotated head by head in the same way, and what reads them back.

use std::sync::Arc;

use rayon::prelude::*;

/// A Hadamard matrix of as many rows as the largest power of two that divides the width, repeated along the diagonal,
/// behind a diagonal of signs. Orthogonal: `R = diag(signs) · (I ⊗ H / √block)`.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    block: usize,
    signs: Arc<[f32]>,
}

impl Rotation {
    /// Of a width, with signs that are the same each time.
    pub(crate) fn of(width: usize) -> Self {
        // Any signs will do that no weights were trained to fit: one bit in turn of Knuth's MMIX generator.
        let mut state = 1_u64;
        let signs = (0..width).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if state >> 63 == 0 { 1.0 } else { -1.0 }
        });
        Self { block: 1 << width.trailing_zeros(), signs: signs.collect() }
    }

    /// The same for several neighbouring parts of a row.
    pub(crate) fn repeated(&self, count: usize) -> Self {
        Self { block: self.block, signs: self.signs.repeat(count).into() }
    }

    /// Turns `x` to `xR`, for each row of `x`, as wide as this is.
    pub(crate) fn rows(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.signs.len()) {
            for (value, sign) in row.iter_mut().zip(&*self.signs) {
                *value *= sign;
            }
            for block in row.chunks_exact_mut(self.block) {
                transform(block, 1);
            }
        }
    }

    /// Turns `W` to `RᵀW`, where `W` has as many rows as this is wide, or several times as many: one after the other.
    pub(crate) fn columns(&self, values: &mut [f32], columns: usize) {
        for part in values.chunks_exact_mut(self.signs.len() * columns) {
            for (row, sign) in part.chunks_exact_mut(columns).zip(&*self.signs) {
                row.iter_mut().for_each(|value| *value *= sign);
            }
            for block in part.chunks_exact_mut(self.block * columns) {
                transform(block, columns);
            }
        }
    }
}

/// Numbers that one thread adds and subtracts at a time.
const PIECE: usize = 1 << 16;

/// The Walsh-Hadamard transform of a power of two of rows of so many numbers, scaled to keep lengths.
fn transform(values: &mut [f32], columns: usize) {
    let mut half = columns;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            if half > PIECE {
                low.par_chunks_mut(PIECE)
                    .zip(high.par_chunks_mut(PIECE))
                    .for_each(|(low, high)| butterfly(low, high));
            } else {
                butterfly(low, high);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / ((values.len() / columns) as f32).sqrt();
    values.iter_mut().for_each(|value| *value *= scale);
}

fn butterfly(low: &mut [f32], high: &mut [f32]) {
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}
