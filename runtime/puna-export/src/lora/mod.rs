//! Adapters as PEFT saves them: two narrow matrices for each product that they change.
//!
//! A product's weights become `W + scale · B · A` (LoRA, arXiv 2106.09685), `A` of `[rank, inputs]` and `B` of
//! `[outputs, rank]`. An export merges them into the weights, or they become a file that an exported graph takes
//! beside its own weights.

mod convert;
mod flatbuffer;
mod merge;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use puna_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::convert::{AdapterReport, convert};
pub(crate) use self::merge::Merged;
use crate::{
    checkpoint::{Checkpoint, Source, listed},
    config::positive,
    files,
};

/// The file of an adapter's numbers.
const WEIGHTS: &str = "adapter_model.safetensors";

/// The file that says what they mean.
const CONFIG: &str = "adapter_config.json";

/// What PEFT puts before a module's own name.
const PREFIX: &str = "base_model.model.";

/// Largest rank believed: the rows of a large model's weights, which an adapter of them all would not save.
const MAX_RANK: usize = 1 << 14;

/// Initialisations that change the weights beside the adapter, so that it is not all there is to know.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Settings of kinds of LoRA that compute something else.
const OTHER_KINDS: [&str; 10] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

#[derive(Deserialize)]
struct Config {
    peft_type: String,
    lora_alpha: Option<f64>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    use_rslora: Option<bool>,
    use_dora: Option<bool>,
    fan_in_fan_out: Option<bool>,
    bias: Option<String>,
    lora_bias: Option<bool>,
    modules_to_save: Option<Vec<String>>,
    init_lora_weights: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A product's two matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// What `B · A` is multiplied by.
    pub(crate) scale: f32,
}

/// An adapter's folder. Its numbers are read when they are wanted.
pub(crate) struct Peft {
    tensors: Checkpoint,
    /// By the names of the modules in the model that is adapted.
    pairs: BTreeMap<String, Pair>,
}

