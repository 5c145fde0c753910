use std::{
    cmp::Ordering,
    collections::HashSet,
    hash::{BuildHasher, Hasher},
};

use puna_core::{Error, GenerateOptions, Result};

/// Chooses the next token from logits, as [`GenerateOptions`] say.
///
/// The steps and their order are those of Hugging Face's `generate`: repetition penalty, temperature,
/// `top_k`, `top_p`, `min_p`. Tokens of equal likelihood rank by their number, so that the choice depends on
/// nothing but the logits, the options and the seed.
///
/// ```
/// use puna_core::GenerateOptions;
/// use puna_inference::Sampler;
///
/// let mut greedy = Sampler::new(&GenerateOptions::default(), &[])?;
/// assert_eq!(greedy.choose(&[0.5, 2.0, 1.0]), 1);
/// # Ok::<(), puna_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: Option<f32>,
    min_p: Option<f32>,
    penalty: f32,
    seen: HashSet<u32>,
    random: SplitMix64,
    /// Logits after the penalty; kept to save an allocation of the vocabulary's size a token.
    scores: Vec<f32>,
    ranked: Vec<u32>,
}

impl Sampler {
    /// A sampler for one answer. `prompt` counts as seen for the repetition penalty.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when an option is outside its range.
    pub fn new(options: &GenerateOptions, prompt: &[u32]) -> Result<Self> {
        let range = |name: &str, value: f32, ok: bool, wanted: &str| {
            if ok {
                Ok(value)
            } else {
                Err(Error::invalid_input(format!("`{name}` is `{value}`; it must be {wanted}")))
            }
        };
        let fraction = |name, value: Option<f32>| {
            value.map(|value| range(name, value, (0.0..=1.0).contains(&value), "from 0 to 1")).transpose()
        };
        let temperature = options.temperature;
        let penalty = options.repetition_penalty.unwrap_or(1.0);
        let penalised = penalty != 1.0;
        Ok(Self {
            temperature: range(
                "temperature",
                temperature,
                temperature.is_finite() && temperature >= 0.0,
                "0 or more",
            )?,
            top_k: options.top_k as usize,
            top_p: fraction("top_p", options.top_p)?,
            min_p: fraction("min_p", options.min_p)?,
            penalty: range("repetition_penalty", penalty, penalty.is_finite() && penalty > 0.0, "above 0")?,
            seen: if penalised { prompt.iter().copied().collect() } else { HashSet::new() },
            random: SplitMix64(options.seed.unwrap_or_else(random_seed)),
            scores: Vec::new(),
            ranked: Vec::new(),
        })
    }

    /// Whether the likeliest token is taken, so that rounding in the logits seldom matters.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// The next token. `logits` has one number for each token of the vocabulary and is not empty; what
    /// is not a number counts as impossible.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        let token = if self.penalty == 1.0 && self.temperature == 0.0 {
            likeliest(logits)
        } else {
            self.penalise(logits);
            if self.temperature == 0.0 { likeliest(&self.scores) } else { self.sample() }
        };
        if self.penalty != 1.0 {
            self.seen.insert(token);
        }
        token
    }

    fn penalise(&mut self, logits: &[f32]) {
        self.scores.clear();
        self.scores
            .extend(logits.iter().map(|score| if score.is_nan() { f32::NEG_INFINITY } else { *score }));
        for token in &self.seen {
            if let Some(score) = self.scores.get_mut(*token as usize) {
                // CTRL (Keskar et al., 2019): both signs move away from being chosen.
                *score = if *score > 0.0 { *score / self.penalty } else { *score * self.penalty };
            }
        }
    }

    fn sample(&mut self) -> u32 {
        let Self { scores, ranked, temperature, top_k, top_p, min_p, random, .. } = self;
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if best == f32::NEG_INFINITY {
            return 0;
        }
        // Probabilities relative to the likeliest token's; in 64 bits, because thousands are summed.
        let weight = |score: f32| {
            if score == best {
                1.0
            } else {
                f64::exp((f64::from(score) - f64::from(best)) / f64::from(*temperature))
            }
        };
        let by_rank = |a: &u32, b: &u32| {
            scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap_or(Ordering::Equal).then(a.cmp(b))
        };
        ranked.clear();
        ranked.extend((0..u32::try_from(scores.len()).unwrap_or(u32::MAX)).filter(|token| {
            // A token this unlikely is never drawn: `weight` is 0 in 64 bits.
            weight(scores[*token as usize]) > 0.0
        }));
        if *top_k > 0 && *top_k < ranked.len() {
            ranked.select_nth_unstable_by(*top_k - 1, by_rank);
            ranked.truncate(*top_k);
        }
        // The order decides which token a random number means, so it is always the full order.
        ranked.sort_unstable_by(by_rank);
        let total = |tokens: &[u32]| tokens.iter().map(|token| weight(scores[*token as usize])).sum::<f64>();
        if let Some(top_p) = top_p.filter(|top_p| *top_p < 1.0) {
            let enough = f64::from(top_p) * total(ranked);
            let mut sum = 0.0;
            let mut kept = 0;
            for token in ranked.iter() {
                kept += 1;
                sum += weight(scores[*token as usize]);
                if sum >= enough {
                    break;
                }
            }
            ranked.truncate(kept.max(1));
        }
        if let Some(min_p) = *min_p {
            let kept = ranked.partition_point(|token| weight(scores[*token as usize]) >= f64::from(min_p));
            ranked.truncate(kept.max(1));
        }
        let mut rest = random.unit() * total(ranked);
        for token in ranked.iter() {
            rest -= weight(scores[*token as usize]);
            if rest < 0.0 {
                return *token;
            }
        }
        // Rounding can leave a rest above 0 after the last token.
        ranked[ranked.len() - 1]
    }
}

/// Logits compared at a time: as many as the widest vectors hold, twice.
const LANES: usize = 32;

/// The first of the likeliest tokens. What is not a number is never larger.
fn likeliest(logits: &[f32]) -> u32 {
    let larger = |best: f32, value: f32| if value > best { value } else { best };
    let (blocks, rest) = logits.as_chunks::<LANES>();
    // A maximum for each lane, which the compiler keeps in vectors.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *value);
        }
    }
    let best = lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger);
    let first = logits.iter().position(|value| *value == best).unwrap_or(0);
    u32::try_from(first).unwrap_or(u32::MAX)
}

/// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the
/// constants of Vigna's public-domain `splitmix64.c`. Its whole state is the seed, which is what
/// reproducing an answer needs; it is no source of secrets.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A seed that differs from process to process and call to call, from the keys the standard library draws
/// from the operating system.
fn random_seed() -> u64 {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u8(0);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn splitmix64_gives_the_published_sequence() {
        // The first outputs for seed 1234567, as Vigna's `splitmix64.c` prints them.
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
