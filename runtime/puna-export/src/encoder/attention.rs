//! Attention of encoders: every token to every other that is no padding.

use puna_core::Result;

use super::{Encoder, Family, config::Disentangled, positions};
use crate::onnx::{Given, Type};

/// What all layers share.
pub(super) struct Shared {
    /// The mask in 32-bit integers.
    mask: String,
    /// What is added to the scores of each layer, `[1, heads, sequence, sequence]`: MPNet's.
    bias: Option<String>,
    /// DeBERTa's tables.
    relative: Option<Relative>,
}

/// What DeBERTa's layers share.
struct Relative {
    /// The embeddings of relative positions, `[2 * span, hidden]`.
    table: String,
    /// For each query and key the row of the table, `[batch, heads, query, key]`.
    rows: String,
    /// The same with the last two turned.
    turned: String,
}

impl Encoder<'_> {
    pub(super) fn attention_inputs(&mut self) -> Result<Shared> {
        let to_int = [("to", Given::Int(i64::from(Type::Int32 as i32)))];
        let mask = self.graph.node("Cast", "attention.mask", &["attention_mask"], &to_int);
        let (mut bias, mut relative) = (None, None);
        match (self.config.family, &self.config.disentangled) {
            (Family::Mpnet, _) => bias = Some(self.relative_bias()?),
            (Family::Deberta, Some(how)) => relative = Some(self.relative_table(how)?),
            _ => {}
        }
        Ok(Shared { mask, bias, relative })
    }

    /// What is attended to, `[batch, sequence, hidden]`.
    pub(super) fn attention(
        &mut self,
        layer: usize,
        x: &str,
        qkv: &[String; 3],
        shared: &Shared,
    ) -> Result<String> {
        let hidden = self.config.hidden_size;
        let at = format!("layer.{layer}.attention");
        let mut parts = Vec::new();
        for name in qkv {
            parts.push(self.linear(name, x, hidden, hidden)?);
        }
        let biases: Vec<String> = qkv.iter().map(|name| format!("{name}.bias")).collect();
        let biases: Vec<&str> = biases.iter().map(String::as_str).collect();
        let mut bias = self.joined(&format!("{at}.bias"), &biases, hidden)?;
        let mut scores = shared.bias.clone().unwrap_or_default();
        let width = (hidden / self.config.heads) as f32;
        let mut scale = 1.0 / width.sqrt();
        if let (Some(relative), Some(how)) = (&shared.relative, &self.config.disentangled) {
            let terms = 1 + u8::from(how.content_to_position) + u8::from(how.position_to_content);
            scale = 1.0 / (width * f32::from(terms)).sqrt();
            for (part, name) in parts.iter_mut().zip(qkv).take(2) {
                *part = self.biased(name, part, hidden)?;
            }
            let value = self.biased(&qkv[2], &parts[2], hidden)?;
            parts[2] = value;
            bias = String::new();
            scores = self.relative_scores(layer, &parts, qkv, relative, how, scale)?;
        }
        let mut inputs = vec![&*parts[0], &*parts[1], &*parts[2], &*bias, &*shared.mask];
        if !scores.is_empty() {
            inputs.push(&scores);
        }
        let attributes = [("num_heads", int(self.config.heads)), ("scale", Given::Float(scale))];
        Ok(self.graph.microsoft("MultiHeadAttention", &at, &inputs, &attributes))
    }

    /// For each query and key the entry of a table of distances, `[sequence, sequence]`; `turned` counts keys from
    /// queries.
    fn by_distance(&mut self, name: &str, table: &str, turned: bool) -> String {
        let last = i64::try_from(self.config.context).unwrap_or(i64::MAX) - 1;
        let graph = &mut self.graph;
        let shape = graph.node("Shape", &format!("{name}.shape"), &["input_ids"], &[]);
        let (zero, one) = (graph.int(0), graph.int(1));
        let length = graph.node("Gather", &format!("{name}.length"), &[&shape, &one], &[]);
        let places = graph.node("Range", &format!("{name}.places"), &[&zero, &length, &one], &[]);
        let (down, across) = (graph.ints(&[1]), graph.ints(&[0]));
        let rows = graph.node("Unsqueeze", &format!("{name}.down"), &[&places, &down], &[]);
        let columns = graph.node("Unsqueeze", &format!("{name}.across"), &[&places, &across], &[]);
        let (from, to) = if turned { (&columns, &rows) } else { (&rows, &columns) };
        let distance = graph.node("Sub", &format!("{name}.distance"), &[from, to], &[]);
        let last = graph.int(last);
        let index = graph.node("Add", &format!("{name}.index"), &[&distance, &last], &[]);
        graph.node("Gather", name, &[table, &index], &[])
    }

    fn relative_bias(&mut self) -> Result<String> {
        let (heads, buckets) = (self.config.heads, self.config.relative_buckets);
        let table = self.table("encoder.relative_attention_bias.weight", buckets, heads)?;
        let distances = positions::mpnet(self.config.context, buckets);
        let distances = self.graph.int_table("relative.buckets", &distances);
        // The table is of keys from queries.
        let rows = self.by_distance("relative.rows", &distances, true);
        let values = self.graph.node("Gather", "relative.values", &[&table, &rows], &[]);
        let turned =
            self.graph.node("Transpose", "relative.turned", &[&values], &[("perm", Given::Ints(&[2, 0, 1]))]);
        let first = self.graph.ints(&[0]);
        Ok(self.graph.node("Unsqueeze", "relative.bias", &[&turned, &first], &[]))
    }

    fn relative_table(&mut self, how: &Disentangled) -> Result<Relative> {
        let hidden = self.config.hidden_size;
        let mut table = self.table("encoder.rel_embeddings.weight", 2 * how.span, hidden)?;
        if how.normed {
            table = self.norm("encoder.LayerNorm", &table, None)?;
        }
        let distances = positions::deberta(self.config.context, how);
        let distances = self.graph.int_table("relative.buckets", &distances);
        let rows = self.by_distance("relative.rows", &distances, false);
        let turned =
            self.graph.node("Transpose", "relative.rows.turned", &[&rows], &[("perm", Given::Ints(&[1, 0]))]);
        let graph = &mut self.graph;
        let shape = graph.node("Shape", "relative.ids", &["input_ids"], &[]);
        let (zero, one, two) = (graph.ints(&[0]), graph.ints(&[1]), graph.ints(&[2]));
        let batch = graph.node("Slice", "relative.batch", &[&shape, &zero, &one, &zero], &[]);
        let length = graph.node("Slice", "relative.length", &[&shape, &one, &two, &zero], &[]);
        let heads = graph.ints(&[i64::try_from(self.config.heads).unwrap_or(i64::MAX)]);
        let inputs = [&*batch, &heads, &length, &length];
        let full = graph.node("Concat", "relative.full", &inputs, &[("axis", Given::Int(0))]);
        let rows = graph.node("Expand", "relative.rows.full", &[&rows, &full], &[]);
        let turned = graph.node("Expand", "relative.turned.full", &[&turned, &full], &[]);
        Ok(Relative { table, rows, turned })
    }

    /// What contents and relative positions say of each other, `[batch, heads, query, key]`.
    fn relative_scores(
        &mut self,
        layer: usize,
        parts: &[String],
        qkv: &[String; 3],
        relative: &Relative,
        how: &Disentangled,
        scale: f32,
    ) -> Result<String> {
        let at = format!("layer.{layer}.relative");
        let axis = [("axis", Given::Int(-1))];
        let mut sum: Option<String> = None;
        if how.content_to_position {
            let own = if how.shared { qkv[1].clone() } else { qkv[1].replace("key_proj", "pos_key_proj") };
            let all = self.against_table(&format!("{at}.c2p"), &parts[0], &own, relative)?;
            sum =
                Some(self.graph.node("GatherElements", &format!("{at}.c2p"), &[&all, &relative.rows], &axis));
        }
        if how.position_to_content {
            let own =
                if how.shared { qkv[0].clone() } else { qkv[0].replace("query_proj", "pos_query_proj") };
            let name = format!("{at}.p2c");
            let all = self.against_table(&name, &parts[1], &own, relative)?;
            let inputs = [&*all, &*relative.turned];
            let by_key = self.graph.node("GatherElements", &format!("{name}.by_key"), &inputs, &axis);
            let turned =
                self.graph.node("Transpose", &name, &[&by_key], &[("perm", Given::Ints(&[0, 1, 3, 2]))]);
            sum = Some(match sum {
                Some(other) => self.graph.node("Add", &format!("{at}.sum"), &[&other, &turned], &[]),
                None => turned,
            });
        }
        let Some(sum) = sum else { return Ok(String::new()) };
        let scale = self.graph.float(scale, Type::Float32);
        Ok(self.graph.node("Mul", &format!("{at}.scores"), &[&sum, &scale], &[]))
    }

    /// A part's heads times the table of positions behind a projection: `[batch, heads, sequence, 2 * span]`. The table
    /// does not depend on the input, so that a session projects it once.
    fn against_table(
        &mut self,
        at: &str,
        part: &str,
        projection: &str,
        relative: &Relative,
    ) -> Result<String> {
        let (hidden, heads) = (self.config.hidden_size, self.config.heads);
        let wide = i64::try_from(hidden / heads).unwrap_or(i64::MAX);
        let heads = i64::try_from(heads).unwrap_or(i64::MAX);
        let bias = self.vector(&format!("{projection}.bias"), hidden)?;
        let matrix = crate::matrix::Matrix::of(&self.tensor(&format!("{projection}.weight")), hidden, hidden);
        let stored = format!("{at}.table");
        let projected = self.float(&stored, &relative.table, matrix)?;
        let graph = &mut self.graph;
        let projected = graph.node("Add", &format!("{stored}.biased"), &[&projected, &bias], &[]);
        let split = graph.ints(&[-1, heads, wide]);
        let by_head = graph.node("Reshape", &format!("{stored}.heads"), &[&projected, &split], &[]);
        let table = graph.node(
            "Transpose",
            &format!("{stored}.turned"),
            &[&by_head],
            &[("perm", Given::Ints(&[1, 2, 0]))],
        );
        let split = graph.ints(&[0, -1, heads, wide]);
        let content = graph.node("Reshape", &format!("{at}.split"), &[part, &split], &[]);
        let content = graph.node(
            "Transpose",
            &format!("{at}.heads"),
            &[&content],
            &[("perm", Given::Ints(&[0, 2, 1, 3]))],
        );
        Ok(graph.node("MatMul", &format!("{at}.all"), &[&content, &table], &[]))
    }
}

fn int(size: usize) -> Given<'static> {
    Given::Int(i64::try_from(size).unwrap_or(i64::MAX))
}
