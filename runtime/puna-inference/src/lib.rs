//! Runs ONNX Llama models through ONNX Runtime, in this process.
//!
//! Invariants: the only crate that names ONNX Runtime. A loaded model never touches the network,
//! and no Python runs beside the one installation of the library in [`provision`]. A prompt that does not fit
//! is an error, never a cut.
//!
//! The README beside this crate has every option with its default, and what is promised of results.

mod adapter;
mod answer;
mod beam;
mod buffer;
mod cache;
mod compare;
mod cuda;
mod device;
mod draft;
mod encoder;
mod engine;
mod folder;
mod graph;
mod graphs;
mod layout;
mod load;
mod masks;
mod model;
mod placement;
mod prefix;
pub mod provision;
mod report;
mod runtime;
mod sampler;
mod score;
mod worker;

pub use compare::{Comparison, Likelihoods, shared_tokens};
pub use device::Device;
pub use encoder::{
    Embedding, EncoderOptions, EncoderStats, LateInteraction, LongInput, OnnxClassifier, OnnxEmbedder,
    OnnxReranker,
};
pub use engine::EngineStatus;
pub use folder::{
    Activation, EncoderFolder, Exporter, FolderOptions, GenerationDefaults, ModelFolder, Pooling, Sizes,
    Variant,
};
pub use graphs::CompanionUse;
pub use load::{LoadOptions, ModelDetails, TemplateKind};
pub use model::{CompletionRequest, OnnxModel};
pub use report::{ModelReport, examine};
pub use runtime::{Runtime, RuntimeReport, report};
pub use sampler::Sampler;
pub use score::Perplexity;
