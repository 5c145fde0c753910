//! Rotary position embeddings: the tables of cosines and sines that a graph holds.

use std::f64::consts::PI;

use puna_core::{Error, Result};
use serde::Deserialize;

use crate::config::{narrow, positive};

/// The base where a configuration says none.
const DEFAULT_THETA: f64 = 10_000.0;

/// A cosine or a sine.
pub(crate) type Function = fn(f64) -> f64;

/// The keys of `config.json` that are about rotation, in the words of transformers 4 and 5.
#[derive(Default, Deserialize)]
pub(crate) struct RawRope {
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    rope_scaling: Option<RawScaling>,
    rope_parameters: Option<RawScaling>,
}

#[derive(Default, Deserialize)]
struct RawScaling {
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
}

/// How places become angles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    theta: f64,
    /// Width of a head's part that turns.
    pub(crate) width: usize,
    scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
enum Scaling {
    Plain,
    /// Places divided by a factor.
    Linear(f64),
    /// A larger base behind the context that the model was trained with.
    Dynamic {
        factor: f64,
        trained: usize,
    },
    /// Slow angles divided by a factor, fast ones left, those between blended (Llama 3.1).
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        trained: f64,
    },
    /// The same blend by the angle's number (YaRN), and a factor for cosines and sines.
    Yarn {
        factor: f64,
        fast: f64,
        slow: f64,
        trained: f64,
        attention: f64,
    },
    /// A factor for each angle, one list up to the context of the first training and one beyond (LongRoPE).
    Long {
        short: Vec<f64>,
        long: Vec<f64>,
        trained: usize,
        attention: f64,
    },
}

/// A table of `[positions, width / 2]` cosines and as many sines: one part, or with LongRoPE a part for sequences up to
/// the first training's context and below it one for longer ones, which starts again at place 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    positions: usize,
    /// The angle of each place's step.
    frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    scale: f64,
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.positions).sum()
    }

    pub(crate) fn columns(&self) -> usize {
        self.parts.first().map_or(0, |part| part.frequencies.len())
    }

    /// The row where longer sequences begin, which is the length of the longest short one.
    pub(crate) fn long_from(&self) -> Option<usize> {
        (self.parts.len() > 1).then(|| self.parts[0].positions)
    }

    /// One row of cosines or sines.
    pub(crate) fn row(&self, mut row: usize, function: Function, out: &mut Vec<f32>) {
        for part in &self.parts {
            if row < part.positions {
                // The frequencies are 32-bit floats and so is the product, as in transformers.
                out.extend(part.frequencies.iter().map(|frequency| {
                    let angle = narrow(row as f64) * narrow(*frequency);
                    narrow(function(f64::from(angle)) * part.scale)
                }));
                return;
            }
            row -= part.positions;
        }
    }
}

