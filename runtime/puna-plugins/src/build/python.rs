//! Python: `componentize-py` puts the interpreter and the imported modules into the component.

use std::process::Command;

use puna_core::Result;

use super::{
    Built,
    foreign::{Job, WORLD, find, missing, version},
};

const TOOL: &str = "componentize-py";

pub fn build(job: &Job) -> Result<Built> {
    job.source("plugin.py")?;
    let environment = job.folder.join(".venv");
    let program = find(TOOL, [environment.join("bin")]).ok_or_else(|| {
        let folder = job.folder.display();
        let remedy = format!(
            "python3 -m venv {folder}/.venv && {folder}/.venv/bin/pip install -r {folder}/requirements.txt"
        );
        missing(TOOL, &format!("in `{}` nor on the path", environment.join("bin").display()), &remedy)
    })?;
    let output = job.scratch.join("plugin.wasm");
    let mut command = Command::new(&program);
    command.args(["--quiet", "--world", WORLD, "--wit-path"]).arg(job.wit());
    // Without WASI there is nothing to reach but the contract.
    command.args(["componentize", "--stub-wasi", "plugin", "--output"]).arg(&output);
    for folder in ["src", "sdk"].map(|folder| job.folder.join(folder)).iter().filter(|it| it.exists()) {
        command.arg("--python-path").arg(folder);
    }
    // Where it looks for the packages that the plugin imports.
    if environment.exists() {
        command.env("VIRTUAL_ENV", &environment);
    }
    let component = job.run(TOOL, &mut command, &output)?;
    Ok(Built { component, toolchain: version(&program)? })
}
