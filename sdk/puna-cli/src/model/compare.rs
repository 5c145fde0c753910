//! `puna model compare`: what a quantisation costs and what it gives.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use puna::{
    Error, Result,
    inference::{Comparison, Likelihoods, LoadOptions, ModelFolder, OnnxModel, Perplexity, shared_tokens},
};
use serde::Serialize;

use super::bench::{self, Seed};
use crate::{
    args::LoadArgs,
    doctor::{line, size},
    model, score,
    sessions::print_json,
};

#[derive(Debug, Args)]
#[command(after_help = "\
The first model is what the second is held against. Perplexity is exp of the mean surprise of a token, lower is better;
divergence the mean Kullback-Leibler divergence of the second model's probabilities from the first's, in nats;
agreement how often both find the same token likeliest. One model is in memory at a time; the first one's
probabilities lie in a temporary file of four bytes a token of the text and of the vocabulary. What is told of
likelihoods is told by the graph that decodes, or by the companion, where there is one, with `--companion always`.

Examples:
  puna model compare models/llama-fp32 models/llama-int4 --text README.md
  puna model compare models/llama-bf16 models/llama-int4 --text book.txt --tokens 4096 --threads 2 --json")]
pub(crate) struct CompareArgs {
    /// The folder of the model to compare with
    pub base: PathBuf,
    /// The folder of the model that is compared
    pub other: PathBuf,
    /// A file with the text whose tokens both score
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Most tokens of the text, from its beginning
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    pub tokens: usize,
    /// Most tokens scored at once, each seeing those before it; a longer text is cut into windows that overlap by half
    #[arg(long, value_name = "COUNT", default_value_t = 2048)]
    pub window: usize,
    /// How often speed is measured; the median counts, 0 measures none
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub rounds: usize,
    /// Tokens of the prompt that measures prefill
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    pub prompt_tokens: usize,
    /// Tokens of the answer that measures decoding
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub answer_tokens: u32,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One of the two models.
#[derive(Serialize)]
struct Figures {
    folder: PathBuf,
    graph: PathBuf,
    /// The graphs that were loaded with their weights, in bytes.
    bytes: u64,
    #[serde(flatten)]
    perplexity: Perplexity,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill_tokens_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_tokens_per_second: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    base: Figures,
    other: Figures,
    divergence: f64,
    worst_divergence: f64,
    agreement: f64,
}

pub(crate) async fn compare(args: &CompareArgs) -> Result<()> {
    let text = score::read_text(&args.text)?;
    let mut tokens = shared_tokens(&text, [&args.base, &args.other])?;
    tokens.truncate(args.tokens.max(1));
    let steps = (tokens.len().saturating_sub(1) + args.rounds * 2) as u64 * 2;
    let bar = ProgressBar::new(steps).with_style(
        ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {eta} left")
            .map_err(|error| Error::internal("the progress bar's form").with_source(error))?,
    );
    let (likelihoods, base) = {
        let (model, mut figures) = measured(args, &args.base, &bar).await?;
        let likelihoods = Likelihoods::of(&model, &tokens, args.window, told(&bar)).await?;
        figures.perplexity = likelihoods.perplexity();
        (likelihoods, figures)
        // The first model gives its memory back.
    };
    let (model, mut other) = measured(args, &args.other, &bar).await?;
    let found = likelihoods.compare(&model, told(&bar)).await?;
    bar.finish_and_clear();
    let Comparison { perplexity, divergence, worst_divergence, agreement } = found;
    other.perplexity = perplexity;
    let report = Report { base, other, divergence, worst_divergence, agreement };
    if args.json { print_json(&report) } else { show(&report) }
}

/// A loaded model and how fast it is.
async fn measured(
    args: &CompareArgs,
    folder: &std::path::Path,
    bar: &ProgressBar,
) -> Result<(OnnxModel, Figures)> {
    bar.set_message(format!("loading {}", folder.display()));
    let options = LoadOptions { needs_template: false, draft_tokens: 0, ..args.load.options() };
    let found = ModelFolder::open_with(folder, &options.folder)?;
    // What is asked of a companion is asked of the model that has one.
    let companion = options.companion.filter(|_| found.companion.is_some());
    let options = LoadOptions { companion, ..options };
    let model = model::open(folder, options)?;
    let details = model.details();
    let context = details.context_length;
    let answer = args.answer_tokens.min(u32::try_from(context / 4).unwrap_or(u32::MAX)).max(2);
    let prompt = args.prompt_tokens.min(context - answer as usize).max(1);
    let (mut prefill, mut decode, mut seed) = (Vec::new(), Vec::new(), Seed::default());
    bar.set_message(format!("measuring {}", folder.display()));
    // The first round warms up.
    for round in (0..=args.rounds).take_while(|_| args.rounds > 0) {
        let usage = bench::run(&model, seed.prompt(&model, prompt), 1).await?.usage;
        let speed = usage.prompt_tokens as f64 * 1000.0 / usage.prefill_ms;
        let usage = bench::run(&model, seed.prompt(&model, 1), answer).await?.usage;
        if round > 0 {
            prefill.push(speed);
            decode.push((usage.completion_tokens - 1) as f64 * 1000.0 / usage.decode_ms);
            bar.inc(2);
        }
    }
    let median = |figures: Vec<f64>| (!figures.is_empty()).then(|| bench::median(figures));
    let bytes = match &found.companion {
        Some(_) if details.prefill_graph.is_some() => found.total_bytes,
        Some(companion) if details.graph == *companion => found.companion_bytes,
        _ => found.graph_bytes,
    };
    let figures = Figures {
        folder: folder.to_owned(),
        graph: details.graph.clone(),
        bytes,
        perplexity: Perplexity::of([]),
        prefill_tokens_per_second: median(prefill),
        decode_tokens_per_second: median(decode),
    };
    bar.set_message(format!("scoring with {}", folder.display()));
    Ok((model, figures))
}

/// Moves a bar on by what is done from where it is.
fn told(bar: &ProgressBar) -> Arc<dyn Fn(usize) + Send + Sync> {
    let (bar, begun) = (bar.clone(), bar.position());
    Arc::new(move |done| bar.set_position(begun + done as u64))
}

fn show(report: &Report) -> Result<()> {
    let Report { base, other, .. } = report;
    let ratio = |a: f64, b: f64| format!("{:.2} of the first", b / a);
    for (name, figures) in [("first", base), ("second", other)] {
        line(name, &format!("{}, {}", figures.folder.display(), figures.graph.display()))?;
    }
    let (a, b) = (base.bytes, other.bytes);
    line("size", &format!("{} and {}, {}", size(a), size(b), ratio(a as f64, b as f64)))?;
    let [a, b] = [base, other].map(|figures| figures.perplexity.perplexity);
    line("perplexity", &format!("{a:.3} and {b:.3}, over {} tokens", base.perplexity.tokens))?;
    line(
        "divergence",
        &format!("{:.5} nats in the mean, {:.5} at worst", report.divergence, report.worst_divergence),
    )?;
    line("agreement", &format!("{:.2} % on the likeliest token", 100.0 * report.agreement))?;
    let speeds = [
        ("prefill", base.prefill_tokens_per_second, other.prefill_tokens_per_second),
        ("decode", base.decode_tokens_per_second, other.decode_tokens_per_second),
    ];
    for (name, a, b) in speeds {
        if let (Some(a), Some(b)) = (a, b) {
            line(name, &format!("{a:.1} and {b:.1} tokens/s, {:.2} times as fast", b / a))?;
        }
    }
    Ok(())
}
