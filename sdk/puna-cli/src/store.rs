//! The data folder's store as a whole: checked, moved, made smaller.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args as ClapArgs, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use puna::{
    Error, ErrorKind, Result,
    store::{CompactStage, SledStore, Store},
};
use serde_json::json;

use crate::{
    doctor::{line, size},
    exit,
    run::open_stack,
    sessions::print_json,
    spec::print_line,
};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
One process at a time holds a data folder; a second one is told which and exits with 5.

Examples:
  puna store stats
  puna store check --json
  puna store export backup.jsonl
  puna store import backup.jsonl --data /another/folder
  puna store compact")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
    /// Where everything is kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read everything, and tell what does not read back as it was written; the exit code is 10 then
    Check,
    /// Write everything as JSON Lines: a backup, and the way out of a folder whose files are damaged
    Export {
        /// The file, which must not exist; standard output when absent or `-`
        file: Option<PathBuf>,
    },
    /// Add everything that `export` wrote; after a kill, the same command goes on
    Import {
        /// The file; standard input when absent or `-`
        file: Option<PathBuf>,
    },
    /// Show how much there is, by namespace
    Stats,
    /// Give the space of what was deleted or replaced back, and leave nothing of it in the files
    Compact,
}

pub(crate) async fn store(args: StoreArgs) -> Result<ExitCode> {
    let stack = open_stack(args.data)?;
    if !matches!(args.command, StoreCommand::Import { .. }) && !stack.has_store() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "nothing is stored in `{}` yet; name another folder with `--data`",
                stack.data_dir().display()
            ),
        ));
    }
    let store = stack.store()?;
    match args.command {
        StoreCommand::Check => return check(&store, args.json).await,
        StoreCommand::Export { file } => export(&store, file.as_deref(), args.json).await?,
        StoreCommand::Import { file } => import(&store, file.as_deref(), args.json).await?,
        StoreCommand::Stats => stats(&store, args.json).await?,
        StoreCommand::Compact => {
            // What is to be gone goes first.
            stack.conversations()?.clear_up().await?;
            compact(&store, args.json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(store: &SledStore, json: bool) -> Result<ExitCode> {
    let bar = counter("read")?;
    let found = store.check(|entries| bar.set_position(entries)).await;
    bar.finish_and_clear();
    let found = found?;
    if json {
        print_json(&found)?;
    } else {
        line("entries", &format!("{}, {}", found.entries, size(found.bytes)))?;
        line("damaged", &found.damaged.to_string())?;
    }
    match found.damaged {
        0 => Ok(ExitCode::SUCCESS),
        damaged => Ok(exit::report(&Error::new(
            ErrorKind::Corrupt,
            format!(
                "{damaged} entries do not read back as they were written; restore the data folder from a copy"
            ),
        ))),
    }
}

async fn export(store: &SledStore, file: Option<&Path>, json: bool) -> Result<()> {
    let bar = counter("written")?;
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        let out = BufWriter::new(std::io::stdout());
        let exported = store.export(out, |entries| bar.set_position(entries)).await;
        bar.finish_and_clear();
        return exported.map(|_| ());
    };
    if path.exists() {
        return Err(Error::new(ErrorKind::Conflict, format!("`{}` is there already", path.display())));
    }
    // Under its name once it is whole.
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = File::create(&part).map_err(|error| Error::from_io("write", &part, error))?;
    let exported = store.export(BufWriter::new(&file), |entries| bar.set_position(entries)).await;
    bar.finish_and_clear();
    let entries = exported?;
    let finish = || file.sync_all().and_then(|()| fs::rename(&part, path));
    finish().map_err(|error| Error::from_io("write", path, error))?;
    if json {
        return print_line(&json!({ "exported": entries, "file": path }).to_string());
    }
    print_line(&format!("exported {entries} entries to `{}`", path.display()))
}

async fn import(store: &SledStore, file: Option<&Path>, json: bool) -> Result<()> {
    let imported = match file.filter(|path| *path != Path::new("-")) {
        None => store.import(BufReader::new(std::io::stdin()), |_| ()).await,
        Some(path) => {
            let file = File::open(path).map_err(|error| Error::from_io("read", path, error))?;
            let length = file.metadata().map_err(|error| Error::from_io("read", path, error))?.len();
            let bar =
                ProgressBar::new(length).with_style(style("{bar:24} {bytes} of {total_bytes}, {eta} left")?);
            let imported = store.import(BufReader::new(bar.wrap_read(file)), |_| ()).await;
            bar.finish_and_clear();
            imported
        }
    }?;
    if json {
        return print_json(&imported);
    }
    print_line(&format!("imported {} entries, {} were there already", imported.added, imported.kept))
}

async fn stats(store: &SledStore, json: bool) -> Result<()> {
    let (stats, namespaces) = (store.stats().await?, store.namespaces().await?);
    if json {
        return print_json(&json!({
            "path": store.path(),
            "disk_bytes": stats.disk_bytes,
            "schema_version": stats.schema_version,
            "namespaces": namespaces,
        }));
    }
    line("folder", &store.path().display().to_string())?;
    line("on disk", &size(stats.disk_bytes))?;
    line("schema", &format!("version {}", stats.schema_version))?;
    let width = namespaces.iter().map(|found| found.namespace.chars().count()).max().unwrap_or(0);
    let width = width.max("NAMESPACE".len());
    print_line(&format!("{:width$}  {:>10}  {:>10}", "NAMESPACE", "ENTRIES", "BYTES"))?;
    for found in namespaces {
        print_line(&format!("{:width$}  {:>10}  {:>10}", found.namespace, found.entries, found.bytes))?;
    }
    Ok(())
}

async fn compact(store: &SledStore, json: bool) -> Result<()> {
    let bar = counter("written")?;
    let shown = bar.clone();
    let verifying = style("{bar:24} {pos} of {len} entries verified")?;
    let compacted = store
        .compact(move |progress| {
            // What was written is what is to be verified.
            if progress.stage == CompactStage::Verifying && shown.length().is_none() {
                shown.set_length(shown.position());
                shown.set_style(verifying.clone());
            }
            shown.set_position(progress.entries);
        })
        .await;
    bar.finish_and_clear();
    let compacted = compacted?;
    if json {
        return print_json(&compacted);
    }
    print_line(&format!(
        "{} entries, {} before, {} now",
        compacted.entries,
        size(compacted.bytes_before),
        size(compacted.bytes_after)
    ))
}

/// Counts entries whose number is not known before.
fn counter(done: &str) -> Result<ProgressBar> {
    let style = style(&format!("{{spinner}} {{pos}} entries {done}, {{per_sec}}"))?;
    Ok(ProgressBar::no_length().with_style(style))
}

fn style(template: &str) -> Result<ProgressStyle> {
    ProgressStyle::with_template(template)
        .map_err(|error| Error::internal("the progress bar's form").with_source(error))
}
