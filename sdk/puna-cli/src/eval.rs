//! `puna eval`: how good searches are.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args as ClapArgs, Subcommand};
use puna::{
    Error, Result, default_embedder,
    inference::OnnxEmbedder,
    knowledge::{
        BaseOptions, IngestOptions, Judgements, Knowledge, Loaders, RetrievalScores, SearchMode,
        SearchOptions, evaluate_retrieval, load_files,
    },
    store::{SledStore, StoreOptions},
};
use serde::Serialize;

use crate::{
    encode::{EncoderArgs, runtime},
    knowledge::{RerankArgs, SplitArgs, blocking, spinner},
    sessions::print_json,
    setup,
    spec::print_line,
};

#[derive(Debug, ClapArgs)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    command: EvalCommand,
}

#[derive(Debug, Subcommand)]
enum EvalCommand {
    /// Measure searches on a collection with judged questions, in BEIR's layout
    #[command(after_help = "\
The folder has corpus.jsonl, queries.jsonl and qrels/test.tsv. Its documents are put into a knowledge base of their own,
which is gone afterwards. Of a document with several chunks the best counts.

Examples:
  puna eval retrieval tests/collections/highland
  puna eval retrieval tests/collections/highland --rerank late-interaction
  puna eval retrieval cranfield --rerank models/ms-marco-minilm --json")]
    Retrieval(Box<RetrievalArgs>),
}

#[derive(Debug, ClapArgs)]
struct RetrievalArgs {
    /// The collection's folder
    folder: PathBuf,
    /// The embedding model's folder [default: all-MiniLM-L6-v2]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    load: EncoderArgs,
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    rerank: RerankArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    mode: &'static str,
    #[serde(flatten)]
    scores: RetrievalScores,
}

pub(crate) async fn eval(args: EvalArgs) -> Result<ExitCode> {
    let EvalCommand::Retrieval(args) = args.command;
    let judgements = Judgements::read(&args.folder)?;
    let corpus = args.folder.join("corpus.jsonl");
    let name = corpus.display().to_string();
    let (model, options) = (args.model.clone(), args.load.options());
    let embedder = blocking(move || match model {
        Some(folder) => OnnxEmbedder::load(&runtime()?, &folder, &options),
        None => default_embedder(&options, &setup::shown()),
    });
    let embedder = Arc::new(embedder.await?);
    let reranker = args.rerank.load(Some(&embedder)).await?;
    let place = Place::new()?;
    let store = SledStore::open(&place.0, &StoreOptions::default())?;
    let knowledge = Knowledge::new(Arc::new(store), None);
    let options = BaseOptions { split: args.split.options(), ..BaseOptions::default() };
    let base = knowledge.open("eval", "collection", &options, embedder).await?;
    let bar = spinner()?;
    let progress = |progress: &puna::knowledge::Progress| {
        bar.set_message(format!("{} documents, {} chunks", progress.documents, progress.chunks));
        bar.tick();
    };
    let report =
        base.ingest(load_files(vec![corpus], Loaders::new()), &IngestOptions::default(), &progress).await;
    bar.finish_and_clear();
    let report = report?;
    if let Some(failed) = report.failed.first() {
        return Err(Error::invalid_input(format!("`{}` of the collection: {}", failed.id, failed.message)));
    }
    let mut modes = vec![
        ("vector", SearchMode::Vector, Some(false)),
        ("keyword", SearchMode::Keyword, Some(false)),
        ("hybrid", SearchMode::Hybrid, Some(false)),
    ];
    if reranker.is_some() {
        modes.push(("reranked", SearchMode::Hybrid, Some(true)));
    }
    let of = |id: &str| id.strip_prefix(&name).and_then(|id| id.strip_prefix('#')).unwrap_or(id).to_owned();
    let mut rows = Vec::new();
    for (mode, by, rerank) in modes {
        let options = SearchOptions {
            mode: by,
            rerank,
            candidates: rerank.filter(|on| *on).map(|_| 100),
            ..SearchOptions::default()
        };
        let scores = evaluate_retrieval(&base, &judgements, &options, reranker.as_deref(), &of).await?;
        rows.push(Row { mode, scores });
    }
    if args.json {
        print_json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let queries = rows.first().map_or(0, |row| row.scores.queries);
    print_line(&format!("{} documents, {} chunks, {queries} questions", report.added, report.chunks))?;
    print_line(&format!(
        "{:10} {:>8} {:>10} {:>11} {:>7}",
        "", "nDCG@10", "recall@10", "recall@100", "MRR@10"
    ))?;
    for Row { mode, scores } in rows {
        let RetrievalScores { ndcg_10, recall_10, recall_100, mrr_10, .. } = scores;
        print_line(&format!("{mode:10} {ndcg_10:>8.4} {recall_10:>10.4} {recall_100:>11.4} {mrr_10:>7.4}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder for as long as the measuring takes.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("puna-eval-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| Error::from_io("make", &folder, error))?;
        Ok(Self(folder))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
