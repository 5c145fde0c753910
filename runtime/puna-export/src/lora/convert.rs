use std::{io::Write, path::Path};

use half::f16;
use puna_core::{Error, Result};
use serde::Serialize;

use super::{
    Pair, Peft,
    flatbuffer::{self, MAX_BYTES, Parameter},
};
use crate::{Architecture, Weights, checkpoint::listed, config::DecoderConfig, onnx::Type};

/// What a conversion wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterReport {
    /// Modules of the model that are adapted.
    pub modules: usize,
    /// The largest rank of a module.
    pub rank: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Turns an adapter that PEFT saved into a file that graphs exported with
/// [`ExportOptions::adapters`](crate::ExportOptions::adapters) take. `base` is the folder of the model that is adapted,
/// its checkpoint's or the exported one: its `config.json` is read. `weights` are those of the graph's activations:
/// `Fp16` for a graph exported so, else `Fp32`.
///
/// A graph has one product for queries, keys and values: their adapters become one, of the sum of their ranks.
///
/// # Errors
/// [`NotFound`](puna_core::ErrorKind::NotFound) for missing files;
/// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for kinds of adapters that are not supported and for modules
/// that the model does not have, or not in this shape, or whose products take no adapters.
pub fn convert(adapter: &Path, base: &Path, out: &Path, weights: Weights) -> Result<AdapterReport> {
    let element = match weights {
        Weights::Fp32 => Type::Float32,
        Weights::Fp16 => Type::Float16,
        other => {
            return Err(Error::invalid_input(format!(
                "an adapter's numbers are `fp32` or `fp16`, as the graph's activations, not `{other}`"
            )));
        }
    };
    let config = DecoderConfig::open(base)?;
    let peft = Peft::open(adapter)?;
    let mut parameters = Vec::new();
    let mut used = Vec::new();
    let mut bytes = 0_u64;
    for product in products(&config) {
        let made = product.adapted(&peft, element)?;
        used.extend(product.parts.into_iter().map(|part| part.module));
        for parameter in made.into_iter().flatten() {
            bytes += parameter.data.len() as u64 + parameter.name.len() as u64 + 64;
            if bytes > MAX_BYTES {
                return Err(Error::invalid_input(format!(
                    "the adapter takes more than {MAX_BYTES} bytes, which its file cannot hold; merge it instead"
                )));
            }
            parameters.push(parameter);
        }
    }
    let lost: Vec<&str> =
        peft.modules().map(|(name, _)| name).filter(|name| !used.iter().any(|used| used == name)).collect();
    if !lost.is_empty() {
        return Err(Error::invalid_input(format!(
            "the adapter in `{}` changes {}; a `{}` takes adapters of its layers' products alone; merge it instead",
            adapter.display(),
            listed(&lost),
            config.architecture.name()
        )));
    }
    let file = flatbuffer::write(&parameters);
    store(out, &file)?;
    let rank = peft.modules().map(|(_, pair)| pair.rank).max().unwrap_or(0);
    Ok(AdapterReport { modules: peft.modules().count(), rank, bytes: file.len() as u64 })
}

/// All or nothing of a file.
fn store(out: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::from_io("write", out, error);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(out).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A product of the graph, and the checkpoint's modules that it is made of.
struct Product {
    name: String,
    inputs: usize,
    outputs: usize,
    parts: Vec<Part>,
}

/// Rows of a module, and where they are in the product.
struct Part {
    module: String,
    /// The rows of the whole module.
    of: usize,
    first: usize,
    rows: usize,
    at: usize,
}

impl Part {
    fn whole(module: String, rows: usize, at: usize) -> Self {
        Self { module, of: rows, first: 0, rows, at }
    }
}

/// The products that take adapters.
fn products(config: &DecoderConfig) -> Vec<Product> {
    let DecoderConfig { hidden_size: hidden, intermediate_size: inner, .. } = *config;
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let fused = config.architecture == Architecture::Phi3;
    let mut products = Vec::new();
    for layer in 0..config.layers {
        let at = |module: &str| format!("model.layers.{layer}.{module}");
        let single = |module: &str, inputs, outputs| Product {
            name: at(module),
            inputs,
            outputs,
            parts: vec![Part::whole(at(module), outputs, 0)],
        };
        let qkv = queries + 2 * keys;
        let mut projection = single("self_attn.qkv_proj", hidden, qkv);
        if !fused {
            projection.parts = vec![
                Part::whole(at("self_attn.q_proj"), queries, 0),
                Part::whole(at("self_attn.k_proj"), keys, queries),
                Part::whole(at("self_attn.v_proj"), keys, queries + keys),
            ];
        }
        products.push(projection);
        products.push(single("self_attn.o_proj", queries, hidden));
        for (number, part) in ["mlp.gate_proj", "mlp.up_proj"].into_iter().enumerate() {
            let mut product = single(part, hidden, inner);
            if fused {
                let module = at("mlp.gate_up_proj");
                product.parts =
                    vec![Part { module, of: 2 * inner, first: number * inner, rows: inner, at: 0 }];
            }
            products.push(product);
        }
        products.push(single("mlp.down_proj", inner, hidden));
    }
    products
}

impl Product {
    /// Both matrices as the graph takes them, `[inputs, rank]` and `[rank, outputs]`, the scale in the second; `None`
    /// where none of the parts is adapted.
    fn adapted(&self, peft: &Peft, element: Type) -> Result<Option<[Parameter; 2]>> {
        let found: Vec<(&Part, Pair)> =
            self.parts.iter().filter_map(|part| Some((part, peft.pair(&part.module)?))).collect();
        if found.is_empty() {
            return Ok(None);
        }
        let rank: usize = found.iter().map(|(_, pair)| pair.rank).sum();
        let mut down = vec![0.0; self.inputs * rank];
        let mut up = vec![0.0; rank * self.outputs];
        let mut begin = 0;
        for (part, pair) in found {
            if (pair.inputs, pair.outputs) != (self.inputs, part.of) {
                return Err(Error::invalid_input(format!(
                    "the adapter changes `{}` as {:?}, which is {:?} in the model",
                    part.module,
                    [pair.outputs, pair.inputs],
                    [part.of, self.inputs]
                )));
            }
            let a = peft.a(&part.module, pair)?;
            for (step, row) in a.chunks_exact(self.inputs).enumerate() {
                for (input, value) in row.iter().enumerate() {
                    down[input * rank + begin + step] = *value;
                }
            }
            let b = peft.b(&part.module, pair, part.first, part.rows)?;
            for (output, row) in b.chunks_exact(pair.rank).enumerate() {
                for (step, value) in row.iter().enumerate() {
                    up[(begin + step) * self.outputs + part.at + output] = value * pair.scale;
                }
            }
            begin += pair.rank;
        }
        let parameter = |part: &str, dims, values: &[f32]| Parameter {
            name: format!("{}.{part}.weight", self.name),
            dims,
            element,
            data: match element {
                Type::Float16 => {
                    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
                }
                _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            },
        };
        Ok(Some([
            parameter("lora_A", [self.inputs, rank], &down),
            parameter("lora_B", [rank, self.outputs], &up),
        ]))
    }
}
