//! The `puna` command: agents from YAML, their sessions, and plugins.
//!
//! Invariants: standard output carries the answer (or JSON) alone, everything said about it goes to
//! standard error; the exit code tells the kind of an error (see [`exit`]).

mod args;
mod attachment;
mod chat;
mod doctor;
mod encode;
mod eval;
mod exit;
mod generate;
mod knowledge;
mod memory;
mod model;
mod plugin;
mod render;
mod run;
mod score;
mod sessions;
mod setup;
mod spec;
mod store;
mod time;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    start_logging(args.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::from(exit::INTERNAL);
        }
    };
    let result = runtime.block_on(dispatch(args.command));
    // A tool or a blocked read must not hold the process once its answer is out.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn dispatch(command: args::Command) -> puna::Result<ExitCode> {
    use args::Command;
    match command {
        Command::Run(args) => run::run(args).await,
        Command::Chat(args) => chat::chat(args).await,
        Command::Sessions(args) => sessions::sessions(args).await,
        Command::Memory(args) => memory::memory(args).await,
        Command::Store(args) => store::store(args).await,
        Command::Knowledge(args) => knowledge::knowledge(args).await,
        Command::Eval(args) => eval::eval(args).await,
        Command::Validate(args) => spec::validate(&args),
        Command::Schema => spec::schema(),
        Command::Doctor(args) => doctor::doctor(args).await,
        Command::Plugin(args) => plugin::plugin(args).await,
        Command::Model(args) => model::model(args).await,
        Command::Generate(args) => generate::generate(*args).await,
        Command::Score(args) => score::score(args).await,
        Command::Embed(args) => encode::embed(args).await,
        Command::Rerank(args) => encode::rerank(args).await,
        Command::Classify(args) => encode::classify(args).await,
    }
}

/// `--verbose` shows Puna's own traces, twice those of everything; `PUNA_LOG` overrides both.
fn start_logging(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let fallback = match verbose {
        0 => "warn",
        1 => {
            "warn,puna=debug,puna_agent=debug,puna_inference=debug,puna_plugins=debug,puna_store=debug,puna_memory=debug,puna_knowledge=debug"
        }
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("PUNA_LOG").unwrap_or_else(|_| EnvFilter::new(fallback));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
