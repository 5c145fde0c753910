//! A model's folder as exporters write it: which graph to run, and what the files beside it say.

mod companion;
mod config;
mod encoder;
mod external;
mod variant;

use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;

use self::config::ConfigFile;
pub(crate) use self::config::{MAX_CONTEXT, MAX_HEADS, MAX_VOCABULARY, MAX_WIDTH};
pub use self::{
    config::{GenerationDefaults, Sizes},
    encoder::{Activation, EncoderFolder, Pooling},
    variant::Variant,
};

/// What a model is trained to hold when no file says it: Llama 1's context, in tokens.
const DEFAULT_CONTEXT: usize = 2048;

/// A model's folder: the graph's file and what the configuration files beside it say.
///
/// Taken are the folders that Hugging Face optimum (`model.onnx`, `decoder_model_merged.onnx`),
/// onnxruntime-genai's builder (`genai_config.json` names the graph) and transformers.js
/// (`onnx/model_q4.onnx` and the like) write; graphs lie in the folder or in its subfolder `onnx`. Read are
/// `genai_config.json`, `config.json` and `generation_config.json`, in this order of precedence unless a
/// field says otherwise, and `puna.json`, whose keys `variant` and `companion` choose graphs as
/// [`FolderOptions`] do; each may be missing.
///
/// Of several graphs the one that runs fastest on the machine is taken. On a processor that is `q4`, then
/// `q8`, `int8`, `uint8`, `q4f16`, `fp32`, `fp16`, `bnb4`: every step reads all weights, so fewer bits are
/// faster, except that 16-bit floats are widened and gain nothing there, and that `bnb4` has a slow kernel. A graph
/// that `genai_config.json` names is taken before all others.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// What wrote it, as far as the files show.
    pub exporter: Exporter,
    /// What the configuration calls the architecture: `llama`, `qwen3`, `gemma2`.
    pub architecture: Option<String>,
    /// The graph's file.
    pub graph: PathBuf,
    /// What the variant chosen is called.
    pub variant: String,
    /// Every graph found, those in the folder before those in its subfolder.
    pub variants: Vec<Variant>,
    /// A second graph of the same model over the same keys and values, made for many rows at once: the file
    /// that [`FolderOptions::companion`] or `puna.json` name, else `model_prefill.onnx`, or
    /// `model_q4_prefill.onnx` beside `model_q4.onnx`.
    pub companion: Option<PathBuf>,
    /// What the companion takes up with its weights, in bytes; 0 without one.
    pub companion_bytes: u64,
    /// What the graph, without its companion, takes up with its weights, in bytes.
    pub graph_bytes: u64,
    /// What both graphs take up with their weights, in bytes; what they share counts once.
    pub total_bytes: u64,
    /// The type of most of the graph's weights: `fp32`, `fp16`, `bf16`, `int8`, `int4`.
    pub weights: String,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// The tokens that end an answer: Llama 3's instruct models have three.
    pub eos: Vec<u32>,
    /// Whether the exporter says that the cache's inputs and outputs may be the same memory; where
    /// it says nothing, or wrongly that they may, a probe decides.
    pub share_buffer: Option<bool>,
    /// What the files say of sizes that a graph may leave open.
    pub sizes: Sizes,
    /// How the model's authors sample from it.
    pub generation: GenerationDefaults,
}

/// What wrote a model's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Exporter {
    /// onnxruntime-genai's builder: there is a `genai_config.json`.
    GenAi,
    /// transformers.js: graphs lie in `onnx`.
    TransformersJs,
    /// Hugging Face optimum, or whatever else writes a graph into the folder.
    Optimum,
}

/// Which of a folder's graphs are taken.
///
/// ```no_run
/// use std::path::Path;
/// use puna_inference::{FolderOptions, ModelFolder};
///
/// let options = FolderOptions { variant: Some("fp32".to_owned()), ..FolderOptions::default() };
/// let folder = ModelFolder::open_with(Path::new("models/llama"), &options)?;
/// assert_eq!(folder.variant, "fp32");
/// # Ok::<(), puna_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FolderOptions {
    /// The variant by its [name](Variant::name), its file's suffix or its file's path in the folder; without
    /// it, what `puna.json` says, else the fastest.
    pub variant: Option<String>,
    /// The companion graph's path in the folder; without it, what `puna.json` says, else the file of a
    /// companion's name.
    pub companion: Option<String>,
    /// Whether the machine computes 16-bit floats at full speed, as graphics processors do: then `q4f16` comes
    /// first and `fp16` before 32-bit floats.
    pub half_precision: bool,
}

