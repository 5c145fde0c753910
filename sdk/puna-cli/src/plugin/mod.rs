mod bench;
pub(crate) mod consent;
mod dev;
mod function;
mod new;
mod test;

use std::{path::Path, process::ExitCode};

use puna::{
    Error, Result, ToolContext, ToolReport, ToolReports,
    plugins::{BuildOptions, Inspection, Setup},
};
use serde_json::Value;

use self::{
    bench::Bench,
    function::{Function, Kind},
};
use crate::{
    args::{PluginArgs, PluginCommand, PluginSetupArgs},
    doctor::size,
    render, run,
    sessions::print_json,
    spec::print_line,
};

pub(crate) async fn plugin(args: PluginArgs) -> Result<ExitCode> {
    match args.command {
        PluginCommand::New { name, lang, folder } => new::new(lang, &name, folder)?,
        PluginCommand::Build { folder, check: false, json } => build(&folder, json)?,
        PluginCommand::Build { folder, check: true, json } => check(&folder, json)?,
        PluginCommand::Dev(args) => dev::dev(args).await?,
        PluginCommand::Inspect { component, json } => inspect(&component, json)?,
        PluginCommand::Test { path, component, json } => {
            test::test(&path, component.as_deref(), json).await?
        }
        PluginCommand::Bench { component, function, arguments, setup, calls, concurrent, slots, json } => {
            let arguments = json_of("arguments", &arguments)?;
            let (_stack, setup) = set_up(&setup)?;
            let (component, function) = (&*component, &*function);
            bench::bench(Bench { component, function, arguments, setup, calls, concurrent, slots, json })
                .await?;
        }
        PluginCommand::Consents { data, json } => consent::list(data.data, json)?,
        PluginCommand::Allow { agent, yes, data, json } => consent::allow(&agent, yes, data.data, json)?,
        PluginCommand::Revoke { agent, plugin, data } => consent::revoke(&agent, &plugin, data.data)?,
        PluginCommand::Call { component, function, arguments, setup } => {
            call(&component, &function, &arguments, &setup).await?;
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
    for (grant, ask) in &manifest.asks {
        let wants = if ask.wants.is_empty() { String::new() } else { format!(" ({})", ask.wants.join(", ")) };
        line(format!("asks for    {grant}{wants}: {}", ask.reason))?;
    }
    if let Some(configuration) = &manifest.configuration {
        line(format!("configured  {configuration}"))?;
    }
    for tool in &manifest.tools {
        let description = render::printable(&tool.description);
        print_line(&format!("\n{}{}{}: {description}", render::BOLD, tool.name, render::RESET))?;
        line(format!("  takes     {}", tool.parameters))?;
        if let Some(output) = &tool.output {
            line(format!("  gives     {output}"))?;
        }
    }
    for loader in &manifest.loaders {
        let description = render::printable(&loader.description);
        print_line(&format!("\n{}{}{} (loader): {description}", render::BOLD, loader.name, render::RESET))?;
        line(format!(
            "  reads     {}",
            or_none(&[&loader.media_types[..], &loader.extensions[..]].concat())
        ))?;
        line(format!("  options   {}", loader.options))?;
    }
    for retriever in &manifest.retrievers {
        let description = render::printable(&retriever.description);
        print_line(&format!(
            "\n{}{}{} (retriever): {description}",
            render::BOLD,
            retriever.name,
            render::RESET
        ))?;
        line(format!("  options   {}", retriever.options))?;
    }
    Ok(())
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// What a call from the command line is given.
fn set_up(args: &PluginSetupArgs) -> Result<(puna::Stack, Setup)> {
    let config = args.config.as_deref().map(|config| json_of("values of `--config`", config)).transpose()?;
    let grants = args.grants.iter().map(|grant| grant.parse()).collect::<Result<Vec<puna::Grant>>>()?;
    let grants = puna::grants(&grants)?;
    let stack = run::open_stack(None)?;
    let services = tokio::task::block_in_place(|| stack.plugin_services(&grants))?;
    Ok((stack, Setup { grants, config: config.unwrap_or_default(), services, ..Setup::default() }))
}

fn json_of(what: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::invalid_input(format!("the {what} `{text}` are not JSON")).with_source(error))
}

async fn call(component: &Path, function: &str, arguments: &str, setup: &PluginSetupArgs) -> Result<()> {
    let arguments = json_of("arguments", arguments)?;
    let (stack, mut setup) = set_up(setup)?;
    let plugin = stack.plugins().load(component).await?;
    let kind = Kind::of(&plugin, component, function)?;
    setup.limits = kind.limits();
    let called = Function::new(&plugin.ready(setup)?, kind, function)?;
    let mut context = ToolContext::new("call_0", "puna-plugin-call");
    context.reports = ToolReports::to(|report| match report {
        ToolReport::Progress { done, message } => {
            let share = done.map(|done| format!("{:.0} % ", done * 100.0)).unwrap_or_default();
            eprintln!("{share}{}", render::printable(&message));
        }
        ToolReport::Attachment { name, media } => {
            eprintln!("{} ({})", render::printable(&name), render::printable(&media.media_type));
        }
    });
    let give = |value: Value| print_line(&value.to_string());
    let result = called.call(arguments, Path::new(""), &context, give).await;
    result.map_err(|error| error.context(format!("`{function}` failed")))
}
