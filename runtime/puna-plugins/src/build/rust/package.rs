//! What a plugin is built from, as Cargo sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use puna_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::super::{
    BuildOptions, SourceFile,
    authored::PLUGIN_FILE,
    files::{files_below, record, relative},
};

/// What a build needs to know of a package and its workspace.
pub struct Metadata {
    pub manifest_path: PathBuf,
    pub workspace_root: PathBuf,
    pub target_dir: PathBuf,
    /// The file name of the library, without its suffix.
    pub library: String,
    /// The folders of the path dependencies.
    pub path_dependencies: Vec<PathBuf>,
    /// Files beside their packages that these name as their sources.
    extra_files: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Package>,
    resolve: Option<Resolve>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    /// None for a path dependency.
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    #[serde(default)]
    metadata: Option<PackageMetadata>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

#[derive(Default, Deserialize)]
struct PackageMetadata {
    #[serde(default)]
    puna: PunaMetadata,
}

/// `[package.metadata.puna]`.
#[derive(Default, Deserialize)]
struct PunaMetadata {
    /// Files beyond the package's folder that it is built from.
    #[serde(default)]
    sources: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// Asks Cargo about the package in a folder.
pub fn metadata(folder: &Path, options: &BuildOptions) -> Result<Metadata> {
    let manifest = folder.join("Cargo.toml");
    let manifest_path = manifest.canonicalize().map_err(|error| Error::from_io("read", &manifest, error))?;
    let mut command = Command::new(cargo());
    command
        .args([
            "metadata",
            "--format-version=1",
            "--filter-platform=wasm32-unknown-unknown",
            "--manifest-path",
        ])
        .arg(&manifest_path);
    add_options(&mut command, options);
    let output = command.output().map_err(|error| unavailable(&error))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Error::invalid_input(format!("`cargo metadata` failed: {}", message.trim())));
    }
    let metadata: CargoMetadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::internal(format!("the answer of `cargo metadata`: {error}")))?;
    select(metadata, manifest_path)
}

fn select(metadata: CargoMetadata, manifest_path: PathBuf) -> Result<Metadata> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let root = metadata
        .packages
        .iter()
        .find(|package| package.manifest_path == manifest_path)
        .ok_or_else(|| Error::invalid_input(format!("`{}` is no package", manifest_path.display())))?;
    let library =
        root.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib")).ok_or_else(|| {
            Error::invalid_input(format!(
                "package `{}` makes no component; add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to its Cargo.toml",
                root.name
            ))
        })?;

    let nodes = metadata.resolve.map(|resolve| resolve.nodes).unwrap_or_default();
    let nodes: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut seen = BTreeSet::new();
    let mut pending = vec![root.id.as_str()];
    let (mut path_dependencies, mut extra_files) = (Vec::new(), Vec::new());
    while let Some(id) = pending.pop() {
        let Some(package) = packages.get(id).filter(|package| package.source.is_none()) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let folder = package.manifest_path.parent().unwrap_or(Path::new("/"));
        if id != root.id {
            path_dependencies.push(folder.to_owned());
        }
        let extra = package.metadata.iter().flat_map(|metadata| &metadata.puna.sources);
        extra_files.extend(extra.map(|file| folder.join(file)));
        let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let used = dependencies.iter().filter(|dependency| {
            // Not those of tests.
            dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
        });
        pending.extend(used.map(|dependency| dependency.pkg.as_str()));
    }
    Ok(Metadata {
        library: library.name.replace('-', "_"),
        manifest_path,
        workspace_root: metadata.workspace_root,
        target_dir: metadata.target_directory,
        path_dependencies,
        extra_files,
    })
}

/// Every file that a plugin is built from, in order of its path.
pub fn digest_files(folder: &Path, metadata: &Metadata) -> Result<Vec<SourceFile>> {
    let base = folder.canonicalize().map_err(|error| Error::from_io("read", folder, error))?;
    let mut paths: Vec<PathBuf> = own_files(&base)?.into_iter().map(|file| base.join(file)).collect();
    for dependency in &metadata.path_dependencies {
        paths.extend(package_files(dependency)?);
    }
    for file in &metadata.extra_files {
        paths.push(file.canonicalize().map_err(|error| Error::from_io("read", file, error))?);
    }
    record(&base, paths)
}

/// The files of a plugin's own folder that count as its source, from the folder, in order.
pub fn own_files(folder: &Path) -> Result<Vec<String>> {
    let mut paths = package_files(folder)?;
    paths.push(folder.join(PLUGIN_FILE));
    let mut files: Vec<String> = paths.iter().map(|path| relative(folder, path)).collect();
    files.sort();
    Ok(files)
}

/// `Cargo.toml`, `build.rs` and everything under `src`.
fn package_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![folder.join("Cargo.toml")];
    files.extend(Some(folder.join("build.rs")).filter(|path| path.exists()));
    files.extend(files_below(&folder.join("src"))?);
    Ok(files)
}

/// The Cargo that runs us, or the one on the path.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub fn add_options(command: &mut Command, options: &BuildOptions) {
    if options.locked {
        command.arg("--locked");
    }
    if options.offline {
        command.arg("--offline");
    }
}

pub fn unavailable(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("`cargo` does not start: {error}; install Rust from https://rustup.rs"),
    )
}
