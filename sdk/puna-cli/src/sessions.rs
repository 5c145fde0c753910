use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::ExitCode,
};

use puna::{
    Branch, Content, Error, ErrorKind, Journal, JournalEntry, Record, Result, SessionSummary, ToolOutcome,
};

use crate::{
    args::{SessionsArgs, SessionsCommand},
    render, run,
    spec::print_line,
};

pub(crate) async fn sessions(args: SessionsArgs) -> Result<ExitCode> {
    let stack = run::open_stack(args.data)?;
    let journal = stack.conversations()?;
    // A deletion that was cut off is finished by whoever comes next.
    journal.clear_up().await?;
    match args.command {
        SessionsCommand::List => list(&journal, args.json).await?,
        SessionsCommand::Show { session } => show(&journal, &session, args.json).await?,
        SessionsCommand::Fork { session, name, turn } => {
            let fork = journal.fork(&session, turn, &name).await?;
            if args.json {
                print_json(&fork)?;
            } else {
                print_line(&format!("session `{name}` goes on {}", origin(&fork)))?;
            }
        }
        SessionsCommand::Branches { session } => branches(&journal.branches(&session).await?, args.json)?,
        SessionsCommand::Export { session } => {
            let mut out = std::io::stdout();
            stack.export_session(&session, &mut out).await?;
        }
        SessionsCommand::Import { file, name } => {
            let mut input = open(file.as_deref())?;
            let session = stack.import_session(&mut *input, name.as_deref()).await?;
            done("imported", &session, args.json)?;
        }
        SessionsCommand::Delete { session } => {
            if !journal.delete(&session).await? {
                return Err(unknown(&session));
            }
            done("deleted", &session, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(file: Option<&Path>) -> Result<Box<dyn BufRead + Send>> {
    match file.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(BufReader::new(std::io::stdin()))),
        Some(path) => {
            let file = File::open(path).map_err(|error| Error::from_io("read", path, error))?;
            Ok(Box::new(BufReader::new(file)))
        }
    }
}

fn done(what: &str, session: &str, json: bool) -> Result<()> {
    if json {
        return print_line(&serde_json::json!({ what: session }).to_string());
    }
    print_line(&format!("{what} session `{session}`"))
}

async fn list(journal: &dyn Journal, json: bool) -> Result<()> {
    let mut sessions = journal.sessions().await?;
    sessions.sort_by(|a, b| b.updated_ms.cmp(&a.updated_ms).then_with(|| a.session.cmp(&b.session)));
    if json {
        return print_json(&sessions);
    }
    if sessions.is_empty() {
        anstream::eprintln!("no sessions yet; `puna run` and `puna chat` begin them");
        return Ok(());
    }
    let width = sessions.iter().map(|s| s.session.chars().count()).max().unwrap_or(0).max("SESSION".len());
    print_line(&format!(
        "{:width$}  {:>7}  {:20}  {:20}  FORKED",
        "SESSION", "RECORDS", "BEGUN", "LAST USED"
    ))?;
    for s in sessions {
        let row = format!(
            "{:width$}  {:>7}  {:20}  {:20}  {}",
            s.session,
            s.records,
            crate::time::format_time(s.created_ms),
            crate::time::format_time(s.updated_ms),
            origin(&s),
        );
        print_line(row.trim_end())?;
    }
    Ok(())
}

/// Where a session was forked; empty for one that was not.
fn origin(session: &SessionSummary) -> String {
    let from = session.forked_from.as_ref();
    from.map(|from| format!("from `{}` after turn {}", from.session, from.turns)).unwrap_or_default()
}

fn branches(branches: &[Branch], json: bool) -> Result<()> {
    if json {
        return print_json(&branches);
    }
    branches.iter().try_for_each(|branch| {
        let indent = "  ".repeat(branch.depth - 1);
        print_line(&format!("{indent}{}  {}", branch.session.session, origin(&branch.session)))
    })
}

async fn show(journal: &dyn Journal, session: &str, json: bool) -> Result<()> {
    let entries = journal.read(session, 0).await?;
    if entries.is_empty() {
        return Err(unknown(session));
    }
    if json {
        return print_json(&entries);
    }
    entries.iter().try_for_each(show_entry)
}

fn show_entry(entry: &JournalEntry) -> Result<()> {
    let heading = |who: &str, text: &str| {
        print_line(&format!("{}{who}{}  {}", render::BOLD, render::RESET, render::printable(text)))
    };
    match &entry.record {
        Record::TurnStarted { message, .. } => heading("user", &message.plain_text()),
        Record::Step { message, .. } => message.content.iter().try_for_each(|part| match part {
            Content::Text { text } => heading("assistant", text),
            Content::ToolCall(call) => heading("call", &format!("{}({})", call.name, call.arguments)),
            Content::InvalidToolCall(call) => {
                heading("invalid call", &format!("{} ({})", call.text, call.reason))
            }
            _ => Ok(()),
        }),
        Record::ToolFinished { result } => match &result.outcome {
            ToolOutcome::Success { value } => heading("result", &format!("{} {value}", result.name)),
            ToolOutcome::Failure { error } => heading("result", &format!("{} failed: {error}", result.name)),
        },
        Record::HistorySummarized { turns, text, .. } => {
            heading("summary", &format!("of the first {turns} turns: {text}"))
        }
        Record::FactsRecalled { facts } => heading("recalled", &facts.join(", ")),
        Record::FactsLearned { facts } if facts.is_empty() => Ok(()),
        Record::FactsLearned { facts } => heading("learnt", &facts.join(", ")),
        Record::OutputRefused { reason } => heading("refused", reason),
        Record::TurnFinished { outcome: puna::TurnOutcome::Answered { .. } } => Ok(()),
        Record::TurnFinished { outcome } => {
            let outcome = serde_json::to_string(outcome)
                .map_err(|error| Error::internal("an outcome does not serialise").with_source(error))?;
            heading("ended", &outcome)
        }
    }
}

/// A value as indented JSON on standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::internal("a report does not serialise").with_source(error))?;
    print_line(&text)
}

fn unknown(session: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no session `{session}`; `puna sessions list` shows them"))
}
