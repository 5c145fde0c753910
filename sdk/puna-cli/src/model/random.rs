//! `puna model random`: a model of a known shape with random weights.

use std::{fs, path::PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use puna::{Error, Result};

use super::export::FormArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is downloaded. What such a model says means nothing; how fast it is and how much memory it takes is that of
any model of this shape. Measure it with `puna model bench`.

Examples:
  puna model random --shape llama-3.2-1b --out /tmp/llama-1b
  puna model random --shape llama-3.1-8b --companion int8 --context 8192 --out /tmp/llama-8b")]
pub(crate) struct RandomArgs {
    /// The model whose shape it has
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(puna::export::shapes()))]
    pub shape: Option<String>,
    /// A config.json whose shape it has
    #[arg(long, value_name = "FILE", required_unless_present = "shape", conflicts_with = "shape")]
    pub config: Option<PathBuf>,
    /// The same seed gives the same weights
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub form: FormArgs,
}

pub(crate) fn random(args: &RandomArgs) -> Result<()> {
    let config = match (&args.shape, &args.config) {
        (_, Some(file)) => fs::read_to_string(file).map_err(|error| Error::from_io("read", file, error))?,
        (name, None) => puna::export::shape(name.as_deref().unwrap_or_default())?.to_owned(),
    };
    args.form.run(args.form.options().weights, |options, progress| {
        puna::export::random(&config, args.seed, &args.form.out, options, progress)
    })
}
