//! Turns Hugging Face checkpoints into ONNX models, without Python.
//!
//! [`export`] reads `config.json`, `*.safetensors` and what goes with them, and writes a folder that Puna,
//! onnxruntime-genai and plain ONNX Runtime load. [`random`] writes a folder of a model's shape with random
//! weights, to measure a machine with.
//!
//! Every weight is read, converted and written in pieces by several threads, so that memory depends on the number
//! of threads and not on the model.
//!
//! Invariants: runs no model and knows no ONNX Runtime. Nothing appears under the folder's name before all of it is
//! on the disk. What a checkpoint has and the graph does not use is an error, and so is the reverse. A header that
//! does not fit its file is refused before memory is taken for what it promises.

mod checkpoint;
mod config;
mod decoder;
mod export;
mod files;
mod folder;
mod graph;
mod lora;
mod matrix;
mod onnx;
mod options;
mod plan;
mod quantise;
mod random;
mod rope;
mod rotate;
mod shapes;

pub use checkpoint::Checkpoint;
pub use config::{Architecture, DecoderConfig};
pub use export::{ExportReport, Progress, export};
pub use lora::{AdapterReport, convert as convert_adapter};
pub use options::{ExportOptions, Keep, Weights};
pub use random::{random, shape, shapes};
