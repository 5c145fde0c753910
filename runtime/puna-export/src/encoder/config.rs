//! What `config.json` says of an encoder, checked and in one form for every family.

use std::path::Path;

use puna_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{narrow, positive},
    files,
};

/// Longest input of a table of positions, in tokens: a hundred times the longest published for these families.
const MAX_POSITIONS: u64 = 1 << 16;

/// Most layers believed.
const MAX_LAYERS: u64 = 1 << 10;

/// Most heads of a layer believed.
const MAX_HEADS: u64 = 1 << 10;

/// Largest width believed.
const MAX_WIDTH: u64 = 1 << 18;

/// Largest vocabulary believed, in tokens.
const MAX_VOCABULARY: u64 = 1 << 24;

/// Most labels of a head.
const MAX_LABELS: u64 = 1 << 16;

/// How an encoder's graph is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    /// RoBERTa, XLM-R and CamemBERT: positions are counted from behind the number of the padding token.
    Roberta,
    DistilBert,
    /// Scores get a bias by relative position.
    Mpnet,
    /// Disentangled attention: contents and relative positions attend to each other.
    Deberta,
}

/// The names in `config.json`'s `model_type`.
const FAMILIES: [(&str, Family); 7] = [
    ("bert", Family::Bert),
    ("roberta", Family::Roberta),
    ("xlm-roberta", Family::Roberta),
    ("camembert", Family::Roberta),
    ("distilbert", Family::DistilBert),
    ("mpnet", Family::Mpnet),
    ("deberta-v2", Family::Deberta),
];

/// What stands between a layer's last two products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

/// Relative positions of DeBERTa.
#[derive(Clone, Debug)]
pub(crate) struct Disentangled {
    /// Positions in each direction that have an embedding of their own.
    pub(crate) span: usize,
    /// Buckets in each direction, 0 for none.
    pub(crate) buckets: usize,
    /// The distance at which the last bucket begins.
    pub(crate) max_relative: usize,
    pub(crate) content_to_position: bool,
    pub(crate) position_to_content: bool,
    /// Whether positions go through the content's projections.
    pub(crate) shared: bool,
    pub(crate) normed: bool,
}

/// An encoder's shape and its options.
#[derive(Clone, Debug)]
pub struct EncoderConfig {
    /// The name in `config.json`'s `model_type`.
    pub model_type: String,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream, and of an embedding.
    pub hidden_size: usize,
    /// Layers.
    pub layers: usize,
    /// The longest input, in tokens.
    pub context: usize,
    /// The labels of a classification head; none without one.
    pub labels: Option<usize>,
    pub(crate) family: Family,
    pub(crate) intermediate_size: usize,
    pub(crate) heads: usize,
    /// Rows of the table of positions.
    pub(crate) positions: usize,
    /// Whether positions are added to the tokens' embeddings.
    pub(crate) absolute: bool,
    pub(crate) token_types: usize,
    /// Width of the tokens' embeddings, where they are projected.
    pub(crate) embedding_size: usize,
    pub(crate) pad: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) activation: Activation,
    pub(crate) pooler_activation: Activation,
    /// Buckets of MPNet's relative positions.
    pub(crate) relative_buckets: usize,
    pub(crate) disentangled: Option<Disentangled>,
}

#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: Option<u64>,
    #[serde(alias = "dim")]
    hidden_size: Option<u64>,
    #[serde(alias = "hidden_dim")]
    intermediate_size: Option<u64>,
    #[serde(alias = "n_layers")]
    num_hidden_layers: Option<u64>,
    #[serde(alias = "n_heads")]
    num_attention_heads: Option<u64>,
    max_position_embeddings: Option<u64>,
    type_vocab_size: Option<u64>,
    embedding_size: Option<u64>,
    pad_token_id: Option<u64>,
    layer_norm_eps: Option<f64>,
    #[serde(alias = "activation")]
    hidden_act: Option<String>,
    pooler_hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    id2label: Option<serde_json::Map<String, Value>>,
    num_labels: Option<u64>,
    relative_attention_num_buckets: Option<u64>,
    relative_attention: Option<bool>,
    position_biased_input: Option<bool>,
    position_buckets: Option<i64>,
    max_relative_positions: Option<i64>,
    pos_att_type: Option<Value>,
    share_att_key: Option<bool>,
    norm_rel_ebd: Option<String>,
    conv_kernel_size: Option<u64>,
    quantization_config: Option<Value>,
}

