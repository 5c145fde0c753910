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
//! What a Rust plugin has comes from its code. In another language, `plugin.toml` says which, and names each tool, loader
//! and retriever with its JSON Schemas:
//!
//! ```toml
//! language = "python"
//!
//! [[tools]]
//! name = "greet"
//! description = "Greet a person by name."
//! parameters = "schemas/greet.json"
//! output = { type = "object", properties = { text = { type = "string" } } }
//! ```
//!
//! [`build`] writes `<name>.wasm` beside it, the manifest embedded, and `plugin.lock`, which records the
//! digests of the component and of every source file. [`verify`] holds the record against the files.

mod authored;
mod c;
mod files;
mod foreign;
mod javascript;
mod lock;
mod python;
mod rust;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

pub use authored::Language;
use authored::{Authored, Parts};
pub use lock::{Lock, SourceFile, verify};

use crate::{Inspection, embed_manifest, inspect, inspect_file};

/// How a plugin is built.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Where intermediate files go: Cargo's target folder, and without it `puna-plugin` within the one that Cargo would
    /// use; in other languages than Rust `build` in the plugin's folder.
    pub target_dir: Option<PathBuf>,
    /// Where the component goes; without it, `<name>.wasm` in the plugin's folder. `plugin.lock` goes
    /// beside it.
    pub output: Option<PathBuf>,
    /// Refuse to change `Cargo.lock`. For Rust, as is the next.
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
    /// Whether the two are the same to the byte; if not, their manifests are the same, and another toolchain built the
    /// committed one, or one that builds no component twice, as those of Python and JavaScript do.
    pub identical: bool,
    /// What compiled it now.
    pub toolchain: String,
    /// What compiled the committed one.
    pub recorded_toolchain: String,
}

/// What a compiler made.
struct Built {
    component: Vec<u8>,
    /// The compiler's own words for its version.
    toolchain: String,
}

/// Builds the plugin in a folder. Blocks for as long as its compiler takes.
///
/// Rust's toolchain is Cargo's own where the target `wasm32-unknown-unknown` is installed, else Debian's
/// `rustc-web`, which compiles the standard library from its source. Both were tried: rustc 1.95.0 with
/// rustup's target, and on Debian 12 `apt-get install rustc-web cargo-web rust-web-src lld-19`
/// (rustc 1.96.0). Python is built by `componentize-py`, from the plugin's `.venv` or the path, JavaScript by
/// `componentize-qjs`, from `node_modules` or the path, and C by clang with Debian's
/// `lld wasi-libc libclang-rt-dev-wasm32`.
///
/// # Errors
/// Invalid input when `plugin.toml` or what it names is not sound or the code does not compile (the compiler's own
/// messages go to standard error); unavailable, naming the remedy, without a toolchain.
pub fn build(folder: impl AsRef<Path>, options: &BuildOptions) -> Result<BuildReport> {
    let folder = folder.as_ref();
    let authored = Authored::read(folder)?;
    let (built, parts, files) = match authored.language {
        Language::Rust => rust::build(folder, options)?,
        language => build_foreign(folder, &authored, language, options)?,
    };
    let source = lock::digest_of(&files);
    let manifest = authored.manifest(parts, source.clone());
    let mut component = built.component;
    embed_manifest(&mut component, &manifest)?;
    let inspection = inspect(&component)?;

    let output = options.output.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", manifest.name)));
    let lock_path = output.with_file_name(lock::LOCK_FILE);
    let lock = Lock { component: inspection.digest.clone(), source, toolchain: built.toolchain, files };
    write_whole(&output, &component)?;
    write_whole(&lock_path, lock.to_toml()?.as_bytes())?;
    Ok(BuildReport { component: output, lock: lock_path, toolchain: lock.toolchain, inspection })
}

fn build_foreign(
    folder: &Path,
    authored: &Authored,
    language: Language,
    options: &BuildOptions,
) -> Result<(Built, Parts, Vec<SourceFile>)> {
    let parts = authored.parts(folder)?;
    let files = authored.own_files(folder)?.into_iter().map(|file| folder.join(file)).collect();
    let files = files::record(folder, files)?;
    // Before the compiler has taken its time.
    authored.manifest(parts.clone(), lock::digest_of(&files)).check()?;
    let built = foreign::build(folder, language, &parts, options)?;
    Ok((built, parts, files))
}

/// Builds a plugin again, beside what is there, and holds the result against the committed component:
/// the same to the byte from the toolchain that is recorded, the same manifest from another. The tools of Python and
/// JavaScript put randomness into what they build, so that their components are held by the manifest alone, which has the
/// digest of the source.
///
/// # Errors
/// Those of [`verify`] and [`build`]; corrupt when the committed component is not what the source builds.
pub fn check_build(folder: impl AsRef<Path>, options: &BuildOptions) -> Result<BuildCheck> {
    let folder = folder.as_ref();
    let lock = verify(folder)?;
    let authored = Authored::read(folder)?;
    let committed = folder.join(format!("{}.wasm", authored.name));
    let recorded = inspect_file(&committed)?;
    let scratch = tempfile::tempdir().map_err(|error| Error::from_io("make", std::env::temp_dir(), error))?;
    let output = Some(scratch.path().join("component.wasm"));
    let report = build(folder, &BuildOptions { output, ..options.clone() })?;
    let identical = report.inspection.digest == recorded.digest;
    let repeatable = matches!(authored.language, Language::Rust | Language::C);
    let must = repeatable && report.toolchain == lock.toolchain;
    if !identical && (must || report.inspection.manifest != recorded.manifest) {
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

/// The files in a plugin's folder that its component is built from, named from the folder; those of path dependencies
/// elsewhere are not among them.
///
/// # Errors
/// Those of reading the folder, and of a `plugin.toml` that is not sound.
pub fn source_files(folder: impl AsRef<Path>) -> Result<Vec<String>> {
    let folder = folder.as_ref();
    Authored::read(folder)?.own_files(folder)
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
