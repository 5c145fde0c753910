use std::{
    fs::{self, File},
    io::Read,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};

use puna_core::{Error, ErrorKind, GenerateOptions, Result};
use serde::Serialize;
use serde_json::Value;

/// Largest configuration file read, in bytes: bounds what a folder from anywhere can make this process
/// hold. The largest in use, with label tables of encoder models, stay below a tenth of it.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Longest context believed, in tokens: more than ten times the longest any model claims, and small
/// enough that the product with a token's keys and values fits 64 bits.
pub(crate) const MAX_CONTEXT: u64 = 1 << 27;

/// Most layers believed: thirty times the deepest published model.
const MAX_LAYERS: u64 = 1 << 12;

/// Most heads of a layer believed.
pub(crate) const MAX_HEADS: u64 = 1 << 14;

/// Largest width of a head or a layer believed.
pub(crate) const MAX_WIDTH: u64 = 1 << 20;

/// Largest vocabulary believed, in tokens: sixty times the largest published.
pub(crate) const MAX_VOCABULARY: u64 = 1 << 24;

/// Most tokens that may end an answer: every token generated is compared with each.
const MAX_EOS: usize = 256;

/// Longest name of a file, a variant or an architecture, in bytes: what Linux takes as a path.
const MAX_TEXT_BYTES: usize = 4096;

/// Most characters of a wrong value shown in an error.
const SHOWN_CHARACTERS: usize = 60;

/// A file that is a list; empty where there is no file.
pub(super) fn read_list(folder: &Path, name: &str) -> Result<Vec<Value>> {
    let path = folder.join(name);
    let Some(bytes) = read_bounded(&path)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::invalid_input(format!("`{}` is not a JSON list", path.display())).with_source(error)
    })
}

/// A configuration file; every key of a missing one is `null`.
pub(super) struct ConfigFile {
    path: PathBuf,
    value: Value,
}

impl ConfigFile {
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let value = match read_bounded(&path)? {
            Some(bytes) => parse(&path, &bytes)?,
            None => Value::Null,
        };
        Ok(Self { path, value })
    }

    pub(super) fn exists(&self) -> bool {
        !self.value.is_null()
    }

    /// The value at keys joined by dots; `null` where there is none. Models that also see or hear keep
    /// the language model's keys in `text_config`.
    pub(super) fn get(&self, keys: &str) -> &Value {
        let walk = |from| keys.split('.').fold(from, |value: &Value, key| &value[key]);
        match walk(&self.value) {
            Value::Null => walk(&self.value["text_config"]),
            value => value,
        }
    }

    /// A whole number within a range.
    pub(super) fn whole(&self, keys: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        let value = self.get(keys);
        if value.is_null() {
            return Ok(None);
        }
        let number = value.as_u64().filter(|number| range.contains(number));
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => {
                let wanted = format!("a whole number from {} to {}", range.start(), range.end());
                Err(self.wrong(&format!("`{keys}`"), value, &wanted))
            }
        }
    }

    /// A finite number that passes a test.
    fn real(&self, keys: &str, wanted: &str, passes: fn(f32) -> bool) -> Result<Option<f32>> {
        let value = self.get(keys);
        if value.is_null() {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "what overflows is infinite and refused")]
        let number = value.as_f64().map(|number| number as f32);
        match number.filter(|number| number.is_finite() && passes(*number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(&format!("`{keys}`"), value, wanted)),
        }
    }

    pub(super) fn flag(&self, keys: &str) -> Result<Option<bool>> {
        match self.get(keys) {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            value => Err(self.wrong(&format!("`{keys}`"), value, "`true` or `false`")),
        }
    }

    pub(super) fn text(&self, keys: &str) -> Result<Option<&str>> {
        match self.get(keys) {
            Value::Null => Ok(None),
            Value::String(text) if text.len() <= MAX_TEXT_BYTES => Ok(Some(text)),
            value => {
                let wanted = format!("text in quotes of at most {MAX_TEXT_BYTES} bytes");
                Err(self.wrong(&format!("`{keys}`"), value, &wanted))
            }
        }
    }

    /// The path of a file inside the folder. The folder may come from anywhere: its files stay inside it.
    pub(super) fn inner_path(&self, keys: &str) -> Result<Option<&str>> {
        match self.text(keys)? {
            Some(name) if !is_inside(name) => {
                Err(self.wrong(&format!("`{keys}`"), self.get(keys), "a path inside the folder"))
            }
            name => Ok(name),
        }
    }

    /// A token id or a list of them; empty for `null`.
    pub(super) fn token_ids(&self, keys: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let value = self.get(keys);
        let ids = match value {
            Value::Null => Some(Vec::new()),
            Value::Array(ids) if ids.len() <= MAX_EOS => ids.iter().map(id).collect(),
            value => id(value).map(|id| vec![id]),
        };
        let wanted = format!("a token's number, or a list of at most {MAX_EOS} of them");
        ids.ok_or_else(|| self.wrong(&format!("`{keys}`"), value, &wanted))
    }

    pub(super) fn wrong(&self, what: &str, value: &Value, wanted: &str) -> Error {
        let mut shown: String = value.to_string();
        if let Some((end, _)) = shown.char_indices().nth(SHOWN_CHARACTERS) {
            shown.truncate(end);
            shown.push('…');
        }
        Error::invalid_input(format!("{what} in `{}` is `{shown}`; it must be {wanted}", self.path.display()))
    }
}

