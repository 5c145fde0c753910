//! Vectors of one length, one behind the other, in one of the kinds of number.

use super::{
    Row, dot,
    number::{Half, Number, Precision},
};

/// Vectors of one length. Questions are compared with them in floats, whatever they are kept in.
#[derive(Clone, Debug)]
pub(crate) enum Vectors {
    F32(Matrix<f32>),
    F16(Matrix<Half>),
    I8(Matrix<i8>),
}

/// Vectors in one kind of number.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<N> {
    dimension: usize,
    pub(crate) numbers: Vec<N>,
    /// What each vector is multiplied with, for numbers that are scaled.
    pub(crate) scales: Vec<f32>,
}

/// The same for whichever kind it is.
macro_rules! each {
    ($vectors:expr, $matrix:ident => $do:expr) => {
        match $vectors {
            Vectors::F32($matrix) => $do,
            Vectors::F16($matrix) => $do,
            Vectors::I8($matrix) => $do,
        }
    };
}

impl Vectors {
    pub(crate) fn new(dimension: usize, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32(Matrix::new(dimension, Vec::new(), Vec::new())),
            Precision::F16 => Self::F16(Matrix::new(dimension, Vec::new(), Vec::new())),
            Precision::I8 => Self::I8(Matrix::new(dimension, Vec::new(), Vec::new())),
        }
    }

    pub(crate) fn dimension(&self) -> usize {
        each!(self, all => all.dimension)
    }

    pub(crate) fn rows(&self) -> usize {
        each!(self, all => all.numbers.len() / all.dimension)
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        each!(self, all => all.push(vector));
    }

    /// A vector in floats, into `floats`.
    pub(crate) fn get(&self, row: Row, floats: &mut Vec<f32>) {
        each!(self, all => all.get(row, floats));
    }

    /// The dot products with a range of rows, into `out`.
    pub(crate) fn scan(&self, query: &[f32], rows: std::ops::Range<usize>, out: &mut [f32]) {
        each!(self, all => all.scan(query, rows, out));
    }

    /// The dot products with some rows, wherever they lie, into `out`.
    pub(crate) fn gather(&self, query: &[f32], rows: &[Row], out: &mut [f32]) {
        each!(self, all => all.gather(query, rows, out));
    }

    /// The dot product with a row.
    pub(crate) fn dot(&self, query: &[f32], row: Row) -> f32 {
        let mut out = [0.0];
        self.gather(query, &[row], &mut out);
        out[0]
    }

    /// These rows alone, in this order.
    pub(crate) fn packed(&self, kept: &[Row]) -> Self {
        match self {
            Self::F32(all) => Self::F32(all.packed(kept)),
            Self::F16(all) => Self::F16(all.packed(kept)),
            Self::I8(all) => Self::I8(all.packed(kept)),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        each!(self, all => all.bytes())
    }
}

impl<N: Number> Matrix<N> {
    pub(crate) fn new(dimension: usize, numbers: Vec<N>, scales: Vec<f32>) -> Self {
        Self { dimension, numbers, scales }
    }

    fn push(&mut self, vector: &[f32]) {
        let Some(most) = N::LARGEST else {
            self.numbers.extend(vector.iter().map(|x| N::encode(*x)));
            return;
        };
        let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let factor = if largest > 0.0 { most / largest } else { 0.0 };
        self.numbers.extend(vector.iter().map(|x| N::encode(x * factor)));
        self.scales.push(largest / most);
    }

    fn scale(&self, row: Row) -> f32 {
        if N::LARGEST.is_some() { self.scales[row as usize] } else { 1.0 }
    }

    fn get(&self, row: Row, floats: &mut Vec<f32>) {
        let numbers = &self.numbers[row as usize * self.dimension..][..self.dimension];
        let scale = self.scale(row);
        floats.resize(self.dimension, 0.0);
        dot::widen(numbers, floats);
        if N::LARGEST.is_some() {
            floats.iter_mut().for_each(|x| *x *= scale);
        }
    }

    fn scan(&self, query: &[f32], rows: std::ops::Range<usize>, out: &mut [f32]) {
        dot::scan(query, &self.numbers[rows.start * self.dimension..rows.end * self.dimension], out);
        if N::LARGEST.is_some() {
            out.iter_mut().zip(&self.scales[rows]).for_each(|(out, scale)| *out *= scale);
        }
    }

    fn gather(&self, query: &[f32], rows: &[Row], out: &mut [f32]) {
        dot::gather(query, &self.numbers, rows, out);
        if N::LARGEST.is_some() {
            out.iter_mut().zip(rows).for_each(|(out, row)| *out *= self.scale(*row));
        }
    }

    fn packed(&self, kept: &[Row]) -> Self {
        let mut numbers = Vec::with_capacity(kept.len() * self.dimension);
        for row in kept {
            numbers.extend_from_slice(&self.numbers[*row as usize * self.dimension..][..self.dimension]);
        }
        let scales = if self.scales.is_empty() {
            Vec::new()
        } else {
            kept.iter().map(|row| self.scale(*row)).collect()
        };
        Self { dimension: self.dimension, numbers, scales }
    }

    fn bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<N>() + self.scales.capacity() * 4
    }
}
