//! An encoder's graph: batches in, a vector for each text out.

use ort::{
    session::{Session, SessionInputValue},
    value::{Tensor, TensorElementType},
};
use puna_core::{Error, ErrorKind, Result};
use puna_text::Encoded;

use super::pooling::pool;
use crate::{
    buffer::failed,
    folder::{EncoderFolder, Pooling},
    runtime::Runtime,
};

/// What the graph gives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    /// `[batch, sequence, width]`, to be pooled.
    Tokens(Vec<Pooling>),
    /// `[batch, width]`
    Whole,
}

/// What is asked of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Embedding,
    Logits,
}

pub(super) struct EncoderSession {
    session: Session,
    has_mask: bool,
    has_types: bool,
    output: String,
    given: Given,
    /// Whether the tokens of a prompt are left out when tokens are pooled.
    leaves_prompt_out: bool,
    /// Numbers of one of the output's vectors.
    pub(super) inner: usize,
    /// Numbers of a text's vector.
    pub(super) width: usize,
    padding: i64,
}

impl EncoderSession {
    pub(super) fn open(
        runtime: &Runtime,
        folder: &EncoderFolder,
        threads: usize,
        wanted: Wanted,
        padding: u32,
    ) -> Result<Self> {
        let shown = folder.graph.display().to_string();
        let session = runtime
            .session(threads, &folder.graph)
            .and_then(|mut builder| builder.commit_from_file(&folder.graph))
            .map_err(|error| {
                let message = format!("cannot load the model `{shown}`: {}", error.message());
                Error::new(ErrorKind::Corrupt, message)
            })?;
        let known = ["input_ids", "attention_mask", "token_type_ids"];
        for input in session.inputs() {
            if !known.contains(&input.name()) || input.dtype().tensor_type() != Some(TensorElementType::Int64)
            {
                return Err(Error::invalid_input(format!(
                    "the model `{shown}` takes `{}`; an encoder takes {} in 64-bit integers",
                    input.name(),
                    known.map(|name| format!("`{name}`")).join(", ")
                )));
            }
        }
        let has = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        let (has_ids, has_mask, has_types) = (has(known[0]), has(known[1]), has(known[2]));
        if !has_ids {
            return Err(Error::invalid_input(format!("the model `{shown}` takes no `input_ids`")));
        }
        let tokens = || Given::Tokens(folder.pooling.clone());
        let names = match wanted {
            Wanted::Logits => vec![("logits", Given::Whole)],
            Wanted::Embedding => vec![
                ("sentence_embedding", Given::Whole),
                ("last_hidden_state", tokens()),
                ("token_embeddings", tokens()),
            ],
        };
        let found = names.iter().find_map(|(name, given)| {
            let output = session.outputs().iter().find(|output| output.name() == *name)?;
            Some((output, given.clone()))
        });
        let Some((output, given)) = found else {
            let there: Vec<String> =
                session.outputs().iter().map(|output| format!("`{}`", output.name())).collect();
            let wanted: Vec<String> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(Error::invalid_input(format!(
                "the model `{shown}` gives {}; wanted is {}",
                there.join(", "),
                wanted.join(" or ")
            )));
        };
        let said = output.dtype().tensor_shape().and_then(|shape| shape.last().copied()).unwrap_or(-1);
        if output.dtype().tensor_type() != Some(TensorElementType::Float32) {
            return Err(Error::invalid_input(format!(
                "the model `{shown}` gives `{}` in other than 32-bit floats; take another variant",
                output.name()
            )));
        }
        let output = output.name().to_owned();
        let ways = if let Given::Tokens(ways) = &given { ways.len() } else { 1 };
        let mut opened = Self {
            session,
            has_mask,
            has_types,
            output,
            given,
            leaves_prompt_out: !folder.pools_prompt,
            inner: 0,
            width: 0,
            padding: i64::from(padding),
        };
        // Exporters leave the width of what a graph computes open: a token tells it.
        let width =
            if said > 0 { said } else { opened.measure().map_err(|error| error.context(shown.clone()))? };
        opened.inner = usize::try_from(width)
            .ok()
            .filter(|width| (1..=crate::folder::MAX_WIDTH as usize).contains(width))
            .ok_or_else(|| {
                Error::invalid_input(format!(
                    "the model `{shown}` gives `{}` of a width of `{width}`; no model is so wide",
                    opened.output
                ))
            })?;
        opened.width = opened.inner * ways;
        Ok(opened)
    }

