//! C: bindings of the contract are generated, and clang compiles them with the plugin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use puna_core::{Error, Result};
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::{
    Built, files,
    foreign::{Job, WORLD, find, missing, run, version},
    rust::to_component,
};

const TOOL: &str = "clang";

const TARGET: &str = "--target=wasm32-wasi";

/// Debian's packages of the compiler, its linker, the C library and the compiler's own library.
const REMEDY: &str = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";

/// Stands in for WASI, which no plugin has.
const NO_WASI: &str = include_str!("wasi.c");

pub fn build(job: &Job) -> Result<Built> {
    let program = find(TOOL, []).ok_or_else(|| missing(TOOL, "on the path", REMEDY))?;
    find("wasm-ld", []).ok_or_else(|| missing("wasm-ld", "on the path", REMEDY))?;
    for library in ["-print-file-name=libc.a", "-print-libgcc-file-name"] {
        has_library(&program, library)?;
    }
    let mut sources = Vec::new();
    for folder in ["src", "sdk"].map(|folder| job.folder.join(folder)) {
        if folder.exists() {
            sources.extend(files::files_below(&folder)?);
        }
    }
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    if sources.is_empty() {
        return Err(job.source("plugin.c").err().unwrap_or_else(|| Error::internal("no source")));
    }
    let bindings = write_bindings(job)?;

    let module = job.scratch.join("plugin.core.wasm");
    let mut command = Command::new(&program);
    // A reactor has no `main` and is called again and again.
    command.args([TARGET, "-mexec-model=reactor", "-Os", "-Wall", "-Wextra", "-Wl,--strip-all"]);
    command.arg("-I").arg(job.folder.join("sdk")).arg("-I").arg(&job.scratch);
    command.args(sources).args(bindings).arg("-o").arg(&module);
    run(TOOL, job.folder, &mut command)?;
    let component = to_component(&module)
        .map_err(|error| error.context("a plugin has no WASI: use what the contract offers"))?;
    Ok(Built { component, toolchain: version(&program)? })
}

/// Writes the header, the code and the type of the plugin's world; gives what is compiled and linked.
fn write_bindings(job: &Job) -> Result<Vec<PathBuf>> {
    let wrong = |error| Error::internal(format!("the contract has no bindings in C: {error:#}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", &job.contract).map_err(wrong)?;
    let world = resolve.select_world(&[package], Some(WORLD)).map_err(wrong)?;
    let mut generated = Files::default();
    generated.push("wasi.c", NO_WASI.as_bytes());
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut generated).map_err(wrong)?;
    let mut linked = Vec::new();
    for (name, content) in generated.iter() {
        let path = job.scratch.join(name);
        fs::write(&path, content).map_err(|error| Error::from_io("write", &path, error))?;
        if !name.ends_with(".h") {
            linked.push(path);
        }
    }
    Ok(linked)
}

/// clang prints the path of a library that it finds, and else its bare name or a path where nothing lies.
fn has_library(program: &Path, question: &str) -> Result<()> {
    let output = Command::new(program).args([TARGET, "--rtlib=compiler-rt", question]).output();
    let output = output.map_err(|error| Error::from_io("run", program, error))?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if Path::new(&answer).is_file() { Ok(()) } else { Err(missing(&answer, "installed", REMEDY)) }
}
