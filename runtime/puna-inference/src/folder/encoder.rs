//! Folders of encoders: which graph to run, and how its outputs are to be taken.

use std::path::{Path, PathBuf};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;

use super::{
    config::{ConfigFile, is_inside, read_list},
    external, variant,
};

/// The families of encoders, as `config.json`'s `model_type` has them.
const FAMILIES: [&str; 16] = [
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "distilbert",
    "mpnet",
    "deberta",
    "deberta-v2",
    "albert",
    "electra",
    "nomic_bert",
    "modernbert",
    "new",
    "xlm",
    "funnel",
    "squeezebert",
];

/// Longest input believed, in tokens.
const MAX_LENGTH: u64 = 1 << 20;

/// Longest input where no file says it: what BERT was trained with.
const DEFAULT_LENGTH: usize = 512;

/// Most labels believed.
const MAX_LABELS: usize = 1 << 16;

/// How the tokens' vectors become a text's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// Their sum over the root of their number.
    MeanSqrt,
    /// The first token's.
    Cls,
    /// The largest number at each place.
    Max,
    /// The last token's.
    Last,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// They stay as they are.
    Identity,
    /// Each on its own, from 0 to 1.
    Sigmoid,
    /// All together, adding up to 1.
    Softmax,
}

/// A folder of an encoder: the graph and what the files beside it say.
///
/// Taken are the folders that `puna model export`, optimum, sentence-transformers (`onnx/model.onnx`) and
/// transformers.js write.
#[derive(Clone, Debug, Serialize)]
pub struct EncoderFolder {
    /// The folder.
    pub path: PathBuf,
    /// What the configuration calls the architecture.
    pub architecture: String,
    /// The graph's file.
    pub graph: PathBuf,
    /// What the graph takes up with its weights, in bytes.
    pub graph_bytes: u64,
    /// The types of most of its weights.
    pub weights: String,
    /// The longest input, in tokens.
    pub max_tokens: usize,
    /// How the tokens' vectors become a text's.
    pub pooling: Pooling,
    /// Whether vectors are scaled to a length of 1.
    pub normalise: bool,
    /// The labels of a classification head; none without one.
    pub labels: Vec<String>,
    /// How a classifier's logits become scores.
    pub activation: Activation,
    /// How a reranker's logits become scores.
    pub rerank_activation: Activation,
    /// What is put before questions.
    pub query_prompt: String,
    /// What is put before other texts.
    pub document_prompt: String,
}

impl EncoderFolder {
    /// Whether a folder's files say that it has an encoder.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a configuration that does not read.
    pub fn is_encoder(path: &Path) -> Result<bool> {
        let config = ConfigFile::read(path, "config.json")?;
        let family = config.text("model_type")?.is_some_and(|name| FAMILIES.contains(&name));
        Ok(family || path.join("modules.json").is_file())
    }

    /// Reads a folder. `graph` names one of several graphs, by name or file; without it `model.onnx` is taken.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for files that are missing; [`Corrupt`](ErrorKind::Corrupt) for a graph whose
    /// weights are not whole; [`InvalidInput`](ErrorKind::InvalidInput) for configurations that do not read.
    pub fn open(path: &Path, graph: Option<&str>) -> Result<Self> {
        let variants = variant::find(path)?;
        let chosen = match graph {
            Some(wanted) => variant::called(&variants, wanted, path)?,
            None => variants.iter().find(|one| one.name == "fp32").or(variants.first()).ok_or_else(|| {
                let hint = if path.join("model.safetensors").is_file() {
                    "; these are PyTorch's weights: `puna model export` makes an ONNX model of them"
                } else {
                    ""
                };
                Error::new(
                    ErrorKind::NotFound,
                    format!("no `model.onnx` in `{}` or its folder `onnx`{hint}", path.display()),
                )
            })?,
        };
        let contents = external::check(&chosen.graph)?;
        let config = ConfigFile::read(path, "config.json")?;
        let sentence = ConfigFile::read(path, "config_sentence_transformers.json")?;
        let (pooling, normalise) = pooling(path)?;
        let labels = labels(&config)?;
        let prompt = |names: &[&str]| -> Result<String> {
            for name in names {
                if let Some(prompt) = sentence.text(&format!("prompts.{name}"))? {
                    return Ok(prompt.to_owned());
                }
            }
            match sentence.text("default_prompt_name")? {
                Some(name) => Ok(sentence.text(&format!("prompts.{name}"))?.unwrap_or_default().to_owned()),
                None => Ok(String::new()),
            }
        };
        Ok(Self {
            path: path.to_owned(),
            architecture: config.text("model_type")?.unwrap_or("unknown").to_owned(),
            graph: chosen.graph.clone(),
            graph_bytes: contents.bytes(),
            weights: contents.weights,
            max_tokens: max_tokens(path, &config)?,
            pooling,
            normalise,
            activation: activation(&config, labels.len())?,
            rerank_activation: rerank_activation(&config, &sentence, labels.len())?,
            labels,
            query_prompt: prompt(&["query"])?,
            document_prompt: prompt(&["document", "passage"])?,
        })
    }
}

