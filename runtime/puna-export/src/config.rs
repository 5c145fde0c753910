//! What `config.json` says of a decoder, checked and in one form for every architecture.

use std::path::Path;

use puna_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::{
    EncoderConfig, files,
    rope::{RawRope, Rope},
};

/// Longest context of a table of positions, in tokens: more than the longest that any model claims, and some gigabytes.
pub(crate) const MAX_CONTEXT: u64 = 1 << 24;

/// Most layers believed: thirty times the deepest published model.
const MAX_LAYERS: u64 = 1 << 12;

/// Most heads of a layer believed.
const MAX_HEADS: u64 = 1 << 14;

/// Largest width of a head or a layer believed.
const MAX_WIDTH: u64 = 1 << 20;

/// Largest vocabulary believed, in tokens: sixty times the largest published.
const MAX_VOCABULARY: u64 = 1 << 24;

/// Most tokens that may end an answer, as the engine takes them.
const MAX_EOS: usize = 256;

/// A decoder whose graph is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1 to 3.3.
    Llama,
    /// Mistral, with its sliding window.
    Mistral,
    /// Qwen 2 and 2.5: queries, keys and values have a bias.
    Qwen2,
    /// Qwen 3: queries and keys are normalised head by head.
    Qwen3,
    /// Phi-3 and Phi-4-mini: fused projections.
    Phi3,
    /// Gemma 2: four norms a layer, logits and scores bounded.
    Gemma2,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Phi3, Self::Gemma2];

    /// The name in `config.json`'s `model_type`, which is onnxruntime-genai's too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma2 => "gemma2",
        }
    }
}

/// What stands between the two products of a layer's second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// GELU in its form with a hyperbolic tangent.
    GeluTanh,
}

/// A decoder's shape and its options.
#[derive(Clone, Debug)]
pub struct DecoderConfig {
    /// Which graph it has.
    pub architecture: Architecture,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between a layer's last two products.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The context's length, in tokens.
    pub context: usize,
    /// Whether the head's weights are the embedding's.
    pub tied: bool,
    pub(crate) norm_epsilon: f32,
    pub(crate) activation: Activation,
    pub(crate) rope: Rope,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// A bias of queries, keys and values.
    pub(crate) qkv_bias: bool,
    /// A bias of attention's last product.
    pub(crate) output_bias: bool,
    /// A bias of a layer's last three products.
    pub(crate) mlp_bias: bool,
    /// For each layer, how many tokens it looks back at, itself among them; all without one.
    pub(crate) windows: Vec<Option<usize>>,
    /// Scores become `cap * tanh(score / cap)`.
    pub(crate) score_cap: Option<f32>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub(crate) logit_cap: Option<f32>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Vec<u32>,
    pub(crate) pad: Option<u32>,
}

#[derive(Deserialize)]
struct Head {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: Option<u64>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    sliding_window: Option<u64>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<u64>,
    layer_types: Option<Vec<String>>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    bos_token_id: Option<Ids>,
    eos_token_id: Option<Ids>,
    pad_token_id: Option<Ids>,
    quantization_config: Option<serde_json::Value>,
    #[serde(flatten)]
    rope: RawRope,
}

/// One token or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    pub(crate) fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

