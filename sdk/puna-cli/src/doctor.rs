use std::{path::PathBuf, process::ExitCode};

use puna::{AgentReport, Doctor, Finding, Result};

use crate::{args::DoctorArgs, render, sessions::print_json, spec::print_line};

/// Agents that are looked at when none is named: those of the folder one stands in.
const NEAR: [&str; 2] = ["agent.yaml", "examples/concierge/agent.yaml"];

pub(crate) async fn doctor(args: DoctorArgs) -> Result<ExitCode> {
    let agents = match args.agent {
        Some(file) => vec![file],
        None => NEAR.iter().map(PathBuf::from).filter(|file| file.is_file()).collect(),
    };
    let report = puna::doctor(args.data.data.as_deref(), &agents).await;
    if args.json {
        print_json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(report: &Doctor) -> Result<()> {
    line("puna", report.version)?;
    match &report.onnx_runtime {
        Finding::Found(runtime) => match &runtime.library {
            Some(library) => {
                line(
                    "ONNX Runtime",
                    &format!("{} ({}), {}", library.version, library.origin, library.path.display()),
                )?;
                line("providers", &runtime.execution_providers.join(", "))?;
            }
            None => line("ONNX Runtime", "not here yet; the first model that is loaded fetches it")?,
        },
        Finding::Problem { message, .. } => problem("ONNX Runtime", message)?,
    }
    if let Finding::Found(runtime) = &report.onnx_runtime {
        for rejected in &runtime.rejected {
            line("not taken", &format!("{}: {}", rejected.path.display(), rejected.reason))?;
        }
    }
    let machine = &report.machine;
    line(
        "cores",
        &format!("{} that threads can use, {} physical", machine.logical_cores, machine.physical_cores),
    )?;
    line("memory", &format!("{} of {} free", size(machine.available_bytes), size(machine.memory_bytes)))?;
    match &report.cache {
        Finding::Found(folder) => {
            line("cache", &format!("{}, {}", folder.path.display(), size(folder.bytes)))?
        }
        Finding::Problem { message, .. } => problem("cache", message)?,
    }
    match &report.store {
        Finding::Found(store) => {
            let holds = match &store.stats {
                None => "nothing stored yet".to_owned(),
                Some(stats) => {
                    format!(
                        "{} sessions, {}, schema version {}",
                        store.sessions,
                        size(stats.disk_bytes),
                        stats.schema_version
                    )
                }
            };
            line("store", &format!("{}, {holds}", store.path.display()))?;
        }
        Finding::Problem { message, .. } => problem("store", message)?,
    }
    report.agents.iter().try_for_each(agent)
}

fn agent(agent: &AgentReport) -> Result<()> {
    match &agent.problem {
        None => line("agent", &agent.file.display().to_string())?,
        Some(message) => problem("agent", message)?,
    }
    match &agent.model {
        Some(Finding::Found(model)) => line(
            "model",
            &format!(
                "{}, {}, context {} tokens, vocabulary {}",
                model.path.display(),
                size(model.graph_bytes),
                model.context_length,
                model.vocabulary
            ),
        )?,
        Some(Finding::Problem { message, .. }) => problem("model", message)?,
        None => {}
    }
    match &agent.plugins {
        Some(Finding::Found(plugins)) => plugins.iter().try_for_each(|plugin| line("plugin", plugin)),
        Some(Finding::Problem { message, .. }) => problem("plugin", message),
        None => Ok(()),
    }
}

pub(crate) fn line(what: &str, text: &str) -> Result<()> {
    print_line(&format!("{:14}{}", what, render::printable(text)))
}

fn problem(what: &str, text: &str) -> Result<()> {
    print_line(&format!("{:14}{}problem{}: {}", what, render::RED, render::RESET, render::printable(text)))
}

/// A size in the unit that suits it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
