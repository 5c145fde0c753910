//! The kinds of number that vectors are kept in.

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

/// A kind of number that vectors are kept in.
pub(crate) trait Number: Copy {
    /// What the largest number of a vector is scaled to; none where vectors are kept as they are.
    const LARGEST: Option<f32> = None;

    fn encode(value: f32) -> Self;

    fn decode(self) -> f32;

    /// Eight numbers as floats.
    ///
    /// # Safety
    /// The processor has AVX2 and F16C; eight numbers can be read.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load(from: *const Self) -> std::arch::x86_64::__m256;
}

impl Number for f32 {
    fn encode(value: f32) -> Self {
        value
    }

    fn decode(self) -> f32 {
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const Self) -> std::arch::x86_64::__m256 {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from) }
    }
}

/// A number of IEEE's half precision, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Half(pub(crate) u16);

impl Number for Half {
    /// To the nearest, ties to even.
    fn encode(value: f32) -> Self {
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
        Self((sign | half) as u16)
    }

    fn decode(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let rest = u32::from(self.0 & 0x7fff);
        let magnitude = if rest >= 0x7c00 {
            f32::from_bits((rest << 13) | 0x7f80_0000)
        } else {
            // Shifted into place its exponent is too small by 112; subnormal numbers come right alike.
            f32::from_bits(rest << 13) * f32::from_bits((254 - 15) << 23)
        };
        f32::from_bits(sign | magnitude.to_bits())
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const Self) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps};
        // SAFETY: the caller's promise.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }
}

impl Number for i8 {
    const LARGEST: Option<f32> = Some(127.0);

    /// The cast saturates.
    fn encode(value: f32) -> Self {
        value.round() as Self
    }

    fn decode(self) -> f32 {
        f32::from(self)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const Self) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::{_mm_loadl_epi64, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps};
        // SAFETY: the caller's promise.
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(from.cast()) }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn halves_come_back(bits in any::<u16>()) {
            let value = Half(bits).decode();
            if value.is_nan() {
                prop_assert!(Half::encode(value).decode().is_nan());
            } else {
                prop_assert_eq!(Half::encode(value), Half(bits));
            }
        }

        #[test]
        fn halves_are_near(value in -70_000.0_f32..70_000.0) {
            let back = Half::encode(value).decode();
            if value.abs() < 65_504.0 {
                prop_assert!((back - value).abs() <= value.abs() / 2048.0 + 6e-8, "{value} {back}");
            } else {
                prop_assert!(back.is_infinite() || back.abs() == 65_504.0);
            }
        }
    }
}
