//! `puna knowledge`: documents in, passages out.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use puna::{
    Error, ErrorKind, Hit, Reranker, Result, Sources, Stack, documents,
    inference::{LateInteraction, LoadOptions, OnnxEmbedder, OnnxModel, OnnxReranker},
    knowledge::{
        BaseOptions, Filter, IngestOptions, KnowledgeBase, MAX_FILE_BYTES, PackPolicy, Report, SearchMode,
        SearchOptions, SplitBy, SplitOptions, TokenMeasure, Unit, load_bytes, pack, rewrite_question,
    },
};
use serde_json::json;

use crate::{
    doctor::{line, size},
    encode::{EncoderArgs, runtime},
    exit, render,
    run::open_stack,
    sessions::print_json,
    setup::note,
    spec::print_line,
};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A knowledge base is embedded with one model, the default one unless `add` names another; whoever searches it by meaning
names the same.

Examples:
  puna knowledge add manuals docs/ \"notes/**/*.md\" https://example.com/manual.html
  cat letter.txt | puna knowledge add letters - --id letter-1
  puna knowledge search manuals \"How is a plugin built?\"
  puna knowledge search manuals \"How is a plugin built?\" --rerank late-interaction --budget 500
  puna knowledge search manuals --mode keyword --filter '{\"contains\": [\"_id\", \"docs/\"]}' plugin --json
  puna knowledge remove manuals docs/old.md
  puna knowledge stats manuals --check")]
pub(crate) struct KnowledgeArgs {
    #[command(subcommand)]
    command: KnowledgeCommand,
    /// Where knowledge bases are kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Whose knowledge bases: nothing is shared between namespaces
    #[arg(long, value_name = "NAME", global = true, default_value = "default")]
    namespace: String,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KnowledgeCommand {
    /// Add files, folders, patterns and pages of the web; what has not changed since the last time is left as it is
    Add(Box<AddArgs>),
    /// Every knowledge base, or the documents of one
    List {
        /// The knowledge base
        name: Option<String>,
    },
    /// Find passages, best first
    Search(Box<FindArgs>),
    /// Remove documents from every index, or a whole knowledge base
    Remove {
        /// The knowledge base
        name: String,
        /// The documents, by the ids that `list` shows
        documents: Vec<String>,
        /// Every document of this source, as `add` was given it
        #[arg(long, value_name = "SOURCE", conflicts_with = "documents")]
        source: Option<String>,
        /// The knowledge base itself
        #[arg(long, conflicts_with_all = ["documents", "source"])]
        all: bool,
    },
    /// Show how much a knowledge base holds
    Stats {
        /// The knowledge base
        name: String,
        /// Also read everything, and tell what is wrong; the exit code is 10 then
        #[arg(long)]
        check: bool,
    },
    /// Embed a knowledge base again with another model; after a kill, the same command goes on
    Reembed {
        /// The knowledge base
        name: String,
        #[command(flatten)]
        embedder: EmbedderArgs,
    },
}

#[derive(Debug, ClapArgs)]
struct EmbedderArgs {
    /// The embedding model's folder [default: all-MiniLM-L6-v2]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    load: EncoderArgs,
}

#[derive(Debug, ClapArgs)]
struct AddArgs {
    /// The knowledge base; made where it is missing
    name: String,
    /// Files, folders, patterns such as `docs/**/*.md`, addresses of pages, or `-` for standard input
    #[arg(required = true)]
    sources: Vec<String>,
    /// A plugin whose loaders read files by their endings; can be repeated
    #[arg(long = "loader", value_name = "COMPONENT")]
    loaders: Vec<PathBuf>,
    #[command(flatten)]
    embedder: EmbedderArgs,
    #[command(flatten)]
    split: SplitArgs,
    /// The id of what standard input has
    #[arg(long, value_name = "ID", default_value = "stdin")]
    id: String,
    /// Read pages at addresses of this machine and its network too
    #[arg(long)]
    private_addresses: bool,
    /// How long documents stay, as 12h
    #[arg(long, value_name = "TIME")]
    ttl: Option<puna::Duration>,
    /// Remove documents that a source had when it was added before, and has no more
    #[arg(long)]
    prune: bool,
}

/// How texts are split.
#[derive(Debug, ClapArgs)]
pub(crate) struct SplitArgs {
    /// Where texts are split [default: as each document's format says]
    #[arg(long, value_enum, value_name = "BY")]
    by: Option<By>,
    /// Most tokens of a chunk [default: 200]
    #[arg(long, value_name = "TOKENS")]
    size: Option<usize>,
    /// Most tokens that a chunk repeats of the one before it [default: 20]
    #[arg(long, value_name = "TOKENS")]
    overlap: Option<usize>,
    /// Most tokens of a parent, which a search can give for its chunk
    #[arg(long, value_name = "TOKENS")]
    parent_size: Option<usize>,
    /// What is counted [default: tokens of the embedding model]
    #[arg(long, value_enum, value_name = "UNIT")]
    unit: Option<UnitArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Recursive,
    Markdown,
    Html,
    Code,
    /// Where neighbouring sentences differ in meaning
    Semantic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnitArg {
    Tokens,
    Characters,
    Words,
}

#[derive(Debug, ClapArgs)]
struct FindArgs {
    /// The knowledge base
    name: String,
    /// The question
    query: String,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// How many passages
    #[arg(short, long, value_name = "COUNT", default_value_t = 5)]
    k: usize,
    /// What is compared
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    mode: Mode,
    /// A condition on documents, as JSON: {"and": [{"gte": ["year", 2020]}, {"in": ["lang", ["ko", "ja"]]}]}
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// The same question in other words; can be repeated
    #[arg(long = "also", value_name = "QUESTION")]
    also: Vec<String>,
    /// Between the best passages (1) and passages that differ most (0); 0.5 is usual
    #[arg(long, value_name = "NUMBER")]
    diversity: Option<f32>,
    /// Have the model of this folder put the question in other words, and fuse what is found for any of them
    #[arg(long, value_name = "DIR")]
    rewriter: Option<PathBuf>,
    /// In how many other words
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "rewriter")]
    rewrites: usize,
    #[command(flatten)]
    rerank: RerankArgs,
    /// Show no more than fits into so many tokens of the embedding model: the last passage is cut at the end of a sentence
    #[arg(long, value_name = "TOKENS")]
    budget: Option<usize>,
    /// Show each chunk's parent instead
    #[arg(long)]
    parents: bool,
}

