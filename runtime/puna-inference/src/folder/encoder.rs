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

/// What sentence-transformers' module of the model itself says.
const SENTENCE_FILE: &str = "sentence_bert_config.json";

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
    /// Their mean, each weighted by its place from 1 on.
    WeightedMean,
    /// The largest number at each place.
    Max,
    /// The last token's.
    Last,
}

/// The words of sentence-transformers for ways of pooling: the flag `pooling_mode_…` of older folders, the name of newer
/// ones. Vectors of several flags stand one behind the other in this order.
const POOLINGS: [(&str, &str, Pooling); 6] = [
    ("cls_token", "cls", Pooling::Cls),
    ("max_tokens", "max", Pooling::Max),
    ("mean_tokens", "mean", Pooling::Mean),
    ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrt),
    ("weightedmean_tokens", "weightedmean", Pooling::WeightedMean),
    ("lasttoken", "lasttoken", Pooling::Last),
];

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
    /// How the tokens' vectors become a text's; of several the vectors stand one behind the other.
    pub pooling: Vec<Pooling>,
    /// Whether the tokens of a prompt are pooled with the text's.
    pub pools_prompt: bool,
    /// Whether vectors are scaled to a length of 1.
    pub normalise: bool,
    /// The labels of a classification head; none without one.
    pub labels: Vec<String>,
    /// How a classifier's logits become scores.
    pub activation: Activation,
    /// How a reranker's logits become scores.
    pub rerank_activation: Activation,
    /// Whether upper-case letters are read as lower-case ones, whatever the tokenizer says.
    pub lower_case: bool,
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
        let Pooled { pooling, pools_prompt, normalise } = Pooled::read(path)?;
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
            pools_prompt,
            normalise,
            activation: activation(&config, labels.len())?,
            rerank_activation: rerank_activation(&config, &sentence, labels.len())?,
            labels,
            lower_case: ConfigFile::read(path, SENTENCE_FILE)?.flag("do_lower_case")?.unwrap_or(false),
            query_prompt: prompt(&["query"])?,
            document_prompt: prompt(&["document", "passage", "corpus"])?,
        })
    }
}

/// What `modules.json` and the module of pooling say.
struct Pooled {
    pooling: Vec<Pooling>,
    pools_prompt: bool,
    normalise: bool,
}

impl Pooled {
    /// The mean, not normalised, where no file says anything.
    fn read(path: &Path) -> Result<Self> {
        let mut pooled = Self { pooling: vec![Pooling::Mean], pools_prompt: true, normalise: false };
        for module in read_list(path, "modules.json")? {
            let kind = module["type"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
            match kind {
                "Transformer" => {}
                "Normalize" => pooled.normalise = true,
                "Pooling" => {
                    let folder = module["path"].as_str().unwrap_or("1_Pooling");
                    if !is_inside(folder) {
                        return Err(Error::invalid_input(
                            "`modules.json` names a folder outside the model's",
                        ));
                    }
                    let config = ConfigFile::read(&path.join(folder), "config.json")?;
                    pooled.pooling = pooling(&config)?;
                    pooled.pools_prompt = config.flag("include_prompt")?.unwrap_or(true);
                }
                other => {
                    let shown: String = other.chars().take(60).collect();
                    return Err(Error::invalid_input(format!(
                        "`modules.json` has a module `{shown}`; supported are Transformer, Pooling and Normalize"
                    )));
                }
            }
        }
        Ok(pooled)
    }
}

fn pooling(config: &ConfigFile) -> Result<Vec<Pooling>> {
    let named = config.get("pooling_mode");
    let names: Vec<&Value> = match named {
        Value::Null => {
            let mut chosen = Vec::new();
            for (flag, _, mode) in POOLINGS {
                if config.flag(&format!("pooling_mode_{flag}"))? == Some(true) {
                    chosen.push(mode);
                }
            }
            return Ok(if chosen.is_empty() { vec![Pooling::Mean] } else { chosen });
        }
        Value::Array(names) => names.iter().take(POOLINGS.len() + 1).collect(),
        name => vec![name],
    };
    let known = POOLINGS.map(|(_, name, _)| name);
    let chosen: Option<Vec<Pooling>> = names
        .iter()
        .map(|wanted| POOLINGS.iter().find(|(_, name, _)| *wanted == name).map(|(_, _, mode)| *mode))
        .collect();
    chosen.filter(|modes| (1..=POOLINGS.len()).contains(&modes.len())).ok_or_else(|| {
        config.wrong("`pooling_mode`", named, &format!("one of {}, or a list of them", known.join(", ")))
    })
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
    let sentence = ConfigFile::read(path, SENTENCE_FILE)?;
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
