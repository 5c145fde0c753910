use std::{path::Path, time::Instant};

use prost::Message;
use puna_core::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Architecture, ExportOptions,
    checkpoint::{Checkpoint, Source},
    config::{DecoderConfig, MAX_CONTEXT},
    decoder::{self, Form},
    folder::{self, Making},
    lora::Merged,
    options::Policy,
    plan::Plan,
};

/// The graph's file.
const GRAPH: &str = "model.onnx";

/// The companion's file, by the name that the engine looks for.
const COMPANION: &str = "model_prefill.onnx";

/// Tensors that old checkpoints carry and no graph needs: what can be computed from the configuration.
const NEEDLESS: [&str; 2] = [".rotary_emb.inv_freq", ".masked_bias"];

/// How much of the weights is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// The architecture's name.
    pub architecture: String,
    /// Numbers in the checkpoint's tensors.
    pub parameters: u64,
    /// The context's length, in tokens.
    pub context: usize,
    /// The graphs' files.
    pub graphs: Vec<String>,
    /// Bytes of all weights, the graphs' and the companion's.
    pub weight_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Writes the model of a checkpoint's folder into another folder, which must not exist or be empty. `progress` is
/// called by several threads.
///
/// # Errors
/// [`NotFound`](puna_core::ErrorKind::NotFound) when a file of the checkpoint is missing;
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for architectures and options that are not supported, and
/// for tensors that are missing, unexpected or of another shape than the configuration says;
/// [`Corrupt`](puna_core::ErrorKind::Corrupt) for files whose headers do not fit them;
/// [`Conflict`](puna_core::ErrorKind::Conflict) when there is something in the folder to write;
/// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) when its disk has too little room, told before anything
/// is written.
pub fn export(
    checkpoint: &Path,
    out: &Path,
    options: &ExportOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ExportReport> {
    let config = DecoderConfig::open(checkpoint)?;
    let generation = folder::generation(checkpoint)?;
    let source = Checkpoint::open(checkpoint)?;
    let merged = options.merge.as_deref().map(|adapter| Merged::new(&source, adapter)).transpose()?;
    let weights: &dyn Source = merged.as_ref().map_or(&source as _, |merged| merged as _);
    let planned = plan(&config, weights, options)?;
    source.check_used(|name| is_needless(name, &config), config.architecture.name())?;
    write(&config, &generation, weights, &planned, out, options, progress, |making| {
        making.copy_from(checkpoint)
    })
}

/// A head that is tied may be in the checkpoint all the same.
fn is_needless(name: &str, config: &DecoderConfig) -> bool {
    NEEDLESS.iter().any(|end| name.ends_with(end)) || (config.tied && name == "lm_head.weight")
}

/// Graphs and what their weights will be.
pub(crate) struct Planned {
    graphs: Vec<(&'static str, Vec<u8>)>,
    plan: Plan,
    context: usize,
}

pub(crate) fn plan(config: &DecoderConfig, source: &dyn Source, options: &ExportOptions) -> Result<Planned> {
    options.check()?;
    let context = options.context.unwrap_or(config.context);
    if context < 2 || context as u64 > MAX_CONTEXT {
        return Err(Error::invalid_input(format!(
            "the context is `{context}` tokens; it must be from 2 to {MAX_CONTEXT}"
        )));
    }
    if options.rotate && config.architecture == Architecture::Gemma2 {
        return Err(Error::invalid_input(
            "rotation wants norms before products alone; `gemma2` has some behind them, whose weights it does not pass",
        ));
    }
    let policy = options.policy();
    let mut plan = Plan::default();
    let form = |policy, file| Form {
        policy,
        blocks: options.blocks(),
        accuracy_level: options.accuracy_level,
        activations: options.activations_int8,
        last_logits: options.last_logits,
        standard: options.standard_ops,
        rotate: options.rotate,
        adapters: options.adapters,
        context,
        file,
    };
    let file = plan.file(&format!("{GRAPH}.data"));
    let graph = decoder::write(config, source, &form(&policy, file), &mut plan)?;
    let mut graphs = vec![(GRAPH, graph.encode_to_vec())];
    if options.companion_int8 {
        let policy = companion_policy(&policy);
        let file = plan.file(&format!("{COMPANION}.data"));
        let form = Form { activations: true, last_logits: true, ..form(&policy, file) };
        let graph = decoder::write(config, source, &form, &mut plan)?;
        graphs.push((COMPANION, graph.encode_to_vec()));
    }
    Ok(Planned { graphs, plan, context })
}

/// All products in 8 bits; the embedding, and so what it shares, as in the graph beside it.
fn companion_policy(policy: &Policy) -> Policy {
    policy.with_products(crate::Weights::Int8, "model.embed_tokens")
}

#[expect(clippy::too_many_arguments, reason = "what both kinds of export have in hand")]
pub(crate) fn write(
    config: &DecoderConfig,
    generation: &Value,
    source: &dyn Source,
    planned: &Planned,
    out: &Path,
    options: &ExportOptions,
    progress: &(dyn Fn(Progress) + Sync),
    others: impl FnOnce(&Making) -> Result<()>,
) -> Result<ExportReport> {
    let began = Instant::now();
    let making = Making::begin(out)?;
    planned.plan.check_room(making.path())?;
    others(&making)?;
    planned.plan.write(source, making.path(), progress)?;
    for (name, graph) in &planned.graphs {
        making.write(name, graph)?;
    }
    let context = planned.context;
    let genai = folder::genai_config(config, generation, context, GRAPH, options.standard_ops);
    making.write_json("genai_config.json", &genai)?;
    making.finish()?;
    let elements = |name: &&str| -> u64 {
        source.shape(name).map_or(0, |shape| shape.iter().map(|size| *size as u64).product())
    };
    Ok(ExportReport {
        architecture: config.architecture.name().to_owned(),
        parameters: source.names().iter().map(elements).sum(),
        context,
        graphs: planned.graphs.iter().map(|(name, _)| (*name).to_owned()).collect(),
        weight_bytes: planned.plan.bytes(),
        seconds: began.elapsed().as_secs_f64(),
    })
}
