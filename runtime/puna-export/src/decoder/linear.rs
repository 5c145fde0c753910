use puna_core::Result;

use super::Decoder;
use crate::{
    matrix::Matrix,
    onnx::{Given, Size, Type},
    options::Weights,
    plan::Job,
    quantise::Blocks,
};

/// The name of the last product.
const HEAD: &str = "lm_head";

impl Decoder<'_> {
    /// `x · matrixᵀ` with the weights as the policy says for this name, and what an adapter adds.
    pub(super) fn linear(&mut self, name: &str, x: &str, matrix: Matrix) -> Result<String> {
        let (inputs, outputs) = (matrix.columns, matrix.rows());
        let product = self.product(name, x, matrix)?;
        // The head's weights are often the embedding's.
        Ok(if self.form.adapters && name != HEAD {
            self.adapted(name, x, &product, inputs, outputs)
        } else {
            product
        })
    }

    /// `product + x · A · B`. Without an adapter their rank is 0, and the sum of nothing is added.
    fn adapted(&mut self, name: &str, x: &str, product: &str, inputs: usize, outputs: usize) -> String {
        let rank = format!("{name}.rank");
        let (float, rank) = (self.float, Size::Named(&rank));
        let graph = &mut self.graph;
        let a = graph.optional(&format!("{name}.lora_A.weight"), float, &[Size::Of(inputs), rank]);
        let b = graph.optional(&format!("{name}.lora_B.weight"), float, &[rank, Size::Of(outputs)]);
        let narrow = graph.node("MatMul", &format!("{name}.lora_A"), &[x, &a], &[]);
        let wide = graph.node("MatMul", &format!("{name}.lora_B"), &[&narrow, &b], &[]);
        graph.node("Add", &format!("{name}.adapted"), &[product, &wide], &[])
    }

    fn product(&mut self, name: &str, x: &str, matrix: Matrix) -> Result<String> {
        self.expect(&matrix);
        let mut weights = self.form.policy.of(name);
        // ONNX's own operator has no blocks that end behind a row's end.
        let whole = matrix.columns.is_multiple_of(self.form.blocks.size);
        if weights.is_integer() && self.form.standard && !whole {
            weights = Weights::Fp32;
        }
        match weights {
            Weights::Int4 | Weights::Int8 if self.form.activations => self.integer(name, x, matrix),
            Weights::Int4 | Weights::Int8 if self.form.standard => {
                self.widened(name, x, matrix, self.blocks_of(weights))
            }
            Weights::Int4 | Weights::Int8 => self.blocks(name, x, matrix, weights),
            Weights::Fp32 | Weights::Fp16 | Weights::Bf16 => {
                let element = dense(weights);
                let stored = format!("{name}.weight.{element:?}.transposed");
                let dims = [matrix.columns, matrix.rows()];
                if let Some(slot) = self.plan.place(self.form.file, &stored, element, &dims) {
                    self.plan.job(Job::Columns { matrix, element, slot });
                }
                let weight = self.placed(&stored)?;
                let weight = self.cast(&format!("{name}.weight.cast"), weight, element, self.float);
                Ok(self.graph.node("MatMul", name, &[x, &weight], &[]))
            }
        }
    }

    /// The embedding of the tokens, in the type of the activations.
    pub(super) fn embedding(&mut self) -> Result<String> {
        let name = "model.embed_tokens";
        let matrix = self.embedding_matrix();
        self.expect(&matrix);
        let weights = self.form.policy.of(name);
        let embedded = match weights {
            Weights::Int4 | Weights::Int8 if self.embeds_blocks() => {
                let blocks = self.blocks_of(weights);
                let stored = self.embedding_name();
                let (packed, scales, zeros) = self.place_blocks(&stored, matrix, blocks)?;
                self.gather_blocks(name, blocks, [&packed, &scales], zeros.as_deref())
            }
            _ => {
                let element = if weights.is_integer() { self.float } else { dense(weights) };
                let stored = self.place_embedding(matrix, element)?;
                let rows = self.graph.node("Gather", name, &[&stored, "input_ids"], &[]);
                self.cast(&format!("{name}.cast"), rows, element, self.float)
            }
        };
        if self.config.architecture != crate::Architecture::Gemma2 {
            return Ok(embedded);
        }
        // In transformers the factor is rounded to the type of the weights; 32-bit ones hardly are.
        let factor = (self.config.hidden_size as f64).sqrt();
        let factor = self.graph.float(crate::config::narrow(factor), self.float);
        Ok(self.graph.node("Mul", &format!("{name}.scaled"), &[&embedded, &factor], &[]))
    }

    /// The logits.
    pub(super) fn head(&mut self, mut x: String) -> Result<()> {
        let name = HEAD;
        if self.form.last_logits {
            let (first, end) = (self.graph.ints(&[-1]), self.graph.ints(&[i64::MAX]));
            let axis = self.graph.ints(&[1]);
            x = self.graph.node("Slice", &format!("{name}.last"), &[&x, &first, &end, &axis], &[]);
        }
        let tied = self.config.tied;
        let weights = self.form.policy.of(name);
        let tensor = if tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let matrix = Matrix::of(tensor, self.config.vocab_size, self.config.hidden_size);
        let matrix = self.reading(matrix, "model.norm");
        let embedding = self.form.policy.of("model.embed_tokens");
        let mut logits = if self.shares_head() && weights == embedding && !weights.is_integer() {
            // One tensor for both: the session turns it when it loads.
            let element = dense(weights);
            let stored = self.place_embedding(matrix, element)?;
            let weight = self.cast(&format!("{name}.weight.cast"), stored, element, self.float);
            let turned = self.graph.node("Transpose", &format!("{name}.weight.transposed"), &[&weight], &[]);
            self.graph.node("MatMul", &format!("{name}.product"), &[&x, &turned], &[])
        } else {
            self.linear(name, &x, matrix)?
        };
        logits = self.cast(&format!("{name}.cast"), logits, self.float, Type::Float32);
        if let Some(cap) = self.config.logit_cap {
            let cap = self.graph.float(cap, Type::Float32);
            let part = self.graph.node("Div", &format!("{name}.part"), &[&logits, &cap], &[]);
            let bounded = self.graph.node("Tanh", &format!("{name}.tanh"), &[&part], &[]);
            logits = self.graph.node("Mul", &format!("{name}.capped"), &[&bounded, &cap], &[]);
        }
        self.graph.node("Identity", "logits", &[&logits], &[]);
        Ok(())
    }

    fn embedding_matrix(&self) -> Matrix {
        let matrix = Matrix::of("model.embed_tokens.weight", self.config.vocab_size, self.config.hidden_size);
        matrix.turned(self.rotation.clone())
    }

    /// Whether head and embedding are one tensor in the graph too. Turned they are not: the last norm's weights are
    /// in the head.
    fn shares_head(&self) -> bool {
        self.config.tied && self.rotation.is_none()
    }

    /// Whether the embedding is gathered from blocks: the kernel wants whole ones.
    fn embeds_blocks(&self) -> bool {
        !self.form.standard && self.config.hidden_size.is_multiple_of(self.form.blocks.size)
    }

    /// A tied head has the embedding's blocks, under the head's name.
    fn embedding_name(&self) -> String {
        let name = if self.shares_head() { HEAD } else { "model.embed_tokens" };
        name.to_owned()
    }

    fn place_embedding(&mut self, matrix: Matrix, element: Type) -> Result<String> {
        let stored = format!("model.embed_tokens.weight.{element:?}");
        let dims = [matrix.rows(), matrix.columns];
        if let Some(slot) = self.plan.place(self.form.file, &stored, element, &dims) {
            self.plan.job(Job::Rows { matrix, element, slot });
        }
        self.placed(&stored)
    }

    fn blocks_of(&self, weights: Weights) -> Blocks {
        Blocks { bits: if weights == Weights::Int4 { 4 } else { 8 }, ..self.form.blocks }
    }

    fn blocks(&mut self, name: &str, x: &str, matrix: Matrix, weights: Weights) -> Result<String> {
        let blocks = self.blocks_of(weights);
        let (rows, columns) = (matrix.rows(), matrix.columns);
        let (packed, scales, zeros) = self.place_blocks(name, matrix, blocks)?;
        let mut inputs = vec![x, &packed, &scales];
        inputs.extend(zeros.as_deref());
        let int = |size: usize| Given::Int(i64::try_from(size).unwrap_or(i64::MAX));
        let attributes = [
            ("K", int(columns)),
            ("N", int(rows)),
            ("accuracy_level", Given::Int(self.form.accuracy_level.into())),
            ("bits", int(blocks.bits)),
            ("block_size", int(blocks.size)),
        ];
        Ok(self.graph.microsoft("MatMulNBits", name, &inputs, &attributes))
    }

    /// Places a matrix in few bits: values, scales and zero points.
    fn place_blocks(
        &mut self,
        name: &str,
        matrix: Matrix,
        blocks: Blocks,
    ) -> Result<(String, String, Option<String>)> {
        let (rows, columns) = (matrix.rows(), matrix.columns);
        let count = blocks.count(columns);
        let stored = format!("{name}.weight.int{}", blocks.bits);
        let (scales, zeros) = (format!("{stored}.scales"), format!("{stored}.zeros"));
        let file = self.form.file;
        let dims = [rows, count, blocks.size * blocks.bits / 8];
        if let Some(values) = self.plan.place(file, &stored, Type::Uint8, &dims)
            && let Some(scale_slot) = self.plan.place(file, &scales, Type::Float32, &[rows, count])
        {
            let zero_dims = [rows, blocks.zero_bytes(columns)];
            let zeros = match blocks.symmetric {
                true => None,
                false => self.plan.place(file, &zeros, Type::Uint8, &zero_dims),
            };
            self.plan.job(Job::Blocks { matrix, blocks, values, scales: scale_slot, zeros });
        }
        let zeros = if blocks.symmetric { None } else { Some(self.placed(&zeros)?) };
        Ok((self.placed(&stored)?, self.placed(&scales)?, zeros))
    }

    fn gather_blocks(
        &mut self,
        name: &str,
        blocks: Blocks,
        [packed, scales]: [&str; 2],
        zeros: Option<&str>,
    ) -> String {
        let bytes = blocks.value_bytes(self.config.hidden_size);
        let shape = [self.config.vocab_size, bytes].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        let shape = self.graph.ints(&shape);
        let rows = self.graph.node("Reshape", &format!("{name}.rows"), &[packed, &shape], &[]);
        let mut inputs = vec![&*rows, "input_ids", scales];
        inputs.extend(zeros);
        let int = |size: usize| Given::Int(i64::try_from(size).unwrap_or(i64::MAX));
        let attributes = [
            ("bits", int(blocks.bits)),
            ("block_size", int(blocks.size)),
            ("gather_axis", Given::Int(0)),
            ("quantize_axis", Given::Int(1)),
        ];
        self.graph.microsoft("GatherBlockQuantized", name, &inputs, &attributes)
    }

    /// A product of 8-bit integers, `x` quantised row by row:
    ///
    /// `scale = max(|x|) / 127`, `u8 = round(x / scale) + 128`, `y = (u8 - 128) · s8 * scale * column_scale`
    ///
    /// One scale a row, so that a row's result does not depend on those beside it; unsigned, because the kernels for
    /// signed activations are slow.
    fn integer(&mut self, name: &str, x: &str, matrix: Matrix) -> Result<String> {
        let (rows, columns) = (matrix.rows(), matrix.columns);
        let stored = format!("{name}.weight.channels");
        let scales = format!("{stored}.scales");
        let file = self.form.file;
        if let Some(values) = self.plan.place(file, &stored, Type::Int8, &[columns, rows])
            && let Some(scales) = self.plan.place(file, &scales, Type::Float32, &[rows])
        {
            self.plan.job(Job::Channels { matrix, values, scales });
        }
        let (weight, column_scale) = (self.placed(&stored)?, self.placed(&scales)?);
        let (levels, row_scale) = self.quantise_rows(x);
        let one = self.graph.float(1.0, Type::Float32);
        let middle = self.graph.byte(128, Type::Uint8);
        let inputs = [&*levels, &weight, &one, &column_scale, &middle];
        let product = self.graph.microsoft("MatMulIntegerToFloat", &format!("{name}.product"), &inputs, &[]);
        Ok(self.graph.node("Mul", name, &[&product, &row_scale], &[]))
    }

    /// A value in unsigned 8 bits and the scales of its rows.
    fn quantise_rows(&mut self, x: &str) -> (String, String) {
        if let Some((of, levels, scale)) = &self.quantised
            && of == x
        {
            return (levels.clone(), scale.clone());
        }
        let graph = &mut self.graph;
        let axis = graph.ints(&[-1]);
        let magnitude = graph.node("Abs", &format!("{x}.abs"), &[x], &[]);
        let largest = graph.node(
            "ReduceMax",
            &format!("{x}.largest"),
            &[&magnitude, &axis],
            &[("keepdims", Given::Int(1))],
        );
        // A row of zeros has a scale too.
        let least = graph.float(1e-12, Type::Float32);
        let bounded = graph.node("Max", &format!("{x}.bounded"), &[&largest, &least], &[]);
        let step = graph.float(1.0 / 127.0, Type::Float32);
        let scale = graph.node("Mul", &format!("{x}.scale"), &[&bounded, &step], &[]);
        let scaled = graph.node("Div", &format!("{x}.levels"), &[x, &scale], &[]);
        let one = graph.float(1.0, Type::Float32);
        let middle = graph.byte(128, Type::Uint8);
        let levels = graph.node("QuantizeLinear", &format!("{x}.u8"), &[&scaled, &one, &middle], &[]);
        self.quantised = Some((x.to_owned(), levels.clone(), scale.clone()));
        (levels, scale)
    }

    /// A value in another type, where it has another.
    pub(super) fn cast(&mut self, name: &str, x: String, from: Type, to: Type) -> String {
        if from == to {
            return x;
        }
        self.graph.node("Cast", name, &[&x], &[("to", Given::Int(i64::from(to as i32)))])
    }
}

/// The type that weights of so many bits are stored in.
fn dense(weights: Weights) -> Type {
    match weights {
        Weights::Fp16 => Type::Float16,
        Weights::Bf16 => Type::Bfloat16,
        _ => Type::Float32,
    }
}
