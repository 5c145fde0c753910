//! On which execution provider a session's nodes run.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char},
    ptr, slice,
};

use ort::{AsPointer, session::Session};
use puna_core::{Error, Result};

use crate::buffer::failed;

/// The session's option that makes it keep what [`placement`] tells.
pub(crate) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// Operators that a model's time goes into, in ONNX's and ONNX Runtime's own domains. Others, which work out shapes, may
/// run on the processor beside a GPU.
const HEAVY: &[&str] = &[
    "Attention",
    "DynamicQuantizeMatMul",
    "Gemm",
    "GroupQueryAttention",
    "LayerNormalization",
    "MatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "QLinearMatMul",
    "RMSNormalization",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "Softmax",
];

/// How many nodes of each operator run on each execution provider.
pub(crate) type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// Where a session's nodes run. It was built with [`RECORD`].
pub(crate) fn placement(session: &Session) -> Result<Placement> {
    let mut placement = Placement::new();
    let api = ort::api();
    let check = |status| {
        // SAFETY: the status that a call just gave.
        unsafe { ort::Error::result_from_status(status) }.map_err(failed("read where the model runs"))
    };
    let text = |text: *const c_char| {
        if text.is_null() {
            return String::new();
        }
        // SAFETY: ONNX Runtime's own C strings, which live as long as the session.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session is alive for the whole function; both are places to write to.
    check(unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count) })?;
    // SAFETY: `count` pointers, which the session owns.
    for subgraph in unsafe { list(subgraphs, count) } {
        let mut name = ptr::null();
        // SAFETY: a subgraph of the session's.
        check(unsafe { (api.EpAssignedSubgraph_GetEpName)(*subgraph, &mut name) })?;
        let operators = placement.entry(text(name)).or_default();
        let (mut nodes, mut count) = (ptr::null(), 0);
        // SAFETY: likewise.
        check(unsafe { (api.EpAssignedSubgraph_GetNodes)(*subgraph, &mut nodes, &mut count) })?;
        // SAFETY: `count` pointers, which the session owns.
        for node in unsafe { list(nodes, count) } {
            let mut operator = ptr::null();
            // SAFETY: a node of the subgraph's.
            check(unsafe { (api.EpAssignedNode_GetOperatorType)(*node, &mut operator) })?;
            *operators.entry(text(operator)).or_default() += 1;
        }
    }
    Ok(placement)
}

/// # Safety
/// There are `count` values, or none where the pointer is null, for as long as the result is used.
unsafe fn list<'a, T>(values: *const T, count: usize) -> &'a [T] {
    if values.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(values, count) }
}

/// Checks that what a model's time goes into runs on the one provider.
///
/// # Errors
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput), naming what runs elsewhere.
pub(crate) fn check(placement: &Placement, provider: &str) -> Result<()> {
    let heavy = |operators: &BTreeMap<String, usize>| -> Vec<String> {
        let heavy = operators.iter().filter(|(operator, _)| HEAVY.contains(&operator.as_str()));
        heavy.map(|(operator, count)| format!("{count} `{operator}`")).collect()
    };
    if placement.get(provider).is_none_or(|operators| heavy(operators).is_empty()) {
        return Err(Error::invalid_input(format!("none of the model's nodes runs on {provider}")));
    }
    for (other, operators) in placement.iter().filter(|(name, _)| *name != provider) {
        let elsewhere = heavy(operators);
        if !elsewhere.is_empty() {
            return Err(Error::invalid_input(format!(
                "{} of the model's nodes run on {other} and not on {provider}, which has no kernels for their types: take a variant that was exported for it, as fp16, or another device",
                elsewhere.join(", ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(nodes: &[(&str, &[(&str, usize)])]) -> String {
        let operators = |nodes: &[(&str, usize)]| {
            nodes.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let placement = nodes.iter().map(|(name, nodes)| ((*name).to_owned(), operators(nodes))).collect();
        check(&placement, "CUDA").err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_runs_elsewhere_is_named() {
        assert_eq!(told(&[("CUDA", &[("MatMulNBits", 9), ("Add", 3)]), ("CPU", &[("Gather", 2)])]), "");
        let split =
            told(&[("CUDA", &[("MatMul", 9)]), ("CPU", &[("Shape", 1), ("GroupQueryAttention", 16)])]);
        assert!(split.contains("16 `GroupQueryAttention`") && split.contains("CPU"), "{split}");
        assert!(!split.contains("Shape"), "{split}");
        for nothing in [told(&[]), told(&[("CUDA", &[("Add", 3)])]), told(&[("CPU", &[("MatMul", 9)])])] {
            assert!(nothing.contains("none of the model's nodes runs on CUDA"), "{nothing}");
        }
    }
}