/// Whether a path names something below the folder it is relative to.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A file's bytes, `None` where there is no file.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::from_io("read", path, error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => (),
        // A pipe or a device would be read without end.
        Ok(_) => return Err(Error::invalid_input(format!("`{}` is not a file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "`{}` is larger than {MAX_CONFIG_BYTES} bytes, too large for a configuration",
                path.display()
            ),
        ));
    }
    Ok(Some(bytes))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid_input(format!("`{}` is not JSON: {error}", path.display())).with_source(error)
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Error::invalid_input(format!("`{}` is not a JSON object in braces", path.display())))
}

/// Sizes that exporters leave open in the graph (`-1`), where a configuration file says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Tokens in the vocabulary.
    pub vocab_size: Option<usize>,
    /// Heads of keys and values in each layer.
    pub kv_heads: Option<usize>,
    /// Width of one head.
    pub head_dim: Option<usize>,
    /// Layers of attention.
    pub layers: Option<usize>,
    /// The tokens that sliding layers look back at. Graphs of onnxruntime-genai's builder take
    /// no cache for these layers that has fewer positions, and look at it as at any other where it holds the
    /// whole sequence.
    pub window: Option<usize>,
}

impl Sizes {
    pub(super) fn read(config: &ConfigFile, genai: &ConfigFile) -> Result<Self> {
        let heads = config.whole("num_attention_heads", 1..=MAX_HEADS)?;
        let hidden = config.whole("hidden_size", 1..=MAX_WIDTH)?;
        let kv_heads = match config.get("num_key_value_heads") {
            // One number for each layer: only the graph can say them.
            Value::Array(_) => None,
            // Without grouped queries every query head has its own keys and values.
            _ => config.whole("num_key_value_heads", 1..=MAX_HEADS)?.or(heads),
        };
        let split = match (hidden, heads) {
            (Some(hidden), Some(heads)) if hidden % heads == 0 => Some(hidden / heads),
            _ => None,
        };
        Ok(Self {
            vocab_size: genai
                .whole("model.vocab_size", 1..=MAX_VOCABULARY)?
                .or(config.whole("vocab_size", 1..=MAX_VOCABULARY)?),
            kv_heads: genai.whole("model.decoder.num_key_value_heads", 1..=MAX_HEADS)?.or(kv_heads),
            head_dim: genai
                .whole("model.decoder.head_size", 1..=MAX_WIDTH)?
                .or(config.whole("head_dim", 1..=MAX_WIDTH)?)
                .or(split),
            layers: genai
                .whole("model.decoder.num_hidden_layers", 1..=MAX_LAYERS)?
                .or(config.whole("num_hidden_layers", 1..=MAX_LAYERS)?),
            // What `config.json` says of a window is in the graph: only the builder's caches depend on it.
            window: genai.whole("model.decoder.sliding_window.window_size", 1..=MAX_CONTEXT)?,
        })
    }
}