/// What reads the best candidates again.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct RerankArgs {
    /// Read the best candidates again together with the question: `late-interaction`, which needs no other model, or the
    /// folder of a reranker
    #[arg(long, value_name = "late-interaction|DIR")]
    rerank: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Meaning and words, fused by rank
    Hybrid,
    /// Meaning
    Vector,
    /// Words; needs no model
    Keyword,
}

pub(crate) async fn knowledge(args: KnowledgeArgs) -> Result<ExitCode> {
    let KnowledgeArgs { command, data, namespace, json } = args;
    let stack = open_stack(data)?;
    let knowledge = stack.knowledge()?;
    let namespace = namespace.as_str();
    let plain = |name: String| {
        let knowledge = knowledge.clone();
        async move { knowledge.open_without_model(namespace, &name, &BaseOptions::default()).await }
    };
    match command {
        KnowledgeCommand::Add(args) => return add(&stack, namespace, *args, json).await,
        KnowledgeCommand::Search(args) => search(&stack, namespace, *args, json).await?,
        KnowledgeCommand::List { name: None } => {
            let bases = knowledge.list(namespace).await?;
            if json {
                print_json(&bases)?;
            } else if bases.is_empty() {
                note("no knowledge bases yet; `puna knowledge add` makes them");
            }
            for base in bases.iter().filter(|_| !json) {
                print_line(&format!("{}  {}", crate::time::format_time(base.created_ms), base.name))?;
            }
        }
        KnowledgeCommand::List { name: Some(name) } => {
            let documents = plain(name).await?.documents();
            let documents: Vec<_> = documents.iter().map(|document| &**document).collect();
            if json {
                print_json(&documents)?;
            }
            for document in documents.iter().filter(|_| !json) {
                let (chunks, bytes) = (document.chunks, size(document.bytes));
                print_line(&format!("{chunks:>6} chunks  {bytes:>9}  {}", render::printable(&document.id)))?;
            }
        }
        KnowledgeCommand::Remove { name, all: true, .. } => {
            if !knowledge.remove(namespace, &name).await? {
                return Err(unknown(&name));
            }
            removed(1, "knowledge base", json)?;
        }
        KnowledgeCommand::Remove { name, documents, source, .. } => {
            if documents.is_empty() && source.is_none() {
                return Err(Error::invalid_input(
                    "nothing to remove is named: give documents, `--source`, or `--all` for the whole knowledge base",
                ));
            }
            let base = plain(name).await?;
            let mut count = match source {
                Some(source) => base.remove_source(&source).await?,
                None => 0,
            };
            let mut missing = Vec::new();
            for document in documents {
                if base.remove(&document).await? { count += 1 } else { missing.push(document) }
            }
            removed(count, "documents", json)?;
            if let Some(first) = missing.first() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "no document `{first}` in knowledge base `{}`; `puna knowledge list {0}` shows them",
                        base.name()
                    ),
                ));
            }
        }
        KnowledgeCommand::Stats { name, check } => return stats(&plain(name).await?, check, json).await,
        KnowledgeCommand::Reembed { name, embedder } => {
            let embedder = load_embedder(&stack, &embedder).await?;
            let base = plain(name).await?;
            let bar = spinner()?;
            let embedded = base
                .reembed(embedder, &|progress| {
                    bar.set_message(format!("{} chunks embedded", progress.chunks));
                    bar.tick();
                })
                .await;
            bar.finish_and_clear();
            let embedded = embedded?;
            print_line(&if json {
                json!({ "embedded": embedded }).to_string()
            } else {
                format!("embedded {embedded} chunks again")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no knowledge base `{name}`; `puna knowledge list` shows them"))
}

fn removed(count: usize, what: &str, json: bool) -> Result<()> {
    print_line(&if json {
        json!({ "removed": count }).to_string()
    } else {
        format!("removed {count} {what}")
    })
}

async fn load_embedder(stack: &Stack, args: &EmbedderArgs) -> Result<Arc<OnnxEmbedder>> {
    let (stack, model, options) = (stack.clone(), args.model.clone(), args.load.options());
    blocking(move || match model {
        Some(folder) => Ok(Arc::new(OnnxEmbedder::load(&runtime()?, &folder, &options)?)),
        None if options == Default::default() => stack.embedder(),
        None => Ok(Arc::new(puna::default_embedder(&options, &crate::setup::shown())?)),
    })
    .await
}

impl RerankArgs {
    /// The reranker, if one is asked for. `embedder` is the one that the base is searched with.
    ///
    /// # Errors
    /// Those of loading.
    pub(crate) async fn load(
        &self,
        embedder: Option<&Arc<OnnxEmbedder>>,
    ) -> Result<Option<Arc<dyn Reranker>>> {
        let folder = match (self.rerank.as_deref(), embedder) {
            (None, _) => return Ok(None),
            (Some("late-interaction"), Some(embedder)) => {
                return Ok(Some(Arc::new(LateInteraction::new(Arc::clone(embedder)))));
            }
            (Some("late-interaction"), None) => {
                return Err(Error::invalid_input(
                    "`late-interaction` compares with the embedding model, and a search by words loads none; take another `--mode`",
                ));
            }
            (Some(folder), _) => PathBuf::from(folder),
        };
        let load = move || OnnxReranker::load(&runtime()?, &folder, &Default::default());
        Ok(Some(Arc::new(blocking(load).await?)))
    }
}

/// The question in other words.
async fn rewritten(folder: PathBuf, question: &str, count: usize) -> Result<Vec<String>> {
    let model = blocking(move || OnnxModel::load(&runtime()?, &folder, LoadOptions::default())).await?;
    rewrite_question(&model, question, count, crate::run::cancel_on_ctrl_c()).await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("a blocking task broke").with_source(error))?
}

impl SplitArgs {
    /// None where nothing is asked for: a knowledge base keeps its own then.
    pub(crate) fn options(&self) -> Option<SplitOptions> {
        let Self { by, size, overlap, parent_size, unit } = self;
        if by.is_none() && size.is_none() && overlap.is_none() && parent_size.is_none() && unit.is_none() {
            return None;
        }
        let default = SplitOptions::default();
        let size = size.unwrap_or(default.size);
        Some(SplitOptions {
            by: by.map_or(default.by, |by| match by {
                By::Recursive => SplitBy::Recursive,
                By::Markdown => SplitBy::Markdown,
                By::Html => SplitBy::Html,
                By::Code => SplitBy::Code,
                By::Semantic => SplitBy::Semantic,
            }),
            unit: unit.map_or(default.unit, |unit| match unit {
                UnitArg::Tokens => Unit::Tokens,
                UnitArg::Characters => Unit::Characters,
                UnitArg::Words => Unit::Words,
            }),
            size,
            overlap: overlap.unwrap_or(default.overlap.min(size / 2)),
            parent_size: *parent_size,
        })
    }
}

async fn add(stack: &Stack, namespace: &str, args: AddArgs, json: bool) -> Result<ExitCode> {
    // What is missing is told before a model is loaded.
    let mut sources = Vec::new();
    for source in &args.sources {
        let found = if source == "-" { None } else { Some(Sources::find(source)?) };
        sources.push((source, found));
    }
    let loaders = stack.loaders(&args.loaders).await?;
    let embedder = load_embedder(stack, &args.embedder).await?;
    let options = BaseOptions { split: args.split.options(), ..BaseOptions::default() };
    let base = stack.knowledge()?.open(namespace, &args.name, &options, embedder).await?;
    let mut failed: Option<&'static str> = None;
    for (source, found) in sources {
        let options = IngestOptions {
            source: source.clone(),
            ttl: args.ttl.map(|ttl| ttl.0),
            prune: args.prune,
            ..IngestOptions::default()
        };
        let documents = match found {
            Some(found) => documents(found, &base, loaders.clone(), args.private_addresses),
            None => load_bytes(args.id.clone(), args.id.clone(), read_stdin()?, loaders.clone()),
        };
        let bar = spinner()?;
        let report = base
            .ingest(documents, &options, &|progress| {
                bar.set_message(format!(
                    "{} documents, {} chunks  {}",
                    progress.documents,
                    progress.chunks,
                    render::printable(&progress.id)
                ));
                bar.tick();
            })
            .await;
        bar.finish_and_clear();
        let report = report?;
        show(source, &report, json)?;
        failed = failed.or(report.failed.first().map(|failed| failed.kind));
    }
    Ok(match failed {
        Some(kind) => ExitCode::from(exit::code(ErrorKind::from_name(kind).unwrap_or(ErrorKind::Internal))),
        None => ExitCode::SUCCESS,
    })
}

fn show(source: &str, report: &Report, json: bool) -> Result<()> {
    if json {
        let mut line = serde_json::to_value(report)
            .map_err(|error| Error::internal("a report does not serialise").with_source(error))?;
        line["source"] = source.into();
        return print_line(&line.to_string());
    }
    for failed in &report.failed {
        anstream::eprintln!("{}failed{}: {}", render::RED, render::RESET, render::printable(&failed.message));
    }
    let Report { added, changed, unchanged, removed, failed, chunks, embedded, seconds, embedding_seconds } =
        report;
    print_line(&format!(
        "{source}: {added} added, {changed} changed, {unchanged} unchanged, {removed} removed, {} failed",
        failed.len()
    ))?;
    if *chunks > 0 {
        note(&format!(
            "{chunks} chunks, {embedded} embedded, in {seconds:.1} s, of which the model {:.0} %",
            100.0 * embedding_seconds / seconds.max(1e-9)
        ));
    }
    Ok(())
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let failed = |error| Error::from_io("read", Path::new("standard input"), error);
    std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::invalid_input(format!(
            "standard input has more than {MAX_FILE_BYTES} bytes; give it in parts"
        )));
    }
    Ok(bytes)
}

