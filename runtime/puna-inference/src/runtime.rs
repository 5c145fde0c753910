//! ONNX Runtime in this process: loaded once, from one library.

use std::{
    ffi::{CStr, c_char, c_int},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};
use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::{
    cuda::{self, CUDA_PROVIDER},
    device::Device,
    provision::{self, Library, Places, ProvisionProgress, Rejected},
};

/// The loaded runtime. It lives as long as the process: ONNX Runtime allows one environment a process.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    library: Library,
}

/// The option under which a processor with AVX2 or AVX-512 and without VNNI multiplies signed bytes as
/// unsigned ones: it is slower, and does not saturate in 16 bits. Other processors are not touched.
const EXACT_PRODUCTS: &str = "session.x64quantprecision";

/// Bytes at a graph's end that are searched for the option's name: metadata is a graph's last field.
const METADATA_BYTES: u64 = 1024;

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// The process's runtime for the processor, as [`get_for`](Self::get_for) gives it.
    ///
    /// # Errors
    /// Those of [`get_for`](Self::get_for).
    pub fn get(progress: &dyn Fn(ProvisionProgress)) -> Result<Self> {
        Self::get_for(Device::Cpu, progress)
    }

    /// The process's runtime, found or installed as [`provision`](crate::provision) says and loaded by
    /// the first call. Calls from other threads meanwhile wait for it. A failure is not remembered:
    /// the next call tries again.
    ///
    /// A process has one: the build for CUDA runs on the processor too, so what runs on CUDA is asked for first.
    ///
    /// # Errors
    /// Those of [`provision::provision`], [`Unavailable`](ErrorKind::Unavailable) when the library does not start or
    /// cannot run on the device, and [`Conflict`](ErrorKind::Conflict) when one was loaded that cannot.
    pub fn get_for(device: Device, progress: &dyn Fn(ProvisionProgress)) -> Result<Self> {
        if device != Device::Cpu && !cfg!(feature = "cuda") {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the device `{device}` is asked for, and this program was built without it; build it with the cargo feature `cuda`"
                ),
            ));
        }
        // A panic below leaves `None` or a complete value behind, so a poisoned lock is sound to use.
        let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &*slot {
            Some(runtime) => runtime.clone(),
            None => {
                if device != Device::Cpu {
                    // What is missing is told before hundreds of megabytes are fetched.
                    cuda::check_libraries()?;
                }
                let places = Places { build: device.build(), ..Places::from_environment()? };
                slot.insert(Self::load(provision::provision(&places, progress)?)?).clone()
            }
        };
        if device != Device::Cpu && !execution_providers()?.iter().any(|name| name == CUDA_PROVIDER) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "this process runs ONNX Runtime from `{}`, which cannot run on `{device}`; ask for models on CUDA before others, or set `{}` to a library built for CUDA",
                    runtime.library.path.display(),
                    provision::LIBRARY_VARIABLE
                ),
            ));
        }
        Ok(runtime)
    }

    fn load(library: Library) -> Result<Self> {
        let failed = |error: String| {
            Error::new(
                ErrorKind::Unavailable,
                format!("ONNX Runtime in `{}` does not start: {error}", library.path.display()),
            )
        };
        let environment = ort::init_from(&library.path)
            .map_err(|error| failed(error.to_string()))?
            .with_name("puna")
            .with_telemetry(false)
            .with_logger(Arc::new(forward_log))
            .build()
            .map_err(|error| failed(error.message().to_owned()))?;
        tracing::debug!(path = %library.path.display(), version = library.version, "ONNX Runtime loaded");
        Ok(Self { environment, library })
    }

    /// The library in use.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// What every session of a model is built with.
    pub(crate) fn session(&self, threads: usize, file: &Path) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(plain)?;
        let builder = builder.with_intra_threads(threads).map_err(plain)?;
        // Shapes change with every step: a plan for one of them helps no other.
        let builder = builder.with_memory_pattern(false).map_err(plain)?;
        let builder = builder.with_log_level(log_level()).map_err(plain)?;
        if asks_for_exact_products(file) {
            return builder.with_config_entry(EXACT_PRODUCTS, "1").map_err(plain);
        }
        Ok(builder)
    }
}

