//! Dot products, with the processor's widest registers. The one place with `unsafe` in this crate.

use serde::{Deserialize, Serialize};

/// How exactly vectors are kept in memory; the store keeps them in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats: exact.
    F32,
    /// 16-bit floats: half the memory, and the same neighbours but for one in some hundreds.
    #[default]
    F16,
    /// 8-bit whole numbers with a scale for each vector: a quarter.
    I8,
}

/// Vectors of one length, one behind the other.
#[derive(Clone, Debug)]
pub(crate) enum Vectors {
    F32(Vec<f32>),
    F16(Vec<u16>),
    /// Numbers, and of each vector what they are multiplied with.
    I8(Vec<i8>, Vec<f32>),
}

/// A question's vector in the form that stored ones are compared with.
#[derive(Debug)]
pub(crate) enum Query {
    Floats(Vec<f32>),
    I8(Vec<i8>, f32),
}

impl Vectors {
    pub(crate) fn new(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32(Vec::new()),
            Precision::F16 => Self::F16(Vec::new()),
            Precision::I8 => Self::I8(Vec::new(), Vec::new()),
        }
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        match self {
            Self::F32(all) => all.extend_from_slice(vector),
            Self::F16(all) => all.extend(vector.iter().map(|x| to_half(*x))),
            Self::I8(all, scales) => {
                let (numbers, scale) = quantise(vector);
                all.extend(numbers);
                scales.push(scale);
            }
        }
    }

    /// A vector in floats.
    pub(crate) fn get(&self, row: usize, dimension: usize) -> Vec<f32> {
        let range = row * dimension..(row + 1) * dimension;
        match self {
            Self::F32(all) => all[range].to_vec(),
            Self::F16(all) => all[range].iter().map(|x| from_half(*x)).collect(),
            Self::I8(all, scales) => all[range].iter().map(|x| f32::from(*x) * scales[row]).collect(),
        }
    }

    pub(crate) fn query(&self, vector: &[f32]) -> Query {
        match self {
            Self::I8(..) => {
                let (numbers, scale) = quantise(vector);
                Query::I8(numbers, scale)
            }
            _ => Query::Floats(vector.to_vec()),
        }
    }

    /// The dot product with a row.
    #[inline]
    pub(crate) fn dot(&self, query: &Query, row: usize, dimension: usize) -> f32 {
        let mut score = [0.0];
        self.scan(query, row..row + 1, dimension, &mut score);
        score[0]
    }

    /// The dot products with a range of rows, into `out`.
    pub(crate) fn scan(
        &self,
        query: &Query,
        rows: std::ops::Range<usize>,
        dimension: usize,
        out: &mut [f32],
    ) {
        assert_eq!(rows.len(), out.len());
        let part = rows.start * dimension..rows.end * dimension;
        match (self, query) {
            (Self::F32(all), Query::Floats(query)) => kernels::scan_f32(query, &all[part], out),
            (Self::F16(all), Query::Floats(query)) => kernels::scan_f16(query, &all[part], out),
            (Self::I8(all, scales), Query::I8(query, scale)) => {
                kernels::scan_i8(query, &all[part], out);
                out.iter_mut().zip(&scales[rows]).for_each(|(out, row)| *out *= row * scale);
            }
            _ => unreachable!("a question's form follows from the vectors'"),
        }
    }

    /// The dot products with some rows, wherever they lie, into `out`.
    pub(crate) fn gather(&self, query: &Query, rows: &[super::Row], dimension: usize, out: &mut [f32]) {
        match (self, query) {
            (Self::F32(all), Query::Floats(query)) => kernels::gather_f32(query, all, rows, out),
            (Self::F16(all), Query::Floats(query)) => kernels::gather_f16(query, all, rows, out),
            (Self::I8(all, scales), Query::I8(query, scale)) => {
                kernels::gather_i8(query, all, rows, out);
                out.iter_mut().zip(rows).for_each(|(out, row)| *out *= scales[*row as usize] * scale);
            }
            _ => unreachable!("a question's form follows from the vectors'"),
        }
        debug_assert!(rows.iter().all(|row| (*row as usize) < self.rows(dimension)));
    }

    /// A row as a question.
    pub(crate) fn row_query(&self, row: super::Row, dimension: usize) -> Query {
        let range = row as usize * dimension..(row as usize + 1) * dimension;
        match self {
            Self::I8(all, scales) => Query::I8(all[range].to_vec(), scales[row as usize]),
            Self::F16(all) => {
                let mut floats = vec![0.0; dimension];
                kernels::widen(&all[range], &mut floats);
                Query::Floats(floats)
            }
            Self::F32(all) => Query::Floats(all[range].to_vec()),
        }
    }

    fn rows(&self, dimension: usize) -> usize {
        match self {
            Self::F32(all) => all.len() / dimension,
            Self::F16(all) => all.len() / dimension,
            Self::I8(_, scales) => scales.len(),
        }
    }

    /// Keeps these rows, in this order.
    pub(crate) fn pack(&mut self, kept: &[super::Row], dimension: usize) {
        fn rows<T: Copy>(all: &[T], kept: &[super::Row], dimension: usize) -> Vec<T> {
            let row = |row: &super::Row| &all[*row as usize * dimension..(*row as usize + 1) * dimension];
            kept.iter().flat_map(row).copied().collect()
        }
        match self {
            Self::F32(all) => *all = rows(all, kept, dimension),
            Self::F16(all) => *all = rows(all, kept, dimension),
            Self::I8(all, scales) => {
                *all = rows(all, kept, dimension);
                *scales = rows(scales, kept, 1);
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::F32(all) => all.capacity() * 4,
            Self::F16(all) => all.capacity() * 2,
            Self::I8(all, scales) => all.capacity() + scales.capacity() * 4,
        }
    }
}

