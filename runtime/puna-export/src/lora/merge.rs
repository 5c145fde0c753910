use std::path::Path;

use puna_core::{Error, Result};

use super::Peft;
use crate::checkpoint::{Checkpoint, Source};

/// A checkpoint with an adapter merged into it while it is read.
pub(crate) struct Merged<'a> {
    base: &'a Checkpoint,
    adapter: Peft,
}

impl<'a> Merged<'a> {
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when the adapter has modules that the checkpoint lacks, or
    /// of another shape.
    pub(crate) fn new(base: &'a Checkpoint, folder: &Path) -> Result<Self> {
        let adapter = Peft::open(folder)?;
        for (module, pair) in adapter.modules() {
            let wanted = [pair.outputs, pair.inputs];
            let wrong = match base.peek(&format!("{module}.weight")) {
                Some(shape) if shape == wanted => continue,
                Some(shape) => format!("is {shape:?} in the checkpoint"),
                None => "is not in the checkpoint".to_owned(),
            };
            return Err(Error::invalid_input(format!(
                "the adapter in `{}` changes `{module}` as {wanted:?}, which {wrong}",
                folder.display()
            )));
        }
        Ok(Self { base, adapter })
    }
}

impl Source for Merged<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.base.shape(name)
    }

    fn read(&self, name: &str, from: u64, out: &mut [f32]) -> Result<()> {
        self.base.read(name, from, out)?;
        let Some(module) = name.strip_suffix(".weight") else { return Ok(()) };
        let Some(pair) = self.adapter.pair(module) else { return Ok(()) };
        let first = usize::try_from(from).unwrap_or(usize::MAX);
        if !first.is_multiple_of(pair.inputs) || !out.len().is_multiple_of(pair.inputs) {
            return Err(Error::internal(format!("`{name}` is adapted and not read by whole rows")));
        }
        let (a, b) = (
            self.adapter.a(module, pair)?,
            self.adapter.b(module, pair, first / pair.inputs, out.len() / pair.inputs)?,
        );
        for (row, factors) in out.chunks_exact_mut(pair.inputs).zip(b.chunks_exact(pair.rank)) {
            for (factor, direction) in factors.iter().zip(a.chunks_exact(pair.inputs)) {
                let factor = factor * pair.scale;
                row.iter_mut().zip(direction).for_each(|(value, step)| *value += factor * step);
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.base.names()
    }
}
