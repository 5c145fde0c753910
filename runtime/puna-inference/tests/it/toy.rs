//! Graphs that count instead of thinking. They write digits, each of which depends on every token before it, on its
//! place and on its head and width in the cache, so that whatever the runtime mixes up changes the answer; and
//! what the answer must be is computed here too, without a cache.

use std::fs;

use protobuf::{Bytes, Message};
use puna_core::GenerateRequest;
use puna_inference::OnnxModel;
use puna_text::Tokenizer;
use serde_json::{Value, json};

use crate::{bundled, copy};

/// ONNX's numbers of element types.
pub const FLOAT: u64 = 1;
pub const UINT8: u64 = 2;
pub const INT8: u64 = 3;
pub const INT64: u64 = 7;
pub const BOOL: u64 = 9;
pub const FLOAT16: u64 = 10;
pub const BFLOAT16: u64 = 16;

const VOCABULARY: i64 = 3072;
/// What a cached token's number is raised by, for each head and each place of its width.
const OFFSETS: [i64; 4] = [0, 1, 2, 3];
/// What each head and each place of its width counts.
const WEIGHTS: [i64; 4] = [1, 2, 3, 5];
/// What a token is divided by for the second cache.
const SECOND_SMALL: i64 = 11;
const PAST: &str = "past_key_values.0.key";
const PRESENT: &str = "present.0.key";

/// Which rows of logits a graph gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    All,
    /// As many as an input of this name asks for.
    Asked(&'static str),
    Last,
}

/// What exporters do differently.
#[derive(Clone, Debug)]
pub struct Toy {
    pub element: u64,
    pub logits: u64,
    pub attention_mask: bool,
    pub position_ids: bool,
    pub use_cache_branch: bool,
    pub rows: Rows,
    /// The cache's length where the graph fixes it; else its cache grows.
    pub fixed: Option<i64>,
    pub cache: bool,
    /// The type of a second cache, whose layer's number does not follow on the first one's, with other heads of
    /// another width.
    pub second: Option<u64>,
    /// The type of `use_cache_branch`.
    pub branch: u64,
    /// Heads and their width of a cache that goes through unused, where it is not of two heads of width two.
    pub odd: Option<(i64, i64)>,
    /// The type that the cache has when it comes out, where it is not the one it goes in with.
    pub given: Option<u64>,
    /// Whether it writes the same digit always.
    pub constant: bool,
    /// Whether a zero ends an answer.
    pub ends: bool,
    /// A name in the graph, and what it is called instead.
    pub rename: Option<(&'static str, &'static str)>,
}

impl Default for Toy {
    fn default() -> Self {
        Self {
            element: FLOAT,
            logits: FLOAT,
            attention_mask: true,
            position_ids: true,
            use_cache_branch: false,
            rows: Rows::All,
            fixed: None,
            cache: true,
            second: None,
            branch: BOOL,
            odd: None,
            given: None,
            constant: false,
            ends: false,
            rename: None,
        }
    }
}

impl Toy {
    /// A folder with the graph, and the bundled model's tokenizer and template. `share` is what the exporter says of
    /// the cache's buffers.
    pub fn folder(&self, context: usize, share: Option<bool>) -> tempfile::TempDir {
        let folder = copy();
        fs::remove_file(folder.path().join("model.onnx.data")).expect("the file");
        fs::remove_file(folder.path().join("generation_config.json")).expect("the file");
        fs::write(folder.path().join("model.onnx"), self.graph()).expect("the graph");
        fs::write(folder.path().join("config.json"), "{}").expect("the file");
        let eos = if self.ends { vec![digits()[0]] } else { Vec::new() };
        let mut genai = json!({"model": {"context_length": context, "eos_token_id": eos}, "search": {}});
        if let Some(share) = share {
            genai["search"]["past_present_share_buffer"] = Value::Bool(share);
        }
        fs::write(folder.path().join("genai_config.json"), genai.to_string()).expect("the file");
        folder
    }

