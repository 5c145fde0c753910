//! `puna model export`: a checkpoint of safetensors to an ONNX model.

use std::path::PathBuf;

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use puna::{
    Error, Result,
    export::{
        EncoderConfig, EncoderOptions, ExportOptions, ExportReport, Keep, Progress, Weights, export_encoder,
    },
};

use crate::{
    doctor::{line, size},
    sessions::print_json,
    setup,
};

#[derive(Debug, Args)]
#[command(after_help = "\
The folder is written beside its place and renamed when it is whole. Puna, onnxruntime-genai and plain ONNX Runtime
load it. Supported are Llama 1 to 3.3, Mistral, Qwen 2, 2.5 and 3, Phi-3 and Gemma 2; of encoders BERT, RoBERTa, XLM-R,
DistilBERT, MPNet and DeBERTa v2 and v3, in fp32 or int8, with classification heads and the pooling of
sentence-transformers.

Examples:
  puna model export checkpoints/llama-3.2-1b --out models/llama-3.2-1b
  puna model export checkpoints/llama-3.2-1b --out models/fast --companion int8
  puna model export checkpoints/all-minilm-l6-v2 --out models/minilm --weights int8
  puna model export checkpoints/llama-3.2-1b --out models/adapted --merge peft/concierge
  puna model export checkpoints/qwen-2.5-0.5b --out models/qwen --weights int4 --keep lm_head=int8 --context 8192")]
pub(crate) struct ExportArgs {
    /// The checkpoint's folder: config.json, *.safetensors, tokenizer.json
    pub checkpoint: PathBuf,
    /// Merge an adapter, a folder that PEFT saved, into the weights
    #[arg(long, value_name = "DIR")]
    pub merge: Option<PathBuf>,
    #[command(flatten)]
    pub form: FormArgs,
}

/// What is written, and where.
#[derive(Debug, Args)]
pub(crate) struct FormArgs {
    /// The folder to write, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How weights are stored [default: int4, and fp32 for encoders]
    #[arg(long, value_name = "TYPE", value_parser = PossibleValuesParser::new(Weights::ALL.map(Weights::name)).try_map(|name| name.parse::<Weights>()))]
    pub weights: Option<Weights>,
    /// Quantise what products take, row by row; with int8 weights
    #[arg(long, value_enum, value_name = "TYPE")]
    pub activations: Option<Int8>,
    /// Write a second graph for prompts and many requests at a time
    #[arg(long, value_enum, value_name = "TYPE")]
    pub companion: Option<Int8>,
    /// Weights that share a scale: 16, 32, 64, 128 or 256
    #[arg(long, value_name = "COUNT", default_value_t = ExportOptions::default().block)]
    pub block: usize,
    /// A zero point for each block: larger and often nearer
    #[arg(long)]
    pub asymmetric: bool,
    /// What products of quantised weights are computed in: 4 is 8-bit integers, 1 is 32-bit floats
    #[arg(long, value_name = "LEVEL", default_value_t = ExportOptions::default().accuracy_level)]
    pub accuracy_level: u8,
    /// The context's length [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Other weights for products whose name is of a pattern, as *.down_proj=int8; can be repeated
    #[arg(long, value_name = "PATTERN=TYPE")]
    pub keep: Vec<Keep>,
    /// Give logits for the last position alone
    #[arg(long)]
    pub last_logits: bool,
    /// Use no operator but ONNX's own, for runtimes that have no others
    #[arg(long)]
    pub standard_ops: bool,
    /// Rotate what is quantised by Hadamard matrices merged into the weights: the same model, rounded with less error
    #[arg(long)]
    pub rotate: bool,
    /// Let requests be answered with adapters, which `puna model adapter` makes
    #[arg(long)]
    pub adapters: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Int8 {
    /// 8-bit integers
    Int8,
}

impl FormArgs {
    /// Refuses what encoders do not have.
    fn check_encoder(&self, merge: bool) -> Result<()> {
        let defaults = ExportOptions::default();
        let given = [
            ("--companion", self.companion.is_some()),
            ("--block", self.block != defaults.block),
            ("--asymmetric", self.asymmetric),
            ("--accuracy-level", self.accuracy_level != defaults.accuracy_level),
            ("--context", self.context.is_some()),
            ("--keep", !self.keep.is_empty()),
            ("--last-logits", self.last_logits),
            ("--standard-ops", self.standard_ops),
            ("--rotate", self.rotate),
            ("--adapters", self.adapters),
            ("--merge", merge),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => {
                Err(Error::invalid_input(format!("`{name}` is not for encoders; leave it out")))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn options(&self) -> ExportOptions {
        ExportOptions {
            weights: self.weights.unwrap_or(ExportOptions::default().weights),
            activations_int8: self.activations.is_some(),
            companion_int8: self.companion.is_some(),
            block: self.block,
            symmetric: !self.asymmetric,
            accuracy_level: self.accuracy_level,
            context: self.context,
            keep: self.keep.clone(),
            last_logits: self.last_logits,
            standard_ops: self.standard_ops,
            rotate: self.rotate,
            adapters: self.adapters,
            merge: None,
        }
    }

    /// Writes with a progress bar, and tells what was written.
    pub(crate) fn run(
        &self,
        weights: Weights,
        write: impl FnOnce(&ExportOptions, &(dyn Fn(Progress) + Sync)) -> Result<ExportReport>,
    ) -> Result<()> {
        let bar = setup::bytes_bar(0);
        let report = write(&self.options(), &|progress: Progress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        });
        bar.finish_and_clear();
        let report = report?;
        if self.json {
            return print_json(&report);
        }
        line("folder", &self.out.display().to_string())?;
        line("architecture", &report.architecture)?;
        line("parameters", &format!("{:.3} billion", report.parameters as f64 / 1e9))?;
        line("graphs", &report.graphs.join(", "))?;
        line("weights", &format!("{weights}, {}", size(report.weight_bytes)))?;
        line("context", &format!("{} tokens", report.context))?;
        line("time", &format!("{:.1} s", report.seconds))
    }
}

pub(crate) fn export(args: &ExportArgs) -> Result<()> {
    if EncoderConfig::open(&args.checkpoint)?.is_some() {
        args.form.check_encoder(args.merge.is_some())?;
        let options = EncoderOptions { weights: args.form.weights.unwrap_or(Weights::Fp32) };
        return args.form.run(options.weights, |_, progress| {
            export_encoder(&args.checkpoint, &args.form.out, options, progress)
        });
    }
    args.form.run(args.form.options().weights, |options, progress| {
        let options = ExportOptions { merge: args.merge.clone(), ..options.clone() };
        puna::export::export(&args.checkpoint, &args.form.out, &options, progress)
    })
}
