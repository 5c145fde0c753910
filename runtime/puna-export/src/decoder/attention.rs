use puna_core::{Error, Result};

use super::Decoder;
use crate::{
    Architecture,
    matrix::{Matrix, Part},
    onnx::{Given, MICROSOFT, Type},
    plan::Job,
    rope::Function,
    rotate::Rotation,
};

/// What GroupQueryAttention wants the part of a head that turns to be a multiple of.
const TURNED: usize = 16;

/// What every layer's attention takes.
pub(super) enum Shared {
    Grouped(Grouped),
    Standard(super::standard::Shared),
}

/// What GroupQueryAttention takes beside queries, keys and values.
pub(super) struct Grouped {
    /// The last valid position of each row, `[batch]`.
    lengths: String,
    /// The length of the longest row.
    total: String,
    cosines: String,
    sines: String,
    /// The rows of the tables, where they are not the tokens' places; else empty.
    positions: String,
}

/// The values that go into attention. Keys and values are empty where all three are one value.
pub(super) struct Projected {
    pub(super) queries: String,
    pub(super) keys: String,
    pub(super) values: String,
}

fn int32() -> Given<'static> {
    Given::Int(i64::from(Type::Int32 as i32))
}

impl Decoder<'_> {
    pub(super) fn attention_inputs(&mut self) -> Result<Shared> {
        if self.form.standard {
            return Ok(Shared::Standard(self.standard_inputs()?));
        }
        let turned = self.config.rope.width;
        if !turned.is_multiple_of(TURNED) {
            return Err(Error::invalid_input(format!(
                "{turned} of each head's `{}` numbers turn by their place; ONNX Runtime's attention wants a multiple of {TURNED}, and the form of standard operators does not",
                self.config.head_dim
            )));
        }
        let graph = &mut self.graph;
        let (one, axis) = (graph.ints(&[1]), graph.int(1));
        let ones =
            graph.node("ReduceSum", "mask.sum", &["attention_mask", &one], &[("keepdims", Given::Int(0))]);
        let last = graph.node("Sub", "mask.last", &[&ones, &one], &[]);
        let lengths = graph.node("Cast", "mask.lengths", &[&last], &[("to", int32())]);
        let shape = graph.node("Shape", "mask.shape", &["attention_mask"], &[]);
        let length = graph.node("Gather", "mask.length", &[&shape, &axis], &[("axis", Given::Int(0))]);
        let total = graph.node("Cast", "mask.total", &[&length], &[("to", int32())]);
        let (cosines, sines, long_from) = self.tables()?;
        let positions = match long_from {
            None => String::new(),
            Some(row) => self.shifted_positions(&ones, &length, row),
        };
        Ok(Shared::Grouped(Grouped { lengths, total, cosines, sines, positions }))
    }

    /// The tables' names, and the row from which they are for long sequences.
    pub(super) fn tables(&mut self) -> Result<(String, String, Option<usize>)> {
        let table = self.config.rope.table(self.form.context);
        let long_from = table.long_from();
        let functions: [(&str, Function); 2] = [("cos_cache", f64::cos), ("sin_cache", f64::sin)];
        for (name, function) in functions {
            let dims = [table.rows(), table.columns()];
            if let Some(slot) = self.plan.place(self.form.file, name, Type::Float32, &dims) {
                self.plan.job(Job::Table { table: table.clone(), function, slot });
            }
        }
        let mut named = |name: &str| -> Result<String> {
            let table = self.placed(name)?;
            Ok(self.cast(&format!("{name}.cast"), table, Type::Float32, self.float))
        };
        Ok((named("cos_cache")?, named("sin_cache")?, long_from))
    }

    /// The rows of the tables for the tokens given, `[batch, sequence]`: their places, and for a sequence longer than
    /// those of the first training as many rows further down.
    fn shifted_positions(&mut self, ones: &str, length: &str, long_from: usize) -> String {
        let long_from = i64::try_from(long_from).unwrap_or(i64::MAX);
        let graph = &mut self.graph;
        let (zero, axis, step) = (graph.int(0), graph.int(1), graph.int(1));
        let shape = graph.node("Shape", "positions.shape", &["input_ids"], &[]);
        let sequence =
            graph.node("Gather", "positions.sequence", &[&shape, &axis], &[("axis", Given::Int(0))]);
        let before = graph.node("Sub", "positions.before", &[ones, &sequence], &[]);
        // Rows that are padded behind begin at place 0 all the same.
        let before = graph.node("Max", "positions.first", &[&before, &zero], &[]);
        let last_axis = graph.ints(&[1]);
        let before = graph.node("Unsqueeze", "positions.rows", &[&before, &last_axis], &[]);
        let range = graph.node("Range", "positions.range", &[&zero, &sequence, &step], &[]);
        let places = graph.node("Add", "positions.places", &[&before, &range], &[]);
        let most = graph.int(long_from);
        let longer = graph.node("Greater", "positions.longer", &[length, &most], &[]);
        let shift = graph.node("Where", "positions.shift", &[&longer, &most, &zero], &[]);
        graph.node("Add", "positions", &[&places, &shift], &[])
    }

    pub(super) fn attention(&mut self, layer: usize, x: &str, shared: &Shared) -> Result<String> {
        let at = format!("model.layers.{layer}.self_attn");
        let projected = self.projected(&at, x, matches!(shared, Shared::Standard(_)))?;
        let attended = match shared {
            Shared::Grouped(shared) => self.grouped(layer, &at, &projected, shared),
            Shared::Standard(shared) => self.standard_attention(layer, &at, &projected, shared),
        };
        let config = self.config;
        let name = format!("{at}.o_proj");
        let width = config.heads * config.head_dim;
        let part = self.writing(Part::of(&format!("{name}.weight"), config.hidden_size));
        let weights = Matrix::joined(vec![part], width).turned(self.values_of_all_heads());
        let out = self.linear(&name, &attended, weights)?;
        self.bias(&name, out, config.output_bias, &["o_proj"], config.hidden_size)
    }

    /// Queries, keys and values by one product.
    fn projected(&mut self, at: &str, x: &str, split: bool) -> Result<Projected> {
        let config = self.config;
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let rows = queries + 2 * keys;
        let name = format!("{at}.qkv_proj");
        let values = self.values.clone();
        let parts = if config.architecture == Architecture::Phi3 {
            let tensor = format!("{name}.weight");
            vec![
                Part::within(&tensor, 0, queries + keys),
                Part::within(&tensor, queries + keys, keys).turned(values.as_ref()),
            ]
        } else {
            let part = |part: &str, rows| Part::of(&format!("{at}.{part}.weight"), rows);
            vec![part("q_proj", queries), part("k_proj", keys), part("v_proj", keys).turned(values.as_ref())]
        };
        let norm = at.replace("self_attn", "input_layernorm");
        let matrix = self.reading(Matrix::joined(parts, config.hidden_size), &norm);
        let packed = self.linear(&name, x, matrix)?;
        let packed = self.bias(&name, packed, config.qkv_bias, &["q_proj", "k_proj", "v_proj"], rows)?;
        let normalised = config.architecture == Architecture::Qwen3;
        if !normalised && !split {
            return Ok(Projected { queries: packed, keys: String::new(), values: String::new() });
        }
        let sizes = [queries, keys, keys].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        let sizes = self.graph.ints(&sizes);
        let [q, k, v] = ["q", "k", "v"].map(|part| format!("{name}.{part}"));
        let attributes = [("axis", Given::Int(-1))];
        self.graph.nodes(
            "",
            "Split",
            &format!("{name}.split"),
            &[&packed, &sizes],
            &[&q, &k, &v],
            &attributes,
        );
        if !normalised {
            return Ok(Projected { queries: q, keys: k, values: v });
        }
        Ok(Projected {
            queries: self.head_norm(&format!("{at}.q_norm"), &q, queries)?,
            keys: self.head_norm(&format!("{at}.k_norm"), &k, keys)?,
            values: v,
        })
    }

    /// What attention gives is turned head by head, as the values are.
    fn values_of_all_heads(&self) -> Option<Rotation> {
        self.values.as_ref().map(|values| values.repeated(self.config.heads))
    }

    /// Normalises each head.
    fn head_norm(&mut self, name: &str, x: &str, width: usize) -> Result<String> {
        let weight = self.norm_weight(name, self.config.head_dim)?;
        let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let heads = self.graph.ints(&[0, -1, size(self.config.head_dim)]);
        let joined = self.graph.ints(&[0, -1, size(width)]);
        let split = self.graph.node("Reshape", &format!("{name}.heads"), &[x, &heads], &[]);
        let normed = self.simple_norm(name, &split, &weight);
        Ok(self.graph.node("Reshape", &format!("{name}.joined"), &[&normed, &joined], &[]))
    }

    fn grouped(&mut self, layer: usize, at: &str, projected: &Projected, shared: &Grouped) -> String {
        let config = self.config;
        let names = ["past_key_values", "present"]
            .map(|when| ["key", "value"].map(|part| format!("{when}.{layer}.{part}")));
        let Projected { queries, keys, values } = projected;
        let [past, present] = &names;
        let mut inputs = vec![
            &**queries,
            keys,
            values,
            &past[0],
            &past[1],
            &shared.lengths,
            &shared.total,
            &shared.cosines,
            &shared.sines,
        ];
        if !shared.positions.is_empty() {
            inputs.push(&shared.positions);
        }
        let int = |size: usize| Given::Int(i64::try_from(size).unwrap_or(i64::MAX));
        let window = config.windows[layer].map_or(Given::Int(-1), int);
        let attributes = [
            ("num_heads", int(config.heads)),
            ("kv_num_heads", int(config.kv_heads)),
            ("scale", Given::Float(config.scale)),
            ("local_window_size", window),
            ("softcap", Given::Float(config.score_cap.unwrap_or(0.0))),
            ("do_rotary", Given::Int(1)),
            ("rotary_interleaved", Given::Int(0)),
        ];
        let name = format!("{at}.attended");
        let outputs = [&*name, &present[0], &present[1]];
        self.graph.nodes(MICROSOFT, "GroupQueryAttention", &name, &inputs, &outputs, &attributes);
        name
    }
}
