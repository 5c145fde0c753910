//! Weights in few bits.

/// Block-wise quantisation, the form of ONNX Runtime's `MatMulNBits`: a scale, and without symmetry a zero point, for
/// each block of a row's neighbouring weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// 4 or 8.
    pub(crate) bits: usize,
    /// Weights that share a scale.
    pub(crate) size: usize,
    /// Whether zero is the middle of the range.
    pub(crate) symmetric: bool,
    /// Whether levels count from the middle, as ONNX's signed types do.
    pub(crate) signed: bool,
}

/// Rows in few bits.
#[derive(Default)]
pub(crate) struct Packed {
    /// `[rows, blocks, size * bits / 8]`; the first of two weights in a byte is its lower half.
    pub(crate) values: Vec<u8>,
    /// `[rows, blocks]`
    pub(crate) scales: Vec<f32>,
    /// `[rows, ceil(blocks * bits / 8)]`, empty with symmetry.
    pub(crate) zeros: Vec<u8>,
}

impl Blocks {
    /// Blocks of a row.
    pub(crate) fn count(self, columns: usize) -> usize {
        columns.div_ceil(self.size)
    }

    /// Bytes of a row's values.
    pub(crate) fn value_bytes(self, columns: usize) -> usize {
        self.count(columns) * self.size * self.bits / 8
    }

    /// Bytes of a row's zero points.
    pub(crate) fn zero_bytes(self, columns: usize) -> usize {
        (self.count(columns) * self.bits).div_ceil(8)
    }

    /// Rounds rows as ONNX Runtime's own quantiser does. With symmetry the weight that is furthest from zero becomes
    /// the lowest level, whose magnitude is the largest; else the levels span the block's range and zero.
    pub(crate) fn pack(self, values: &[f32], columns: usize) -> Packed {
        let mut packed = Packed::default();
        let rows = values.len() / columns;
        packed.values.reserve(rows * self.value_bytes(columns));
        packed.scales.reserve(rows * self.count(columns));
        let mut levels = vec![0; self.size];
        let mut zeros = Vec::with_capacity(self.count(columns));
        for row in values.chunks_exact(columns) {
            zeros.clear();
            for block in row.chunks(self.size) {
                let (scale, zero) = self.level(block, &mut levels);
                packed.scales.push(scale);
                zeros.push(zero);
                self.append(&levels, &mut packed.values);
            }
            if !self.symmetric {
                // The half of a byte that is left over is the middle.
                if self.bits == 4 && !zeros.len().is_multiple_of(2) {
                    zeros.push(8);
                }
                self.append(&zeros, &mut packed.zeros);
            }
        }
        packed
    }

    /// A block's levels, scale and zero point. Places beyond the row's end get the zero point.
    fn level(self, block: &[f32], levels: &mut [u8]) -> (f32, u8) {
        let (middle, most) = if self.bits == 4 { (8.0, 15.0) } else { (128.0, 255.0) };
        let (low, high) =
            block.iter().fold((0_f32, 0_f32), |(low, high), value| (low.min(*value), high.max(*value)));
        let (scale, zero) = if self.symmetric {
            (if high > -low { high } else { low } / -middle, middle)
        } else {
            let scale = (high - low) / most;
            (scale, if scale == 0.0 { middle } else { (-low / scale).round().clamp(0.0, most) })
        };
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        for (level, value) in levels.iter_mut().zip(block) {
            *level = byte((value * inverse + zero).round().clamp(0.0, most));
        }
        levels[block.len()..].fill(byte(zero));
        (scale, byte(zero))
    }

    fn append(self, levels: &[u8], out: &mut Vec<u8>) {
        // Two's complement differs from an offset of half the range in the highest bit alone.
        if self.bits == 8 {
            let flip = if self.signed { 0x80 } else { 0 };
            out.extend(levels.iter().map(|level| level ^ flip));
        } else {
            let flip = if self.signed { 0x88 } else { 0 };
            out.extend(levels.as_chunks::<2>().0.iter().map(|[low, high]| (low | high << 4) ^ flip));
        }
    }
}

/// Rows in signed 8 bits, each with one scale: its largest weight becomes 127 or -127.
pub(crate) fn channels(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let mut levels = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / columns);
    for row in values.chunks_exact(columns) {
        let largest = row.iter().fold(0_f32, |largest, value| largest.max(value.abs()));
        let scale = (largest / 127.0).max(1e-12);
        let inverse = 1.0 / scale;
        scales.push(scale);
        levels
            .extend(row.iter().map(|value| signed((value * inverse).round_ties_even().clamp(-127.0, 127.0))));
    }
    (levels, scales)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte's range")]
fn byte(value: f32) -> u8 {
    value as u8
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a byte's range")]
fn signed(value: f32) -> i8 {
    value as i8
}
