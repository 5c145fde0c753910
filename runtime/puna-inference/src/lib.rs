//! Runs ONNX Llama models through ONNX Runtime, in this process.
//!
//! Invariants: the only crate that names ONNX Runtime. A loaded model never touches the network,
//! and no Python runs beside the one installation of the library in [`provision`]. A prompt that does not fit
//! is an error, never a cut.

mod answer;
mod buffer;
mod cache;
mod draft;
mod engine;
mod folder;
mod graph;
mod layout;
mod model;
pub mod provision;
mod runtime;
mod sampler;
mod score;
mod worker;

pub use engine::EngineStatus;
pub use folder::{Exporter, FolderOptions, GenerationDefaults, ModelFolder, Sizes, Variant};
pub use model::{LoadOptions, ModelDetails, ModelReport, OnnxModel, examine};
pub use runtime::{Runtime, RuntimeReport, report};
pub use sampler::Sampler;
pub use score::TokenScore;