impl EncoderConfig {
    /// Reads a folder's `config.json`; none when it is of no family of encoders.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) without the file; [`InvalidInput`](ErrorKind::InvalidInput) when it is not
    /// JSON, has a value that no model has, or a head that is not supported.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("config.json");
        let bytes = files::read_bounded(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no `config.json` in `{}`", folder.display()))
        })?;
        // A folder of sentence-transformers takes the model without its head, whatever it was trained with.
        let pooled = folder.join("modules.json").is_file();
        Self::parse(&bytes, pooled).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    /// Reads the text of a `config.json`; none when it is of no family of encoders. `pooled` says that a
    /// classification head is not wanted.
    ///
    /// ```
    /// use puna_export::EncoderConfig;
    ///
    /// let bert = br#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "intermediate_size": 16,
    ///     "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}"#;
    /// assert_eq!(EncoderConfig::parse(bert, false)?.unwrap().context, 32);
    /// assert!(EncoderConfig::parse(br#"{"model_type": "llama"}"#, false)?.is_none());
    /// # Ok::<(), puna_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) as for [`open`](Self::open).
    pub fn parse(json: &[u8], pooled: bool) -> Result<Option<Self>> {
        let not_json = |error: serde_json::Error| Error::invalid_input(error.to_string()).with_source(error);
        let value: Value = serde_json::from_slice(json).map_err(not_json)?;
        let name = value["model_type"].as_str().unwrap_or_default();
        let Some((_, family)) = FAMILIES.into_iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        let raw: Raw = serde_json::from_value(value).map_err(not_json)?;
        Self::check(family, raw, pooled).map(Some)
    }

    /// The names of the families, for messages.
    pub fn supported() -> Vec<&'static str> {
        FAMILIES.iter().map(|(name, _)| *name).collect()
    }

    fn check(family: Family, raw: Raw, pooled: bool) -> Result<Self> {
        let invalid = |message: String| Err(Error::invalid_input(message));
        if raw.quantization_config.is_some() {
            return invalid("`quantization_config` says that the weights are quantised already; take the checkpoint they come from".to_owned());
        }
        if raw.is_decoder == Some(true) {
            return invalid(
                "`is_decoder` is set; of this architecture encoders alone are supported".to_owned(),
            );
        }
        if let Some(kind) = raw.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return invalid(format!(
                "`position_embedding_type` is `{}`; supported is `absolute`",
                short(kind)
            ));
        }
        let deberta = family == Family::Deberta;
        if deberta && raw.conv_kernel_size.is_some_and(|size| size > 0) {
            return invalid("`conv_kernel_size` is set; layers of convolution are not supported".to_owned());
        }
        if deberta && raw.relative_attention != Some(true) {
            return invalid("`relative_attention` is not set; supported are models with it".to_owned());
        }
        let hidden_size = whole("hidden_size", raw.hidden_size, MAX_WIDTH)?;
        let heads = whole("num_attention_heads", raw.num_attention_heads, MAX_HEADS)?;
        if !hidden_size.is_multiple_of(heads) {
            return invalid(format!(
                "`hidden_size` is `{hidden_size}`, not a multiple of `num_attention_heads`, `{heads}`"
            ));
        }
        let positions = whole("max_position_embeddings", raw.max_position_embeddings, MAX_POSITIONS)?;
        let pad = match (raw.pad_token_id, family) {
            (Some(pad), _) => pad,
            (None, Family::Roberta | Family::Mpnet) => 1,
            (None, _) => 0,
        };
        let pad = usize::try_from(pad.min(MAX_VOCABULARY)).unwrap_or(0);
        let counted = matches!(family, Family::Roberta | Family::Mpnet);
        let context = if counted { positions.saturating_sub(pad + 1) } else { positions };
        if context < 4 {
            return invalid(format!("`max_position_embeddings` is `{positions}`, too few for any text"));
        }
        let types = match (raw.type_vocab_size, family) {
            (_, Family::DistilBert | Family::Mpnet) => 0,
            (Some(types), _) => types,
            (None, Family::Deberta) => 0,
            (None, _) => 2,
        };
        let labels = labels(&raw, pooled)?;
        let act = |name: &str, given: Option<&str>| activation(name, given.unwrap_or("gelu"));
        let absolute = !deberta || raw.position_biased_input.unwrap_or(true);
        Ok(Self {
            vocab_size: whole("vocab_size", raw.vocab_size, MAX_VOCABULARY)?,
            hidden_size,
            layers: whole("num_hidden_layers", raw.num_hidden_layers, MAX_LAYERS)?,
            context,
            labels,
            family,
            intermediate_size: whole("intermediate_size", raw.intermediate_size, MAX_WIDTH)?,
            heads,
            positions,
            absolute,
            token_types: usize::try_from(types.min(MAX_LABELS)).unwrap_or(0),
            embedding_size: match raw.embedding_size {
                Some(size) if deberta => whole("embedding_size", Some(size), MAX_WIDTH)?,
                _ => hidden_size,
            },
            pad,
            norm_epsilon: narrow(positive(
                "layer_norm_eps",
                raw.layer_norm_eps.unwrap_or(default_epsilon(family)),
            )?),
            activation: act("hidden_act", raw.hidden_act.as_deref())?,
            pooler_activation: if deberta {
                act("pooler_hidden_act", raw.pooler_hidden_act.as_deref())?
            } else {
                Activation::Gelu
            },
            relative_buckets: whole(
                "relative_attention_num_buckets",
                Some(raw.relative_attention_num_buckets.unwrap_or(32)),
                1 << 12,
            )?,
            disentangled: if deberta { Some(disentangled(&raw, positions)?) } else { None },
            model_type: raw.model_type.unwrap_or_default(),
        })
    }
}