/// The context's length in tokens, where a file says it.
pub(super) fn context_length(config: &ConfigFile, genai: &ConfigFile) -> Result<Option<usize>> {
    let read = |file: &ConfigFile, keys| {
        file.whole(keys, 2..=MAX_CONTEXT).map_err(|error| error.context("the context length"))
    };
    let said = read(genai, "model.context_length")?;
    Ok(said.or(read(config, "max_position_embeddings")?))
}

/// How the model's authors sample from it, where `generation_config.json`, `genai_config.json` or
/// `config.json` say it, in this order of precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GenerationDefaults {
    /// Whether tokens are sampled; else the likeliest is taken.
    pub do_sample: Option<bool>,
    /// Flattens the distribution above 1, sharpens it below.
    pub temperature: Option<f32>,
    /// Only the k likeliest tokens; 0 is all.
    pub top_k: Option<u32>,
    /// Only the likeliest tokens whose probabilities reach this sum.
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already seen, as in CTRL; 1 is off.
    pub repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    pub(super) fn read(generation: &ConfigFile, genai: &ConfigFile, config: &ConfigFile) -> Result<Self> {
        let mut defaults = Self::default();
        for (file, section) in [(generation, ""), (genai, "search."), (config, "")] {
            let key = |name: &str| format!("{section}{name}");
            let fraction = |name: &str| {
                file.real(&key(name), "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
            };
            let top_k = file.whole(&key("top_k"), 0..=u64::from(u32::MAX))?;
            let said = Self {
                do_sample: file.flag(&key("do_sample"))?,
                temperature: file.real(&key("temperature"), "0 or more", |value| value >= 0.0)?,
                top_k: top_k.and_then(|k| u32::try_from(k).ok()),
                top_p: fraction("top_p")?,
                min_p: fraction("min_p")?,
                repetition_penalty: file.real(&key("repetition_penalty"), "above 0", |value| value > 0.0)?,
            };
            defaults = Self {
                do_sample: defaults.do_sample.or(said.do_sample),
                temperature: defaults.temperature.or(said.temperature),
                top_k: defaults.top_k.or(said.top_k),
                top_p: defaults.top_p.or(said.top_p),
                min_p: defaults.min_p.or(said.min_p),
                repetition_penalty: defaults.repetition_penalty.or(said.repetition_penalty),
            };
        }
        Ok(defaults)
    }

    /// The options that generate as the authors do: greedily unless `do_sample` is true, with a
    /// temperature of 1 where they sample and say none.
    ///
    /// ```
    /// use puna_inference::GenerationDefaults;
    ///
    /// let said = GenerationDefaults { temperature: Some(0.6), ..Default::default() };
    /// assert_eq!(said.options().temperature, Some(0.0));
    /// let said = GenerationDefaults { do_sample: Some(true), ..said };
    /// assert_eq!(said.options().temperature, Some(0.6));
    /// ```
    pub fn options(&self) -> GenerateOptions {
        let mut options = GenerateOptions {
            temperature: Some(0.0),
            repetition_penalty: self.repetition_penalty,
            ..GenerateOptions::default()
        };
        if self.do_sample == Some(true) {
            options.temperature = self.temperature.or(Some(1.0));
            options.top_k = self.top_k;
            // A sum of 0 is what some files write for "off".
            options.top_p = self.top_p.filter(|sum| *sum > 0.0);
            options.min_p = self.min_p;
        }
        options
    }
}
