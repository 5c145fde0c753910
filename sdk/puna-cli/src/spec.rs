use std::process::ExitCode;

use puna::{AgentSpec, Result};

use crate::{args, run::closed_output};

pub(crate) fn validate(args: &args::ValidateArgs) -> Result<ExitCode> {
    let checked = AgentSpec::from_file(&args.agent)
        .and_then(|spec| puna::check_output(&spec).map(|()| spec))
        .and_then(|spec| puna::check_plugins(&spec).map(|warnings| (spec, warnings)));
    if args.json {
        let report = match &checked {
            Ok((spec, warnings)) => {
                serde_json::json!({ "valid": true, "agent": spec.name, "warnings": warnings })
            }
            Err(error) => serde_json::json!({
                "valid": false,
                "kind": error.kind().as_str(),
                "message": error.report(),
            }),
        };
        print_line(&report.to_string())?;
        return Ok(match checked {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => ExitCode::from(crate::exit::code(error.kind())),
        });
    }
    let (spec, warnings) = checked?;
    for warning in warnings {
        anstream::eprintln!("warning: {warning}");
    }
    print_line(&format!("{}: agent `{}` is valid", args.agent.display(), spec.name))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema() -> Result<ExitCode> {
    print_line(&format!("{:#}", AgentSpec::json_schema()))?;
    Ok(ExitCode::SUCCESS)
}

/// A line on standard output.
pub(crate) fn print_line(text: &str) -> Result<()> {
    use std::io::Write;
    writeln!(anstream::stdout(), "{text}").map_err(closed_output)
}
