//! Models without an agent: looking into their folders, and measuring them.

pub(crate) mod adapter;
mod bench;
pub(crate) mod compare;
pub(crate) mod export;
pub(crate) mod random;

use std::{path::Path, process::ExitCode};

use puna::{
    Result,
    inference::{
        CompanionUse, FolderOptions, LoadOptions, ModelDetails, ModelFolder, OnnxModel, Runtime, TemplateKind,
    },
};
use serde::Serialize;

use crate::{
    args::{CompanionArg, LoadArgs, ModelArgs, ModelCommand},
    doctor::{line, size},
    sessions::print_json,
    setup,
};

pub(crate) async fn model(args: ModelArgs) -> Result<ExitCode> {
    match args.command {
        ModelCommand::Inspect { folder, load, json } => inspect(&folder, &load, json)?,
        ModelCommand::Bench { folder, load, prompt_tokens, tokens, streams, prefix_tokens, rounds, json } => {
            let plan = bench::Plan { prompt_tokens, tokens, streams, prefix_tokens, rounds };
            bench::bench(&folder, &load, &plan, json).await?;
        }
        ModelCommand::Adapter(args) => adapter::adapter(&args)?,
        ModelCommand::Compare(args) => compare::compare(&args).await?,
        ModelCommand::Export(args) => export::export(&args)?,
        ModelCommand::Random(args) => random::random(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads a model as the options say, with progress on standard error.
pub(crate) fn open(folder: &Path, options: LoadOptions) -> Result<OnnxModel> {
    let shown = setup::shown();
    let runtime = Runtime::get_for(options.device, &|step| shown(step.into()))?;
    OnnxModel::load(&runtime, folder, options)
}

/// Loads the adapter that is asked for, where it is a file's; one in the model's folder is found by its name.
pub(crate) fn load_adapter(model: &OnnxModel, adapter: Option<&str>) -> Result<()> {
    match adapter.filter(|name| Path::new(name).is_file()) {
        Some(file) => model.load_adapter(file, Path::new(file)),
        None => Ok(()),
    }
}

impl LoadArgs {
    pub(crate) fn options(&self) -> LoadOptions {
        let defaults = LoadOptions::default();
        LoadOptions {
            device: self.device,
            threads: self.threads,
            context_limit: self.context,
            slots: self.slots,
            cache_memory: self.cache_memory.map(|size| size.0),
            deterministic: self.deterministic,
            draft_tokens: self.draft_tokens.unwrap_or(defaults.draft_tokens),
            folder: FolderOptions { variant: self.variant.clone(), ..FolderOptions::default() },
            companion: self.companion.map(|companion| match companion {
                CompanionArg::Never => CompanionUse::Never,
                CompanionArg::Prefill => CompanionUse::Prefill,
                CompanionArg::Always => CompanionUse::Always,
            }),
            ..defaults
        }
    }
}

#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    folder: ModelFolder,
    details: ModelDetails,
}

fn inspect(path: &Path, load: &LoadArgs, json: bool) -> Result<()> {
    if crate::encode::inspect(path, load.variant.as_deref(), json)? {
        return Ok(());
    }
    let options = load.options();
    let folder = ModelFolder::open_with(path, &options.folder)?;
    let details = open(path, options)?.details().clone();
    let inspection = Inspection { folder, details };
    if json { print_json(&inspection) } else { show(&inspection) }
}

fn show(inspection: &Inspection) -> Result<()> {
    let Inspection { folder, details } = inspection;
    line("name", &details.name)?;
    line("architecture", folder.architecture.as_deref().unwrap_or("unknown"))?;
    line("exporter", &named(&folder.exporter))?;
    line(
        "graph",
        &format!("{} ({}), {}", details.graph.display(), folder.variant, size(folder.graph_bytes)),
    )?;
    for variant in &folder.variants {
        if variant.graph != folder.graph {
            line(
                "also there",
                &format!("{} ({}), {}", variant.graph.display(), variant.name, size(variant.bytes)),
            )?;
        }
    }
    match (&details.prefill_graph, &folder.companion) {
        (Some(graph), _) => {
            let speedup = details.prefill_speedup.unwrap_or(1.0);
            line("prompts", &format!("{}, {speedup:.1} times as fast", graph.display()))?;
        }
        (None, Some(companion)) => {
            line("companion", &format!("{}, not used for prompts", companion.display()))?
        }
        (None, None) => {}
    }
    line("context", &format!("{} tokens", details.context_length))?;
    line("vocabulary", &format!("{} tokens", details.vocabulary))?;
    line(
        "cache",
        &format!(
            "{}, {} {} a token",
            if details.cache_in_place { "in place" } else { "copied in every step" },
            details.cache_type,
            size(details.cache_bytes_per_token as u64)
        ),
    )?;
    line("weights", &folder.weights)?;
    line("logits", &details.logits_type)?;
    line(
        "requests",
        &format!(
            "{} at a time, {}",
            details.slots,
            if details.batches { "computed together" } else { "computed one row after the other" }
        ),
    )?;
    line("adapters", if details.takes_adapters { "one for each request" } else { "none" })?;
    line("end", &format!("{:?}", folder.eos))?;
    line(
        "template",
        match details.template {
            TemplateKind::Missing => "none: texts can be continued, and no conversation held",
            TemplateKind::Chat => "for conversations, without tools",
            TemplateKind::ChatWithTools => "for conversations with tools",
        },
    )?;
    if details.template != TemplateKind::Missing {
        line("tool calls", details.dialect.as_str())?;
    }
    line("device", &details.device.to_string())?;
    line("threads", &details.threads.to_string())
}

/// What JSON calls a value.
pub(crate) fn named(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}