async fn search(stack: &Stack, namespace: &str, args: FindArgs, json: bool) -> Result<()> {
    let filter: Option<Filter> = match &args.filter {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            Error::invalid_input(format!(
                "`--filter` is no condition such as {}: {error}",
                r#"{"eq": ["lang", "ko"]}"#
            ))
        })?),
    };
    let mode = match args.mode {
        Mode::Hybrid => SearchMode::Hybrid,
        Mode::Vector => SearchMode::Vector,
        Mode::Keyword => SearchMode::Keyword,
    };
    let mut queries = args.also;
    if let Some(folder) = args.rewriter {
        let more = rewritten(folder, &args.query, args.rewrites).await?;
        more.iter().for_each(|query| note(&format!("also: {}", render::printable(query))));
        queries.extend(more);
    }
    let options = SearchOptions {
        mode,
        filter,
        queries,
        diversity: args.diversity,
        parents: args.parents,
        ..SearchOptions::default()
    };
    let knowledge = stack.knowledge()?;
    // Tokens are the embedding model's.
    let plain = mode == SearchMode::Keyword && args.diversity.is_none() && args.budget.is_none();
    let embedder = if plain { None } else { Some(load_embedder(stack, &args.embedder).await?) };
    let options_of_base = BaseOptions::default();
    let base = match &embedder {
        None => knowledge.open_without_model(namespace, &args.name, &options_of_base).await?,
        Some(embedder) => {
            knowledge
                .open_existing(namespace, &args.name, &options_of_base, Arc::clone(embedder) as _)
                .await?
        }
    };
    let reranker = args.rerank.load(embedder.as_ref()).await?;
    let mut hits = base.search(&args.query, args.k, &options, reranker.as_deref()).await?;
    if let Some(budget) = args.budget {
        let packed = pack(&hits, budget, &TokenMeasure::new(base.embedder()), PackPolicy::CutLast)?;
        if packed.left_out > 0 {
            note(&format!("{} more do not fit into {budget} tokens", packed.left_out));
        }
        hits = packed.sources.into_iter().map(|source| source.hit).collect();
    }
    for (index, hit) in hits.iter().enumerate() {
        if json {
            let line = serde_json::to_string(hit)
                .map_err(|error| Error::internal("a hit does not serialise").with_source(error))?;
            print_line(&line)?;
        } else {
            show_hit(index + 1, hit)?;
        }
    }
    if hits.is_empty() && !json {
        note("nothing found");
    }
    Ok(())
}

