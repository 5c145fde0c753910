//! From a plugin's source to its component.
//!
//! A plugin is a folder with a `plugin.toml` and a Rust crate that uses the SDK `puna-plugin`:
//!
//! ```toml
//! name = "datetime"
//! version = "0.1.0"
//! contract = "0.1.0"
//! description = "Dates, times and time zones."
//!
//! [asks]
//! clock = "to tell the time"
//! ```
//!
//! [`build`] writes `<name>.wasm` beside it, the manifest embedded, and `plugin.lock`, which records the
//! digests of the component and of every source file. [`verify`] holds the record against the files.

mod lock;
mod module;
mod sources;
mod toolchain;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result, ToolSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use lock::{Lock, SourceFile, verify};

use crate::{
    Ask, Grant, Inspection, LoaderManifest, Manifest, RetrieverManifest, embed_manifest, inspect,
    inspect_file,
};

/// The file in a plugin's folder that its author writes.
const PLUGIN_FILE: &str = "plugin.toml";

/// Set while the SDK compiles the module that describes itself.
const DESCRIBE_VARIABLE: &str = "PUNA_PLUGIN_DESCRIBE";

/// How a plugin is built.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Cargo's target folder; without it, `puna-plugin` within the one that Cargo would use.
    pub target_dir: Option<PathBuf>,
    /// Where the component goes; without it, `<name>.wasm` in the plugin's folder. `plugin.lock` goes
    /// beside it.
    pub output: Option<PathBuf>,
    /// Refuse to change `Cargo.lock`.
    pub locked: bool,
    /// Stay off the network.
    pub offline: bool,
}

/// What a build made.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// The component's file.
    pub component: PathBuf,
    /// The record's file.
    pub lock: PathBuf,
    /// What compiled it.
    pub toolchain: String,
    /// What the component is.
    pub inspection: Inspection,
}

/// How a committed component compares with a new build.
#[derive(Clone, Debug, Serialize)]
pub struct BuildCheck {
    /// Whether the two are the same to the byte; if not, another toolchain built the committed one and
    /// their manifests are the same.
    pub identical: bool,
    /// What compiled it now.
    pub toolchain: String,
    /// What compiled the committed one.
    pub recorded_toolchain: String,
}

/// What the author writes; the tools come from the code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authored {
    name: String,
    version: String,
    contract: String,
    description: String,
    #[serde(default)]
    asks: BTreeMap<Grant, Ask>,
}

/// Builds the plugin in a folder. Blocks for as long as Cargo takes.
///
/// The toolchain is Cargo's own where the target `wasm32-unknown-unknown` is installed, else Debian's
/// `rustc-web`, which compiles the standard library from its source. Both were tried: rustc 1.95.0 with
/// rustup's target, and on Debian 12 `apt-get install rustc-web cargo-web rust-web-src lld-19`
/// (rustc 1.96.0).
///
/// # Errors
/// Invalid input when `plugin.toml` or the tools are not sound or the code does not compile (Cargo's own
/// messages go to standard error); unavailable, naming both remedies, without a toolchain.
pub fn build(folder: impl AsRef<Path>, options: &BuildOptions) -> Result<BuildReport> {
    let folder = folder.as_ref();
    let authored = read_authored(folder)?;
    let metadata = sources::metadata(folder, options)?;
    let toolchain = toolchain::find(folder)?;

    let target_dir = options.target_dir.clone().unwrap_or_else(|| metadata.target_dir.join("puna-plugin"));
    let compile = |describe| toolchain.compile(&metadata, &target_dir, options, describe);
    let described = read_description(&compile(true)?)?;
    let module = compile(false)?;

    let files = sources::digest_files(folder, &metadata)?;
    let lock_source = lock::digest_of(&files);
    let manifest = Manifest {
        name: authored.name,
        version: authored.version,
        contract: authored.contract,
        description: authored.description,
        asks: authored.asks,
        configuration: described.configuration,
        tools: described.tools,
        loaders: described.loaders,
        retrievers: described.retrievers,
        source: Some(lock_source.clone()),
    };
    let mut component = module::to_component(&module)?;
    embed_manifest(&mut component, &manifest)?;
    let inspection = inspect(&component)?;

    let output = options.output.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", manifest.name)));
    let lock_path = output.with_file_name(lock::LOCK_FILE);
    let lock = Lock {
        component: inspection.digest.clone(),
        source: lock_source,
        toolchain: toolchain.version().to_owned(),
        files,
    };
    write_whole(&output, &component)?;
    write_whole(&lock_path, lock.to_toml()?.as_bytes())?;
    Ok(BuildReport { component: output, lock: lock_path, toolchain: lock.toolchain, inspection })
}

/// Builds a plugin again, beside what is there, and holds the result against the committed component:
/// the same to the byte from the toolchain that is recorded, the same manifest from another.
///
/// # Errors
/// Those of [`verify`] and [`build`]; corrupt when the committed component is not what the source builds.
pub fn check_build(folder: impl AsRef<Path>, options: &BuildOptions) -> Result<BuildCheck> {
    let folder = folder.as_ref();
    let lock = verify(folder)?;
    let committed = folder.join(format!("{}.wasm", read_authored(folder)?.name));
    let recorded = inspect_file(&committed)?;
    let scratch = tempfile::tempdir().map_err(|error| Error::from_io("make", std::env::temp_dir(), error))?;
    let output = Some(scratch.path().join("component.wasm"));
    let report = build(folder, &BuildOptions { output, ..options.clone() })?;
    let identical = report.inspection.digest == recorded.digest;
    if !identical && (report.toolchain == lock.toolchain || report.inspection.manifest != recorded.manifest) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "`{}` is not what its source builds; build again with `puna plugin build {}`",
                committed.display(),
                folder.display()
            ),
        ));
    }
    Ok(BuildCheck { identical, toolchain: report.toolchain, recorded_toolchain: lock.toolchain })
}

fn read_authored(folder: &Path) -> Result<Authored> {
    let path = folder.join(PLUGIN_FILE);
    let text = fs::read_to_string(&path).map_err(|error| Error::from_io("read", &path, error))?;
    toml::from_str(&text).map_err(|error| {
        Error::invalid_input(format!("`{}`: {}", path.display(), error.to_string().trim_end()))
    })
}

/// What the code says of itself.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Described {
    configuration: Option<Value>,
    tools: Vec<ToolSchema>,
    loaders: Vec<LoaderManifest>,
    retrievers: Vec<RetrieverManifest>,
}

/// Runs the describing module and reads what the code says of itself: each macro of the SDK adds an export, which tells
/// its part.
fn read_description(module: &Path) -> Result<Described> {
    let mut whole = serde_json::Map::new();
    for (part, json) in module::describe(module)? {
        let value: Value = serde_json::from_slice(&json).map_err(|error| {
            Error::invalid_input(format!("the module's description of its {part}: {error}"))
        })?;
        whole.insert(part, value);
    }
    serde_json::from_value(Value::Object(whole))
        .map_err(|error| Error::invalid_input(format!("the module's description of itself: {error}")))
}

/// Writes a file so that nobody ever sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = |error| Error::from_io("write", path, error);
    let mut file = builder().tempfile_in(folder).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    file.persist(path).map_err(|error| write(error.error))?;
    Ok(())
}

/// A component is no secret, unlike what temporary files mostly hold.
#[cfg(unix)]
fn builder() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o644));
    builder
}

#[cfg(not(unix))]
fn builder() -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}
