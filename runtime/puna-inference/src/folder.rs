use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde_json::Value;

/// What a model is trained to hold when no file says it: Llama 1's context, in tokens.
const DEFAULT_CONTEXT: usize = 2048;

/// A model's folder: the graph's file and what the configuration files beside it say.
///
/// Read are `genai_config.json`, `config.json` and `generation_config.json`, in this order of
/// precedence; each may be missing.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// The graph's file.
    pub graph: PathBuf,
    /// Prompt and answer together, in tokens.
    pub context_length: usize,
    /// The tokens that end an answer: Llama 3's instruct models have three.
    pub eos: Vec<u32>,
    /// Whether the exporter says that the cache's inputs and outputs may be the same memory; where
    /// it says nothing, or wrongly that they may, a probe decides.
    pub share_buffer: Option<bool>,
    /// What the files say of sizes that a graph may leave open.
    pub sizes: Sizes,
}

/// Sizes that exporters leave open in the graph (`-1`), where a configuration file says them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Tokens in the vocabulary.
    pub vocab_size: Option<usize>,
    /// Heads of keys and values in each layer.
    pub kv_heads: Option<usize>,
    /// Width of one head.
    pub head_dim: Option<usize>,
}

impl Sizes {
    fn read(config: &Value, genai: &Value) -> Self {
        let size = |value: &Value| usize::try_from(value.as_u64()?).ok().filter(|size| *size > 0);
        let (model, decoder) = (&genai["model"], &genai["model"]["decoder"]);
        let heads = size(&config["num_attention_heads"]);
        Self {
            vocab_size: size(&model["vocab_size"]).or(size(&config["vocab_size"])),
            // Without grouped queries every query head has its own keys and values.
            kv_heads: size(&decoder["num_key_value_heads"])
                .or(size(&config["num_key_value_heads"]))
                .or(heads),
            head_dim: size(&decoder["head_size"])
                .or(size(&config["head_dim"]))
                .or_else(|| Some(size(&config["hidden_size"])? / heads?)),
        }
    }
}

impl ModelFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when the folder or the graph's file is missing;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when a configuration file is not JSON or holds a value of the
    /// wrong type.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let hint = if path.is_file() { "name the folder it is in" } else { "check the path" };
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no model folder `{}`; {hint}", path.display()),
            ));
        }
        let config = read_json(path, "config.json")?;
        let generation = read_json(path, "generation_config.json")?;
        let genai = read_json(path, "genai_config.json")?;
        let graph = graph_file(path, &genai)?;

        let sources = [
            ("genai_config.json", &genai["model"]["context_length"]),
            ("config.json", &config["max_position_embeddings"]),
        ];
        let mut context_length = DEFAULT_CONTEXT;
        if let Some((file, value)) = sources.into_iter().find(|(_, value)| !value.is_null()) {
            context_length = value
                .as_u64()
                .and_then(|value| usize::try_from(value).ok())
                .filter(|value| *value > 1)
                .ok_or_else(|| {
                    wrong(path, file, "the context length", value, "a number of tokens above 1")
                })?;
        }

        let mut eos = Vec::new();
        let sources = [
            ("genai_config.json", &genai["model"]["eos_token_id"]),
            ("generation_config.json", &generation["eos_token_id"]),
            ("config.json", &config["eos_token_id"]),
        ];
        // The union: exporters leave ids out of one file or another, and a missed one never stops.
        for (file, value) in sources {
            for id in
                token_ids(value).ok_or_else(|| wrong(path, file, "`eos_token_id`", value, "token ids"))?
            {
                if !eos.contains(&id) {
                    eos.push(id);
                }
            }
        }
        let share_buffer = genai["search"]["past_present_share_buffer"].as_bool();
        Ok(Self {
            path: path.to_owned(),
            graph,
            context_length,
            eos,
            share_buffer,
            sizes: Sizes::read(&config, &genai),
        })
    }

    /// The folder's name, which names the model.
    pub fn name(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// The file `genai_config.json` names, else the one graph where exporters put it.
fn graph_file(folder: &Path, genai: &Value) -> Result<PathBuf> {
    let named = &genai["model"]["decoder"]["filename"];
    if let Some(name) = named.as_str() {
        let path = folder.join(name);
        // The folder may come from anywhere: its files stay inside it.
        let inside = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(wrong(
                folder,
                "genai_config.json",
                "`model.decoder.filename`",
                named,
                "a path inside the folder",
            ));
        }
        if path.is_file() {
            return Ok(path);
        }
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("`{}` is missing, and `genai_config.json` names it as the model's graph", path.display()),
        ));
    }
    for name in ["model.onnx", "onnx/model.onnx"] {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "no `model.onnx` in `{}`, and no `genai_config.json` that names another file",
            folder.display()
        ),
    ))
}

/// A configuration file, or `null` where there is none.
fn read_json(folder: &Path, file: &str) -> Result<Value> {
    let path = folder.join(file);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(Error::from_io("read", &path, error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::invalid_input(format!("`{}` is not JSON: {error}", path.display())).with_source(error)
    })
}

/// A token id or a list of them; empty for `null`.
fn token_ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(id).collect(),
        value => id(value).map(|id| vec![id]),
    }
}

fn wrong(folder: &Path, file: &str, what: &str, value: &Value, wanted: &str) -> Error {
    let path = folder.join(file);
    Error::invalid_input(format!("{what} in `{}` is `{value}`; it must be {wanted}", path.display()))
}