impl Rope {
    pub(crate) fn check(raw: &RawRope, head_dim: usize, context: usize) -> Result<Self> {
        let none = RawScaling::default();
        let scaling = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref()).unwrap_or(&none);
        let theta = scaling.rope_theta.or(raw.rope_theta).unwrap_or(DEFAULT_THETA);
        let theta = positive("rope_theta", theta)?;
        let part = scaling.partial_rotary_factor.or(raw.partial_rotary_factor).unwrap_or(1.0);
        if !(part > 0.0 && part <= 1.0) {
            return Err(Error::invalid_input(format!(
                "`partial_rotary_factor` is `{part}`; it must be above 0 and at most 1"
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the head's width"
        )]
        let width = (head_dim as f64 * part) as usize;
        if width == 0 || !width.is_multiple_of(2) {
            return Err(Error::invalid_input(format!(
                "`partial_rotary_factor` leaves {width} of `head_dim` to turn; it must leave an even number"
            )));
        }
        let trained = scaling.original_max_position_embeddings.or(raw.original_max_position_embeddings);
        let trained = trained.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 1);
        let factor = |name: &str, value: Option<f64>| positive(name, value.ok_or_else(|| missing(name))?);
        let kind = scaling.rope_type.as_deref().or(scaling.old_type.as_deref()).unwrap_or("default");
        let scaling = match kind {
            "default" => Scaling::Plain,
            "linear" => Scaling::Linear(factor("factor", scaling.factor)?),
            "dynamic" => Scaling::Dynamic {
                factor: factor("factor", scaling.factor)?,
                trained: trained.unwrap_or(context),
            },
            "llama3" => Scaling::Llama3 {
                factor: factor("factor", scaling.factor)?,
                low: factor("low_freq_factor", scaling.low_freq_factor)?,
                high: factor("high_freq_factor", scaling.high_freq_factor)?,
                trained: trained.ok_or_else(|| missing("original_max_position_embeddings"))? as f64,
            },
            "yarn" => {
                let factor = factor("factor", scaling.factor)?;
                Scaling::Yarn {
                    factor,
                    fast: positive("beta_fast", scaling.beta_fast.unwrap_or(32.0))?,
                    slow: positive("beta_slow", scaling.beta_slow.unwrap_or(1.0))?,
                    trained: trained.unwrap_or(context) as f64,
                    attention: match scaling.attention_factor {
                        Some(attention) => positive("attention_factor", attention)?,
                        // YaRN (arXiv 2309.00071), section 3.4.
                        None => 0.1 * factor.max(1.0).ln() + 1.0,
                    },
                }
            }
            "longrope" | "su" => {
                let trained = trained.ok_or_else(|| missing("original_max_position_embeddings"))?;
                let list = |name: &str, list: &Option<Vec<f64>>| {
                    let list = list.clone().ok_or_else(|| missing(name))?;
                    if list.len() != width / 2 {
                        return Err(Error::invalid_input(format!(
                            "`{name}` has {} numbers; it must have {}, half of what turns of a head",
                            list.len(),
                            width / 2
                        )));
                    }
                    list.iter().map(|value| positive(name, *value)).collect::<Result<Vec<_>>>()
                };
                let stretch = scaling.factor.unwrap_or(context as f64 / trained as f64);
                let attention = match scaling.attention_factor {
                    Some(factor) => positive("attention_factor", factor)?,
                    None if stretch <= 1.0 => 1.0,
                    // LongRoPE (arXiv 2402.13753), section 3.3.
                    None => (1.0 + stretch.ln() / (trained as f64).ln()).sqrt(),
                };
                Scaling::Long {
                    short: list("short_factor", &scaling.short_factor)?,
                    long: list("long_factor", &scaling.long_factor)?,
                    trained,
                    attention,
                }
            }
            other => {
                let shown: String = other.chars().take(60).collect();
                return Err(Error::invalid_input(format!(
                    "`rope_type` is `{shown}`; supported are `default`, `linear`, `dynamic`, `llama3`, `yarn` and `longrope`"
                )));
            }
        };
        if let Scaling::Llama3 { low, high, .. } = &scaling
            && low >= high
        {
            return Err(Error::invalid_input(format!(
                "`low_freq_factor` is `{low}`; it must be below `high_freq_factor`, `{high}`"
            )));
        }
        let rope = Self { theta, width, scaling };
        let table = rope.table(context);
        let finite = |part: &Part| {
            part.scale.is_finite() && part.frequencies.iter().all(|step| narrow(*step).is_finite())
        };
        if !table.parts.iter().all(finite) {
            return Err(Error::invalid_input(
                "the numbers of the rotary positions are too large or too small",
            ));
        }
        Ok(rope)
    }

    /// The table for a context of so many tokens.
    ///
    /// `dynamic` changes its base with the length of the sequence once that is more than the model was trained
    /// with. A table is fixed, so such a context has the base of its whole length from its first token on.
    pub(crate) fn table(&self, context: usize) -> Table {
        let plain = |theta: f64| -> Vec<f64> {
            (0..self.width / 2).map(|place| theta.powf(-2.0 * place as f64 / self.width as f64)).collect()
        };
        let one = |frequencies| Table { parts: vec![Part { positions: context, frequencies, scale: 1.0 }] };
        let base = plain(self.theta);
        match &self.scaling {
            Scaling::Plain => one(base),
            Scaling::Linear(factor) => one(base.iter().map(|frequency| frequency / factor).collect()),
            Scaling::Dynamic { factor, trained } if context > *trained => {
                let (width, stretch) = (self.width as f64, context as f64 / *trained as f64);
                let grown = (factor * stretch - (factor - 1.0)).powf(width / (width - 2.0));
                one(plain(self.theta * grown))
            }
            Scaling::Dynamic { .. } => one(base),
            Scaling::Llama3 { factor, low, high, trained } => one(base
                .iter()
                .map(|frequency| {
                    let turns = trained * frequency / (2.0 * PI);
                    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                })
                .collect()),
            Scaling::Yarn { factor, fast, slow, trained, attention } => {
                // The number of the angle that turns so often within the first training's context.
                let number = |turns: f64| {
                    self.width as f64 * (trained / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
                };
                let low = number(*fast).floor().max(0.0);
                let high = number(*slow).ceil().min(self.width as f64 - 1.0);
                // As transformers keeps them apart.
                let span = if high == low { 0.001 } else { high - low };
                let blended = base.iter().enumerate().map(|(place, frequency)| {
                    let slowed = ((place as f64 - low) / span).clamp(0.0, 1.0);
                    slowed * frequency / factor + (1.0 - slowed) * frequency
                });
                Table {
                    parts: vec![Part {
                        positions: context,
                        frequencies: blended.collect(),
                        scale: *attention,
                    }],
                }
            }
            Scaling::Long { short, long, trained, attention } => {
                let part = |factors: &[f64], positions| Part {
                    positions,
                    frequencies: base
                        .iter()
                        .zip(factors)
                        .map(|(frequency, factor)| frequency / factor)
                        .collect(),
                    scale: *attention,
                };
                let mut parts = vec![part(short, context.min(*trained))];
                if context > *trained {
                    parts.push(part(long, context));
                }
                Table { parts }
            }
        }
    }
}

fn missing(name: &str) -> Error {
    Error::invalid_input(format!("the scaling of rotary positions lacks `{name}`"))
}
