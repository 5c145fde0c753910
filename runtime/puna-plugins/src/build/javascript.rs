//! JavaScript: `componentize-qjs` puts QuickJS and the imported modules into the component.

use std::{fs, path::Path, process::Command};

use puna_core::{Error, Result};
use serde_json::Value;

use super::{
    Built,
    foreign::{Job, WORLD, find, missing},
};

const TOOL: &str = "componentize-qjs";

pub fn build(job: &Job) -> Result<Built> {
    let source = job.source("plugin.js")?;
    let root = job.folder.canonicalize().map_err(|error| Error::from_io("read", job.folder, error))?;
    // As Node.js looks for packages: in this folder, then in those around it.
    let folders = root.ancestors().map(|folder| folder.join("node_modules/.bin"));
    let program = find(TOOL, folders).ok_or_else(|| {
        let remedy = format!("npm install --prefix {}", job.folder.display());
        missing(TOOL, "in `node_modules` nor on the path", &remedy)
    })?;
    let output = job.scratch.join("plugin.wasm");
    let mut command = Command::new(&program);
    command.arg("--wit").arg(job.wit()).args(["--world", WORLD, "--js"]).arg(source);
    command.arg("--module-root").arg(job.folder);
    // Without WASI there is nothing to reach but the contract, which has no asynchronous functions.
    command.args(["--stub-wasi", "--sync", "--output"]).arg(&output);
    let component = job.run(TOOL, &mut command, &output)?;
    Ok(Built { component, toolchain: format!("{TOOL} {}", version(&program)) })
}

/// The version in the package that a link in `.bin` points into; the tool itself does not tell.
fn version(program: &Path) -> String {
    let package = || {
        let path = program.canonicalize().ok()?;
        let text = fs::read(path.parent()?.parent()?.join("package.json")).ok()?;
        let package: Value = serde_json::from_slice(&text).ok()?;
        Some(package.get("version")?.as_str()?.to_owned())
    };
    package().unwrap_or_else(|| "of unknown version".to_owned())
}