fn show_hit(number: usize, hit: &Hit) -> Result<()> {
    let place = hit.span.map_or(String::new(), |span| format!(":{}..{}", span.start, span.end));
    let document = render::printable(&hit.document);
    print_line(&format!("{}[{number}] {document}{place}{}  {:.4}", render::BOLD, render::RESET, hit.score))?;
    print_line(&format!("{}\n", render::printable(&hit.text)))
}

async fn stats(base: &KnowledgeBase, check: bool, json: bool) -> Result<ExitCode> {
    let stats = base.stats().await;
    let verification = if check { Some(base.verify().await?) } else { None };
    if json {
        print_json(&json!({ "stats": stats, "check": verification }))?;
    } else {
        line("documents", &stats.documents.to_string())?;
        line("chunks", &stats.chunks.to_string())?;
        line("text", &size(stats.text_bytes))?;
        line("indexes", &format!("{} in memory", size(stats.index_bytes as u64)))?;
        line(
            "vectors",
            &format!("{} numbers, model {}", stats.embedding.dimension, stats.embedding.fingerprint),
        )?;
        let split = &stats.split;
        line(
            "split",
            &format!("{:?} of {} {:?}, overlap {}", split.by, split.size, split.unit, split.overlap)
                .to_lowercase(),
        )?;
        for problem in verification.iter().flat_map(|found| &found.problems) {
            line("problem", problem)?;
        }
        if verification.as_ref().is_some_and(|found| found.is_sound()) {
            line("check", "all is as it was written")?;
        }
    }
    Ok(match verification {
        Some(found) if !found.is_sound() => ExitCode::from(exit::code(ErrorKind::Corrupt)),
        _ => ExitCode::SUCCESS,
    })
}

pub(crate) fn spinner() -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{spinner} {msg}")
        .map_err(|error| Error::internal("the progress bar's form").with_source(error))?;
    Ok(ProgressBar::new_spinner().with_style(style))
}
