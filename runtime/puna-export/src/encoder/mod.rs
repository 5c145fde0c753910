//! An encoder's graph.
//!
//! Inputs `input_ids`, `attention_mask` and, where the model has types of tokens, `token_type_ids`, all
//! `[batch, sequence]`; the output is `last_hidden_state` `[batch, sequence, hidden]`, or with a classification head
//! `logits` `[batch, labels]`, as optimum names them.

mod attention;
mod config;
mod linear;
mod positions;
mod write;

use std::collections::BTreeSet;

use puna_core::{Error, ErrorKind, Result};

pub use self::config::EncoderConfig;
use self::config::{Activation, Family};
pub use self::write::{EncoderOptions, export_encoder};
use crate::{
    checkpoint::{Source, listed},
    graph::GraphWriter,
    onnx::{Given, MICROSOFT, Model, Size, Type, value},
    plan::Plan,
};

/// Writes an encoder's graph, and plans its weights for a file.
fn graph(
    config: &EncoderConfig,
    source: &dyn Source,
    int8: bool,
    file: usize,
    plan: &mut Plan,
) -> Result<Model> {
    let inner = match config.family {
        Family::Bert => "bert.",
        Family::Roberta => "roberta.",
        Family::DistilBert => "distilbert.",
        Family::Mpnet => "mpnet.",
        Family::Deberta => "deberta.",
    };
    // A model that was saved with a head has its own name before its tensors'.
    let prefix = if source.names().iter().any(|name| name.starts_with(inner)) { inner } else { "" };
    let mut encoder = Encoder {
        config,
        source,
        plan,
        file,
        int8,
        prefix,
        graph: GraphWriter::default(),
        quantised: None,
        shapes: BTreeSet::new(),
        missing: Vec::new(),
        misshapen: Vec::new(),
    };
    encoder.whole()?;
    let names: Vec<&str> = encoder.missing.iter().map(String::as_str).collect();
    let wrong = match (names.is_empty(), encoder.misshapen.first()) {
        (false, _) => format!("lacks {}, which a `{}` has", listed(&names), config.model_type),
        (true, Some(misshapen)) => format!("does not fit its configuration: {misshapen}"),
        (true, None) => return Ok(encoder.graph.finish("encoder")),
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("the checkpoint {wrong}")))
}

struct Encoder<'a> {
    config: &'a EncoderConfig,
    source: &'a dyn Source,
    plan: &'a mut Plan,
    file: usize,
    /// Whether the layers' products are of 8-bit integers.
    int8: bool,
    /// What the names of the encoder's tensors begin with.
    prefix: &'static str,
    graph: GraphWriter,
    /// The value that was last quantised row by row, and its rows.
    quantised: Option<(String, linear::Rows)>,
    /// Widths that have the shape of a value.
    shapes: BTreeSet<usize>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

/// What the tensors of a layer are called.
struct Names {
    qkv: [String; 3],
    output: String,
    attention_norm: String,
    inner: String,
    outer: String,
    norm: String,
}

