//! Plugins in other languages than Rust: the world that they are written for, and what their builds share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use puna_core::{Error, ErrorKind, Result};

use super::{
    BuildOptions, Built,
    authored::{Language, Parts},
    c, javascript, python,
};

/// The contract, as it is written out for the tools that bind a language to it.
const CONTRACT_WIT: &str = include_str!("../../../../plugins/wit/plugin.wit");

/// The world of a plugin: all that a host offers, and what the plugin has.
pub const WORLD: &str = "guest";

/// Where a build works, within the plugin's folder; its `wit/plugin.wit` is the contract with the plugin's world.
const BUILD_FOLDER: &str = "build";

/// A build under way.
pub struct Job<'a> {
    /// The plugin's folder.
    pub folder: &'a Path,
    /// Where its intermediate files go.
    pub scratch: PathBuf,
    /// The contract with the plugin's world.
    pub contract: String,
}

/// Builds the component of a plugin that is not written in Rust.
pub fn build(folder: &Path, language: Language, parts: &Parts, options: &BuildOptions) -> Result<Built> {
    let scratch = options.target_dir.clone().unwrap_or_else(|| folder.join(BUILD_FOLDER));
    let job = Job { folder, contract: contract_with_world(parts), scratch };
    let wit = job.wit();
    let write = |error| Error::from_io("write", &wit, error);
    fs::create_dir_all(&wit).map_err(write)?;
    fs::write(wit.join("plugin.wit"), &job.contract).map_err(write)?;
    match language {
        Language::Python => python::build(&job),
        Language::JavaScript => javascript::build(&job),
        Language::C => c::build(&job),
        Language::Rust => Err(Error::internal("a Rust plugin has a build of its own")),
    }
}

impl Job<'_> {
    /// The folder with the contract.
    pub fn wit(&self) -> PathBuf {
        self.scratch.join("wit")
    }

    /// The plugin's main file.
    pub fn source(&self, file: &str) -> Result<PathBuf> {
        let path = self.folder.join("src").join(file);
        if path.exists() {
            return Ok(path);
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("no `{}`, where the plugin's code begins", path.display()),
        ))
    }

    /// Runs a tool, which says on standard error what is wrong, and reads the component that it wrote.
    pub fn run(&self, tool: &str, command: &mut Command, output: &Path) -> Result<Vec<u8>> {
        run(tool, self.folder, command)?;
        fs::read(output).map_err(|error| Error::from_io("read", output, error))
    }
}

/// Runs a tool, which says on standard error what is wrong.
pub fn run(tool: &str, folder: &Path, command: &mut Command) -> Result<()> {
    tracing::debug!(?command, "building the plugin");
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("`{tool}` does not start: {error}"))
        })?;
    if !status.success() {
        return Err(Error::invalid_input(format!(
            "`{}` does not build; {tool} says why above",
            folder.display()
        )));
    }
    Ok(())
}

/// The first file of this name in one of the folders, then on the path.
pub fn find(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = folders.into_iter().chain(std::env::split_paths(&path)).collect();
    paths.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What a tool says of its version, on the first line.
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("`{}` does not start: {error}", program.display()))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// What is missing, and how to get it.
pub fn missing(tool: &str, looked: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("`{tool}` is not {looked}; install it with `{remedy}`"))
}

fn contract_with_world(parts: &Parts) -> String {
    let has = [
        ("tools", parts.tools.is_empty()),
        ("loaders", parts.loaders.is_empty()),
        ("retrievers", parts.retrievers.is_empty()),
    ];
    let exports = has.iter().filter(|(_, empty)| !empty).map(|(name, _)| format!("    export {name};\n"));
    format!(
        "{CONTRACT_WIT}\n/// This plugin.\nworld {WORLD} {{\n    include host;\n{}}}\n",
        exports.collect::<String>()
    )
}