/// What `modules.json` and the module of pooling say; the mean, not normalised, without them.
fn pooling(path: &Path) -> Result<(Pooling, bool)> {
    let (mut how, mut normalise) = (Pooling::Mean, false);
    for module in read_list(path, "modules.json")? {
        let kind = module["type"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
        match kind {
            "Transformer" => {}
            "Normalize" => normalise = true,
            "Pooling" => {
                let folder = module["path"].as_str().unwrap_or("1_Pooling");
                if !is_inside(folder) {
                    return Err(Error::invalid_input("`modules.json` names a folder outside the model's"));
                }
                how = read_pooling(&ConfigFile::read(&path.join(folder), "config.json")?)?;
            }
            other => {
                let shown: String = other.chars().take(60).collect();
                return Err(Error::invalid_input(format!(
                    "`modules.json` has a module `{shown}`; supported are Transformer, Pooling and Normalize"
                )));
            }
        }
    }
    Ok((how, normalise))
}

fn read_pooling(config: &ConfigFile) -> Result<Pooling> {
    let modes = [
        ("cls_token", "cls", Pooling::Cls),
        ("mean_tokens", "mean", Pooling::Mean),
        ("max_tokens", "max", Pooling::Max),
        ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrt),
        ("lasttoken", "lasttoken", Pooling::Last),
    ];
    let named = config.text("pooling_mode")?;
    let mut chosen = Vec::new();
    for (flag, name, mode) in modes {
        if config.flag(&format!("pooling_mode_{flag}"))? == Some(true) || named == Some(name) {
            chosen.push(mode);
        }
    }
    if config.flag("pooling_mode_weightedmean_tokens")? == Some(true) || chosen.len() > 1 {
        return Err(Error::invalid_input(
            "the module of pooling has a mode that is not supported, or several; supported is one of cls, mean, max, mean_sqrt_len, lasttoken",
        ));
    }
    Ok(chosen.first().copied().unwrap_or(Pooling::Mean))
}

/// The least of what the files say.
fn max_tokens(path: &Path, config: &ConfigFile) -> Result<usize> {
    let mut most = match config.whole("max_position_embeddings", 1..=MAX_LENGTH)? {
        Some(positions) => {
            // These count positions from behind the padding token's number.
            let counted = ["roberta", "xlm-roberta", "camembert", "mpnet"];
            let offset = if config.text("model_type")?.is_some_and(|name| counted.contains(&name)) {
                config.whole("pad_token_id", 0..=MAX_LENGTH)?.unwrap_or(1) + 1
            } else {
                0
            };
            positions.saturating_sub(offset)
        }
        None => DEFAULT_LENGTH,
    };
    let sentence = ConfigFile::read(path, "sentence_bert_config.json")?;
    if let Some(length) = sentence.whole("max_seq_length", 1..=MAX_LENGTH)? {
        most = most.min(length);
    }
    // Where there is no limit transformers writes a number beyond all lengths, in floating point.
    let tokenizer = ConfigFile::read(path, "tokenizer_config.json")?;
    if let Some(length) =
        tokenizer.get("model_max_length").as_u64().and_then(|length| usize::try_from(length).ok())
    {
        most = most.min(length);
    }
    if most < 8 {
        return Err(Error::invalid_input(format!(
            "the model of `{}` takes `{most}` tokens, too few for any text",
            path.display()
        )));
    }
    Ok(most)
}

fn labels(config: &ConfigFile) -> Result<Vec<String>> {
    let classifies = config.get("architectures")[0]
        .as_str()
        .is_some_and(|name| name.ends_with("ForSequenceClassification"));
    if !classifies {
        return Ok(Vec::new());
    }
    let Some(named) = config.get("id2label").as_object().filter(|named| !named.is_empty()) else {
        // Where these are the labels transformers does not write them.
        return Ok(vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()]);
    };
    if named.len() > MAX_LABELS {
        return Err(Error::invalid_input(format!(
            "`id2label` has {} labels; at most {MAX_LABELS} are taken",
            named.len()
        )));
    }
    (0..named.len())
        .map(|index| match named.get(&index.to_string()) {
            Some(Value::String(label)) => Ok(label.clone()),
            _ => {
                Err(Error::invalid_input(format!("`id2label` has no label `{index}` of its {}", named.len())))
            }
        })
        .collect()
}

/// As transformers' pipeline takes it.
fn activation(config: &ConfigFile, labels: usize) -> Result<Activation> {
    Ok(match config.text("problem_type")? {
        Some("multi_label_classification") => Activation::Sigmoid,
        Some("regression") => Activation::Identity,
        _ if labels == 1 => Activation::Sigmoid,
        _ => Activation::Softmax,
    })
}

/// As sentence-transformers' cross-encoder takes it: what the configuration names, else the sigmoid of one logit.
fn rerank_activation(config: &ConfigFile, sentence: &ConfigFile, labels: usize) -> Result<Activation> {
    let named = match config.text("sentence_transformers.activation_fn")? {
        None => config.text("sbert_ce_default_activation_function")?,
        named => named,
    };
    let named = match named {
        None => sentence.text("activation_fn")?,
        named => named,
    };
    match named.map(|name| name.rsplit('.').next().unwrap_or_default()) {
        Some("Identity") => Ok(Activation::Identity),
        Some("Sigmoid") => Ok(Activation::Sigmoid),
        Some("Softmax") => Ok(Activation::Softmax),
        Some(other) => {
            let shown: String = other.chars().take(60).collect();
            Err(Error::invalid_input(format!(
                "the cross-encoder's activation is `{shown}`; supported are Identity, Sigmoid and Softmax"
            )))
        }
        None if labels == 1 => Ok(Activation::Sigmoid),
        None => Ok(Activation::Identity),
    }
}
