//! The form without ONNX Runtime's own operators: attention written out, past and present joined by `Concat`.

use std::collections::BTreeMap;

use puna_core::Result;

use super::{Decoder, attention::Projected};
use crate::{
    onnx::{Given, Type},
    plan::Job,
    quantise::Blocks,
};

/// What every layer's attention takes.
pub(super) struct Shared {
    /// Of the tokens given, `[batch, 1, sequence, width / 2]`.
    cosines: String,
    sines: String,
    /// Where a query may look, `[batch, 1, sequence, total]`, for each window.
    masks: BTreeMap<Option<usize>, String>,
}

fn size(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Decoder<'_> {
    pub(super) fn standard_inputs(&mut self) -> Result<Shared> {
        let (cosines, sines, long_from) = self.tables()?;
        let graph = &mut self.graph;
        let (zero, one) = (graph.int(0), graph.int(1));
        let gather = [("axis", Given::Int(0))];
        let shape = graph.node("Shape", "mask.shape", &["attention_mask"], &[]);
        let total = graph.node("Gather", "mask.total", &[&shape, &one], &gather);
        let shape = graph.node("Shape", "tokens.shape", &["input_ids"], &[]);
        let sequence = graph.node("Gather", "tokens.sequence", &[&shape, &one], &gather);
        let mut positions = "position_ids".to_owned();
        if let Some(row) = long_from {
            let most = graph.int(size(row));
            let longer = graph.node("Greater", "positions.longer", &[&total, &most], &[]);
            let shift = graph.node("Where", "positions.shift", &[&longer, &most, &zero], &[]);
            positions = graph.node("Add", "positions", &[&positions, &shift], &[]);
        }
        let heads = graph.ints(&[1]);
        let [cosines, sines] = [("cos", cosines), ("sin", sines)].map(|(name, table)| {
            let rows = graph.node("Gather", &format!("{name}.rows"), &[&table, &positions], &gather);
            graph.node("Unsqueeze", name, &[&rows, &heads], &[])
        });
        // A key's place is its place in the cache, and so is a query's.
        let keys = graph.node("Range", "mask.keys", &[&zero, &total, &one], &[]);
        let past = graph.node("Sub", "mask.past", &[&total, &sequence], &[]);
        let queries = graph.node("Range", "mask.places", &[&past, &total, &one], &[]);
        let queries = graph.node("Unsqueeze", "mask.queries", &[&queries, &heads], &[]);
        let causal = graph.node("LessOrEqual", "mask.causal", &[&keys, &queries], &[]);
        let to_bool = [("to", Given::Int(i64::from(Type::Bool as i32)))];
        let valid = graph.node("Cast", "mask.valid", &["attention_mask"], &to_bool);
        let axes = graph.ints(&[1, 2]);
        let valid = graph.node("Unsqueeze", "mask.rows", &[&valid, &axes], &[]);
        let all = graph.node("And", "mask.all", &[&valid, &causal], &[]);
        let mut masks = BTreeMap::new();
        for window in &self.config.windows {
            masks.entry(*window).or_insert_with(|| match window {
                None => all.clone(),
                Some(window) => {
                    let name = format!("mask.window{window}");
                    let width = graph.int(size(*window));
                    let before = graph.node("Sub", &format!("{name}.before"), &[&queries, &width], &[]);
                    let near = graph.node("Greater", &format!("{name}.near"), &[&keys, &before], &[]);
                    graph.node("And", &name, &[&all, &near], &[])
                }
            });
        }
        Ok(Shared { cosines, sines, masks })
    }

    pub(super) fn standard_attention(
        &mut self,
        layer: usize,
        at: &str,
        projected: &Projected,
        shared: &Shared,
    ) -> String {
        let config = self.config;
        let scale = self.graph.float(config.scale, self.float);
        let queries = self.split_heads(&format!("{at}.queries"), &projected.queries, config.heads);
        let queries = self.turn(&format!("{at}.queries"), &queries, shared);
        let queries = self.graph.node("Mul", &format!("{at}.queries.scaled"), &[&queries, &scale], &[]);
        let keys = self.split_heads(&format!("{at}.keys"), &projected.keys, config.kv_heads);
        let keys = self.turn(&format!("{at}.keys"), &keys, shared);
        let values = self.split_heads(&format!("{at}.values"), &projected.values, config.kv_heads);
        let graph = &mut self.graph;
        let [keys, values] = [("key", keys), ("value", values)].map(|(part, new)| {
            let past = format!("past_key_values.{layer}.{part}");
            let attributes = [("axis", Given::Int(2))];
            graph.node("Concat", &format!("present.{layer}.{part}"), &[&past, &new], &attributes)
        });
        // The queries that share a head of keys are rows of one product.
        let by_keys = graph.ints(&[0, size(config.kv_heads), -1, size(config.head_dim)]);
        let queries = graph.node("Reshape", &format!("{at}.queries.shared"), &[&queries, &by_keys], &[]);
        let keys = self.transposed(&format!("{at}.keys.columns"), &keys, [0, 1, 3, 2]);
        let graph = &mut self.graph;
        let mut scores = graph.node("MatMul", &format!("{at}.scores"), &[&queries, &keys], &[]);
        if let Some(cap) = config.score_cap {
            let cap = graph.float(cap, self.float);
            let part = graph.node("Div", &format!("{at}.scores.part"), &[&scores, &cap], &[]);
            let bounded = graph.node("Tanh", &format!("{at}.scores.tanh"), &[&part], &[]);
            scores = graph.node("Mul", &format!("{at}.scores.capped"), &[&bounded, &cap], &[]);
        }
        let by_queries = graph.ints(&[0, size(config.heads), -1, 0]);
        let scores = graph.node("Reshape", &format!("{at}.scores.heads"), &[&scores, &by_queries], &[]);
        // Finite, so that a row of padding alone has no weight that is not a number.
        let never = graph.float(if self.float == Type::Float16 { -6e4 } else { -1e30 }, self.float);
        let mask = shared.masks.get(&config.windows[layer]).map_or("", String::as_str);
        let scores = graph.node("Where", &format!("{at}.scores.masked"), &[mask, &scores, &never], &[]);
        let last = [("axis", Given::Int(-1))];
        let weights = graph.node("Softmax", &format!("{at}.weights"), &[&scores], &last);
        let by_keys = graph.ints(&[0, size(config.kv_heads), -1, 0]);
        let weights = graph.node("Reshape", &format!("{at}.weights.shared"), &[&weights, &by_keys], &[]);
        let mixed = graph.node("MatMul", &format!("{at}.mixed"), &[&weights, &values], &[]);
        let by_heads = graph.ints(&[0, size(config.heads), -1, size(config.head_dim)]);
        let mixed = graph.node("Reshape", &format!("{at}.mixed.heads"), &[&mixed, &by_heads], &[]);
        let mixed = self.transposed(&format!("{at}.mixed.turned"), &mixed, [0, 2, 1, 3]);
        let joined = self.graph.ints(&[0, 0, size(config.heads * config.head_dim)]);
        self.graph.node("Reshape", &format!("{at}.attended"), &[&mixed, &joined], &[])
    }

    /// `[batch, sequence, heads * head_dim]` as `[batch, heads, sequence, head_dim]`.
    fn split_heads(&mut self, name: &str, x: &str, heads: usize) -> String {
        let shape = self.graph.ints(&[0, 0, size(heads), size(self.config.head_dim)]);
        let split = self.graph.node("Reshape", &format!("{name}.split"), &[x, &shape], &[]);
        self.transposed(&format!("{name}.heads"), &split, [0, 2, 1, 3])
    }

    fn transposed(&mut self, name: &str, x: &str, order: [i64; 4]) -> String {
        self.graph.node("Transpose", name, &[x], &[("perm", Given::Ints(&order))])
    }

    /// Turns the two halves of each head by its token's place.
    fn turn(&mut self, name: &str, x: &str, shared: &Shared) -> String {
        let (width, half) = (self.config.rope.width, size(self.config.rope.width / 2));
        let rest = size(self.config.head_dim - width);
        let graph = &mut self.graph;
        let [first, second, still] = ["first", "second", "still"].map(|part| format!("{name}.{part}"));
        let (sizes, outputs) = if rest > 0 {
            (graph.ints(&[half, half, rest]), vec![&*first, &*second, &*still])
        } else {
            (graph.ints(&[half, half]), vec![&*first, &*second])
        };
        let last = [("axis", Given::Int(-1))];
        graph.nodes("", "Split", &format!("{name}.halves"), &[x, &sizes], &outputs, &last);
        let mut product =
            |part: &str, a: &str, b: &str| graph.node("Mul", &format!("{name}.{part}"), &[a, b], &[]);
        let a = product("first.cos", &first, &shared.cosines);
        let b = product("second.sin", &second, &shared.sines);
        let c = product("second.cos", &second, &shared.cosines);
        let d = product("first.sin", &first, &shared.sines);
        let low = graph.node("Sub", &format!("{name}.low"), &[&a, &b], &[]);
        let high = graph.node("Add", &format!("{name}.high"), &[&c, &d], &[]);
        let mut parts = vec![&*low, &high];
        if rest > 0 {
            parts.push(&still);
        }
        graph.node("Concat", &format!("{name}.turned"), &parts, &last)
    }

    /// Computed in 32 bits, where squares fit.
    pub(super) fn standard_norm(&mut self, name: &str, x: &str, weight: &str) -> String {
        let wide = self.cast(&format!("{name}.wide"), x.to_owned(), self.float, Type::Float32);
        let graph = &mut self.graph;
        let last = graph.ints(&[-1]);
        let square = graph.node("Mul", &format!("{name}.square"), &[&wide, &wide], &[]);
        let mean = graph.node(
            "ReduceMean",
            &format!("{name}.mean"),
            &[&square, &last],
            &[("keepdims", Given::Int(1))],
        );
        let epsilon = graph.float(self.config.norm_epsilon, Type::Float32);
        let mean = graph.node("Add", &format!("{name}.bounded"), &[&mean, &epsilon], &[]);
        let root = graph.node("Sqrt", &format!("{name}.root"), &[&mean], &[]);
        let normed = graph.node("Div", &format!("{name}.unit"), &[&wide, &root], &[]);
        let normed = self.cast(&format!("{name}.narrow"), normed, Type::Float32, self.float);
        self.graph.node("Mul", name, &[&normed, weight], &[])
    }

    /// A product whose weights, of whole blocks, are widened while the graph runs.
    pub(super) fn widened(
        &mut self,
        name: &str,
        x: &str,
        matrix: crate::matrix::Matrix,
        blocks: Blocks,
    ) -> Result<String> {
        let (rows, columns) = (matrix.rows(), matrix.columns);
        let element = if blocks.bits == 4 { Type::Int4 } else { Type::Int8 };
        let stored = format!("{name}.weight.{element:?}");
        let scales = format!("{stored}.scales");
        let file = self.form.file;
        if let Some(values) = self.plan.place(file, &stored, element, &[rows, columns])
            && let Some(scales) =
                self.plan.place(file, &scales, Type::Float32, &[rows, blocks.count(columns)])
        {
            let blocks = Blocks { signed: true, ..blocks };
            self.plan.job(Job::Blocks { matrix, blocks, values, scales, zeros: None });
        }
        let (values, scales) = (self.placed(&stored)?, self.placed(&scales)?);
        let attributes = [("axis", Given::Int(1)), ("block_size", Given::Int(size(blocks.size)))];
        let wide =
            self.graph.node("DequantizeLinear", &format!("{name}.wide"), &[&values, &scales], &attributes);
        let turned = self.graph.node("Transpose", &format!("{name}.turned"), &[&wide], &[]);
        Ok(self.graph.node("MatMul", name, &[x, &turned], &[]))
    }
}
