//! A decoder's graph.
//!
//! Inputs `input_ids` `[batch, sequence]`, `attention_mask` `[batch, total]` and for each layer
//! `past_key_values.N.key` and `.value` `[batch, kv_heads, past, head_dim]`; outputs `logits`
//! `[batch, sequence, vocabulary]` and `present.N.key` and `.value`, as onnxruntime-genai's builder names them. In
//! the form of standard operators there is `position_ids` `[batch, sequence]` too. Where products take adapters there are inputs that need not be given:
//! `NAME.lora_A.weight` `[inputs, rank]` and `NAME.lora_B.weight` `[rank, outputs]`.

mod attention;
mod linear;
mod standard;

use puna_core::{Error, ErrorKind, Result};

use crate::{
    checkpoint::{Source, listed},
    config::{Activation, Architecture, DecoderConfig},
    graph::GraphWriter,
    matrix::{Matrix, Part},
    onnx::{Given, Model, Size, Type, value},
    options::{Policy, Weights},
    plan::{Job, Plan},
    quantise::Blocks,
    rotate::Rotation,
};

/// What a graph is to be.
pub(crate) struct Form<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) blocks: Blocks,
    pub(crate) accuracy_level: u8,
    /// Products in 8 bits, activations quantised row by row.
    pub(crate) activations: bool,
    /// Logits of the last position alone.
    pub(crate) last_logits: bool,
    /// No operators of ONNX Runtime's own.
    pub(crate) standard: bool,
    /// Whether the residual stream and the values are turned.
    pub(crate) rotate: bool,
    /// Whether products take adapters.
    pub(crate) adapters: bool,
    /// The context's length, in tokens.
    pub(crate) context: usize,
    /// The file its weights go to.
    pub(crate) file: usize,
}

/// Writes a decoder's graph, and plans its weights.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) when the checkpoint lacks a tensor, or has one of another shape.
pub(crate) fn write(
    config: &DecoderConfig,
    source: &dyn Source,
    form: &Form,
    plan: &mut Plan,
) -> Result<Model> {
    let float = if form.policy.base() == Weights::Fp16 { Type::Float16 } else { Type::Float32 };
    let mut decoder = Decoder {
        config,
        source,
        form,
        plan,
        float,
        graph: GraphWriter::default(),
        rotation: form.rotate.then(|| Rotation::of(config.hidden_size)),
        values: form.rotate.then(|| Rotation::of(config.head_dim)),
        quantised: None,
        missing: Vec::new(),
        misshapen: Vec::new(),
    };
    decoder.whole()?;
    let names: Vec<&str> = decoder.missing.iter().map(String::as_str).collect();
    let wrong = match (names.is_empty(), decoder.misshapen.first()) {
        (false, _) => format!("lacks {}, which a `{}` has", listed(&names), config.architecture.name()),
        (true, Some(misshapen)) => format!("does not fit its configuration: {misshapen}"),
        (true, None) => return Ok(decoder.graph.finish()),
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("the checkpoint {wrong}")))
}

struct Decoder<'a> {
    config: &'a DecoderConfig,
    source: &'a dyn Source,
    form: &'a Form<'a>,
    plan: &'a mut Plan,
    graph: GraphWriter,
    /// What activations, keys and values are in.
    float: Type,
    /// What the residual stream is turned by.
    rotation: Option<Rotation>,
    /// What each head's values are turned by.
    values: Option<Rotation>,
    /// The value that was last quantised row by row, its 8-bit form and its scales: products of one input share them.
    quantised: Option<(String, String, String)>,
    /// Tensors that the checkpoint lacks.
    missing: Vec<String>,
    /// What is wrong with those that it has.
    misshapen: Vec<String>,
}

/// The residual stream: what it was, and what is still to be added to it.
struct Stream {
    value: String,
    pending: Option<String>,
}