impl DecoderConfig {
    /// Reads a folder's `config.json`.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) without the file; [`InvalidInput`](ErrorKind::InvalidInput) when it is not
    /// JSON, has a value that no model has, or is of an architecture that is not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let bytes = files::read_bounded(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no `config.json` in `{}`", folder.display()))
        })?;
        Self::parse(&bytes).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    /// Reads the text of a `config.json`.
    ///
    /// ```
    /// use puna_export::DecoderConfig;
    ///
    /// let error = DecoderConfig::parse(br#"{"model_type": "gpt2"}"#).unwrap_err();
    /// assert!(error.to_string().starts_with("`model_type` is `gpt2`; supported are the decoders `llama`"));
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) as for [`open`](Self::open).
    pub fn parse(json: &[u8]) -> Result<Self> {
        let not_json = |error: serde_json::Error| Error::invalid_input(error.to_string()).with_source(error);
        let head: Head = serde_json::from_slice(json).map_err(not_json)?;
        let name = head.model_type.unwrap_or_default();
        let architecture =
            Architecture::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
                let quoted = |names: Vec<&str>| {
                    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                };
                let decoders = quoted(Architecture::ALL.iter().map(|known| known.name()).collect());
                let encoders = quoted(EncoderConfig::supported());
                let shown: String = name.chars().take(60).collect();
                Error::invalid_input(format!(
                    "`model_type` is `{shown}`; supported are the decoders {decoders} and the encoders {encoders}"
                ))
            })?;
        let raw: Raw = serde_json::from_slice(json).map_err(not_json)?;
        Self::check(architecture, raw)
    }

    fn check(architecture: Architecture, raw: Raw) -> Result<Self> {
        if raw.quantization_config.is_some() {
            return Err(Error::invalid_input(
                "`quantization_config` says that the weights are quantised already; take the checkpoint they come from",
            ));
        }
        let heads = whole("num_attention_heads", raw.num_attention_heads, MAX_HEADS)?;
        let kv_heads = match raw.num_key_value_heads {
            Some(heads) => whole("num_key_value_heads", heads, MAX_HEADS)?,
            None => heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::invalid_input(format!(
                "`num_attention_heads` is `{heads}`, not a multiple of `num_key_value_heads`, `{kv_heads}`"
            )));
        }
        let hidden_size = whole("hidden_size", raw.hidden_size, MAX_WIDTH)?;
        let head_dim = match raw.head_dim {
            Some(width) => whole("head_dim", width, MAX_WIDTH)?,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(Error::invalid_input(format!(
                    "`hidden_size` is `{hidden_size}`, not a multiple of `num_attention_heads`, `{heads}`, and there is no `head_dim`"
                )));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(Error::invalid_input(format!("`head_dim` is `{head_dim}`; it must be even")));
        }
        let layers = whole("num_hidden_layers", raw.num_hidden_layers, MAX_LAYERS)?;
        let context =
            whole("max_position_embeddings", raw.max_position_embeddings.unwrap_or(2048), MAX_CONTEXT)?;
        let gemma = architecture == Architecture::Gemma2;
        let act = raw.hidden_activation.as_deref().or(raw.hidden_act.as_deref());
        let activation = match act.unwrap_or(if gemma { "gelu_pytorch_tanh" } else { "silu" }) {
            "silu" | "swish" => Activation::Silu,
            // Gemma's first configurations say `gelu`, and its code never took it.
            "gelu_pytorch_tanh" | "gelu_new" => Activation::GeluTanh,
            "gelu" if gemma => Activation::GeluTanh,
            other => {
                let shown: String = other.chars().take(60).collect();
                return Err(Error::invalid_input(format!(
                    "`hidden_act` is `{shown}`; supported are `silu` and `gelu_pytorch_tanh`"
                )));
            }
        };
        let scale = match raw.query_pre_attn_scalar {
            Some(scalar) if gemma => positive("query_pre_attn_scalar", scalar)?.powf(-0.5),
            None if gemma => 256_f64.powf(-0.5),
            _ => (head_dim as f64).powf(-0.5),
        };
        let cap = |name, value: Option<f64>| match value {
            Some(cap) if gemma => positive(name, cap).map(|cap| Some(narrow(cap))),
            _ => Ok(None),
        };
        let attention_bias = raw.attention_bias.unwrap_or(false);
        let mut eos = raw.eos_token_id.clone().map(Ids::list).unwrap_or_default();
        eos.truncate(MAX_EOS);
        let rope = Rope::check(&raw.rope, head_dim, context)?;
        Ok(Self {
            architecture,
            vocab_size: whole("vocab_size", raw.vocab_size, MAX_VOCABULARY)?,
            hidden_size,
            intermediate_size: whole("intermediate_size", raw.intermediate_size, MAX_WIDTH)?,
            layers,
            heads,
            kv_heads,
            head_dim,
            context,
            tied: raw.tie_word_embeddings.unwrap_or(gemma),
            norm_epsilon: narrow(positive(
                "rms_norm_eps",
                raw.rms_norm_eps.unwrap_or(default_epsilon(architecture)),
            )?),
            activation,
            rope,
            scale: narrow(scale),
            qkv_bias: match architecture {
                Architecture::Qwen2 => true,
                Architecture::Phi3 | Architecture::Mistral => false,
                _ => attention_bias,
            },
            output_bias: match architecture {
                Architecture::Qwen2 | Architecture::Phi3 | Architecture::Mistral => false,
                _ => attention_bias,
            },
            mlp_bias: architecture == Architecture::Llama && raw.mlp_bias.unwrap_or(false),
            windows: windows(architecture, &raw, layers)?,
            score_cap: cap("attn_logit_softcapping", raw.attn_logit_softcapping)?,
            logit_cap: cap("final_logit_softcapping", raw.final_logit_softcapping)?,
            bos: raw.bos_token_id.and_then(|ids| ids.list().first().copied()),
            eos,
            pad: raw.pad_token_id.and_then(|ids| ids.list().first().copied()),
        })
    }
}

