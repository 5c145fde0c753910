use std::sync::Arc;

use ort::{
    session::{OverridableInitializer, Session},
    value::{Outlet, TensorElementType, ValueType},
};
use puna_core::{Error, ErrorKind, Result};

use crate::{
    adapter::Openings,
    folder::{MAX_CONTEXT, MAX_HEADS, MAX_VOCABULARY, MAX_WIDTH, Sizes},
};

/// The names and shapes of a graph's inputs and outputs, read from the graph itself.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) attention_mask: bool,
    pub(crate) position_ids: bool,
    /// The scalar that asks for the last positions' logits only.
    pub(crate) logits_to_keep: Option<String>,
    pub(crate) use_cache_branch: bool,
    /// Every cache tensor: keys and values of each layer, in the graph's order.
    pub(crate) cache: Vec<CacheTensor>,
    pub(crate) logits_type: TensorElementType,
    pub(crate) vocab_size: usize,
    /// Whether the graph gives logits for the last position only, whatever it is fed.
    pub(crate) last_logits_only: bool,
    /// Whether the graph takes one row only.
    pub(crate) single_row: bool,
    /// Inputs that an adapter may fill.
    pub(crate) openings: Arc<Openings>,
}

/// One tensor of the cache, of shape `[batch, kv_heads, length, head_dim]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheTensor {
    pub(crate) past: String,
    pub(crate) present: String,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) element: TensorElementType,
    /// A length the graph fixes: the cache can only be shared, with this capacity.
    pub(crate) fixed_length: Option<usize>,
    /// The fewest positions the graph takes: the window of a layer whose cache may be as short as that.
    pub(crate) least_length: usize,
}

impl CacheTensor {
    pub(crate) fn bytes_per_token(&self) -> usize {
        self.heads * self.bytes_per_head()
    }

    /// What a token takes up in one head, in bytes.
    pub(crate) fn bytes_per_head(&self) -> usize {
        self.head_dim * self.element.byte_size(1).unwrap_or(0)
    }
}

/// Most bytes of keys and values for a token: ten times those of the largest Llama without grouped queries in
/// 32-bit floats. Loading already takes room for hundreds of tokens.
const MAX_TOKEN_BYTES: usize = 64 << 20;

pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const ATTENTION_MASK: &str = "attention_mask";
pub(crate) const POSITION_IDS: &str = "position_ids";
pub(crate) const USE_CACHE_BRANCH: &str = "use_cache_branch";
pub(crate) const LOGITS: &str = "logits";

impl Layout {
    /// Reads the graph's inputs and outputs. `sizes` are what the configuration says, for graphs that
    /// leave them open.
    pub(crate) fn of(session: &Session, graph: &str, sizes: Sizes) -> Result<Self> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidInput, format!("`{graph}` {what}"));
        let outputs = session.outputs();
        let logits = outputs.iter().find(|outlet| outlet.name() == LOGITS).ok_or_else(|| {
            invalid(format!("has no output `{LOGITS}`; export it as a text-generation model"))
        })?;
        let (logits_type, logits_shape) = tensor(logits).map_err(&invalid)?;
        let vocab_size = match logits_shape[..] {
            [_, _, vocab] => known(vocab, sizes.vocab_size, MAX_VOCABULARY).map_err(&invalid)?,
            _ => None,
        };
        let vocab_size = vocab_size.ok_or_else(|| {
            invalid(format!(
                "has `{LOGITS}` of shape {logits_shape:?}, not [batch, positions, vocabulary] with the vocabulary's size there or in `config.json`"
            ))
        })?;
        if !matches!(
            logits_type,
            TensorElementType::Float32 | TensorElementType::Float16 | TensorElementType::Bfloat16
        ) {
            return Err(invalid(format!("has `{LOGITS}` of type {logits_type}, not a float type")));
        }
        let mut layout = Self {
            attention_mask: false,
            position_ids: false,
            logits_to_keep: None,
            use_cache_branch: false,
            cache: Vec::new(),
            logits_type,
            vocab_size,
            last_logits_only: logits_shape[1] == 1,
            single_row: false,
            openings: Arc::new(openings(session)),
        };
        let mut has_ids = false;
        for input in session.inputs() {
            let wanted = if input.name() == USE_CACHE_BRANCH {
                TensorElementType::Bool
            } else {
                TensorElementType::Int64
            };
            match input.name() {
                INPUT_IDS => has_ids = true,
                ATTENTION_MASK => layout.attention_mask = true,
                POSITION_IDS => layout.position_ids = true,
                USE_CACHE_BRANCH => layout.use_cache_branch = true,
                name @ ("num_logits_to_keep" | "logits_to_keep") => {
                    layout.logits_to_keep = Some(name.to_owned())
                }
                name if name.starts_with("past") => {
                    layout.cache.push(cache_tensor(input, outputs, sizes).map_err(&invalid)?);
                    continue;
                }
                name => return Err(invalid(format!("needs the input `{name}`, which is none of a Llama's"))),
            }
            let (element, _) = tensor(input).map_err(&invalid)?;
            if element != wanted {
                return Err(invalid(format!(
                    "has the input `{}` of type {element}, not {wanted}; export it again",
                    input.name()
                )));
            }
        }
        let rows = |input: &Outlet| tensor(input).ok().and_then(|(_, shape)| shape.first().copied());
        layout.single_row = session
            .inputs()
            .iter()
            .filter(|input| input.name() == INPUT_IDS || input.name().starts_with("past"))
            .any(|input| rows(input).is_some_and(|rows| rows > 0));
        if !has_ids {
            return Err(invalid(format!("has no input `{INPUT_IDS}`; export it as a text-generation model")));
        }
        if layout.cache.is_empty() {
            return Err(invalid(
                "has no `past_key_values` inputs; export it with a cache (text-generation-with-past)".into(),
            ));
        }
        let token: usize = layout.cache.iter().map(CacheTensor::bytes_per_token).sum();
        if token > MAX_TOKEN_BYTES {
            return Err(invalid(format!(
                "takes {token} bytes of keys and values for each token, more than {MAX_TOKEN_BYTES}: its shapes are wrong"
            )));
        }
        Ok(layout)
    }

    /// The fewest positions that the graph takes in a cache; 0 where a cache may be empty.
    pub(crate) fn least_length(&self) -> usize {
        self.cache.iter().map(|tensor| tensor.least_length).max().unwrap_or(0)
    }

    /// The length the graph fixes for its cache, if it does.
    pub(crate) fn fixed_length(&self) -> Option<usize> {
        self.cache.iter().filter_map(|tensor| tensor.fixed_length).min()
    }
}