    /// The output's last dimension for one token.
    fn measure(&mut self) -> Result<i64> {
        let token = u32::try_from(self.padding).unwrap_or(0);
        let inputs = self.inputs(&[&Encoded { ids: vec![token], types: vec![0], prompt: 0 }])?;
        let outputs = self.session.run(inputs).map_err(failed("run the model"))?;
        let output = outputs.get(&self.output).ok_or_else(|| missing(&self.output))?;
        let (shape, _) = output.try_extract_tensor::<f32>().map_err(failed("read the model's output"))?;
        Ok(shape.last().copied().unwrap_or(0))
    }

    /// `[batch, longest]` of each input that the graph has.
    fn inputs(&self, batch: &[&Encoded]) -> Result<Vec<(&'static str, SessionInputValue<'static>)>> {
        let longest = longest(batch);
        let fill = |of: &dyn Fn(&Encoded, usize) -> i64, rest: i64| {
            let mut values = Vec::with_capacity(batch.len() * longest);
            for text in batch {
                values.extend((0..text.ids.len()).map(|place| of(text, place)));
                values.resize(values.len() + longest - text.ids.len(), rest);
            }
            let tensor = Tensor::from_array(([batch.len(), longest], values));
            tensor.map(SessionInputValue::from).map_err(failed("make a batch"))
        };
        let mut inputs = vec![("input_ids", fill(&|text, place| i64::from(text.ids[place]), self.padding)?)];
        if self.has_mask {
            inputs.push(("attention_mask", fill(&|_, _| 1, 0)?));
        }
        if self.has_types {
            inputs.push(("token_type_ids", fill(&|text, place| i64::from(text.types[place]), 0)?));
        }
        Ok(inputs)
    }

    /// A vector for each text of a batch; with `tokens`, those of its tokens one behind the other.
    pub(super) fn run(&mut self, batch: &[&Encoded], tokens: bool) -> Result<Vec<Vec<f32>>> {
        if tokens && self.given == Given::Whole {
            return Err(Error::invalid_input(format!(
                "the model gives `{}` and no vectors of tokens; take an export that gives `last_hidden_state`",
                self.output
            )));
        }
        let longest = longest(batch);
        let inputs = self.inputs(batch)?;
        let outputs = self.session.run(inputs).map_err(failed("run the model"))?;
        let output = outputs.get(&self.output).ok_or_else(|| missing(&self.output))?;
        let (found, values) =
            output.try_extract_tensor::<f32>().map_err(failed("read the model's output"))?;
        let rows = if let Given::Tokens(_) = self.given { longest } else { 1 };
        if values.len() != batch.len() * rows * self.inner {
            return Err(Error::invalid_input(format!(
                "the model gave `{}` of shape {found:?} for {} texts of {longest} tokens",
                self.output,
                batch.len()
            )));
        }
        let of_text = values.chunks_exact(rows * self.inner).zip(batch);
        Ok(of_text
            .map(|(values, text)| match &self.given {
                _ if tokens => values[..text.ids.len() * self.inner].to_vec(),
                Given::Tokens(ways) => {
                    let left_out = if self.leaves_prompt_out { text.prompt } else { 0 };
                    pool(&values[..text.ids.len() * self.inner], self.inner, left_out, ways)
                }
                Given::Whole => values.to_vec(),
            })
            .collect())
    }
}

fn longest(batch: &[&Encoded]) -> usize {
    batch.iter().map(|text| text.ids.len()).max().unwrap_or(0)
}

fn missing(output: &str) -> Error {
    Error::internal(format!("the model gave no `{output}`"))
}
