//! `puna model adapter`: an adapter that PEFT saved to a file that models take beside their weights.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use puna::{Result, export::Weights};

use crate::{
    doctor::{line, size},
    sessions::print_json,
};

#[derive(Debug, Args)]
#[command(after_help = "\
The model must be exported with `--adapters`. In its folder `adapters`, as NAME.onnx_adapter, the file is found by
its name; ONNX Runtime and onnxruntime-genai load it too. To merge an adapter into the weights instead, export with
`--merge`.

Examples:
  puna model export checkpoints/llama-3.2-1b --out models/llama --adapters
  puna model adapter peft/concierge --base models/llama --out models/llama/adapters/concierge.onnx_adapter
  puna generate models/llama --adapter concierge \"Hello\"")]
pub(crate) struct AdapterArgs {
    /// The adapter's folder: adapter_config.json, adapter_model.safetensors
    pub adapter: PathBuf,
    /// The folder of the model that it adapts, whose config.json is read
    #[arg(long, value_name = "DIR")]
    pub base: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How its numbers are stored: as the graph's activations, fp16 for a model exported so
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = PossibleValuesParser::new(["fp32", "fp16"]).try_map(|name| name.parse::<Weights>()))]
    pub weights: Weights,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn adapter(args: &AdapterArgs) -> Result<()> {
    let report = puna::export::convert_adapter(&args.adapter, &args.base, &args.out, args.weights)?;
    if args.json {
        return print_json(&report);
    }
    line("adapter", &args.out.display().to_string())?;
    line("modules", &report.modules.to_string())?;
    line("rank", &report.rank.to_string())?;
    line("size", &size(report.bytes))
}
