//! The default embedding model: fetched, exported and loaded.

use std::path::PathBuf;

use puna_core::Result;
use puna_export::{Progress, Weights};
use puna_inference::{
    EncoderOptions, OnnxEmbedder, Runtime,
    provision::{DEFAULT_EMBEDDER, Places, default_checkpoint},
};

use crate::SetupProgress;

/// The folder of the default embedding model, all-MiniLM-L6-v2. Where it is not in the cache folder yet, its checkpoint
/// is fetched and exported. `progress` is told what takes long.
///
/// # Errors
/// Those of [`default_checkpoint`] and of [`export_encoder`](puna_export::export_encoder).
pub fn default_embedder_folder(progress: &(dyn Fn(SetupProgress) + Sync)) -> Result<PathBuf> {
    let places = Places::from_environment()?;
    let out = places.cache.join("models").join(DEFAULT_EMBEDDER).join("fp32");
    if out.is_dir() {
        return Ok(out);
    }
    let checkpoint = default_checkpoint(&places, &|step| progress(step.into()))?;
    progress(SetupProgress::Line("exporting the embedding model to ONNX".to_owned()));
    let options = puna_export::EncoderOptions { weights: Weights::Fp32 };
    let written = |step: Progress| progress(SetupProgress::Bytes { done: step.done, total: step.total });
    match puna_export::export_encoder(&checkpoint, &out, options, &written) {
        // Somebody else was faster: it is there as a whole or not at all.
        Err(_) if out.is_dir() => Ok(out),
        other => other.map(|_| out),
    }
}

/// The default embedding model, loaded.
///
/// # Errors
/// Those of [`default_embedder_folder`] and [`OnnxEmbedder::load`], and those of getting ONNX Runtime.
pub fn default_embedder(
    options: &EncoderOptions,
    progress: &(dyn Fn(SetupProgress) + Sync),
) -> Result<OnnxEmbedder> {
    let folder = default_embedder_folder(progress)?;
    let runtime = Runtime::get(&|step| progress(step.into()))?;
    OnnxEmbedder::load(&runtime, &folder, options)
}
