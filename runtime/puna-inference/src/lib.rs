//! Runs ONNX Llama models through ONNX Runtime.