    /// The first `count` digits, or fewer, that answer a request, computed from the definition.
    pub fn expected(&self, model: &OnnxModel, request: &GenerateRequest, count: usize) -> String {
        if self.constant {
            return "0".repeat(count);
        }
        let digits = digits();
        let mut tokens: Vec<i64> =
            model.prompt(request).expect("a prompt").iter().map(|token| i64::from(*token)).collect();
        let mut text = String::new();
        for _ in 0..count {
            let length = tokens.len() as i64;
            let mut sum = *tokens.last().expect("a prompt");
            for (offset, weight) in OFFSETS.iter().zip(WEIGHTS) {
                for (place, token) in (0..length).zip(&tokens) {
                    sum += weight * (length - place) * (token % 7 + offset);
                    if self.second.is_some() {
                        sum += weight * (length - place) * (token % SECOND_SMALL + offset);
                    }
                }
            }
            sum += if self.position_ids { length - 1 } else { 0 };
            sum += if self.attention_mask { 7 * length } else { 0 };
            sum += if self.use_cache_branch { 3 } else { 0 };
            let digit = (sum % 10) as usize;
            if self.ends && digit == 0 {
                break;
            }
            tokens.push(digits[digit]);
            text.push(char::from(b'0' + digit as u8));
        }
        text
    }

    fn graph(&self) -> Vec<u8> {
        let mut graph = Graph { rename: self.rename, ..Graph::default() };
        graph.input("input_ids", INT64, &[-1, -1]);
        // The row that every token shares: what the cache, the mask and the branch add up to.
        graph.numbers("zero", &[1], &[0]);
        let mut sums = vec!["zero".to_owned()];
        if self.attention_mask {
            graph.input("attention_mask", INT64, &[-1, -1]);
            graph.numbers("seven", &[1], &[7]);
            graph.node("ReduceSum", &["attention_mask"], "total", &[("keepdims", 0)]);
            sums.push(graph.node("Mul", &["total", "seven"], "mask_sum", &[]));
        }
        if self.use_cache_branch {
            graph.input("use_cache_branch", self.branch, &[1]);
            graph.numbers("three", &[1], &[3]);
            graph.node("Cast", &["use_cache_branch"], "branch", &[("to", INT64)]);
            sums.push(graph.node("Mul", &["branch", "three"], "branch_sum", &[]));
        }
        if let Some((heads, width)) = self.odd {
            graph.input(PAST, self.element, &[1, heads, -1, width]);
            graph.node("Identity", &[PAST], PRESENT, &[]);
            graph.output(PRESENT, self.element, &[1, heads, -1, width]);
        } else if self.cache {
            sums.push(self.add_cache(&mut graph));
        }
        if let Some(element) = self.second {
            sums.push(add_second(&mut graph, element));
        }
        let mut row = "input_ids".to_owned();
        if self.position_ids {
            graph.input("position_ids", INT64, &[-1, -1]);
            row = graph.node("Add", &[&row, "position_ids"], "placed", &[]);
        }
        for (index, sum) in sums.iter().enumerate() {
            row = graph.node("Add", &[&row, sum], &format!("row_{index}"), &[]);
        }
        let mut digits = digits();
        if self.constant {
            digits = vec![digits[0]; 10];
        }
        graph.numbers("ten", &[1], &[10]);
        graph.numbers("digits", &[10], &digits);
        graph.node("Mod", &[&row, "ten"], "digit", &[]);
        let mut chosen = graph.node("Gather", &["digits", "digit"], "chosen", &[]);
        if self.rows != Rows::All {
            match self.rows {
                Rows::Asked(name) => graph.input(name, INT64, &[]),
                _ => graph.numbers("kept", &[], &[1]),
            }
            let kept = if let Rows::Asked(name) = self.rows { name } else { "kept" };
            graph.numbers("first_axis", &[1], &[0]);
            graph.numbers("rows_axis", &[1], &[1]);
            graph.numbers("end", &[1], &[i64::MAX]);
            graph.node("Neg", &[kept], "from_end", &[]);
            graph.node("Unsqueeze", &["from_end", "first_axis"], "start", &[]);
            chosen = graph.node("Slice", &[&chosen, "start", "end", "rows_axis"], "last", &[]);
        }
        graph.numbers("vocabulary", &[1], &[VOCABULARY]);
        graph.numbers("off_on", &[2], &[-5, 5]);
        graph.node("OneHot", &[&chosen, "vocabulary", "off_on"], "scores", &[]);
        graph.node("Cast", &["scores"], "logits", &[("to", self.logits)]);
        let rows = if self.rows == Rows::Last { 1 } else { -1 };
        graph.output("logits", self.logits, &[-1, rows, VOCABULARY]);
        graph.encode()
    }