impl ModelFolder {
    /// Reads a folder and takes the variant that runs fastest on a processor.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &FolderOptions::default())
    }

    /// Reads a folder, and whether the weights that the graph keeps in other files are there, without loading
    /// them.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when the folder, a graph's file or a file of weights is missing, or
    /// the variant asked for; [`Corrupt`](ErrorKind::Corrupt) when a graph's file or a file of weights is cut;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when a configuration file is not JSON, is too large, or holds
    /// a value of the wrong type or one that no model has, and for paths out of the folder.
    pub fn open_with(path: &Path, options: &FolderOptions) -> Result<Self> {
        if !path.is_dir() {
            let hint = if path.is_file() { "name the folder it is in" } else { "check the path" };
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no model folder `{}`; {hint}", path.display()),
            ));
        }
        let config = ConfigFile::read(path, "config.json")?;
        let generation = ConfigFile::read(path, "generation_config.json")?;
        let genai = ConfigFile::read(path, "genai_config.json")?;
        let puna = ConfigFile::read(path, "puna.json")?;

        let mut variants = variant::find(path)?;
        let chosen = choose(path, options, &puna, &genai, &mut variants)?;
        let companion = match &options.companion {
            Some(name) if !config::is_inside(name) => {
                return Err(Error::invalid_input(format!(
                    "the companion graph is `{name}`; it must be a path inside the folder"
                )));
            }
            Some(name) => Some(name.as_str()),
            None => puna.inner_path("companion")?,
        };
        let companion = companion::find(path, &chosen.graph, companion)?;
        let contents = external::check(&chosen.graph).map_err(|error| {
            let others: Vec<_> =
                variants.iter().filter(|variant| variant.graph != chosen.graph).cloned().collect();
            if others.is_empty() {
                return error;
            }
            error.context(format!("variant `{}` (there are also {})", chosen.name, variant::names(&others)))
        })?;
        let mut companion_bytes = 0;
        let mut all = contents.clone();
        if let Some(companion) = &companion {
            let contents =
                external::check(companion).map_err(|error| error.context("the companion graph"))?;
            companion_bytes = contents.bytes();
            all.files.extend(contents.files);
        }

        let mut eos = Vec::new();
        // The union: exporters leave ids out of one file or another, and a missed one never stops.
        for id in [
            genai.token_ids("model.eos_token_id")?,
            generation.token_ids("eos_token_id")?,
            config.token_ids("eos_token_id")?,
        ]
        .concat()
        {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        let exporter = match chosen.graph.parent() {
            _ if genai.exists() => Exporter::GenAi,
            Some(parent) if parent != path => Exporter::TransformersJs,
            _ => Exporter::Optimum,
        };
        let architecture = config.text("model_type")?.or(genai.text("model.type")?);
        Ok(Self {
            path: path.to_owned(),
            exporter,
            architecture: architecture.map(str::to_owned),
            graph: chosen.graph,
            variant: chosen.name,
            variants,
            companion,
            companion_bytes,
            graph_bytes: contents.bytes(),
            total_bytes: all.bytes(),
            weights: contents.weights,
            context_length: config::context_length(&config, &genai)?.unwrap_or(DEFAULT_CONTEXT),
            eos,
            share_buffer: genai.flag("search.past_present_share_buffer")?,
            sizes: Sizes::read(&config, &genai)?,
            generation: GenerationDefaults::read(&generation, &genai, &config)?,
        })
    }

    /// The folder's name, which names the model.
    pub fn name(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// The variant asked for, else the one that the files name, else the fastest. Adds the one that
/// `genai_config.json` names to those found.
fn choose(
    folder: &Path,
    options: &FolderOptions,
    puna: &ConfigFile,
    genai: &ConfigFile,
    variants: &mut Vec<Variant>,
) -> Result<Variant> {
    let genai_graph = genai.inner_path("model.decoder.filename")?.map(|name| folder.join(name));
    if let Some(graph) = genai_graph.as_ref().filter(|graph| graph.is_file()) {
        variants.retain(|variant| variant.graph != *graph);
        variants.insert(0, Variant::new("genai", graph.clone()));
    }
    if let Some(wanted) =
        options.variant.as_deref().map_or_else(|| puna.text("variant"), |wanted| Ok(Some(wanted)))?
    {
        return variant::called(variants, wanted, folder).cloned();
    }
    match (genai_graph, variant::best(variants, options.half_precision)) {
        (Some(graph), _) if graph.is_file() => Ok(variants[0].clone()),
        (Some(graph), _) => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "`{}` is missing, and `genai_config.json` names it as the model's graph",
                graph.display()
            ),
        )),
        (None, Some(best)) => Ok(best.clone()),
        (None, None) => Err(no_graph(folder)),
    }
}

/// What is missing in a folder without a graph, by what is there instead.
fn no_graph(folder: &Path) -> Error {
    let has = |name: &str| folder.join(name).is_file() || folder.join("onnx").join(name).is_file();
    let hint = if has("decoder_with_past_model.onnx") || has("decoder_model.onnx") {
        "; the two graphs of an old export, one without a cache, do not serve: export it again as one"
    } else if has("model.safetensors") || has("model.safetensors.index.json") || has("pytorch_model.bin") {
        "; these are PyTorch's weights: export them to ONNX first"
    } else {
        ""
    };
    Error::new(
        ErrorKind::NotFound,
        format!(
            "no `model.onnx` in `{}` or its folder `onnx`, and no `genai_config.json` that names another file{hint}",
            folder.display()
        ),
    )
}