impl Peft {
    /// Opens `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when one is missing; [`Corrupt`](ErrorKind::Corrupt) for a header that does
    /// not fit its file; [`InvalidInput`](ErrorKind::InvalidInput) for kinds of adapters that are not supported, which
    /// are named.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let bytes = files::read_bounded(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no `{CONFIG}` in `{}`", folder.display()))
        })?;
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| {
            Error::invalid_input(format!("`{}` is not an adapter's: {error}", path.display()))
                .with_source(error)
        })?;
        let named = |error: Error| error.context(format!("`{}`", path.display()));
        config.check().map_err(named)?;
        let tensors = Checkpoint::open_file(&folder.join(WEIGHTS))?;
        let pairs = pairs(&config, &tensors).map_err(|error| error.context(format!("`{WEIGHTS}`")))?;
        Ok(Self { tensors, pairs })
    }

    pub(crate) fn pair(&self, module: &str) -> Option<Pair> {
        self.pairs.get(module).copied()
    }

    /// The modules that are adapted.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, Pair)> {
        self.pairs.iter().map(|(name, pair)| (&**name, *pair))
    }

    /// `A` of a module, `[rank, inputs]`.
    pub(crate) fn a(&self, module: &str, pair: Pair) -> Result<Vec<f32>> {
        self.read(&format!("{PREFIX}{module}.lora_A.weight"), 0, pair.rank * pair.inputs)
    }

    /// Rows of `B` of a module, `[rows, rank]`.
    pub(crate) fn b(&self, module: &str, pair: Pair, first: usize, rows: usize) -> Result<Vec<f32>> {
        self.read(&format!("{PREFIX}{module}.lora_B.weight"), first * pair.rank, rows * pair.rank)
    }

    fn read(&self, name: &str, from: usize, count: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; count];
        self.tensors.read(name, from as u64, &mut values)?;
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) => Err(Error::invalid_input(format!(
                "`{name}` has `{value}` where a weight belongs; the adapter is damaged"
            ))),
        }
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        let refused = |what: &str, remedy: &str| Err(Error::invalid_input(format!("{what}; {remedy}")));
        if self.peft_type != "LORA" {
            let shown: String = self.peft_type.chars().take(60).collect();
            return refused(&format!("`peft_type` is `{shown}`"), "only `LORA` is supported");
        }
        let merge = "merge it with PEFT and export the result";
        if self.use_dora == Some(true) {
            return refused("`use_dora` is on: DoRA rescales every row of the weights", merge);
        }
        if self.fan_in_fan_out == Some(true) {
            return refused("`fan_in_fan_out` is on", "no supported model has its weights turned so");
        }
        if self.bias.as_deref().is_some_and(|bias| bias != "none") || self.lora_bias == Some(true) {
            return refused("the adapter has biases", merge);
        }
        if let Some(modules) = self.modules_to_save.as_deref().filter(|modules| !modules.is_empty()) {
            let names: Vec<&str> = modules.iter().map(String::as_str).collect();
            return refused(&format!("`modules_to_save` replaces {} whole", listed(&names)), merge);
        }
        let set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        };
        if let Some((name, _)) =
            self.others.iter().find(|(name, value)| OTHER_KINDS.contains(&name.as_str()) && set(value))
        {
            return refused(&format!("`{name}` makes it more than two matrices a product"), merge);
        }
        if let Some(how) = self.init_lora_weights.as_ref().and_then(Value::as_str)
            && CHANGES_BASE.iter().any(|name| how.starts_with(name))
        {
            let shown: String = how.chars().take(60).collect();
            return refused(
                &format!("`init_lora_weights` is `{shown}`, which changes the weights beside the adapter"),
                "save it with PEFT's conversion to plain LoRA",
            );
        }
        Ok(())
    }

    /// What a module's product is multiplied by, as PEFT finds its alpha: the pattern that ends its name, else the
    /// adapter's own.
    fn scale(&self, module: &str, rank: usize) -> Result<f32> {
        let ends = |pattern: &str| {
            module.strip_suffix(pattern).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let mut alpha = self.lora_alpha.unwrap_or(8.0);
        for (pattern, value) in &self.alpha_pattern {
            if pattern.contains(|letter| "*+?()[]{}|^$\\".contains(letter)) {
                return Err(Error::invalid_input(format!(
                    "`alpha_pattern` has `{pattern}`; only names of modules are supported, no expressions"
                )));
            }
            if ends(pattern) {
                alpha = *value;
                break;
            }
        }
        let alpha = positive("lora_alpha", alpha)?;
        let rank = rank as f64;
        let divisor = if self.use_rslora == Some(true) { rank.sqrt() } else { rank };
        Ok(crate::config::narrow(alpha / divisor))
    }
}

/// Finds the pairs; every tensor must belong to one.
fn pairs(config: &Config, tensors: &Checkpoint) -> Result<BTreeMap<String, Pair>> {
    let mut modules = BTreeSet::new();
    let mut strange = Vec::new();
    for name in tensors.names() {
        let module = name.strip_prefix(PREFIX).and_then(|rest| {
            rest.strip_suffix(".lora_A.weight").or_else(|| rest.strip_suffix(".lora_B.weight"))
        });
        match module {
            Some(module) => _ = modules.insert(module.to_owned()),
            None => strange.push(name),
        }
    }
    if !strange.is_empty() {
        return Err(Error::invalid_input(format!(
            "has {}, which are no `lora_A` and `lora_B` of a product",
            listed(&strange)
        )));
    }
    if modules.is_empty() {
        return Err(Error::invalid_input("has no tensors"));
    }
    let pair = |module: String| {
        let shape = |part: &str| tensors.shape(&format!("{PREFIX}{module}.{part}.weight"));
        match (shape("lora_A"), shape("lora_B")) {
            (Some(&[rank, inputs]), Some(&[outputs, other]))
                if rank == other && (1..=MAX_RANK).contains(&rank) && inputs > 0 && outputs > 0 =>
            {
                let scale = config.scale(&module, rank)?;
                Ok((module, Pair { rank, inputs, outputs, scale }))
            }
            (a, b) => Err(Error::invalid_input(format!(
                "has `{module}.lora_A` of shape {a:?} and `lora_B` of {b:?}; they must be [rank, inputs] and [outputs, rank], of a rank from 1 to {MAX_RANK}"
            ))),
        }
    };
    modules.into_iter().map(pair).collect()
}