    /// The cache's part of the graph. Gives the name of its sum.
    fn add_cache(&self, graph: &mut Graph) -> String {
        let length = self.fixed.unwrap_or(-1);
        graph.input(PAST, self.element, &[1, 2, length, 2]);
        graph.numbers("small", &[1], &[7]);
        graph.numbers("head_and_width", &[2], &[1, 3]);
        graph.numbers("offsets", &[1, 2, 1, 2], &OFFSETS);
        graph.numbers("weights", &[1, 2, 1, 2], &WEIGHTS);
        graph.numbers("length_axis", &[1], &[2]);
        graph.node("Mod", &["input_ids", "small"], "rest", &[]);
        graph.node("Unsqueeze", &["rest", "head_and_width"], "spread", &[]);
        graph.node("Add", &["spread", "offsets"], "new", &[]);
        graph.node("Cast", &["new"], "new_keys", &[("to", self.element)]);
        let mut valid = PRESENT.to_owned();
        if self.fixed.is_some() {
            graph.numbers("begin", &[1], &[0]);
            graph.node("Shape", &["new"], "shape", &[]);
            graph.node("Unsqueeze", &["position_ids", "head_and_width"], "places", &[]);
            graph.node("Expand", &["places", "shape"], "indices", &[]);
            graph.node("ScatterElements", &[PAST, "indices", "new_keys"], PRESENT, &[("axis", 2)]);
            graph.node("Unsqueeze", &["total", "begin"], "valid_length", &[]);
            valid = graph.node("Slice", &[PRESENT, "begin", "valid_length", "length_axis"], "valid", &[]);
        } else {
            let whole = if self.given.is_some() { "whole" } else { PRESENT };
            graph.node("Concat", &[PAST, "new_keys"], whole, &[("axis", 2)]);
        }
        if let Some(given) = self.given {
            graph.node("Cast", &["whole"], PRESENT, &[("to", given)]);
        }
        graph.output(PRESENT, self.given.unwrap_or(self.element), &[1, 2, length, 2]);
        graph.node("Cast", &[&valid], "numbers", &[("to", INT64)]);
        graph.node("CumSum", &["numbers", "length_axis"], "running", &[]);
        graph.node("Mul", &["running", "weights"], "weighted", &[]);
        graph.node("ReduceSum", &["weighted"], "cache_sum", &[("keepdims", 0)])
    }
}

/// The second cache's part of the graph, beside the first one's: four heads of width one, which count another rest.
fn add_second(graph: &mut Graph, element: u64) -> String {
    let (past, present) = ("past_key_values.7.value", "present.7.value");
    graph.input(past, element, &[1, 4, -1, 1]);
    graph.numbers("second_small", &[1], &[SECOND_SMALL]);
    graph.numbers("second_offsets", &[1, 4, 1, 1], &OFFSETS);
    graph.numbers("second_weights", &[1, 4, 1, 1], &WEIGHTS);
    graph.node("Mod", &["input_ids", "second_small"], "second_rest", &[]);
    graph.node("Unsqueeze", &["second_rest", "head_and_width"], "second_spread", &[]);
    graph.node("Add", &["second_spread", "second_offsets"], "second_new", &[]);
    graph.node("Cast", &["second_new"], "second_values", &[("to", element)]);
    graph.node("Concat", &[past, "second_values"], present, &[("axis", 2)]);
    graph.output(present, element, &[1, 4, -1, 1]);
    graph.node("Cast", &[present], "second_numbers", &[("to", INT64)]);
    graph.node("CumSum", &["second_numbers", "length_axis"], "second_running", &[]);
    graph.node("Mul", &["second_running", "second_weights"], "second_weighted", &[]);
    graph.node("ReduceSum", &["second_weighted"], "second_sum", &[("keepdims", 0)])
}

/// The tokens of the digits. The tokenizer never joins two, so a text of digits is the same tokens again.
fn digits() -> Vec<i64> {
    let tokenizer = Tokenizer::from_folder(&bundled()).expect("a tokenizer");
    let digit = |digit: u8| tokenizer.encode_text(&digit.to_string()).expect("a digit");
    (0..10)
        .map(|number| match digit(number)[..] {
            [token] => i64::from(token),
            ref tokens => panic!("{number} is {tokens:?}"),
        })
        .collect()
}

