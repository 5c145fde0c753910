//! Products of an encoder, and the constants that its nodes take.

use puna_core::{Error, Result};

use super::Encoder;
use crate::{
    matrix::{Matrix, Part},
    onnx::{Given, MICROSOFT, Type},
    plan::Job,
};

/// Rows in unsigned 8 bits.
#[derive(Clone)]
pub(super) struct Rows {
    levels: String,
    /// `[rows, 1]`
    scale: String,
    /// What a level of 0 stands for, negated: `[rows, 1]`.
    shift: String,
}

impl Encoder<'_> {
    /// `x · Wᵀ` without the bias, in 8 bits where the form says so.
    pub(super) fn linear(&mut self, name: &str, x: &str, outputs: usize, inputs: usize) -> Result<String> {
        let matrix = Matrix::of(&self.tensor(&format!("{name}.weight")), outputs, inputs);
        if self.int8 { self.integer(name, x, matrix) } else { self.float(name, x, matrix) }
    }

    /// A product in floats, whatever the form.
    pub(super) fn float(&mut self, name: &str, x: &str, matrix: Matrix) -> Result<String> {
        self.expect(&matrix);
        let stored = format!("{name}.weight.transposed");
        let dims = [matrix.columns, matrix.rows()];
        if let Some(slot) = self.plan.place(self.file, &stored, Type::Float32, &dims) {
            self.plan.job(Job::Columns { matrix, element: Type::Float32, slot });
        }
        let weight = self.placed(&stored)?;
        Ok(self.graph.node("MatMul", name, &[x, &weight], &[]))
    }

    /// A product and its bias, in floats: of heads and tables, which are small.
    pub(super) fn affine(&mut self, name: &str, x: &str, outputs: usize, inputs: usize) -> Result<String> {
        let matrix = Matrix::of(&self.tensor(&format!("{name}.weight")), outputs, inputs);
        let product = self.float(name, x, matrix)?;
        self.biased(name, &product, outputs)
    }

    pub(super) fn biased(&mut self, name: &str, product: &str, width: usize) -> Result<String> {
        let bias = self.vector(&format!("{name}.bias"), width)?;
        Ok(self.graph.node("Add", &format!("{name}.biased"), &[product, &bias], &[]))
    }

    /// A product of 8-bit integers, `x` quantised row by row:
    ///
    /// `scale = (max - min) / 255`, `u8 = round(x / scale) + zero`, `y = u8 · s8 * scale - zero * scale * sum(s8)`
    ///
    /// One scale and zero a row, so that a row's result does not depend on those beside it; with a zero of its own,
    /// because most rows of encoders lean to one side, and half the levels would be lost.
    fn integer(&mut self, name: &str, x: &str, matrix: Matrix) -> Result<String> {
        self.expect(&matrix);
        let (rows, columns) = (matrix.rows(), matrix.columns);
        let stored = format!("{name}.weight.channels");
        let scales = format!("{stored}.scales");
        if let Some(values) = self.plan.place(self.file, &stored, Type::Int8, &[columns, rows])
            && let Some(scales) = self.plan.place(self.file, &scales, Type::Float32, &[rows])
        {
            self.plan.job(Job::Channels { matrix, values, scales });
        }
        let (weight, column_scale) = (self.placed(&stored)?, self.placed(&scales)?);
        let Rows { levels, scale, shift } = self.quantise_rows(x, columns);
        let shape = self.shape_of(rows);
        let graph = &mut self.graph;
        let one = graph.float(1.0, Type::Float32);
        let least = graph.byte(0, Type::Uint8);
        let inputs = [&*levels, &weight, &one, &column_scale, &least];
        let product = graph.microsoft("MatMulIntegerToFloat", &format!("{name}.product"), &inputs, &[]);
        // What the weights alone say: a session works it out once.
        let to_float = [("to", Given::Int(i64::from(Type::Float32 as i32)))];
        let wide = graph.node("Cast", &format!("{name}.weight.float"), &[&weight], &to_float);
        let axis = graph.ints(&[0]);
        let sums = graph.node("ReduceSum", &format!("{name}.weight.sums"), &[&wide, &axis], &[]);
        let sums = graph.node("Mul", &format!("{name}.weight.scaled"), &[&sums, &column_scale], &[]);
        let scaled = graph.node("Mul", &format!("{name}.scaled"), &[&product, &scale], &[]);
        let shifted = graph.node("Mul", &format!("{name}.shift"), &[&shift, &sums], &[]);
        let flat = graph.node("Sub", &format!("{name}.flat"), &[&scaled, &shifted], &[]);
        Ok(graph.node("Reshape", name, &[&flat, &shape], &[]))
    }

    /// `[batch, sequence, width]`
    fn shape_of(&mut self, width: usize) -> String {
        let name = format!("shape.{width}");
        if self.shapes.insert(width) {
            let ids = self.graph.node("Shape", &format!("{name}.ids"), &["input_ids"], &[]);
            let width = self.graph.ints(&[i64::try_from(width).unwrap_or(i64::MAX)]);
            self.graph.node("Concat", &name, &[&ids, &width], &[("axis", Given::Int(0))]);
        }
        name
    }

    /// A value's rows in unsigned 8 bits; products of one value share them.
    fn quantise_rows(&mut self, x: &str, width: usize) -> Rows {
        if let Some((of, rows)) = &self.quantised
            && of == x
        {
            return rows.clone();
        }
        let graph = &mut self.graph;
        let named = |what: &str| format!("{x}.{what}");
        let flat = graph.ints(&[-1, i64::try_from(width).unwrap_or(i64::MAX)]);
        let flat = graph.node("Reshape", &named("rows"), &[x, &flat], &[]);
        let axis = graph.ints(&[-1]);
        let keep = [("keepdims", Given::Int(1))];
        let nothing = graph.float(0.0, Type::Float32);
        let high = graph.node("ReduceMax", &named("max"), &[&flat, &axis], &keep);
        let high = graph.node("Max", &named("high"), &[&high, &nothing], &[]);
        let low = graph.node("ReduceMin", &named("min"), &[&flat, &axis], &keep);
        let low = graph.node("Min", &named("low"), &[&low, &nothing], &[]);
        let range = graph.node("Sub", &named("range"), &[&high, &low], &[]);
        // A row of zeros has a scale too.
        let least = graph.float(1e-12, Type::Float32);
        let range = graph.node("Max", &named("bounded"), &[&range, &least], &[]);
        let step = graph.float(1.0 / 255.0, Type::Float32);
        let scale = graph.node("Mul", &named("scale"), &[&range, &step], &[]);
        let zero = graph.node("Div", &named("place"), &[&low, &scale], &[]);
        let zero = graph.node("Neg", &named("negated"), &[&zero], &[]);
        let zero = graph.node("Round", &named("zero"), &[&zero], &[]);
        let shift = graph.node("Mul", &named("shift"), &[&zero, &scale], &[]);
        let to_byte = [("to", Given::Int(i64::from(Type::Uint8 as i32)))];
        let byte = graph.node("Cast", &named("byte"), &[&zero], &to_byte);
        let byte = graph.node("Squeeze", &named("bytes"), &[&byte, &axis], &[]);
        let of_rows = graph.node("Squeeze", &named("scales"), &[&scale, &axis], &[]);
        let inputs = [&*flat, &of_rows, &byte];
        let levels = graph.node("QuantizeLinear", &named("levels"), &inputs, &[("axis", Given::Int(0))]);
        let rows = Rows { levels, scale, shift };
        self.quantised = Some((x.to_owned(), rows.clone()));
        rows
    }

    /// `LayerNorm(x + skip + bias)`, each where it is given.
    pub(super) fn norm(&mut self, name: &str, x: &str, skip: Option<(&str, &str)>) -> Result<String> {
        let width = self.config.hidden_size;
        let (weight, bias) =
            (self.norm_vector(name, "weight", "gamma")?, self.norm_vector(name, "bias", "beta")?);
        let epsilon = Given::Float(self.config.norm_epsilon);
        let Some((skip, product)) = skip else {
            let attributes = [("axis", Given::Int(-1)), ("epsilon", epsilon)];
            return Ok(self.graph.node("LayerNormalization", name, &[x, &weight, &bias], &attributes));
        };
        let product_bias = self.vector(&format!("{product}.bias"), width)?;
        let inputs = [x, skip, &weight, &bias, &product_bias];
        self.graph.nodes(
            MICROSOFT,
            "SkipLayerNormalization",
            name,
            &inputs,
            &[name],
            &[("epsilon", epsilon)],
        );
        Ok(name.to_owned())
    }

    /// A norm's vector, by its name or the one of old checkpoints.
    fn norm_vector(&mut self, name: &str, kind: &str, old: &str) -> Result<String> {
        let (new, old) = (format!("{name}.{kind}"), format!("{name}.{old}"));
        let is_old = self.source.shape(&self.tensor(&new)).is_none()
            && self.source.shape(&self.tensor(&old)).is_some();
        self.vector(if is_old { &old } else { &new }, self.config.hidden_size)
    }

    pub(super) fn vector(&mut self, name: &str, width: usize) -> Result<String> {
        self.joined(name, &[name], width)
    }

    /// Vectors behind each other.
    pub(super) fn joined(&mut self, stored: &str, names: &[&str], width: usize) -> Result<String> {
        let parts = names.iter().map(|name| Part::of(&self.tensor(name), width)).collect();
        self.rows(stored, Matrix::joined(parts, 1), &[width * names.len()])
    }

    /// A table of rows.
    pub(super) fn table(&mut self, name: &str, rows: usize, columns: usize) -> Result<String> {
        self.rows(name, Matrix::of(&self.tensor(name), rows, columns), &[rows, columns])
    }

    fn rows(&mut self, stored: &str, matrix: Matrix, dims: &[usize]) -> Result<String> {
        self.expect(&matrix);
        if let Some(slot) = self.plan.place(self.file, stored, Type::Float32, dims) {
            self.plan.job(Job::Rows { matrix, element: Type::Float32, slot });
        }
        self.placed(stored)
    }

    fn placed(&mut self, name: &str) -> Result<String> {
        let tensor =
            self.plan.tensor(name).ok_or_else(|| Error::internal(format!("`{name}` has no place")))?;
        Ok(self.graph.weight(tensor))
    }

    /// Notes which of a matrix's tensors the checkpoint lacks, or has in another shape.
    fn expect(&mut self, matrix: &Matrix) {
        for (name, rows, _) in matrix.tensors() {
            let wanted = if matrix.columns == 1 { vec![rows] } else { vec![rows, matrix.columns] };
            match self.source.shape(name) {
                Some(found) if found == wanted => {}
                // A table of one column and a vector look alike here.
                Some(found) if found == [rows, matrix.columns] => {}
                Some(found) => self.misshapen.push(format!("`{name}` is {found:?} and should be {wanted:?}")),
                None => self.missing.push(name.to_owned()),
            }
        }
    }
}