/// A classification head's labels, or none for a model without a head that is wanted.
fn labels(raw: &Raw, pooled: bool) -> Result<Option<usize>> {
    let architecture = raw.architectures.iter().flatten().next().map_or("", String::as_str);
    if pooled {
        return Ok(None);
    }
    if architecture.ends_with("ForSequenceClassification") {
        let count = raw.id2label.as_ref().map(|labels| labels.len() as u64).or(raw.num_labels).unwrap_or(2);
        return whole("id2label", Some(count), MAX_LABELS).map(Some);
    }
    let known = ["Model", "ForMaskedLM", "ForPreTraining"];
    if architecture.is_empty() || known.iter().any(|end| architecture.ends_with(end)) {
        return Ok(None);
    }
    Err(Error::invalid_input(format!(
        "`architectures` is `{}`; of encoders the models themselves and those `ForSequenceClassification` are supported",
        short(architecture)
    )))
}

fn disentangled(raw: &Raw, positions: usize) -> Result<Disentangled> {
    let kinds: Vec<String> = match &raw.pos_att_type {
        Some(Value::String(text)) => text.split('|').map(|kind| kind.trim().to_lowercase()).collect(),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(|kind| kind.as_str().map(str::to_lowercase)).collect()
        }
        _ => Vec::new(),
    };
    if let Some(kind) = kinds.iter().find(|kind| *kind != "c2p" && *kind != "p2c") {
        return Err(Error::invalid_input(format!(
            "`pos_att_type` has `{}`; supported are `c2p` and `p2c`",
            short(kind)
        )));
    }
    let buckets = match raw.position_buckets {
        Some(buckets) if buckets > 0 => {
            whole("position_buckets", Some(buckets.unsigned_abs()), MAX_POSITIONS)?
        }
        _ => 0,
    };
    let max_relative = match raw.max_relative_positions {
        Some(most) if most > 0 => whole("max_relative_positions", Some(most.unsigned_abs()), MAX_POSITIONS)?,
        _ => positions,
    };
    Ok(Disentangled {
        span: if buckets > 0 { buckets } else { max_relative },
        buckets,
        max_relative,
        content_to_position: kinds.iter().any(|kind| kind == "c2p"),
        position_to_content: kinds.iter().any(|kind| kind == "p2c"),
        shared: raw.share_att_key.unwrap_or(false),
        normed: raw.norm_rel_ebd.as_deref().is_some_and(|how| how.contains("layer_norm")),
    })
}

/// What transformers takes where a configuration says nothing.
fn default_epsilon(family: Family) -> f64 {
    if family == Family::Deberta { 1e-7 } else { 1e-12 }
}

fn activation(name: &str, given: &str) -> Result<Activation> {
    match given {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(Error::invalid_input(format!(
            "`{name}` is `{}`; supported are `gelu`, `gelu_new` and `relu`",
            short(other)
        ))),
    }
}

/// A whole number that must be there.
fn whole(name: &str, value: Option<u64>, most: u64) -> Result<usize> {
    let value = value.ok_or_else(|| Error::invalid_input(format!("`{name}` is missing")))?;
    crate::config::whole(name, value, most)
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