/// Numbers from -127 to 127 and what they are multiplied with.
fn quantise(vector: &[f32]) -> (Vec<i8>, f32) {
    let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // Within the type by what the scale is; the cast saturates.
    (vector.iter().map(|x| (x * inverse).round() as i8).collect(), scale)
}

/// To IEEE's half precision, to the nearest, ties to even.
fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let rest = bits & 0x7fff_ffff;
    let half = if rest >= 0x4780_0000 {
        // Too large, infinite or no number.
        if rest > 0x7f80_0000 { 0x7e00 } else { 0x7c00 }
    } else if rest < 0x3880_0000 {
        // Below the least normal number: the sum's lowest bits are the half's.
        (f32::from_bits(rest) + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        let odd = (rest >> 13) & 1;
        (rest + 0x0fff + odd - (112 << 23)) >> 13
    };
    (sign | half) as u16
}

fn from_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let rest = u32::from(half & 0x7fff);
    let magnitude = if rest >= 0x7c00 {
        f32::from_bits((rest << 13) | 0x7f80_0000)
    } else {
        // Shifted into place its exponent is too small by 112; subnormal numbers come right alike.
        f32::from_bits(rest << 13) * f32::from_bits((254 - 15) << 23)
    };
    f32::from_bits(sign | magnitude.to_bits())
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::{arch::x86_64::*, sync::OnceLock};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Width {
        Avx512,
        Avx2,
        None,
    }

    fn width() -> Width {
        static WIDTH: OnceLock<Width> = OnceLock::new();
        *WIDTH.get_or_init(|| {
            let f16c = is_x86_feature_detected!("f16c") && is_x86_feature_detected!("avx2");
            if f16c && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                Width::Avx512
            } else if f16c && is_x86_feature_detected!("fma") {
                Width::Avx2
            } else {
                Width::None
            }
        })
    }

    macro_rules! scan {
        ($scan:ident, $type:ty, $query:ty, $wide:ident, $middle:ident, $plain:path) => {
            pub(super) fn $scan(query: &[$query], rows: &[$type], out: &mut [f32]) {
                assert_eq!(rows.len(), query.len() * out.len());
                match width() {
                    // SAFETY: the processor has these instructions, which `width` has found out.
                    Width::Avx512 => unsafe { $wide(query, rows, out) },
                    // SAFETY: as above.
                    Width::Avx2 => unsafe { $middle(query, rows, out) },
                    Width::None => $plain(query, rows, out),
                }
            }
        };
    }

    scan!(scan_f32, f32, f32, wide_f32, middle_f32, super::plain::scan_f32);
    scan!(scan_f16, u16, f32, wide_f16, middle_f16, super::plain::scan_f16);
    scan!(scan_i8, i8, i8, wide_i8, middle_i8, super::plain::scan_i8);

    macro_rules! gather {
        ($gather:ident, $type:ty, $query:ty, $wide_all:ident, $wide:ident, $middle_all:ident, $middle:ident, $plain:path) => {
            pub(super) fn $gather(query: &[$query], all: &[$type], rows: &[u32], out: &mut [f32]) {
                assert_eq!(rows.len(), out.len());
                match width() {
                    // SAFETY: the processor has these instructions, which `width` has found out.
                    Width::Avx512 => unsafe { $wide_all(query, all, rows, out) },
                    // SAFETY: as above.
                    Width::Avx2 => unsafe { $middle_all(query, all, rows, out) },
                    Width::None => {
                        for (row, out) in rows.iter().zip(out.chunks_exact_mut(1)) {
                            let from = *row as usize * query.len();
                            $plain(query, &all[from..from + query.len()], out);
                        }
                    }
                }
            }

            #[target_feature(enable = "avx512f,avx512bw")]
            fn $wide_all(query: &[$query], all: &[$type], rows: &[u32], out: &mut [f32]) {
                let dimension = query.len();
                for (index, (row, out)) in rows.iter().zip(out.chunks_exact_mut(1)).enumerate() {
                    if let Some(next) = rows.get(index + 1) {
                        fetch(&all[*next as usize * dimension..(*next as usize + 1) * dimension]);
                    }
                    let from = *row as usize * dimension;
                    $wide(query, &all[from..from + dimension], out);
                }
            }

            #[target_feature(enable = "avx2,fma,f16c")]
            fn $middle_all(query: &[$query], all: &[$type], rows: &[u32], out: &mut [f32]) {
                let dimension = query.len();
                for (index, (row, out)) in rows.iter().zip(out.chunks_exact_mut(1)).enumerate() {
                    if let Some(next) = rows.get(index + 1) {
                        fetch(&all[*next as usize * dimension..(*next as usize + 1) * dimension]);
                    }
                    let from = *row as usize * dimension;
                    $middle(query, &all[from..from + dimension], out);
                }
            }
        };
    }

    gather!(gather_f32, f32, f32, wide_all_f32, wide_f32, middle_all_f32, middle_f32, super::plain::scan_f32);
    gather!(gather_f16, u16, f32, wide_all_f16, wide_f16, middle_all_f16, middle_f16, super::plain::scan_f16);
    gather!(gather_i8, i8, i8, wide_all_i8, wide_i8, middle_all_i8, middle_i8, super::plain::scan_i8);

    /// Asks for a row before it is needed: rows of a graph lie anywhere, so that the processor cannot guess.
    #[inline(always)]
    fn fetch<T>(row: &[T]) {
        let start = row.as_ptr().cast::<i8>();
        for line in (0..size_of_val(row)).step_by(64) {
            // SAFETY: within the row; and a prefetch touches nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
        }
    }

    /// Halves to floats.
    pub(super) fn widen(halves: &[u16], floats: &mut [f32]) {
        match width() {
            // SAFETY: the processor has these instructions, which `width` has found out: both widths have `f16c`.
            Width::Avx512 | Width::Avx2 => unsafe { fast_widen(halves, floats) },
            Width::None => floats.iter_mut().zip(halves).for_each(|(to, from)| *to = super::from_half(*from)),
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    fn fast_widen(halves: &[u16], floats: &mut [f32]) {
        let (eights, rest) = halves.as_chunks::<8>();
        let (whole, end) = floats.split_at_mut(eights.len() * 8);
        for (from, to) in eights.iter().zip(whole.chunks_exact_mut(8)) {
            // SAFETY: both have eight elements.
            unsafe {
                let halves = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        end.iter_mut().zip(rest).for_each(|(to, from)| *to = super::from_half(*from));
    }

    /// Floats from memory for 16 lanes, by the elements that are left (at most 16).
    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide_rest(left: usize) -> __mmask16 {
        (1_u32 << left).wrapping_sub(1) as __mmask16
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide_f32(query: &[f32], rows: &[f32], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sums = [_mm512_setzero_ps(); 4];
            let (a, b) = (query.as_ptr(), row.as_ptr());
            let mut at = 0;
            while at + 64 <= dimension {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `at + 64` is within both, which have the same length.
                    let (x, y) = unsafe {
                        (_mm512_loadu_ps(a.add(at + 16 * lane)), _mm512_loadu_ps(b.add(at + 16 * lane)))
                    };
                    *sum = _mm512_fmadd_ps(x, y, *sum);
                }
                at += 64;
            }
            while at < dimension {
                let mask = wide_rest((dimension - at).min(16));
                // SAFETY: the mask leaves out what is beyond the end, which is then not read.
                let (x, y) = unsafe {
                    (_mm512_maskz_loadu_ps(mask, a.add(at)), _mm512_maskz_loadu_ps(mask, b.add(at)))
                };
                sums[0] = _mm512_fmadd_ps(x, y, sums[0]);
                at += 16;
            }
            let (low, high) = (_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
            *out = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide_f16(query: &[f32], rows: &[u16], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sums = [_mm512_setzero_ps(); 4];
            let (a, b) = (query.as_ptr(), row.as_ptr());
            let mut at = 0;
            while at + 64 <= dimension {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `at + 64` is within both, which have the same length.
                    let (x, y) = unsafe {
                        (
                            _mm512_loadu_ps(a.add(at + 16 * lane)),
                            _mm256_loadu_si256(b.add(at + 16 * lane).cast()),
                        )
                    };
                    *sum = _mm512_fmadd_ps(x, _mm512_cvtph_ps(y), *sum);
                }
                at += 64;
            }
            let mut total = 0.0;
            while at + 16 <= dimension {
                // SAFETY: `at + 16` is within both.
                let (x, y) = unsafe { (_mm512_loadu_ps(a.add(at)), _mm256_loadu_si256(b.add(at).cast())) };
                sums[0] = _mm512_fmadd_ps(x, _mm512_cvtph_ps(y), sums[0]);
                at += 16;
            }
            for at in at..dimension {
                total += query[at] * super::from_half(row[at]);
            }
            let (low, high) = (_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
            *out = total + _mm512_reduce_add_ps(_mm512_add_ps(low, high));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide_i8(query: &[i8], rows: &[i8], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sums = [_mm512_setzero_si512(); 2];
            let (a, b) = (query.as_ptr(), row.as_ptr());
            let mut at = 0;
            while at + 64 <= dimension {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `at + 64` is within both, which have the same length.
                    let (x, y) = unsafe {
                        (
                            _mm256_loadu_si256(a.add(at + 32 * lane).cast()),
                            _mm256_loadu_si256(b.add(at + 32 * lane).cast()),
                        )
                    };
                    let products = _mm512_madd_epi16(_mm512_cvtepi8_epi16(x), _mm512_cvtepi8_epi16(y));
                    *sum = _mm512_add_epi32(*sum, products);
                }
                at += 64;
            }
            let mut total = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
            for at in at..dimension {
                total += i32::from(query[at]) * i32::from(row[at]);
            }
            *out = total as f32;
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn middle_sum(sum: __m256) -> f32 {
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn middle_f32(query: &[f32], rows: &[f32], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sums = [_mm256_setzero_ps(); 4];
            let mut at = 0;
            while at + 32 <= dimension {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let from = at + 8 * lane;
                    // SAFETY: `at + 32` is within both, which have the same length.
                    let (x, y) = unsafe {
                        (_mm256_loadu_ps(query.as_ptr().add(from)), _mm256_loadu_ps(row.as_ptr().add(from)))
                    };
                    *sum = _mm256_fmadd_ps(x, y, *sum);
                }
                at += 32;
            }
            let rest: f32 = (at..dimension).map(|at| query[at] * row[at]).sum();
            let (low, high) = (_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
            *out = rest + middle_sum(_mm256_add_ps(low, high));
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn middle_f16(query: &[f32], rows: &[u16], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sums = [_mm256_setzero_ps(); 4];
            let mut at = 0;
            while at + 32 <= dimension {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let from = at + 8 * lane;
                    // SAFETY: `at + 32` is within both, which have the same length.
                    let (x, y) = unsafe {
                        (
                            _mm256_loadu_ps(query.as_ptr().add(from)),
                            _mm_loadu_si128(row.as_ptr().add(from).cast()),
                        )
                    };
                    *sum = _mm256_fmadd_ps(x, _mm256_cvtph_ps(y), *sum);
                }
                at += 32;
            }
            let rest: f32 = (at..dimension).map(|at| query[at] * super::from_half(row[at])).sum();
            let (low, high) = (_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
            *out = rest + middle_sum(_mm256_add_ps(low, high));
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn middle_i8(query: &[i8], rows: &[i8], out: &mut [f32]) {
        let dimension = query.len();
        for (row, out) in rows.chunks_exact(dimension).zip(out) {
            let mut sum = _mm256_setzero_si256();
            let mut at = 0;
            while at + 16 <= dimension {
                // SAFETY: `at + 16` is within both, which have the same length.
                let (x, y) = unsafe {
                    (
                        _mm_loadu_si128(query.as_ptr().add(at).cast()),
                        _mm_loadu_si128(row.as_ptr().add(at).cast()),
                    )
                };
                let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(x), _mm256_cvtepi8_epi16(y));
                sum = _mm256_add_epi32(sum, products);
                at += 16;
            }
            let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
            let mut total = _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b10_11_00_01>(pair)));
            for at in at..dimension {
                total += i32::from(query[at]) * i32::from(row[at]);
            }
            *out = total as f32;
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
use plain as kernels;

/// What every processor does; compilers turn the eight sums into whatever it has.
#[cfg_attr(not(target_arch = "x86_64"), allow(unreachable_pub))]
mod plain {
    fn sums(length: usize, product: impl Fn(usize) -> f32) -> f32 {
        let mut sums = [0.0; 8];
        let whole = length / 8 * 8;
        for at in (0..whole).step_by(8) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += product(at + lane);
            }
        }
        sums.iter().sum::<f32>() + (whole..length).map(product).sum::<f32>()
    }

    #[cfg(not(target_arch = "x86_64"))]
    macro_rules! gather {
        ($gather:ident, $scan:ident, $type:ty, $query:ty) => {
            pub(super) fn $gather(query: &[$query], all: &[$type], rows: &[u32], out: &mut [f32]) {
                for (row, out) in rows.iter().zip(out.chunks_exact_mut(1)) {
                    let from = *row as usize * query.len();
                    $scan(query, &all[from..from + query.len()], out);
                }
            }
        };
    }

    #[cfg(not(target_arch = "x86_64"))]
    gather!(gather_f32, scan_f32, f32, f32);
    #[cfg(not(target_arch = "x86_64"))]
    gather!(gather_f16, scan_f16, u16, f32);
    #[cfg(not(target_arch = "x86_64"))]
    gather!(gather_i8, scan_i8, i8, i8);

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn widen(halves: &[u16], floats: &mut [f32]) {
        floats.iter_mut().zip(halves).for_each(|(to, from)| *to = super::from_half(*from));
    }

    pub(super) fn scan_f32(query: &[f32], rows: &[f32], out: &mut [f32]) {
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            *out = sums(query.len(), |at| query[at] * row[at]);
        }
    }

    pub(super) fn scan_f16(query: &[f32], rows: &[u16], out: &mut [f32]) {
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            *out = sums(query.len(), |at| query[at] * super::from_half(row[at]));
        }
    }

    pub(super) fn scan_i8(query: &[i8], rows: &[i8], out: &mut [f32]) {
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            let total: i32 = query.iter().zip(row).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
            *out = total as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn kernels_agree_with_plain_arithmetic(
            dimension in 1_usize..200,
            seed in any::<u64>(),
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
            };
            let rows: Vec<Vec<f32>> = (0..5).map(|_| (0..dimension).map(|_| next()).collect()).collect();
            let asked: Vec<f32> = (0..dimension).map(|_| next()).collect();
            for (precision, tolerance) in
                [(Precision::F32, 1e-5), (Precision::F16, 2e-3), (Precision::I8, 2e-2)]
            {
                let mut vectors = Vectors::new(precision);
                rows.iter().for_each(|row| vectors.push(row));
                let mut out = vec![0.0; rows.len()];
                let query = vectors.query(&asked);
                vectors.scan(&query, 0..rows.len(), dimension, &mut out);
                for (index, row) in rows.iter().enumerate() {
                    let exact: f64 = row.iter().zip(&asked).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    let error = (f64::from(out[index]) - exact).abs() / (dimension as f64).sqrt();
                    prop_assert!(error < tolerance, "{precision:?} of {dimension}: {} for {exact}", out[index]);
                    prop_assert_eq!(out[index].to_bits(), vectors.dot(&query, index, dimension).to_bits());
                }
            }
            let mut plain = vec![0.0; rows.len()];
            let flat: Vec<i8> = rows.iter().flat_map(|row| quantise(row).0).collect();
            let (numbers, _) = quantise(&asked);
            plain::scan_i8(&numbers, &flat, &mut plain);
            let mut out = vec![0.0; rows.len()];
            kernels::scan_i8(&numbers, &flat, &mut out);
            prop_assert_eq!(plain, out);
        }

        #[test]
        fn halves_come_back(half in any::<u16>()) {
            let value = from_half(half);
            if value.is_nan() {
                prop_assert!(from_half(to_half(value)).is_nan());
            } else {
                prop_assert_eq!(to_half(value), half);
            }
        }

        #[test]
        fn halves_are_near(value in -70_000.0_f32..70_000.0) {
            let back = from_half(to_half(value));
            if value.abs() < 65_504.0 {
                prop_assert!((back - value).abs() <= value.abs() / 2048.0 + 6e-8, "{value} {back}");
            } else {
                prop_assert!(back.is_infinite() || back.abs() == 65_504.0);
            }
        }
    }
}