/// What transformers takes where a configuration says nothing.
fn default_epsilon(architecture: Architecture) -> f64 {
    if architecture == Architecture::Phi3 { 1e-5 } else { 1e-6 }
}

/// Which layers slide: as `layer_types` says, else as each architecture's code did before there were types.
fn windows(architecture: Architecture, raw: &Raw, layers: usize) -> Result<Vec<Option<usize>>> {
    let window = match (architecture, raw.sliding_window) {
        (Architecture::Llama, _) | (_, None) => return Ok(vec![None; layers]),
        (Architecture::Qwen2 | Architecture::Qwen3, _) if raw.use_sliding_window != Some(true) => {
            return Ok(vec![None; layers]);
        }
        (_, Some(window)) => whole("sliding_window", window, MAX_CONTEXT)?,
    };
    if let Some(types) = &raw.layer_types {
        if types.len() != layers {
            return Err(Error::invalid_input(format!(
                "`layer_types` has {} entries for {layers} layers",
                types.len()
            )));
        }
        return types
            .iter()
            .map(|kind| match kind.as_str() {
                "sliding_attention" => Ok(Some(window)),
                "full_attention" => Ok(None),
                other => {
                    let shown: String = other.chars().take(60).collect();
                    Err(Error::invalid_input(format!(
                        "`layer_types` has `{shown}`; supported are `full_attention` and `sliding_attention`"
                    )))
                }
            })
            .collect();
    }
    let full_first = raw.max_window_layers.unwrap_or(28);
    let slides = |layer: usize| match architecture {
        Architecture::Gemma2 => layer.is_multiple_of(2),
        Architecture::Qwen2 | Architecture::Qwen3 => layer as u64 >= full_first,
        _ => true,
    };
    Ok((0..layers).map(|layer| slides(layer).then_some(window)).collect())
}

pub(crate) fn whole(name: &str, value: u64, most: u64) -> Result<usize> {
    match usize::try_from(value) {
        Ok(size) if (1..=most).contains(&value) => Ok(size),
        _ => Err(Error::invalid_input(format!("`{name}` is `{value}`; it must be from 1 to {most}"))),
    }
}

pub(crate) fn positive(name: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(Error::invalid_input(format!("`{name}` is `{value}`; it must be above 0")))
}

#[expect(clippy::cast_possible_truncation, reason = "the graph's numbers are 32-bit floats")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}
