//! Dot products of a question with many rows, by the processor's instructions for several numbers at a time.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use super::{Row, number::Number};

/// What processors read from memory at a time.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// The dot products with rows that lie one behind the other, into `out`.
pub(super) fn scan<N: Number>(query: &[f32], rows: &[N], out: &mut [f32]) {
    assert_eq!(rows.len(), query.len() * out.len());
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        // SAFETY: the processor has the instructions.
        return unsafe { avx2::scan(query, rows, out) };
    }
    portable::scan(query, rows, out);
}

/// The dot products with some rows of all, wherever they lie, into `out`.
pub(super) fn gather<N: Number>(query: &[f32], all: &[N], rows: &[Row], out: &mut [f32]) {
    assert_eq!(rows.len(), out.len());
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        // SAFETY: the processor has the instructions.
        return unsafe { avx2::gather(query, all, rows, out) };
    }
    portable::gather(query, all, rows, out);
}

/// Asks for memory before it is needed, where the processor can be asked.
#[inline]
pub(super) fn fetch<T>(memory: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(memory)).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(memory.as_ptr().cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = memory;
}

/// Numbers in floats, which are as many.
pub(super) fn widen<N: Number>(numbers: &[N], floats: &mut [f32]) {
    assert_eq!(numbers.len(), floats.len());
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        // SAFETY: the processor has the instructions.
        return unsafe { avx2::widen(numbers, floats) };
    }
    portable::widen(numbers, floats);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::number::{Half, Number},
        *,
    };

    /// Holds every way of comparing against plain arithmetic in twice the precision.
    fn check<N: Number>(query: &[f32], rows: &[Vec<f32>]) -> Result<(), TestCaseError> {
        let scale = if N::LARGEST.is_some() { 100.0 } else { 1.0 };
        let all: Vec<N> = rows.iter().flatten().map(|x| N::encode(x * scale)).collect();
        let exact: Vec<f64> = all
            .chunks(query.len())
            .map(|row| row.iter().zip(query).map(|(x, y)| f64::from(x.decode()) * f64::from(*y)).sum())
            .collect();
        let mut out = vec![0.0; rows.len()];
        scan(query, &all, &mut out);
        let tolerance = 1e-5 * f64::from(scale) * (query.len() as f64).sqrt();
        for (found, exact) in out.iter().zip(&exact) {
            prop_assert!((f64::from(*found) - exact).abs() < tolerance, "{found} for {exact}");
        }
        let mut plain = vec![0.0; rows.len()];
        portable::scan(query, &all, &mut plain);
        for (found, exact) in plain.iter().zip(&exact) {
            prop_assert!((f64::from(*found) - exact).abs() < tolerance, "portable: {found} for {exact}");
        }
        // A row's score does not depend on where it stands and with which others it is asked for.
        let backwards: Vec<Row> = (0..rows.len() as Row).rev().collect();
        for gather in [gather::<N>, portable::gather::<N>] {
            let mut gathered = vec![0.0; rows.len()];
            gather(query, &all, &backwards, &mut gathered);
            gathered.reverse();
            prop_assert!(gathered == out || gathered == plain);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn dot_products_are_those_of_plain_arithmetic(
            (query, rows) in (1_usize..200, 0_usize..11).prop_flat_map(|(dimension, rows)| {
                let vector = || prop::collection::vec(-1.0_f32..1.0, dimension);
                (vector(), prop::collection::vec(vector(), rows))
            })
        ) {
            check::<f32>(&query, &rows)?;
            check::<Half>(&query, &rows)?;
            check::<i8>(&query, &rows)?;
        }
    }
}
