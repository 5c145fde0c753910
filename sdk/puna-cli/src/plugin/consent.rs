//! What users agreed that agents lend to plugins: shown, asked for, listed, revoked.

use std::{
    io::{BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use puna::{AgentSpec, Consent, ConsentState, Error, ErrorKind, Lending, Result};
use serde_json::json;

use crate::{render, run, sessions::print_json, spec::print_line, time::format_time};

/// Whether a person sits before the terminal who can be asked.
pub(crate) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows on standard error what a plugin is lent, and asks. No answer is no.
pub(crate) fn ask(lending: &Lending, before: Option<&Consent>) -> bool {
    for line in lines(lending, before) {
        anstream::eprintln!("{}", render::printable(&line));
    }
    anstream::eprint!("{}Allow it?{} [y/N] ", render::BOLD, render::RESET);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// What a person must know to agree; what is new since they agreed last is marked.
fn lines(lending: &Lending, before: Option<&Consent>) -> Vec<String> {
    let Lending { agent, plugin, version, .. } = lending;
    let agreed = before.filter(|before| before.state == ConsentState::Agreed).map(|before| &before.lending);
    let new_grants = lending.new_grants(agreed);
    let new_asks = lending.new_asks(agreed);
    let mark = |new: bool| if new && agreed.is_some() { " (new)" } else { "" };
    let mut lines = vec![match before.map(|before| before.state) {
        Some(ConsentState::Revoked) => {
            format!("plugin `{plugin}` {version} of agent `{agent}`, which was revoked, may use:")
        }
        _ => format!("plugin `{plugin}` {version} of agent `{agent}` may use:"),
    }];
    if lending.grants.is_empty() {
        lines.push("  nothing".to_owned());
    }
    lines.extend(
        lending.grants.iter().map(|line| format!("  {line}{}", mark(new_grants.contains(&line.as_str())))),
    );
    if !lending.asks.is_empty() {
        lines.push("it asks for:".to_owned());
    }
    for (grant, ask) in &lending.asks {
        let wants = if ask.wants.is_empty() { String::new() } else { format!(" ({})", ask.wants.join(", ")) };
        let new = mark(new_asks.iter().any(|(new, _)| new == grant));
        lines.push(format!("  {grant}{wants}: {}{new}", ask.reason));
    }
    lines
}

/// `puna plugin consents`.
pub(crate) fn list(data: Option<PathBuf>, json: bool) -> Result<()> {
    let consents = run::open_stack(data)?.consents()?;
    if json {
        return print_json(&consents);
    }
    for Consent { state, time_ms, lending } in &consents {
        let state = match state {
            ConsentState::Agreed => "agreed",
            ConsentState::FromFile => "by the agent's file",
            ConsentState::Revoked => "revoked",
        };
        let Lending { agent, plugin, version, .. } = lending;
        print_line(&format!("{agent}  {plugin} {version}  {state}, {}", format_time(*time_ms)))?;
        for line in &lending.grants {
            print_line(&format!("  {}", render::printable(line)))?;
        }
    }
    Ok(())
}

/// `puna plugin allow`: shows what each plugin of an agent is lent, and records that it is agreed to.
pub(crate) fn allow(agent: &Path, yes: bool, data: Option<PathBuf>, json: bool) -> Result<()> {
    let spec = AgentSpec::from_file(agent)?;
    let stack = run::open_stack(data)?;
    let lendings = stack.lendings(&spec)?;
    if !yes && !somebody_is_there() {
        return Err(Error::invalid_input("nobody is at a terminal to be asked; `--yes` agrees"));
    }
    for lending in &lendings {
        let before = stack.consent(&lending.agent, &lending.plugin)?;
        if yes {
            lines(lending, before.as_ref())
                .iter()
                .for_each(|line| anstream::eprintln!("{}", render::printable(line)));
        } else if !ask(lending, before.as_ref()) {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("what plugin `{}` may use was not agreed to", lending.plugin),
            ));
        }
        stack.agree(lending)?;
    }
    if json { print_json(&json!({"agreed": lendings})) } else { Ok(()) }
}

/// `puna plugin revoke`.
pub(crate) fn revoke(agent: &str, plugin: &str, data: Option<PathBuf>) -> Result<()> {
    run::open_stack(data)?.revoke(agent, plugin)?;
    print_line(&format!("agent `{agent}` does not start with plugin `{plugin}` until it is allowed again"))
}
