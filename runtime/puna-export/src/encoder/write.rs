//! From a checkpoint's folder to an encoder's.

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use prost::Message;
use puna_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::EncoderConfig;
use crate::{
    ExportReport, Progress, Weights,
    checkpoint::{Checkpoint, Source},
    files,
    folder::Making,
    plan::Plan,
};

/// The graph's file.
const GRAPH: &str = "model.onnx";

/// What goes with an encoder beside what goes with any model: how tokens become sentences, and prompts.
const COPIED: [&str; 6] = [
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spm.model",
];

/// The kinds of modules that sentence-transformers puts behind a model and Puna's runtime has.
const MODULES: [&str; 3] = ["Transformer", "Pooling", "Normalize"];

/// Tensors that checkpoints carry for tasks that are not exported, or that can be computed.
const NEEDLESS: [&str; 10] = [
    "embeddings.position_ids",
    "pooler.",
    "cls.",
    "lm_head.",
    "lm_predictions.",
    "mask_predictions.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "classifier.",
];

/// What an encoder's export is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderOptions {
    /// How weights are stored: `Fp32`, or `Int8` for 8-bit products whose activations are quantised row by row.
    pub weights: Weights,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { weights: Weights::Fp32 }
    }
}

/// Writes the encoder of a checkpoint's folder into another folder, which must not exist or be empty. `progress` is
/// called by several threads.
///
/// # Errors
/// Those of [`export`](crate::export).
pub fn export_encoder(
    checkpoint: &Path,
    out: &Path,
    options: EncoderOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ExportReport> {
    let began = Instant::now();
    let int8 = match options.weights {
        Weights::Fp32 => false,
        Weights::Int8 => true,
        other => {
            return Err(Error::invalid_input(format!(
                "weights are to be `{other}`; encoders are written in `fp32` or `int8`"
            )));
        }
    };
    let config = EncoderConfig::open(checkpoint)?.ok_or_else(|| {
        let names: Vec<String> = EncoderConfig::supported().iter().map(|name| format!("`{name}`")).collect();
        Error::invalid_input(format!(
            "`{}` has no encoder; supported are {}",
            checkpoint.display(),
            names.join(", ")
        ))
    })?;
    let pooling = pooling_folders(checkpoint)?;
    let source = Checkpoint::open(checkpoint)?;
    let mut plan = Plan::default();
    let file = plan.file(&format!("{GRAPH}.data"));
    let graph = super::graph(&config, &source, int8, file, &mut plan)?;
    source.check_used(|name| is_needless(name, &config), &config.model_type)?;
    let making = Making::begin(out)?;
    plan.check_room(making.path())?;
    making.copy_from(checkpoint)?;
    for name in COPIED {
        copy(checkpoint, &making, name)?;
    }
    for folder in pooling {
        let path = making.path().join(&folder);
        fs::create_dir(&path).map_err(|error| Error::from_io("make", &path, error))?;
        copy(checkpoint, &making, &format!("{folder}/config.json"))?;
    }
    plan.write(&source, making.path(), progress)?;
    making.write(GRAPH, &graph.encode_to_vec())?;
    making.finish()?;
    let elements = |name: &&str| -> u64 {
        source.shape(name).map_or(0, |shape| shape.iter().map(|size| *size as u64).product())
    };
    Ok(ExportReport {
        architecture: config.model_type.clone(),
        parameters: source.names().iter().map(elements).sum(),
        context: config.context,
        graphs: vec![GRAPH.to_owned()],
        weight_bytes: plan.bytes(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What no graph needs: heads of other tasks, and a classifier where none is wanted.
fn is_needless(name: &str, config: &EncoderConfig) -> bool {
    NEEDLESS.iter().any(|part| {
        let place = name.find(part);
        place.is_some_and(|place| place == 0 || name[..place].ends_with('.'))
            && (config.labels.is_none() || !part.starts_with("classifier"))
    })
}

fn copy(checkpoint: &Path, making: &Making, name: &str) -> Result<()> {
    let path = checkpoint.join(name);
    if path.is_file() {
        fs::copy(&path, making.path().join(name)).map_err(|error| Error::from_io("copy", &path, error))?;
    }
    Ok(())
}

/// The folders of modules behind the model; every module must be one that the runtime has.
fn pooling_folders(checkpoint: &Path) -> Result<Vec<String>> {
    let path = checkpoint.join("modules.json");
    let Some(bytes) = files::read_bounded(&path)? else { return Ok(Vec::new()) };
    let invalid = |what: String| Error::new(ErrorKind::InvalidInput, format!("`{}` {what}", path.display()));
    let modules: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&bytes)
        .map_err(|error| invalid("is not a list of modules".to_owned()).with_source(error))?;
    let mut folders = Vec::new();
    for module in &modules {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type").rsplit('.').next().unwrap_or_default();
        if !MODULES.contains(&kind) {
            let shown: String = kind.chars().take(60).collect();
            return Err(invalid(format!("has a module `{shown}`; supported are {}", MODULES.join(", "))));
        }
        let folder = text("path");
        if kind == "Pooling" && !folder.is_empty() {
            if !files::is_plain_name(folder) {
                return Err(invalid("names a folder out of the model's".to_owned()));
            }
            folders.push(folder.to_owned());
        }
    }
    folders.dedup();
    Ok(folders)
}
