//! The default embedding model: fetched, exported and loaded.

use std::path::PathBuf;

use puna_core::{ErrorKind, Result};
use puna_export::Weights;
use puna_inference::{
    EncoderOptions, OnnxEmbedder, Runtime,
    provision::{DEFAULT_EMBEDDER, Places, default_checkpoint},
};

/// The folder of the default embedding model, all-MiniLM-L6-v2. Where it is not in the cache folder yet, its checkpoint
/// is fetched and exported. `progress` is told what takes long, as lines to show.
///
/// # Errors
/// Those of [`default_checkpoint`] and of [`export_encoder`](puna_export::export_encoder).
pub fn default_embedder_folder(progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let places = Places::from_environment()?;
    let out = places.cache.join("models").join(DEFAULT_EMBEDDER).join("fp32");
    if out.is_dir() {
        return Ok(out);
    }
    let checkpoint = default_checkpoint(&places, progress)?;
    progress("exporting the embedding model to ONNX");
    let options = puna_export::EncoderOptions { weights: Weights::Fp32 };
    match puna_export::export_encoder(&checkpoint, &out, options, &|_| ()) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::Conflict && out.is_dir() => Ok(out),
        other => other.map(|_| out),
    }
}

/// The default embedding model, loaded.
///
/// # Errors
/// Those of [`default_embedder_folder`] and [`OnnxEmbedder::load`], and those of getting ONNX Runtime.
pub fn default_embedder(options: &EncoderOptions, progress: &dyn Fn(&str)) -> Result<OnnxEmbedder> {
    let folder = default_embedder_folder(progress)?;
    let runtime = Runtime::get(&|told| progress(&told.to_string()))?;
    OnnxEmbedder::load(&runtime, &folder, options)
}
