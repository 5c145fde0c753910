use std::{path::Path, process::ExitCode};

use puna::{
    Error, Result, TokenScore,
    inference::{LoadOptions, OnnxModel, Perplexity},
};
use serde::Serialize;

use crate::{args::ScoreArgs, doctor::line, model, run, sessions::print_json, spec::print_line};

/// Longest text taken from a file: days of computing, and bounds memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    perplexity: Perplexity,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<ScoredToken>>,
}

/// A token's score with its text.
#[derive(Serialize)]
struct ScoredToken {
    text: String,
    #[serde(flatten)]
    score: TokenScore,
}

pub(crate) async fn score(args: ScoreArgs) -> Result<ExitCode> {
    let text = match &args.file {
        Some(file) => read_text(file)?,
        None => run::input(args.text.as_deref())?,
    };
    let options = LoadOptions { needs_template: false, ..args.load.options() };
    let model = model::open(&args.folder, options)?;
    let adapter = args.adapter.as_deref();
    model::load_adapter(&model, adapter)?;
    let tokens = model.tokens(&text)?;
    let scores = match args.top {
        Some(top) => Some(scored(&model, &tokens, top, adapter).await?),
        None => None,
    };
    let perplexity = match &scores {
        // What was scored token by token adds up to it.
        Some(scores) => Perplexity::of(scores.iter().map(|scored| scored.score.logprob)),
        None => model.perplexity(&tokens, adapter).await?,
    };
    if args.json {
        print_json(&Report { perplexity, scores })?;
        return Ok(ExitCode::SUCCESS);
    }
    for ScoredToken { text, score } in scores.iter().flatten() {
        let mut others = Vec::new();
        for (token, logprob) in &score.top {
            others.push(format!("{:?} {logprob:.3}", model.text(&[*token])?));
        }
        print_line(&format!("{:>9.3}  {:16} {}", score.logprob, format!("{text:?}"), others.join("  ")))?;
    }
    line("tokens", &perplexity.tokens.to_string())?;
    line("logprob", &format!("{:.3}", perplexity.logprob))?;
    line("perplexity", &format!("{:.3}", perplexity.perplexity))?;
    Ok(ExitCode::SUCCESS)
}

/// A file's text.
pub(crate) fn read_text(file: &Path) -> Result<String> {
    let failed = |error| Error::from_io("read", file, error);
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(Error::invalid_input(format!(
            "`{}` has {bytes} bytes; at most {MAX_FILE_BYTES} are scored",
            file.display()
        )));
    }
    std::fs::read_to_string(file).map_err(failed)
}

async fn scored(
    model: &OnnxModel,
    tokens: &[u32],
    top: usize,
    adapter: Option<&str>,
) -> Result<Vec<ScoredToken>> {
    let scores = model.score(tokens, 1, top, adapter).await?;
    scores.into_iter().map(|score| Ok(ScoredToken { text: model.text(&[score.token])?, score })).collect()
}
