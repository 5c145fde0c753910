//! The second graph of a folder: the same model over the same keys and values, made for many rows at once.

use std::path::{Path, PathBuf};

use puna_core::{Error, ErrorKind, Result};

/// What ends the name of a companion: `model_prefill.onnx`, or `model_q4_prefill.onnx` for the graph
/// `model_q4.onnx`.
pub(super) const SUFFIX: &str = "prefill";

/// The companion of a graph: the file named, else one of a companion's name beside the graph.
pub(super) fn find(folder: &Path, graph: &Path, named: Option<&str>) -> Result<Option<PathBuf>> {
    if let Some(name) = named {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(Some(path));
        }
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("`{}` is missing, and it is named as the companion graph", path.display()),
        ));
    }
    let stem = graph.file_stem().unwrap_or_default().to_string_lossy();
    let candidates = [format!("{stem}_{SUFFIX}.onnx"), format!("model_{SUFFIX}.onnx")];
    Ok(candidates.iter().map(|name| graph.with_file_name(name)).find(|path| path.is_file()))
}
