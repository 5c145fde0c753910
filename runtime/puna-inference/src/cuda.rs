//! What a model on an NVIDIA GPU needs beside ONNX Runtime.

use std::{env, path::PathBuf};

use ort::session::builder::SessionBuilder;
use puna_core::{Error, ErrorKind, Result};

/// ONNX Runtime's name for it.
pub(crate) const CUDA_PROVIDER: &str = "CUDAExecutionProvider";

/// What the pinned build is linked to, in an order in which each finds what it needs, and where each comes from.
#[cfg(not(windows))]
const LIBRARIES: &[(&str, &str)] = &[
    ("libcuda.so.1", "NVIDIA's driver"),
    ("libcudart.so.13", "CUDA 13"),
    ("libcublasLt.so.13", "CUDA 13"),
    ("libcublas.so.13", "CUDA 13"),
    ("libcurand.so.10", "CUDA 13"),
];
#[cfg(windows)]
const LIBRARIES: &[(&str, &str)] = &[
    ("nvcuda.dll", "NVIDIA's driver"),
    ("cudart64_13.dll", "CUDA 13"),
    ("cublasLt64_13.dll", "CUDA 13"),
    ("cublas64_13.dll", "CUDA 13"),
    ("curand64_10.dll", "CUDA 13"),
];

/// Loads CUDA's libraries, from where the system's loader finds them or from CUDA's own folders. ONNX Runtime then finds
/// them loaded.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable), naming every library that is missing.
pub(crate) fn check_libraries() -> Result<()> {
    let missing: Vec<String> = LIBRARIES
        .iter()
        .filter(|(name, _)| !load(name))
        .map(|(name, origin)| format!("`{name}` ({origin})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let variable = if cfg!(windows) { "PATH" } else { "LD_LIBRARY_PATH" };
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "this machine cannot run models on CUDA: {} cannot be loaded; install what they belong to, or name their folder in `{variable}`",
            missing.join(", ")
        ),
    ))
}

fn load(name: &str) -> bool {
    let own = [env::var_os("CUDA_PATH").map(PathBuf::from), Some(PathBuf::from("/usr/local/cuda"))];
    let folders =
        own.into_iter().flatten().map(|root| root.join(if cfg!(windows) { "bin" } else { "lib64" }));
    let files = folders.map(|folder| folder.join(name));
    std::iter::once(PathBuf::from(name)).chain(files).any(|file| {
        // SAFETY: NVIDIA's libraries, from the folders of the system's administrator; their initialisers run when ONNX
        // Runtime loads them anyway.
        match unsafe { libloading::Library::new(&file) } {
            Ok(library) => {
                // Unloading it would undo what this is for.
                std::mem::forget(library);
                true
            }
            Err(error) => {
                tracing::debug!(file = %file.display(), %error, "not loaded");
                false
            }
        }
    })
}

/// Makes a session run on a GPU, or fail.
#[cfg(feature = "cuda")]
pub(crate) fn add_to(builder: SessionBuilder, index: u32) -> ort::Result<SessionBuilder> {
    let index =
        i32::try_from(index).map_err(|_| ort::Error::new(format!("no GPU has the number {index}")))?;
    let cuda = ort::ep::CUDA::default()
        .with_device_id(index)
        // Rows of the cache are allocated once and large; twice as much would be kept for nothing.
        .with_arena_extend_strategy(ort::ep::ArenaExtendStrategy::SameAsRequested);
    builder
        .with_execution_providers([cuda.build().error_on_failure()])
        .map_err(|error| ort::Error::new_with_code(error.code(), error.message()))
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn add_to(_: SessionBuilder, index: u32) -> ort::Result<SessionBuilder> {
    Err(ort::Error::new(format!("this program was built without the cargo feature `cuda`, for GPU {index}")))
}

/// What is free on a GPU, in bytes.
#[cfg(feature = "cuda")]
pub(crate) fn free_memory(index: u32) -> Result<u64> {
    let free = || nvml_wrapper::Nvml::init()?.device_by_index(index)?.memory_info().map(|memory| memory.free);
    free().map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot tell how much memory GPU {index} has ({error}); set `cache_memory`"),
        )
    })
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn free_memory(index: u32) -> Result<u64> {
    Err(Error::internal(format!("GPU {index} is asked for without the cargo feature `cuda`")))
}