impl Decoder<'_> {
    fn whole(&mut self) -> Result<()> {
        self.interface();
        let shared = self.attention_inputs()?;
        let embedded = self.embedding()?;
        let mut stream = Stream { value: embedded, pending: None };
        for layer in 0..self.config.layers {
            self.layer(layer, &mut stream, &shared)?;
        }
        let last = self.norm("model.norm", &mut stream)?;
        self.head(last)
    }

    fn interface(&mut self) {
        let (config, float) = (self.config, self.float);
        let batch = Size::Named("batch_size");
        let sequence = Size::Named("sequence_length");
        let total = Size::Named("total_sequence_length");
        self.graph.input(value("input_ids", Type::Int64, &[batch, sequence]));
        self.graph.input(value("attention_mask", Type::Int64, &[batch, total]));
        if self.form.standard {
            self.graph.input(value("position_ids", Type::Int64, &[batch, sequence]));
        }
        let places = if self.form.last_logits { Size::Of(1) } else { sequence };
        self.graph.output(value("logits", Type::Float32, &[batch, places, Size::Of(config.vocab_size)]));
        let cache = |length| [batch, Size::Of(config.kv_heads), length, Size::Of(config.head_dim)];
        for layer in 0..config.layers {
            for part in ["key", "value"] {
                let past = format!("past_key_values.{layer}.{part}");
                self.graph.input(value(&past, float, &cache(Size::Named("past_sequence_length"))));
                let present = format!("present.{layer}.{part}");
                self.graph.output(value(&present, float, &cache(total)));
            }
        }
    }

    fn layer(&mut self, layer: usize, stream: &mut Stream, shared: &attention::Shared) -> Result<()> {
        let at = format!("model.layers.{layer}");
        let gemma = self.config.architecture == Architecture::Gemma2;
        let normed = self.norm(&format!("{at}.input_layernorm"), stream)?;
        let mut attended = self.attention(layer, &normed, shared)?;
        let before_mlp = if gemma {
            attended = self.plain_norm(&format!("{at}.post_attention_layernorm"), &attended)?;
            format!("{at}.pre_feedforward_layernorm")
        } else {
            format!("{at}.post_attention_layernorm")
        };
        stream.pending = Some(attended);
        let normed = self.norm(&before_mlp, stream)?;
        let mut out = self.mlp(&format!("{at}.mlp"), &normed)?;
        if gemma {
            out = self.plain_norm(&format!("{at}.post_feedforward_layernorm"), &out)?;
        }
        stream.pending = Some(out);
        Ok(())
    }

    /// `down(activation(gate(x)) * up(x))`
    fn mlp(&mut self, at: &str, x: &str) -> Result<String> {
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let (gate_weights, up_weights) = if self.config.architecture == Architecture::Phi3 {
            let half = |first| {
                let part = Part::within(&format!("{at}.gate_up_proj.weight"), first, inner);
                Matrix::joined(vec![part], hidden)
            };
            (half(0), half(inner))
        } else {
            let whole = |name: &str| Matrix::of(&format!("{at}.{name}.weight"), inner, hidden);
            (whole("gate_proj"), whole("up_proj"))
        };
        let norm = at.replace("mlp", "post_attention_layernorm");
        let [gate_weights, up_weights] =
            [gate_weights, up_weights].map(|weights| self.reading(weights, &norm));
        let biased = self.config.mlp_bias;
        let name = format!("{at}.gate_proj");
        let gate = self.linear(&name, x, gate_weights)?;
        let gate = self.bias(&name, gate, biased, &["gate_proj"], inner)?;
        let name = format!("{at}.up_proj");
        let up = self.linear(&name, x, up_weights)?;
        let up = self.bias(&name, up, biased, &["up_proj"], inner)?;
        let activated = match self.config.activation {
            Activation::Silu => {
                let sigmoid = self.graph.node("Sigmoid", &format!("{at}.sigmoid"), &[&gate], &[]);
                self.graph.node("Mul", &format!("{at}.silu"), &[&gate, &sigmoid], &[])
            }
            Activation::GeluTanh => {
                let attributes = [("approximate", Given::Text("tanh"))];
                self.graph.node("Gelu", &format!("{at}.gelu"), &[&gate], &attributes)
            }
        };
        let product = self.graph.node("Mul", &format!("{at}.product"), &[&activated, &up], &[]);
        let name = format!("{at}.down_proj");
        let part = self.writing(Part::of(&format!("{name}.weight"), hidden));
        let down = self.linear(&name, &product, Matrix::joined(vec![part], inner))?;
        self.bias(&name, down, biased, &["down_proj"], hidden)
    }

    /// The weights of a norm of the residual stream; ones where they are merged into the products behind it.
    fn stream_norm_weight(&mut self, name: &str) -> Result<String> {
        let hidden = self.config.hidden_size;
        if self.rotation.is_some() {
            return self.vector("norm.ones", Matrix::ones(hidden));
        }
        self.norm_weight(name, hidden)
    }

    fn norm_weight(&mut self, name: &str, width: usize) -> Result<String> {
        let tensor = format!("{name}.weight");
        // A vector: rows of one.
        let mut matrix = Matrix::of(&tensor, width, 1);
        if self.config.architecture == Architecture::Gemma2 {
            matrix.offset = 1.0;
        }
        self.vector(&tensor, matrix)
    }

    /// Adds what is pending to the stream and normalises the sum.
    fn norm(&mut self, name: &str, stream: &mut Stream) -> Result<String> {
        let Some(pending) = stream.pending.take() else { return self.plain_norm(name, &stream.value) };
        let weight = self.stream_norm_weight(name)?;
        let sum = format!("{name}.sum");
        if self.form.standard {
            stream.value = self.graph.node("Add", &sum, &[&stream.value, &pending], &[]);
            return Ok(self.standard_norm(name, &stream.value, &weight));
        }
        let inputs = [&*stream.value, &pending, &weight];
        let attributes = [("epsilon", Given::Float(self.config.norm_epsilon))];
        let kind = "SkipSimplifiedLayerNormalization";
        // The last sum goes nowhere.
        let last = name == "model.norm";
        let outputs: &[&str] = if last { &[name] } else { &[name, "", "", &sum] };
        self.graph.nodes(crate::onnx::MICROSOFT, kind, name, &inputs, outputs, &attributes);
        stream.value = sum;
        Ok(name.to_owned())
    }

    fn plain_norm(&mut self, name: &str, x: &str) -> Result<String> {
        let weight = self.stream_norm_weight(name)?;
        Ok(self.simple_norm(name, x, &weight))
    }

    /// `x / sqrt(mean(x * x) + epsilon) * weight` over the last axis.
    fn simple_norm(&mut self, name: &str, x: &str, weight: &str) -> String {
        if self.form.standard {
            return self.standard_norm(name, x, weight);
        }
        let attributes = [
            ("axis", Given::Int(-1)),
            ("epsilon", Given::Float(self.config.norm_epsilon)),
            ("stash_type", Given::Int(1)),
        ];
        // It has no domain though ONNX does not have it: ONNX Runtime knows it under ONNX's.
        self.graph.node("SimplifiedLayerNormalization", name, &[x, weight], &attributes)
    }

    /// Places a vector in the type of the activations.
    fn vector(&mut self, name: &str, matrix: Matrix) -> Result<String> {
        self.expect(&matrix);
        let float = self.float;
        let rows = matrix.rows();
        if let Some(slot) = self.plan.place(self.form.file, name, float, &[rows]) {
            self.plan.job(Job::Rows { matrix, element: float, slot });
        }
        self.placed(name)
    }

    /// Names a placed tensor in this graph.
    fn placed(&mut self, name: &str) -> Result<String> {
        let tensor =
            self.plan.tensor(name).ok_or_else(|| Error::internal(format!("`{name}` has no place")))?;
        Ok(self.graph.weight(tensor))
    }

    /// Adds a bias of the tensors `NAME.bias` beside a product, where there is one.
    fn bias(&mut self, name: &str, x: String, there: bool, parts: &[&str], rows: usize) -> Result<String> {
        if !there {
            return Ok(x);
        }
        let folder = name.rsplit_once('.').map_or("", |(folder, _)| folder);
        let config = self.config;
        let parts = parts
            .iter()
            .map(|part| {
                let tensor = format!("{folder}.{part}.bias");
                match *part {
                    "q_proj" => Part::of(&tensor, config.heads * config.head_dim),
                    "k_proj" => Part::of(&tensor, config.kv_heads * config.head_dim),
                    "v_proj" => {
                        Part::of(&tensor, config.kv_heads * config.head_dim).turned(self.values.as_ref())
                    }
                    "o_proj" | "down_proj" => self.writing(Part::of(&tensor, rows)),
                    _ => Part::of(&tensor, rows),
                }
            })
            .collect();
        let bias = self.vector(&format!("{name}.bias"), Matrix::joined(parts, 1))?;
        Ok(self.graph.node("Add", &format!("{name}.biased"), &[&x, &bias], &[]))
    }

    /// A matrix that reads the residual stream behind a norm.
    fn reading(&self, matrix: Matrix, norm: &str) -> Matrix {
        let Some(rotation) = &self.rotation else { return matrix };
        matrix.behind(norm).turned(Some(rotation.clone()))
    }

    /// Rows that write to the residual stream.
    fn writing(&self, part: Part) -> Part {
        part.turned(self.rotation.as_ref())
    }

    /// Notes which of a matrix's tensors the checkpoint lacks, or has in another shape.
    fn expect(&mut self, matrix: &Matrix) {
        let source = self.source;
        let mut wanted = |name: &str, shape: &[usize]| match source.shape(name) {
            Some(found) if found == shape => {}
            Some(found) => self.misshapen.push(format!("`{name}` is {found:?} and should be {shape:?}")),
            None if self.missing.iter().any(|missing| missing == name) => {}
            None => self.missing.push(name.to_owned()),
        };
        if let Some(name) = matrix.scale() {
            wanted(name, &[matrix.columns]);
        }
        for (name, rows, all) in matrix.tensors() {
            let rows = match source.shape(name) {
                Some([found, _]) if !all && *found > rows => *found,
                _ => rows,
            };
            if matrix.columns == 1 {
                wanted(name, &[rows]);
            } else {
                wanted(name, &[rows, matrix.columns]);
            }
        }
    }
}
