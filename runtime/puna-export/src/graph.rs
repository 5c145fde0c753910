//! Puts a graph together: nodes by name, constants where they are first used.

use std::collections::BTreeSet;

use crate::onnx::{
    self, Entry, Given, Graph, MICROSOFT, Model, Node, OperatorSet, Size, Tensor, Type, ValueInfo,
};

/// The version of ONNX's own operators: the first with blocks in `DequantizeLinear`. The graphs use nothing newer.
const OPSET: i64 = 21;

/// Metadata of a graph with products of unsigned by signed bytes: the option of ONNX Runtime's sessions
/// under which they do not saturate in 16 bits on processors with AVX2 or AVX-512 and without VNNI. It makes
/// the weights unsigned; a product without a zero point of its own is given one.
const EXACT_PRODUCTS: (&str, &str) = ("session.x64quantprecision", "1");

/// A graph that grows. A node's value has the node's name.
#[derive(Default)]
pub(crate) struct GraphWriter {
    graph: Graph,
    constants: BTreeSet<String>,
    microsoft: bool,
    integers: bool,
}

impl GraphWriter {
    pub(crate) fn input(&mut self, value: ValueInfo) {
        self.graph.input.push(value);
    }

    pub(crate) fn output(&mut self, value: ValueInfo) {
        self.graph.output.push(value);
    }

    /// A tensor of one of the files of weights; said again, it is there once.
    pub(crate) fn weight(&mut self, tensor: Tensor) -> String {
        let name = tensor.name.clone();
        if self.constants.insert(name.clone()) {
            self.graph.initializer.push(tensor);
        }
        name
    }

    /// An input of floats that need not be given: empty without, so that at least one size must not be known.
    pub(crate) fn optional(&mut self, name: &str, element: Type, shape: &[Size]) -> String {
        self.input(onnx::value(name, element, shape));
        let sizes = shape.iter().map(|size| match size {
            Size::Of(size) => *size,
            Size::Named(_) => 0,
        });
        self.constant(name, element, &sizes.collect::<Vec<_>>(), Vec::new())
    }

    fn constant(&mut self, name: &str, element: Type, dims: &[usize], bytes: Vec<u8>) -> String {
        self.weight(Tensor {
            dims: dims.iter().filter_map(|size| i64::try_from(*size).ok()).collect(),
            data_type: Some(element as i32),
            name: name.to_owned(),
            raw_data: Some(bytes),
            ..Tensor::default()
        })
    }

    /// A list of whole numbers, named by them.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&format!("const/ints{values:?}"), Type::Int64, &[values.len()], bytes)
    }

    /// A long list of whole numbers under a name of its own.
    pub(crate) fn int_table(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Type::Int64, &[values.len()], bytes)
    }

    /// A whole number without dimensions.
    pub(crate) fn int(&mut self, value: i64) -> String {
        self.constant(&format!("const/int/{value}"), Type::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// A 32-bit float, or a 16-bit one, without dimensions.
    pub(crate) fn float(&mut self, value: f32, element: Type) -> String {
        let bytes = match element {
            Type::Float16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        self.constant(&format!("const/{element:?}/{value:e}"), element, &[], bytes)
    }

    /// A byte without dimensions.
    pub(crate) fn byte(&mut self, value: u8, element: Type) -> String {
        self.constant(&format!("const/{element:?}/{value}"), element, &[], vec![value])
    }

    /// A node of ONNX's own, and its value.
    pub(crate) fn node(
        &mut self,
        kind: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Given)],
    ) -> String {
        self.nodes("", kind, name, inputs, &[name], attributes);
        name.to_owned()
    }

    /// A node of ONNX Runtime's own, and its value.
    pub(crate) fn microsoft(
        &mut self,
        kind: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Given)],
    ) -> String {
        self.nodes(MICROSOFT, kind, name, inputs, &[name], attributes);
        name.to_owned()
    }

    /// A node with several values, of which unnamed ones are left out.
    pub(crate) fn nodes(
        &mut self,
        domain: &str,
        kind: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Given)],
    ) {
        self.microsoft |= domain == MICROSOFT;
        self.integers |= kind == "MatMulIntegerToFloat";
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.graph.node.push(Node {
            input: owned(inputs),
            output: owned(outputs),
            name: name.to_owned(),
            op_type: kind.to_owned(),
            attribute: attributes.iter().map(|(name, given)| onnx::attribute(name, given)).collect(),
            domain: domain.to_owned(),
        });
    }

    pub(crate) fn finish(mut self, name: &str) -> Model {
        self.graph.name = name.to_owned();
        let set = |domain: &str, version| OperatorSet { domain: domain.to_owned(), version: Some(version) };
        let mut opset_import = vec![set("", OPSET)];
        if self.microsoft {
            opset_import.push(set(MICROSOFT, 1));
        }
        let mut metadata_props = Vec::new();
        if self.integers {
            let (key, value) = EXACT_PRODUCTS;
            metadata_props.push(Entry { key: key.to_owned(), value: value.to_owned() });
        }
        Model {
            ir_version: Some(onnx::IR_VERSION),
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import,
            metadata_props,
        }
    }
}
