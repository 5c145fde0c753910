use std::fmt::Debug;

use half::{bf16, f16};
use ort::{
    memory::Allocator,
    value::{DynTensor, IntoTensorElementType, PrimitiveTensorElementType, TensorElementType},
};
use puna_core::{Error, Result};

use crate::layout::CacheTensor;

/// Positions a cache grows by at least: small enough that short conversations stay small, large enough
/// that growing, which copies the cache, is rare.
pub(crate) const CACHE_STEP: usize = 256;

/// The capacity for `needed` positions: at least twice the present one, so that copying is amortised,
/// in whole steps, and never above the context.
pub(crate) fn grown_capacity(present: usize, needed: usize, context: usize) -> usize {
    needed.max(present.saturating_mul(2)).next_multiple_of(CACHE_STEP).min(context.max(needed))
}

/// An empty cache tensor of shape `[1, kv_heads, length, head_dim]`.
pub(crate) fn allocate(tensor: &CacheTensor, length: usize) -> Result<DynTensor> {
    DynTensor::new(&Allocator::default(), tensor.element, [1_usize, tensor.heads, length, tensor.head_dim])
        .map_err(|error| {
            Error::new(
                puna_core::ErrorKind::ResourceExhausted,
                format!("cannot allocate a cache of {length} tokens: {}", error.message()),
            )
        })
}

/// Copies the first `valid` positions of `from`, which has room for `from_length`, into `to`, which has
/// room for `to_length`.
pub(crate) fn copy_positions(
    tensor: &CacheTensor,
    valid: usize,
    (from, from_length): (&DynTensor, usize),
    (to, to_length): (&mut DynTensor, usize),
) -> Result<()> {
    let copy = match tensor.element {
        TensorElementType::Float32 => copy_typed::<f32>,
        TensorElementType::Float16 => copy_typed::<f16>,
        TensorElementType::Bfloat16 => copy_typed::<bf16>,
        TensorElementType::Int8 => copy_typed::<i8>,
        TensorElementType::Uint8 => copy_typed::<u8>,
        other => {
            return Err(Error::invalid_input(format!(
                "`{}` is of type {other}, not a cache's type",
                tensor.past
            )));
        }
    };
    let dim = tensor.head_dim;
    copy(from, to, tensor.heads, valid * dim, from_length * dim, to_length * dim)
        .map_err(|error| Error::internal(format!("cannot copy `{}`: {}", tensor.past, error.message())))
}

fn copy_typed<T: PrimitiveTensorElementType + IntoTensorElementType + Copy + Debug>(
    from: &DynTensor,
    to: &mut DynTensor,
    heads: usize,
    count: usize,
    from_stride: usize,
    to_stride: usize,
) -> ort::Result<()> {
    let (_, from) = from.try_extract_tensor::<T>()?;
    let (_, to) = to.try_extract_tensor_mut::<T>()?;
    for head in 0..heads {
        let source = &from[head * from_stride..][..count];
        to[head * to_stride..][..count].copy_from_slice(source);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_in_steps_and_stops_at_the_context() {
        assert_eq!(grown_capacity(0, 1, 4096), CACHE_STEP);
        assert_eq!(grown_capacity(256, 257, 4096), 512);
        assert_eq!(grown_capacity(256, 1000, 4096), 1024);
        assert_eq!(grown_capacity(512, 513, 700), 700);
        assert_eq!(grown_capacity(0, 64, 100), 100);
    }
}
