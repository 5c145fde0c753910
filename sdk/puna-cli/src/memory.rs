//! What agents remember beyond their conversations.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args as ClapArgs, Subcommand};
use puna::{
    Error, Result,
    memory::{Fact, FactScope, Facts, Forget},
};
use serde_json::json;

use crate::{
    doctor::line, render, run::open_stack, sessions::print_json, spec::print_line, time::format_time,
};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Facts belong to a user and an agent, or to one of them, as the agent's `memory.long_term.scope` says; name the same here.

Examples:
  puna memory list
  puna memory list --user ada --agent concierge --all
  puna memory show --user ada --agent concierge 3k2j9d0x1a
  puna memory forget --user ada --agent concierge 3k2j9d0x1a
  puna memory forget --user ada --everything --sessions && puna store compact")]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
    /// Facts of this user
    #[arg(short, long, value_name = "NAME", global = true)]
    user: Option<String>,
    /// Facts of this agent
    #[arg(short, long, value_name = "NAME", global = true)]
    agent: Option<String>,
    /// Where everything is kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// The facts of a user and an agent; without either, of all
    List {
        /// Also those that hold no longer
        #[arg(long)]
        all: bool,
    },
    /// Everything about a fact, with where it was said
    Show {
        /// The fact
        id: String,
    },
    /// Forget for good: facts, their vectors, and the summaries of the sessions that they came from
    Forget {
        /// The fact, with those that it replaced
        #[arg(required_unless_present = "everything")]
        id: Option<String>,
        /// Every fact of the user and the agent; with a user alone, whichever agents know them
        #[arg(long, conflicts_with = "id")]
        everything: bool,
        /// Also delete the sessions that they came from, and of a user those in which they spoke
        #[arg(long)]
        sessions: bool,
    },
    /// Every fact as JSON Lines, those that hold no longer included
    Export,
}

pub(crate) async fn memory(args: MemoryArgs) -> Result<ExitCode> {
    let stack = open_stack(args.data)?;
    let facts = stack.facts()?;
    let is_named = args.user.is_some() || args.agent.is_some();
    let scope = FactScope { user: args.user, agent: args.agent };
    let scopes = if is_named { vec![scope.clone()] } else { facts.scopes().await? };
    match args.command {
        MemoryCommand::List { all } => list(&facts, &scopes, all, args.json).await?,
        MemoryCommand::Show { id } => show(&facts.get(&scope, &id).await?, args.json)?,
        MemoryCommand::Export => {
            for scope in scopes {
                for fact in facts.list(&scope, true).await? {
                    print_line(&json!({ "scope": scope, "fact": fact }).to_string())?;
                }
            }
        }
        MemoryCommand::Forget { id, everything: _, sessions } => {
            let what = match (id, &scope) {
                (Some(id), _) => Forget::Fact(scope, id),
                (None, FactScope { user: Some(user), agent: None }) => Forget::User(user.clone()),
                (None, _) if is_named => Forget::Scope(scope),
                (None, _) => {
                    return Err(Error::invalid_input(
                        "whose facts? name a user with `--user` or an agent with `--agent`",
                    ));
                }
            };
            let forgotten = stack.forget(&what, sessions).await?;
            if args.json {
                print_json(&forgotten)?;
            } else {
                print_line(&format!(
                    "forgot {} facts, {} summaries and {} sessions; `puna store compact` takes them out of the files",
                    forgotten.facts,
                    forgotten.summaries,
                    forgotten.sessions.len()
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(facts: &Facts, scopes: &[FactScope], all: bool, json: bool) -> Result<()> {
    let mut found: Vec<(&FactScope, Fact)> = Vec::new();
    for scope in scopes {
        found.extend(facts.list(scope, all).await?.into_iter().map(|fact| (scope, fact)));
    }
    if json {
        let found: Vec<_> =
            found.iter().map(|(scope, fact)| json!({ "scope": scope, "fact": fact })).collect();
        return print_json(&found);
    }
    if found.is_empty() {
        anstream::eprintln!("nothing is remembered; agents with `memory.long_term` remember");
    }
    let mut before = None;
    for (scope, fact) in found {
        if before != Some(scope) {
            print_line(&format!("{}{scope}{}", render::BOLD, render::RESET))?;
            before = Some(scope);
        }
        let ended = fact.valid_to_ms.map(|end| format!("  (until {})", format_time(end))).unwrap_or_default();
        print_line(&format!(
            "  {}  {}{ended}",
            fact.id,
            render::printable(&format!("{}: {}", fact.subject, fact.text))
        ))?;
    }
    Ok(())
}

fn show(fact: &Fact, json: bool) -> Result<()> {
    if json {
        return print_json(fact);
    }
    line("subject", &fact.subject)?;
    line("fact", &fact.text)?;
    line("kind", &fact.kind)?;
    line("since", &format_time(fact.valid_from_ms))?;
    if let Some(end) = fact.valid_to_ms {
        line("until", &format_time(end))?;
    }
    if let Some(by) = &fact.superseded_by {
        line("replaced by", by)?;
    }
    if let Some(end) = fact.expires_ms {
        line("expires", &format_time(end))?;
    }
    if let Some(source) = &fact.source {
        line("said in", &format!("session `{}`, turn `{}`", source.session, source.turn))?;
    }
    line("recalled", &format!("{} times", fact.uses))
}
