//! Models of known shapes with random weights, to measure a machine with.

use std::{collections::BTreeMap, path::Path};

use puna_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use crate::{
    Architecture, ExportOptions, ExportReport, Progress,
    checkpoint::Source,
    config::DecoderConfig,
    export::{self, plan},
    shapes::SHAPES,
};

/// How far weights are from zero: what models are initialised with.
const DEVIATION: f32 = 0.02;

/// Bytes, each of which is a token.
const BYTES: usize = 256;

/// The names of the shapes there are.
pub fn shapes() -> Vec<&'static str> {
    SHAPES.iter().map(|(name, _)| *name).collect()
}

/// The configuration of a known shape, as `config.json` has it.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) for a name that [`shapes`] does not have.
pub fn shape(name: &str) -> Result<&'static str> {
    SHAPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no shape `{name}`; there are {}", shapes().join(", ")))
    })
}

/// Writes a model of a configuration's shape with random weights, the same for the same seed, and with a tokenizer
/// that has a token for each byte and others for the rest of the vocabulary. What it says means nothing; how fast it
/// says it, and in how much memory, is that of any model of this shape. No checkpoint is written: weights are made up
/// as they are needed. The configuration lies beside the model.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for configurations and options that are not supported;
/// [`Conflict`](ErrorKind::Conflict) when there is something in the folder to write;
/// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when its disk has too little room.
pub fn random(
    config: &str,
    seed: u64,
    out: &Path,
    options: &ExportOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ExportReport> {
    let text = config.trim_start();
    let config = DecoderConfig::parse(text.as_bytes())?;
    let source = Random::new(&config, seed);
    let planned = plan(&config, &source, options)?;
    export::write(&config, &Value::Null, &source, &planned, out, options, progress, |making| {
        making.write("config.json", text.as_bytes())?;
        making.write_json("tokenizer_config.json", &tokenizer_config())?;
        // Not pretty: a line for each of a vocabulary's tokens.
        making.write("tokenizer.json", tokenizer(&config).to_string().as_bytes())
    })
}

/// Weights that are a function of the seed, the tensor's name and the place.
struct Random {
    seed: u64,
    architecture: Architecture,
    tensors: BTreeMap<String, Vec<usize>>,
}

impl Random {
    fn new(config: &DecoderConfig, seed: u64) -> Self {
        Self { seed, architecture: config.architecture, tensors: tensors(config) }
    }
}

impl Source for Random {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    fn read(&self, name: &str, from: u64, out: &mut [f32]) -> Result<()> {
        if name.contains("norm") {
            // Gemma's keep their distance from 1.
            out.fill(if self.architecture == Architecture::Gemma2 { 0.0 } else { 1.0 });
            return Ok(());
        }
        let stream = name.bytes().fold(mixed(self.seed), |state, byte| mixed(state ^ u64::from(byte)));
        for (place, value) in (from..).zip(out) {
            *value = DEVIATION * normal(mixed(stream.wrapping_add(place)));
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }
}

/// The finaliser of SplitMix64 over a step of its sequence.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Nearly a normal distribution, of mean 0 and deviation 1: the sum of four even ones.
fn normal(bits: u64) -> f32 {
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    // The mean of a sum is 4 * 65535 / 2, its variance 4 * 65536² / 12.
    (sum as f32 - 131_070.0) / 37_837.0
}

/// The tensors that a checkpoint has.
fn tensors(config: &DecoderConfig) -> BTreeMap<String, Vec<usize>> {
    let DecoderConfig { vocab_size, hidden_size: hidden, intermediate_size: inner, head_dim, .. } = *config;
    let (queries, keys) = (config.heads * head_dim, config.kv_heads * head_dim);
    let mut tensors = BTreeMap::new();
    let mut tensor = |name: String, shape: &[usize]| tensors.insert(name, shape.to_vec());
    tensor("model.embed_tokens.weight".to_owned(), &[vocab_size, hidden]);
    tensor("model.norm.weight".to_owned(), &[hidden]);
    if !config.tied {
        tensor("lm_head.weight".to_owned(), &[vocab_size, hidden]);
    }
    for layer in 0..config.layers {
        let at = format!("model.layers.{layer}");
        let (attention, mlp) = (format!("{at}.self_attn"), format!("{at}.mlp"));
        for norm in ["input", "post_attention", "pre_feedforward", "post_feedforward"] {
            if config.architecture == Architecture::Gemma2 || !norm.ends_with("feedforward") {
                tensor(format!("{at}.{norm}_layernorm.weight"), &[hidden]);
            }
        }
        if config.architecture == Architecture::Phi3 {
            tensor(format!("{attention}.qkv_proj.weight"), &[queries + 2 * keys, hidden]);
            tensor(format!("{mlp}.gate_up_proj.weight"), &[2 * inner, hidden]);
        } else {
            for (part, rows) in [("q", queries), ("k", keys), ("v", keys)] {
                tensor(format!("{attention}.{part}_proj.weight"), &[rows, hidden]);
                if config.qkv_bias {
                    tensor(format!("{attention}.{part}_proj.bias"), &[rows]);
                }
            }
            for part in ["gate", "up"] {
                tensor(format!("{mlp}.{part}_proj.weight"), &[inner, hidden]);
                if config.mlp_bias {
                    tensor(format!("{mlp}.{part}_proj.bias"), &[inner]);
                }
            }
        }
        if config.architecture == Architecture::Qwen3 {
            for part in ["q", "k"] {
                tensor(format!("{attention}.{part}_norm.weight"), &[head_dim]);
            }
        }
        tensor(format!("{attention}.o_proj.weight"), &[hidden, queries]);
        if config.output_bias {
            tensor(format!("{attention}.o_proj.bias"), &[hidden]);
        }
        tensor(format!("{mlp}.down_proj.weight"), &[hidden, inner]);
        if config.mlp_bias {
            tensor(format!("{mlp}.down_proj.bias"), &[hidden]);
        }
    }
    tensors
}

fn tokenizer_config() -> Value {
    let template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    json!({ "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template })
}

/// A tokenizer of the model's vocabulary: special tokens where the configuration has them, the bytes at the first
/// places that are left, and names that no text has at the others.
fn tokenizer(config: &DecoderConfig) -> Value {
    let mut special = config.eos.clone();
    special.extend(config.bos.into_iter().chain(config.pad));
    special.sort_unstable();
    special.dedup();
    let mut bytes = byte_names().into_iter();
    let mut vocabulary = Map::new();
    for id in 0..u32::try_from(config.vocab_size).unwrap_or(u32::MAX) {
        let name = match special.binary_search(&id) {
            Ok(_) => format!("<|special_{id}|>"),
            Err(_) => bytes.next().map_or_else(|| format!("<|unused_{id}|>"), String::from),
        };
        vocabulary.insert(name, id.into());
    }
    let added: Vec<Value> = special
        .iter()
        .map(|id| {
            json!({
                "id": id, "content": format!("<|special_{id}|>"), "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// The characters that stand for bytes in byte-level vocabularies: those of Latin-1 that can be seen stand for
/// themselves, and the others for characters from U+0100 on.
fn byte_names() -> Vec<char> {
    let mut next = 0x100;
    (0..BYTES)
        .filter_map(|byte| {
            let byte = u32::try_from(byte).ok()?;
            if matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
                return char::from_u32(byte);
            }
            next += 1;
            char::from_u32(next - 1)
        })
        .collect()
}
