//! Matrices as a graph wants them, put together from a checkpoint's tensors while they are read.

use std::sync::Arc;

use puna_core::{Error, Result};

use crate::{
    checkpoint::{Source, listed},
    rotate::Rotation,
};

/// Rows of a tensor. A vector is a tensor of rows of one.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    tensor: String,
    first: usize,
    rows: usize,
    /// Whether the tensor may have more rows.
    fused: bool,
    /// Turns what the rows give: `RᵀW`.
    output: Option<Rotation>,
    /// The rows' numbers where they had to be read before any piece was: every row of `RᵀW` is made of all of `W`'s.
    held: Option<Arc<[f32]>>,
}

impl Part {
    /// A whole tensor.
    pub(crate) fn of(tensor: &str, rows: usize) -> Self {
        Self { tensor: tensor.to_owned(), first: 0, rows, fused: false, output: None, held: None }
    }

    /// Rows in the middle of a fused tensor.
    pub(crate) fn within(tensor: &str, first: usize, rows: usize) -> Self {
        Self { first, fused: true, ..Self::of(tensor, rows) }
    }

    /// The same with what it gives turned.
    pub(crate) fn turned(self, output: Option<&Rotation>) -> Self {
        Self { output: output.cloned(), ..self }
    }
}

/// A matrix of `[rows, columns]`: parts below each other. Checkpoints hold a product's weights with a row for each
/// output.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    parts: Vec<Part>,
    pub(crate) columns: usize,
    /// Added to every number: 1 for the norms of models that keep their distance from 1.
    pub(crate) offset: f32,
    /// The tensor that columns are multiplied by: the weights of the norm before a product.
    scale: Option<String>,
    /// Turns what the product takes: `WR`.
    input: Option<Rotation>,
    scales: Option<Arc<[f32]>>,
}

impl Matrix {
    /// A whole tensor.
    pub(crate) fn of(tensor: &str, rows: usize, columns: usize) -> Self {
        Self::joined(vec![Part::of(tensor, rows)], columns)
    }

    /// Parts below each other.
    pub(crate) fn joined(parts: Vec<Part>, columns: usize) -> Self {
        Self { parts, columns, offset: 0.0, scale: None, input: None, scales: None }
    }

    /// The same with what the product takes turned.
    pub(crate) fn turned(self, input: Option<Rotation>) -> Self {
        Self { input, ..self }
    }

    /// The same with the weights of a norm, which is before the product, merged into it.
    pub(crate) fn behind(self, norm: &str) -> Self {
        Self { scale: Some(format!("{norm}.weight")), ..self }
    }

    /// The tensors it is made of, each with the rows that it must have at least, and whether these are all.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, usize, bool)> {
        let named = self.parts.iter().filter(|part| !part.tensor.is_empty());
        // The first rows of a fused tensor say nothing of the others, which another part asks for.
        named.map(|part| (&*part.tensor, part.first + part.rows, part.first > 0 || !part.fused))
    }

    /// The tensors' names, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.parts.iter().map(|part| &*part.tensor).collect();
        listed(&names)
    }

    /// The vector that its columns are multiplied by.
    pub(crate) fn scale(&self) -> Option<&str> {
        self.scale.as_deref()
    }

    /// A vector of ones.
    pub(crate) fn ones(rows: usize) -> Self {
        let mut ones = Part::of("", rows);
        ones.held = Some(vec![1.0; rows].into());
        Self::joined(vec![ones], 1)
    }

    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Reads what must be read before pieces can be.
    pub(crate) fn prepared(&self, source: &dyn Source) -> Result<Self> {
        let mut prepared = self.clone();
        if let Some(name) = &self.scale {
            let mut scales = vec![0.0; self.columns];
            source.read(name, 0, &mut scales)?;
            prepared.scales = Some(scales.into());
        }
        for part in &mut prepared.parts {
            if let Some(rotation) = part.output.take() {
                let mut values = vec![0.0; part.rows * self.columns];
                source.read(&part.tensor, (part.first * self.columns) as u64, &mut values)?;
                rotation.columns(&mut values, self.columns);
                part.held = Some(values.into());
            }
        }
        Ok(prepared)
    }

    /// Reads rows; the matrix is prepared.
    pub(crate) fn read(
        &self,
        source: &dyn Source,
        first: usize,
        count: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        out.clear();
        out.resize(count * self.columns, 0.0);
        let (mut above, mut filled) = (0, 0);
        for part in &self.parts {
            let (from, to) = (first.max(above), (first + count).min(above + part.rows));
            if from < to {
                let target = &mut out[filled..filled + (to - from) * self.columns];
                let (from, to) = (from - above, to - above);
                match &part.held {
                    Some(held) => target.copy_from_slice(&held[from * self.columns..to * self.columns]),
                    None => {
                        source.read(&part.tensor, ((part.first + from) * self.columns) as u64, target)?;
                    }
                }
                if let Some(place) = target.iter().position(|value| !value.is_finite()) {
                    return Err(Error::invalid_input(format!(
                        "`{}` has `{}` where a weight belongs; the checkpoint is damaged",
                        part.tensor, target[place]
                    )));
                }
                filled += target.len();
            }
            above += part.rows;
        }
        if self.offset != 0.0 {
            out.iter_mut().for_each(|value| *value += self.offset);
        }
        if let Some(scales) = &self.scales {
            for row in out.chunks_exact_mut(self.columns) {
                row.iter_mut().zip(&**scales).for_each(|(value, scale)| *value *= scale);
            }
        }
        if let Some(rotation) = &self.input {
            rotation.rows(out);
        }
        Ok(())
    }
}