impl Encoder<'_> {
    fn whole(&mut self) -> Result<()> {
        let (batch, sequence) = (Size::Named("batch_size"), Size::Named("sequence_length"));
        for name in ["input_ids", "attention_mask"] {
            self.graph.input(value(name, Type::Int64, &[batch, sequence]));
        }
        if self.config.token_types > 1 {
            self.graph.input(value("token_type_ids", Type::Int64, &[batch, sequence]));
        }
        let embedded = self.embedding()?;
        let shared = self.attention_inputs()?;
        let mut stream = embedded;
        for layer in 0..self.config.layers {
            stream = self.layer(layer, &stream, &shared)?;
        }
        match self.config.labels {
            Some(labels) => self.head(&stream, labels),
            None => {
                let name = "last_hidden_state";
                let hidden = Size::Of(self.config.hidden_size);
                self.graph.output(value(name, Type::Float32, &[batch, sequence, hidden]));
                self.graph.node("Identity", name, &[&stream], &[]);
                Ok(())
            }
        }
    }

    /// The checkpoint's name of a tensor: heads stand beside the encoder.
    fn tensor(&self, name: &str) -> String {
        let head = ["classifier", "pre_classifier"].iter().any(|head| name.starts_with(head));
        // DeBERTa's pooler belongs to its head.
        let beside = head || (self.config.family == Family::Deberta && name.starts_with("pooler"));
        if beside { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    /// `LayerNorm(word + position + type)`
    fn embedding(&mut self) -> Result<String> {
        let config = self.config;
        let width = config.embedding_size;
        let words = self.table("embeddings.word_embeddings.weight", config.vocab_size, width)?;
        let mut sum = self.graph.node("Gather", "embeddings.words", &[&words, "input_ids"], &[]);
        if config.absolute {
            let table = self.table("embeddings.position_embeddings.weight", config.positions, width)?;
            let places = self.positions(&table);
            sum = self.graph.node("Add", "embeddings.placed", &[&sum, &places], &[]);
        }
        if config.token_types > 0 {
            let table = self.table("embeddings.token_type_embeddings.weight", config.token_types, width)?;
            let types = if config.token_types > 1 {
                self.graph.node("Gather", "embeddings.types", &[&table, "token_type_ids"], &[])
            } else {
                table
            };
            sum = self.graph.node("Add", "embeddings.typed", &[&sum, &types], &[]);
        }
        if width != config.hidden_size {
            let name = "embeddings.embed_proj";
            let weight = format!("{name}.weight");
            let matrix = crate::matrix::Matrix::of(&self.tensor(&weight), config.hidden_size, width);
            sum = self.float(name, &sum, matrix)?;
        }
        self.norm("embeddings.LayerNorm", &sum, None)
    }

    /// The rows of the table of positions that tokens get.
    fn positions(&mut self, table: &str) -> String {
        let graph = &mut self.graph;
        if !matches!(self.config.family, Family::Roberta | Family::Mpnet) {
            let shape = graph.node("Shape", "positions.shape", &["input_ids"], &[]);
            let (first, one, two) = (graph.ints(&[0]), graph.ints(&[1]), graph.ints(&[2]));
            let length = graph.node("Slice", "positions.length", &[&shape, &one, &two, &first], &[]);
            return graph.node("Slice", "positions.rows", &[table, &first, &length, &first], &[]);
        }
        // Counted from behind the padding token's number; padding itself has this number.
        let pad = graph.int(i64::try_from(self.config.pad).unwrap_or(0));
        let is_pad = graph.node("Equal", "positions.is_pad", &["input_ids", &pad], &[]);
        let is_text = graph.node("Not", "positions.is_text", &[&is_pad], &[]);
        let to_int = [("to", Given::Int(i64::from(Type::Int64 as i32)))];
        let ones = graph.node("Cast", "positions.ones", &[&is_text], &to_int);
        let axis = graph.int(1);
        let sums = graph.node("CumSum", "positions.sums", &[&ones, &axis], &[]);
        let counted = graph.node("Mul", "positions.counted", &[&sums, &ones], &[]);
        let numbers = graph.node("Add", "positions.numbers", &[&counted, &pad], &[]);
        graph.node("Gather", "positions.rows", &[table, &numbers], &[])
    }

    fn names(&self, layer: usize) -> Names {
        let at = match self.config.family {
            Family::DistilBert => format!("transformer.layer.{layer}"),
            _ => format!("encoder.layer.{layer}"),
        };
        let named = |name: &str| format!("{at}.{name}");
        let qkv = match self.config.family {
            Family::Bert | Family::Roberta => ["self.query", "self.key", "self.value"],
            Family::DistilBert => ["q_lin", "k_lin", "v_lin"],
            Family::Mpnet => ["attn.q", "attn.k", "attn.v"],
            Family::Deberta => ["self.query_proj", "self.key_proj", "self.value_proj"],
        };
        let qkv = qkv.map(|name| named(&format!("attention.{name}")));
        let (output, attention_norm, inner, outer, norm) = match self.config.family {
            Family::DistilBert => {
                ("attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm")
            }
            Family::Mpnet => (
                "attention.attn.o",
                "attention.LayerNorm",
                "intermediate.dense",
                "output.dense",
                "output.LayerNorm",
            ),
            _ => (
                "attention.output.dense",
                "attention.output.LayerNorm",
                "intermediate.dense",
                "output.dense",
                "output.LayerNorm",
            ),
        };
        Names {
            qkv,
            output: named(output),
            attention_norm: named(attention_norm),
            inner: named(inner),
            outer: named(outer),
            norm: named(norm),
        }
    }

    fn layer(&mut self, layer: usize, x: &str, shared: &attention::Shared) -> Result<String> {
        let names = self.names(layer);
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let attended = self.attention(layer, x, &names.qkv, shared)?;
        let out = self.linear(&names.output, &attended, hidden, hidden)?;
        let x = self.norm(&names.attention_norm, &out, Some((x, &names.output)))?;
        let wide = self.linear(&names.inner, &x, inner, hidden)?;
        let bias = self.vector(&format!("{}.bias", names.inner), inner)?;
        let activated = self.activation(&names.inner, &wide, &bias, self.config.activation);
        let out = self.linear(&names.outer, &activated, hidden, inner)?;
        self.norm(&names.norm, &out, Some((&x, &names.outer)))
    }

    /// `activation(x + bias)`
    fn activation(&mut self, at: &str, x: &str, bias: &str, kind: Activation) -> String {
        let name = format!("{at}.activated");
        let kind = match kind {
            Activation::Gelu => "BiasGelu",
            Activation::GeluTanh => "FastGelu",
            Activation::Relu => {
                let sum = self.graph.node("Add", &format!("{at}.biased"), &[x, bias], &[]);
                return self.graph.node("Relu", &name, &[&sum], &[]);
            }
        };
        self.graph.nodes(MICROSOFT, kind, &name, &[x, bias], &[&name], &[]);
        name
    }

    /// The logits, from what stands at the first token.
    fn head(&mut self, x: &str, labels: usize) -> Result<()> {
        let hidden = self.config.hidden_size;
        let first = self.graph.int(0);
        let first = self.graph.node("Gather", "head.first", &[x, &first], &[("axis", Given::Int(1))]);
        let (dense, out) = match self.config.family {
            Family::Bert | Family::Deberta => ("pooler.dense", "classifier"),
            Family::Roberta | Family::Mpnet => ("classifier.dense", "classifier.out_proj"),
            Family::DistilBert => ("pre_classifier", "classifier"),
        };
        let pooled = match self.config.family {
            Family::DistilBert => {
                let sum = self.affine(dense, &first, hidden, hidden)?;
                self.graph.node("Relu", "head.pooled", &[&sum], &[])
            }
            Family::Deberta => {
                let matrix = crate::matrix::Matrix::of(&self.tensor("pooler.dense.weight"), hidden, hidden);
                let product = self.float(dense, &first, matrix)?;
                let bias = self.vector(&format!("{dense}.bias"), hidden)?;
                self.activation("head", &product, &bias, self.config.pooler_activation)
            }
            _ => {
                let sum = self.affine(dense, &first, hidden, hidden)?;
                self.graph.node("Tanh", "head.pooled", &[&sum], &[])
            }
        };
        let logits = self.affine(out, &pooled, labels, hidden)?;
        let shape = [Size::Named("batch_size"), Size::Of(labels)];
        self.graph.output(value("logits", Type::Float32, &shape));
        self.graph.node("Identity", "logits", &[&logits], &[]);
        Ok(())
    }
}
