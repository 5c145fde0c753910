//! What an export is to be.

use std::{fmt, path::PathBuf, str::FromStr};

use puna_core::{Error, Result};

use crate::quantise::Blocks;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats. Where they are a model's base, its activations, keys and values are 16-bit floats too, which
    /// suits graphics processors; processors compute them slowly.
    Fp16,
    /// 16-bit floats of the other kind, widened to 32 bits when the model is loaded: the file is as large as most
    /// checkpoints, and nothing is lost. ONNX Runtime has no kernels that compute in them on processors.
    Bf16,
    /// 8 bits, a scale for each block.
    Int8,
    /// 4 bits, a scale for each block.
    Int4,
}

impl Weights {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Fp32, Self::Fp16, Self::Bf16, Self::Int8, Self::Int4];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Weights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|weights| weights.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|weights| format!("`{weights}`")).collect();
            Error::invalid_input(format!("no weights `{text}`; there are {}", names.join(", ")))
        })
    }
}

/// Products that keep other weights than the rest.
///
/// ```
/// use puna_export::{Keep, Weights};
///
/// let keep: Keep = "*.down_proj=int8".parse()?;
/// assert_eq!(keep.weights, Weights::Int8);
/// # Ok::<(), puna_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What their names look like, `*` for anything: `lm_head`, `model.embed_tokens`, `model.layers.N.self_attn.` with
    /// `qkv_proj` or `o_proj`, `model.layers.N.mlp.` with `gate_proj`, `up_proj` or `down_proj`.
    pub pattern: String,
    /// How they are stored.
    pub weights: Weights,
}

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((pattern, weights)) if !pattern.is_empty() => {
                Ok(Self { pattern: pattern.to_owned(), weights: weights.parse()? })
            }
            _ => Err(Error::invalid_input(format!(
                "`{text}` is not a pattern and weights, as `*.down_proj=int8`"
            ))),
        }
    }
}

/// What an export is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// How weights are stored.
    pub weights: Weights,
    /// Whether products are of 8-bit weights, one scale for each output, and 8-bit activations, one scale for each
    /// row. It wants weights in `Int8`.
    pub activations_int8: bool,
    /// Whether a second graph of that kind is written beside, `model_prefill.onnx`, which the engine sends prompts
    /// through. It shares keys and values, the embedding and what else is equal.
    pub companion_int8: bool,
    /// Weights that share a scale: 16, 32, 64, 128 or 256.
    pub block: usize,
    /// Whether zero is the middle of a block's range. Without it there is a zero point for each block.
    pub symmetric: bool,
    /// What ONNX Runtime computes quantised products in: 4 is 8-bit integers, 1 is 32-bit floats, 0 leaves it open.
    pub accuracy_level: u8,
    /// The context's length in tokens; without it, the model's.
    pub context: Option<usize>,
    /// Products that keep other weights; the first that fits counts.
    pub keep: Vec<Keep>,
    /// Whether logits are for the last position alone.
    pub last_logits: bool,
    /// Whether the graph is of ONNX's own operators alone, which every runtime has.
    pub standard_ops: bool,
    /// Whether the residual stream and attention's values are rotated by Hadamard matrices that are merged into the
    /// weights. The model computes the same; large channels are spread, so that rounding costs less. A tied head
    /// becomes a tensor of its own.
    pub rotate: bool,
    /// Whether products take adapters beside their weights, of any rank, as inputs that need not be given:
    /// `NAME.lora_A.weight` `[inputs, rank]` and `NAME.lora_B.weight` `[rank, outputs]`.
    pub adapters: bool,
    /// The folder of an adapter, as PEFT saves it, that is merged into the weights before they are rounded.
    pub merge: Option<PathBuf>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            weights: Weights::Int4,
            activations_int8: false,
            companion_int8: false,
            block: 32,
            symmetric: true,
            accuracy_level: 4,
            context: None,
            keep: Vec::new(),
            last_logits: false,
            standard_ops: false,
            rotate: false,
            adapters: false,
            merge: None,
        }
    }
}

/// The blocks that ONNX Runtime has kernels for.
const BLOCKS: [usize; 5] = [16, 32, 64, 128, 256];

impl ExportOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid_input(message));
        if !BLOCKS.contains(&self.block) {
            return invalid(format!("the block is `{}`; it must be one of {BLOCKS:?}", self.block));
        }
        if self.accuracy_level > 4 {
            return invalid(format!(
                "the accuracy level is `{}`; it must be from 0 to 4",
                self.accuracy_level
            ));
        }
        if self.activations_int8 && self.weights != Weights::Int8 {
            return invalid(format!("8-bit activations want weights in `int8`, not `{}`", self.weights));
        }
        if self.companion_int8 && self.weights == Weights::Fp16 {
            return invalid(
                "a companion shares keys and values in 32 bits; weights in `fp16` have 16".to_owned(),
            );
        }
        if self.companion_int8 && self.activations_int8 {
            return invalid("a graph with 8-bit activations needs no companion of the same kind".to_owned());
        }
        if self.rotate && self.adapters {
            return invalid(
                "adapters are of the model as it was trained, and a rotated one's products take other values; merge them before"
                    .to_owned(),
            );
        }
        if self.standard_ops && !self.symmetric {
            return invalid(
                "zero points need an operator of ONNX Runtime's own; quantise symmetrically".to_owned(),
            );
        }
        if self.standard_ops && (self.activations_int8 || self.companion_int8) {
            return invalid("8-bit activations need an operator of ONNX Runtime's own".to_owned());
        }
        Ok(())
    }

    pub(crate) fn blocks(&self) -> Blocks {
        Blocks { bits: 4, size: self.block, symmetric: self.symmetric, signed: false }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy { base: self.weights, keep: self.keep.clone() }
    }
}

/// The weights of each product.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    base: Weights,
    keep: Vec<Keep>,
}

impl Policy {
    pub(crate) fn base(&self) -> Weights {
        self.base
    }

    /// The same with other weights for every product but one.
    pub(crate) fn with_products(&self, weights: Weights, but: &str) -> Self {
        Self { base: weights, keep: vec![Keep { pattern: but.to_owned(), weights: self.of(but) }] }
    }

    pub(crate) fn of(&self, name: &str) -> Weights {
        self.keep.iter().find(|keep| matches(&keep.pattern, name)).map_or(self.base, |keep| keep.weights)
    }
}

/// Whether a name is of a pattern's form. Greedy from the left, and so linear in the name for each star.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(place) = name.find(part) else { return false };
        name = &name[place + part.len()..];
    }
    name.ends_with(tail)
}
