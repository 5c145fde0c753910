//! With AVX2, FMA and F16C, which x86 processors have had since 2013. What takes the time is the memory more than the
//! arithmetic, so there is nothing here for wider registers.

use std::arch::x86_64::*;

use super::{Number, Row, fetch};

/// Numbers of a register.
const LANES: usize = 8;

/// Sums that are counted apart: what is added next need not wait for what was added last.
const SUMS: usize = 4;

/// How many rows ahead of a scan memory is asked for: the processor itself does not guess beyond a page.
const SCAN_AHEAD: usize = 2;

/// How many rows ahead memory is asked for where rows lie anywhere: as many as the processor waits for at a time.
const GATHER_AHEAD: usize = 4;

pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scan<N: Number>(query: &[f32], rows: &[N], out: &mut [f32]) {
    let dimension = query.len();
    for (index, (row, out)) in rows.chunks_exact(dimension).zip(out).enumerate() {
        if let Some(later) = rows.get((index + SCAN_AHEAD) * dimension..(index + SCAN_AHEAD + 1) * dimension)
        {
            fetch(later);
        }
        *out = dot(query, row);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gather<N: Number>(query: &[f32], all: &[N], rows: &[Row], out: &mut [f32]) {
    let row = |row: Row| &all[row as usize * query.len()..][..query.len()];
    rows.iter().take(GATHER_AHEAD).for_each(|first| fetch(row(*first)));
    for (index, (this, out)) in rows.iter().zip(out).enumerate() {
        if let Some(next) = rows.get(index + GATHER_AHEAD) {
            fetch(row(*next));
        }
        *out = dot(query, row(*this));
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widen<N: Number>(numbers: &[N], floats: &mut [f32]) {
    let ((eights, rest), (wide, wide_rest)) = (numbers.as_chunks::<LANES>(), floats.as_chunks_mut::<LANES>());
    for (from, to) in eights.iter().zip(wide) {
        // SAFETY: both are `LANES` numbers.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), N::load(from.as_ptr())) };
    }
    super::portable::widen(rest, wide_rest);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<N: Number>(query: &[f32], row: &[N]) -> f32 {
    assert_eq!(query.len(), row.len());
    let mut sums = [_mm256_setzero_ps(); SUMS];
    let mut add = |sum: usize, at: usize| {
        // SAFETY: `LANES` numbers from `at` on are within both.
        unsafe {
            let (asked, own) = (_mm256_loadu_ps(query.as_ptr().add(at)), N::load(row.as_ptr().add(at)));
            sums[sum] = _mm256_fmadd_ps(asked, own, sums[sum]);
        }
    };
    let mut at = 0;
    while at + LANES * SUMS <= query.len() {
        (0..SUMS).for_each(|sum| add(sum, at + LANES * sum));
        at += LANES * SUMS;
    }
    while at + LANES <= query.len() {
        add(0, at);
        at += LANES;
    }
    let rest: f32 = query[at..].iter().zip(&row[at..]).map(|(x, y)| x * y.decode()).sum();
    let [a, b, c, d] = sums;
    rest + total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn total(sum: __m256) -> f32 {
    let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
}
