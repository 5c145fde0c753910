use std::{path::Path, process::ExitCode};

use puna::{
    CancellationToken, Error, ErrorKind, Result, ToolContext, ToolErrorKind,
    plugins::{BuildOptions, Grant, Grants, Inspection, Limits},
};
use serde_json::Value;

use crate::{
    args::{PluginArgs, PluginCommand},
    doctor::size,
    render, run,
    sessions::print_json,
    spec::print_line,
};

pub(crate) async fn plugin(args: PluginArgs) -> Result<ExitCode> {
    match args.command {
        PluginCommand::Build { folder, check: false, json } => build(&folder, json)?,
        PluginCommand::Build { folder, check: true, json } => check(&folder, json)?,
        PluginCommand::Inspect { component, json } => inspect(&component, json)?,
        PluginCommand::Call { component, function, arguments, grants } => {
            call(&component, &function, &arguments, &grants).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn build(folder: &Path, json: bool) -> Result<()> {
    let report = puna::plugins::build(folder, &BuildOptions::default())?;
    if json {
        return print_json(&report);
    }
    print_line(&format!(
        "built {} ({}) with {}",
        report.component.display(),
        size(report.inspection.bytes),
        report.toolchain
    ))
}

fn check(folder: &Path, json: bool) -> Result<()> {
    let check = puna::plugins::check_build(folder, &BuildOptions::default())?;
    if json {
        return print_json(&check);
    }
    print_line(&if check.identical {
        format!("{}: the component is what {} builds", folder.display(), check.toolchain)
    } else {
        format!(
            "{}: the component was built by {}; {} builds other code with the same manifest",
            folder.display(),
            check.recorded_toolchain,
            check.toolchain
        )
    })
}

fn inspect(component: &Path, json: bool) -> Result<()> {
    let inspection = puna::plugins::inspect_file(component)?;
    if json { print_json(&inspection) } else { show(&inspection) }
}

fn show(inspection: &Inspection) -> Result<()> {
    let manifest = &inspection.manifest;
    let line = |text: String| print_line(&render::printable(&text));
    line(format!("{} {} (contract {})", manifest.name, manifest.version, manifest.contract))?;
    line(manifest.description.clone())?;
    line(format!("component   {}, sha256 {}", size(inspection.bytes), inspection.digest))?;
    line(format!("imports     {}", or_none(&inspection.imports)))?;
    line(format!("exports     {}", or_none(&inspection.exports)))?;
    for (grant, reason) in &manifest.asks {
        line(format!("asks for    {grant}: {reason}"))?;
    }
    for tool in &manifest.tools {
        let description = render::printable(&tool.description);
        print_line(&format!("\n{}{}{}: {description}", render::BOLD, tool.name, render::RESET))?;
        line(format!("  takes     {}", tool.parameters))?;
        if let Some(output) = &tool.output {
            line(format!("  gives     {output}"))?;
        }
    }
    Ok(())
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

async fn call(component: &Path, function: &str, arguments: &str, grants: &[String]) -> Result<()> {
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| {
        Error::invalid_input(format!("the arguments `{arguments}` are not JSON")).with_source(error)
    })?;
    let grants = grants.iter().map(|grant| grant_named(grant)).collect::<Result<Grants>>()?;
    let stack = run::open_stack(None)?;
    let plugin = stack.plugins().load(component).await?;
    let tools = plugin.tools(&grants, &Limits::default());
    let Some(tool) = tools.iter().find(|tool| tool.schema().name == function) else {
        let known: Vec<&str> = tools.iter().map(|tool| tool.schema().name.as_str()).collect();
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "plugin `{}` has no function `{function}`; it has {}",
                component.display(),
                known.join(", ")
            ),
        ));
    };
    let context = ToolContext {
        call_id: "call_0".to_owned(),
        session: "puna-plugin-call".to_owned(),
        turn: String::new(),
        user: None,
        deadline: None,
        cancel: CancellationToken::new(),
    };
    match tool.call(arguments, &context).await {
        Ok(value) => print_line(&value.to_string()),
        Err(error) => {
            let kind = match error.kind {
                ToolErrorKind::InvalidInput => ErrorKind::InvalidInput,
                ToolErrorKind::NotFound => ErrorKind::NotFound,
                ToolErrorKind::Denied | ToolErrorKind::AuthRequired => ErrorKind::Denied,
                ToolErrorKind::RateLimited | ToolErrorKind::TooLarge => ErrorKind::ResourceExhausted,
                ToolErrorKind::Unavailable => ErrorKind::Unavailable,
                ToolErrorKind::Timeout => ErrorKind::Timeout,
                ToolErrorKind::Cancelled => ErrorKind::Cancelled,
                ToolErrorKind::InvalidOutput | ToolErrorKind::Internal => ErrorKind::Internal,
            };
            Err(Error::new(kind, format!("`{function}` failed: {error}")))
        }
    }
}

fn grant_named(name: &str) -> Result<Grant> {
    serde_json::from_value(Value::from(name))
        .map_err(|_| Error::invalid_input(format!("no grant `{name}`; known: {}", Grant::Clock)))
}
