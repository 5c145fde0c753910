use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{companion, external};

/// The subfolder in which transformers.js keeps graphs.
const SUBFOLDER: &str = "onnx";

/// What exporters call the graph that runs both with and without a cache, best first.
const STEMS: [&str; 2] = ["model", "decoder_model_merged"];

/// The variants that a processor runs fastest, best first. A step reads every weight once, so fewer bits are
/// faster: int4, then int8, then the rest. int4 in 16-bit floats comes after int8, whose weights are larger,
/// because its activations are converted around every product, and 16-bit weights come after 32-bit ones, because
/// they are widened when they are loaded and gain nothing but an error. `bnb4` has a slow kernel.
///
/// A step of a Llama of 70 million weights, in milliseconds (ONNX Runtime 1.32, two threads): q4 3.2, q8 2.9,
/// q4f16 3.5, fp16 6.4, fp32 7.1. q4 comes before q8, because it is ahead where memory is the limit, as with
/// larger models, and because q8 rounds activations by one scale for a whole prompt. One product of 2048 by 8192:
/// q4 0.3, q8 0.9, q4f16 1.0, fp32 4, bnb4 22.
const PROCESSOR_ORDER: [&str; 9] = ["q4", "int4", "q8", "int8", "uint8", "q4f16", "fp32", "fp16", "bnb4"];

/// The same where 16-bit floats compute at full speed, as on graphics processors. Fused attention has no kernels for 32-bit
/// floats there, so what computes in 16 bits comes first.
const HALF_PRECISION_ORDER: [&str; 9] =
    ["q4f16", "fp16", "q4", "int4", "bnb4", "fp32", "q8", "int8", "uint8"];

/// Most entries of a folder looked at: bounds the time for folders that hold something else.
const MAX_ENTRIES: usize = 10_000;

/// Most names in a message.
const MAX_SHOWN: usize = 20;

/// A graph in a model's folder. Several there are the same model with weights of different types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// What the file's name says of the weights, in transformers.js' words: `fp32` (no suffix), `fp16`,
    /// `int8`, `uint8`, `q8` (`_quantized`), `q4`, `q4f16`, `bnb4`, any other suffix as it is; `genai` for
    /// the graph that `genai_config.json` names.
    pub name: String,
    /// The graph's file.
    pub graph: PathBuf,
    /// What the graph's file and those of its weights that are there take up, in bytes.
    pub bytes: u64,
}

impl Variant {
    pub(super) fn new(name: &str, graph: PathBuf) -> Self {
        let bytes = external::bytes_present(&graph);
        Self { name: name.to_owned(), graph, bytes }
    }

    /// Whether this is what somebody calls a variant: its name, its file's suffix, or its file's path in the
    /// folder.
    fn is_called(&self, wanted: &str, folder: &Path) -> bool {
        name_of_suffix(wanted.trim_start_matches('_')) == self.name || folder.join(wanted) == self.graph
    }
}

/// The graphs in the places where exporters put them, in order of preference where their names are equal.
pub(super) fn find(folder: &Path) -> Result<Vec<Variant>> {
    let mut found = Vec::new();
    for place in [folder.to_owned(), folder.join(SUBFOLDER)] {
        let mut names = graphs_in(&place)?;
        names.sort_unstable();
        for stem in STEMS {
            for name in &names {
                if let Some(suffix) = suffix(name, stem)
                    && suffix.rsplit('_').next() != Some(companion::SUFFIX)
                {
                    found.push(Variant::new(name_of_suffix(suffix), place.join(name)));
                }
            }
        }
    }
    Ok(found)
}

/// The variant that runs fastest.
pub(super) fn best(variants: &[Variant], half_precision: bool) -> Option<&Variant> {
    let order = if half_precision { HALF_PRECISION_ORDER } else { PROCESSOR_ORDER };
    // The first of equals: what no exporter's list names comes last.
    variants
        .iter()
        .min_by_key(|variant| order.iter().position(|name| *name == variant.name).unwrap_or(order.len()))
}

/// The variant that somebody asks for.
pub(super) fn called<'a>(variants: &'a [Variant], wanted: &str, folder: &Path) -> Result<&'a Variant> {
    variants.iter().find(|variant| variant.is_called(wanted, folder)).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("no variant `{wanted}` in `{}`; it has {}", folder.display(), names(variants)),
        )
    })
}

/// The variants' names for a message.
pub(super) fn names(variants: &[Variant]) -> String {
    let mut names: Vec<String> = variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
    names.dedup();
    let more = names.len().saturating_sub(MAX_SHOWN);
    names.truncate(MAX_SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}

fn name_of_suffix(suffix: &str) -> &str {
    match suffix {
        "" => "fp32",
        "quantized" => "q8",
        suffix => suffix,
    }
}

/// What follows the stem: `q4` of `model_q4.onnx`.
fn suffix<'a>(name: &'a str, stem: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(".onnx")?.strip_prefix(stem)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('_').filter(|suffix| !suffix.is_empty()) }
}

fn graphs_in(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::from_io("read", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(MAX_ENTRIES) {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str()
            && name.ends_with(".onnx")
            && folder.join(name).is_file()
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