/// The inputs that need not be given. Old exporters let every weight be replaced so; what is not a matrix of open size
/// is none of an adapter's.
fn openings(session: &Session) -> Openings {
    let opening = |input: &OverridableInitializer| {
        let (element, shape) = (input.dtype().tensor_type()?, input.dtype().tensor_shape()?);
        let shape: Vec<i64> = shape.iter().copied().collect();
        shape.iter().any(|size| *size < 0).then(|| (input.name().to_owned(), (element, shape)))
    };
    session.overridable_initializers().iter().filter_map(opening).collect()
}

/// Matches `past_key_values.N.key` (optimum, genai) or `past_N_key`-like names with their output.
fn cache_tensor(input: &Outlet, outputs: &[Outlet], sizes: Sizes) -> Result<CacheTensor, String> {
    let past = input.name();
    let output = ["past_key_values", "past"]
        .iter()
        .filter_map(|prefix| Some(format!("present{}", past.strip_prefix(prefix)?)))
        .find_map(|name| outputs.iter().find(|output| output.name() == name))
        .ok_or_else(|| format!("has the input `{past}` and no output `present…` to match it"))?;
    let (element, shape) = tensor(input)?;
    let invalid = || {
        format!(
            "has `{past}` of shape {shape:?}, not [batch, kv_heads, length, head_dim] with heads and width there or in `config.json`"
        )
    };
    let [_, heads, length, head_dim] = shape[..] else { return Err(invalid()) };
    let (present_element, present_shape) = tensor(output)?;
    let agrees = |dimension: usize| match present_shape.get(dimension) {
        Some(present) => *present < 0 || shape[dimension] < 0 || *present == shape[dimension],
        None => false,
    };
    if present_element != element || present_shape.len() != 4 || !agrees(1) || !agrees(3) {
        return Err(format!(
            "takes `{past}` as {element} {shape:?} and gives `{}` as {present_element} {present_shape:?}: one cannot follow the other",
            output.name()
        ));
    }
    // The builder's name for the length of a cache that may hold the window alone. A longer one that holds the whole
    // sequence is as any other.
    let windowed = matches!(input.dtype(), ValueType::Tensor { dimension_symbols, .. }
        if dimension_symbols.iter().any(|symbol| symbol.contains("sliding")));
    let least_length = match (windowed, sizes.window) {
        (false, _) => 0,
        (true, Some(window)) => window,
        (true, None) => {
            return Err(format!(
                "has `{past}` for a layer of a sliding window, and no `genai_config.json` says `model.decoder.sliding_window.window_size`"
            ));
        }
    };
    Ok(CacheTensor {
        past: past.to_owned(),
        present: output.name().to_owned(),
        heads: known(heads, sizes.kv_heads, MAX_HEADS)?.ok_or_else(invalid)?,
        head_dim: known(head_dim, sizes.head_dim, MAX_WIDTH)?.ok_or_else(invalid)?,
        element,
        fixed_length: known(length, None, MAX_CONTEXT)?,
        least_length,
    })
}

/// A dimension of the graph, or the size that stands for an open one (`-1`).
fn known(dimension: i64, open: Option<usize>, most: u64) -> Result<Option<usize>, String> {
    match u64::try_from(dimension) {
        Ok(size) if (1..=most).contains(&size) => Ok(usize::try_from(size).ok()),
        Ok(size) => Err(format!("has a dimension of {size}, which is not from 1 to {most}")),
        Err(_) => Ok(open),
    }
}

fn tensor(outlet: &Outlet) -> Result<(TensorElementType, Vec<i64>), String> {
    match (outlet.dtype().tensor_type(), outlet.dtype().tensor_shape()) {
        (Some(element), Some(shape)) => Ok((element, shape.iter().copied().collect())),
        _ => Err(format!("has `{}` of type {}, not a tensor", outlet.name(), outlet.dtype())),
    }
}