/// An ONNX graph that is being written. Field numbers are those of `onnx.proto`.
#[derive(Default)]
struct Graph {
    nodes: Vec<Bytes>,
    numbers: Vec<Bytes>,
    inputs: Vec<Bytes>,
    outputs: Vec<Bytes>,
    rename: Option<(&'static str, &'static str)>,
}

impl Graph {
    fn named<'a>(&self, name: &'a str) -> &'a str {
        match self.rename {
            Some((from, to)) if from == name => to,
            _ => name,
        }
    }

    fn input(&mut self, name: &str, element: u64, dimensions: &[i64]) {
        self.inputs.push(value_info(self.named(name), element, dimensions));
    }

    fn output(&mut self, name: &str, element: u64, dimensions: &[i64]) {
        self.outputs.push(value_info(self.named(name), element, dimensions));
    }

    /// A constant.
    fn numbers(&mut self, name: &str, dimensions: &[i64], values: &[i64]) {
        let mut tensor = Message::default();
        dimensions.iter().for_each(|dimension| tensor.number(1, *dimension as u64));
        tensor.number(2, INT64);
        values.iter().for_each(|value| tensor.number(7, *value as u64));
        tensor.text(8, name);
        self.numbers.push(tensor.0);
    }

    fn node(&mut self, kind: &str, inputs: &[&str], output: &str, attributes: &[(&str, u64)]) -> String {
        let mut node = Message::default();
        inputs.iter().for_each(|input| node.text(1, self.named(input)));
        node.text(2, self.named(output));
        node.text(4, kind);
        for (name, value) in attributes {
            let mut attribute = Message::default();
            attribute.text(1, name);
            attribute.number(3, *value);
            attribute.number(20, 2);
            node.bytes(5, &attribute.0);
        }
        self.nodes.push(node.0);
        output.to_owned()
    }

    fn encode(&self) -> Vec<u8> {
        let mut graph = Message::default();
        self.nodes.iter().for_each(|node| graph.bytes(1, node));
        graph.text(2, "toy");
        self.numbers.iter().for_each(|tensor| graph.bytes(5, tensor));
        self.inputs.iter().for_each(|input| graph.bytes(11, input));
        self.outputs.iter().for_each(|output| graph.bytes(12, output));
        let mut operators = Message::default();
        operators.number(2, 17);
        let mut model = Message::default();
        model.number(1, 8);
        model.bytes(7, &graph.0);
        model.bytes(8, &operators.0);
        model.0
    }
}

fn value_info(name: &str, element: u64, dimensions: &[i64]) -> Bytes {
    let mut shape = Message::default();
    for (place, dimension) in dimensions.iter().enumerate() {
        let mut size = Message::default();
        match u64::try_from(*dimension) {
            Ok(known) => size.number(1, known),
            Err(_) => size.text(2, &format!("{name}_{place}")),
        }
        shape.bytes(1, &size.0);
    }
    let mut tensor = Message::default();
    tensor.number(1, element);
    tensor.bytes(2, &shape.0);
    let mut kind = Message::default();
    kind.bytes(1, &tensor.0);
    let mut info = Message::default();
    info.text(1, name);
    info.bytes(2, &kind.0);
    info.0
}

/// As much of Protocol Buffers as a graph needs.
mod protobuf {
    pub type Bytes = Vec<u8>;

    #[derive(Default)]
    pub struct Message(pub Bytes);

    impl Message {
        pub fn number(&mut self, field: u64, value: u64) {
            self.varint(field << 3);
            self.varint(value);
        }

        pub fn text(&mut self, field: u64, text: &str) {
            self.bytes(field, text.as_bytes());
        }

        pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
            self.varint(field << 3 | 2);
            self.varint(bytes.len() as u64);
            self.0.extend_from_slice(bytes);
        }

        fn varint(&mut self, mut value: u64) {
            while value >= 0x80 {
                self.0.push(value as u8 | 0x80);
                value >>= 7;
            }
            self.0.push(value as u8);
        }
    }
}