/// What `puna doctor` tells about ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuntimeReport {
    /// The library that is or would be used; without one, the first model load installs it.
    pub library: Option<Library>,
    /// Libraries that were found and cannot be used.
    pub rejected: Vec<Rejected>,
    /// The execution providers the library was built with, in ONNX Runtime's order of preference.
    pub execution_providers: Vec<String>,
    /// How it was built, in its own words.
    pub build: Option<String>,
}

/// Looks for the library without installing one, and asks it what it can do.
///
/// # Errors
/// Those of [`provision::search`], and of loading what it found.
pub fn report() -> Result<RuntimeReport> {
    let found = provision::search(&Places::from_environment()?)?;
    if found.library.is_none() {
        return Ok(RuntimeReport {
            library: None,
            rejected: found.rejected,
            execution_providers: Vec::new(),
            build: None,
        });
    }
    let runtime = Runtime::get(&|_| ())?;
    Ok(RuntimeReport {
        library: Some(runtime.library.clone()),
        rejected: found.rejected,
        execution_providers: execution_providers()?,
        build: Some(ort::info().to_owned()),
    })
}

/// The execution providers the loaded library was built with.
fn execution_providers() -> Result<Vec<String>> {
    let api = ort::api();
    let mut names: *mut *mut c_char = ptr::null_mut();
    let mut count: c_int = 0;
    // SAFETY: both are valid places to write to; on success `names` holds `count` C strings until
    // `ReleaseAvailableProviders` below, and nothing borrowed from them is kept beyond it.
    unsafe {
        ort::Error::result_from_status((api.GetAvailableProviders)(&mut names, &mut count)).map_err(
            |error| Error::internal(format!("cannot list execution providers: {}", error.message())),
        )?;
        let listed = (0..usize::try_from(count).unwrap_or(0))
            .map(|index| CStr::from_ptr(*names.add(index)).to_string_lossy().into_owned())
            .collect();
        ort::Error::result_from_status((api.ReleaseAvailableProviders)(names, count)).map_err(|error| {
            Error::internal(format!("cannot list execution providers: {}", error.message()))
        })?;
        Ok(listed)
    }
}

/// What a session logs: no more than somebody listens to, because it writes a line for each step otherwise.
pub(crate) fn log_level() -> LogLevel {
    if tracing::enabled!(target: "onnxruntime", tracing::Level::TRACE) {
        LogLevel::Verbose
    } else if tracing::enabled!(target: "onnxruntime", tracing::Level::DEBUG) {
        LogLevel::Warning
    } else {
        LogLevel::Error
    }
}

/// Whether a graph's metadata names [`EXACT_PRODUCTS`], as those of `puna model export` with products
/// of 8-bit integers do. Other graphs are left alone: ONNX Runtime's change of signed bytes fails
/// where products share a zero point or weights go by blocks.
fn asks_for_exact_products(file: &Path) -> bool {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(METADATA_BYTES)))?;
        let mut end = Vec::new();
        file.take(METADATA_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    // A file that cannot be read fails where it is loaded, with its name.
    let end = read().unwrap_or_default();
    end.windows(EXACT_PRODUCTS.len()).any(|bytes| bytes == EXACT_PRODUCTS.as_bytes())
}

/// Drops the builder that a failed option hands back.
pub(crate) fn plain<R>(error: ort::Error<R>) -> ort::Error {
    ort::Error::new_with_code(error.code(), error.message())
}

/// Sends ONNX Runtime's log to `tracing`, a level lower than it came: what matters to a caller
/// comes back as an error, and the rest is detail.
fn forward_log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => {
            tracing::warn!(target: "onnxruntime", category, location, "{message}")
        }
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", category, location, "{message}"),
        LogLevel::Info | LogLevel::Verbose => {
            tracing::trace!(target: "onnxruntime", category, location, "{message}")
        }
    }
}
