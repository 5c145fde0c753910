//! Running models, with the bundled one. What it answers is its business: runs are held against each other.

mod batching;
mod beams;
mod cache;
#[cfg(unix)]
mod checkpoint;
mod companion;
mod constrained;
mod dialects;
mod encoders;
mod folders;
mod generate;
mod prefix;
#[cfg(unix)]
mod provision;
mod reference;
mod sampler;
mod toy;
mod variants;

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::StreamExt;
use puna_core::{
    Completion, Error, GenerateOptions, GenerateRequest, Message, Model, ModelEvent, ModelStream,
    ToolCallDelta,
};
use puna_inference::{LoadOptions, OnnxModel, Runtime};

/// The bundled model's folder.
fn bundled() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/puna-tiny")
}

/// The folder of models made by others' exporters.
fn references() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/references")
}

/// Loads a folder with two threads: as many as the smallest machine has.
fn load(folder: &Path) -> Result<OnnxModel, Error> {
    load_with(folder, |_| ())
}

fn load_with(folder: &Path, change: impl FnOnce(&mut LoadOptions)) -> Result<OnnxModel, Error> {
    let runtime = Runtime::get(&|_| ()).expect("ONNX Runtime");
    let mut options = LoadOptions { threads: Some(2), ..LoadOptions::default() };
    change(&mut options);
    OnnxModel::load(&runtime, folder, options)
}

/// A copy of the bundled model's files.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(bundled()).expect("the bundled model") {
        let entry = entry.expect("the bundled model");
        if entry.path().is_file() {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
    }
    folder
}

/// A copy that computes in 32-bit floats. With activations in 8 bits a processor without VNNI has one kernel for one row and
/// another for several, and their logits differ by more than the order of adding.
fn exact() -> tempfile::TempDir {
    /// An attribute of `MatMulNBits`, up to its value.
    const LEVEL: &[u8] = b"\x0a\x0eaccuracy_level\x18";
    let folder = copy();
    let path = folder.path().join("model.onnx");
    let mut graph = fs::read(&path).expect("the graph");
    let starts = graph.windows(LEVEL.len()).enumerate().filter(|(_, bytes)| *bytes == LEVEL);
    let values: Vec<usize> = starts.map(|(start, _)| start + LEVEL.len()).collect();
    assert!(!values.is_empty(), "no level of accuracy");
    for value in values {
        assert_eq!(std::mem::replace(&mut graph[value], 1), 4);
    }
    fs::write(path, graph).expect("the graph");
    folder
}

fn ask(text: &str) -> GenerateRequest {
    GenerateRequest { messages: vec![Message::user(text)], ..Default::default() }
}

fn ask_with(text: &str, change: impl FnOnce(&mut GenerateOptions)) -> GenerateRequest {
    let mut request = ask(text);
    change(&mut request.options);
    request
}

/// The deltas of the text joined, and the end. Those of the calls are the calls.
async fn read(mut stream: ModelStream) -> Result<(String, Completion), Error> {
    let mut text = String::new();
    let mut calls: Vec<ToolCallDelta> = Vec::new();
    while let Some(event) = stream.next().await {
        match event? {
            ModelEvent::TextDelta(delta) => text.push_str(&delta),
            ModelEvent::ToolCallDelta(delta) => {
                match calls.last_mut().filter(|call| call.index == delta.index) {
                    Some(call) => call.arguments.push_str(&delta.arguments),
                    None => calls.push(delta),
                }
            }
            ModelEvent::Finished(completion) => {
                assert!(stream.next().await.is_none(), "nothing comes after the end");
                for call in completion.message.tool_calls() {
                    let told = calls.iter().find(|told| told.id == call.id).expect("the call's deltas");
                    assert_eq!(told.name, call.name);
                    let arguments: serde_json::Value = serde_json::from_str(&told.arguments).expect("JSON");
                    assert_eq!(arguments, call.arguments);
                }
                return Ok((text, completion));
            }
            other => panic!("an unknown event {other:?}"),
        }
    }
    panic!("the stream ended without an end")
}

async fn answer(model: &OnnxModel, request: GenerateRequest) -> (String, Completion) {
    read(model.generate(request).await.expect("a request")).await.expect("an answer")
}
