use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, Hasher},
};

use puna_core::{DryOptions, Error, GenerateOptions, Result};
use puna_text::Mask;

/// Chooses the next token from logits, as [`GenerateOptions`] say.
///
/// The steps and their order are those of Hugging Face's `generate`, with those it lacks before its own: bias,
/// presence and frequency penalties, DRY, repetition penalty, temperature, `top_k`, `top_p`, `min_p`, `typical_p`.
/// Tokens of equal likelihood rank by their number, so that the choice depends on
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
    typical_p: Option<f32>,
    penalty: f32,
    seen: HashSet<u32>,
    bias: BTreeMap<u32, f32>,
    presence: f32,
    frequency: f32,
    /// How often each token was generated, where a penalty asks.
    counts: HashMap<u32, u32>,
    dry: Option<DryOptions>,
    breakers: HashSet<u32>,
    /// The prompt and what was generated, where DRY asks.
    history: Vec<u32>,
    random: SplitMix64,
    /// Logits after the penalty; kept to save an allocation of the vocabulary's size a token.
    scores: Vec<f32>,
    /// The largest of them.
    best: f32,
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
        let temperature = options.temperature.unwrap_or_default();
        let penalty = options.repetition_penalty.unwrap_or(1.0);
        let penalised = penalty != 1.0;
        let openai = |name, value: Option<f32>| {
            let value = value.unwrap_or(0.0);
            range(name, value, (-2.0..=2.0).contains(&value), "from -2 to 2")
        };
        let dry = options.dry.clone().filter(|dry| dry.multiplier != 0.0);
        if let Some(DryOptions { multiplier, base, .. }) = &dry {
            range("dry.multiplier", *multiplier, multiplier.is_finite() && *multiplier > 0.0, "0 or more")?;
            range("dry.base", *base, base.is_finite() && *base >= 1.0, "1 or more")?;
        }
        Ok(Self {
            temperature: range(
                "temperature",
                temperature,
                temperature.is_finite() && temperature >= 0.0,
                "0 or more",
            )?,
            top_k: options.top_k.unwrap_or_default() as usize,
            top_p: fraction("top_p", options.top_p)?,
            min_p: fraction("min_p", options.min_p)?,
            typical_p: fraction("typical_p", options.typical_p)?,
            bias: BTreeMap::new(),
            presence: openai("presence_penalty", options.presence_penalty)?,
            frequency: openai("frequency_penalty", options.frequency_penalty)?,
            counts: HashMap::new(),
            history: if dry.is_some() { prompt.to_vec() } else { Vec::new() },
            dry,
            breakers: HashSet::new(),
            penalty: range("repetition_penalty", penalty, penalty.is_finite() && penalty > 0.0, "above 0")?,
            seen: if penalised { prompt.iter().copied().collect() } else { HashSet::new() },
            random: SplitMix64(options.seed.unwrap_or_else(random_seed)),
            scores: Vec::new(),
            best: f32::NEG_INFINITY,
            ranked: Vec::new(),
        })
    }

    /// Adds to the logits of tokens; a token beyond the vocabulary is never chosen anyway.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a bias that is not from -100 to 100.
    pub fn with_bias(mut self, bias: &BTreeMap<u32, f32>) -> Result<Self> {
        if let Some((token, value)) = bias.iter().find(|(_, value)| !(-100.0..=100.0).contains(*value)) {
            return Err(Error::invalid_input(format!(
                "`logit_bias` of token {token} is `{value}`; it must be from -100 to 100"
            )));
        }
        self.bias.clone_from(bias);
        Ok(self)
    }

    /// Sets the tokens that end a passage for DRY.
    pub fn with_breakers(mut self, breakers: HashSet<u32>) -> Self {
        self.breakers = breakers;
        self
    }

    /// Whether the likeliest token is taken, so that rounding in the logits seldom matters.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// The next token. `logits` has one number for each token of the vocabulary and is not empty; what
    /// is not a number counts as impossible.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        self.choose_from(logits, None)
    }

    /// The next token of those that may come.
    pub(crate) fn choose_from(&mut self, logits: &[f32], allowed: Option<&Mask>) -> u32 {
        let token = if self.temperature == 0.0 && !self.changes_logits() && allowed.is_none() {
            likeliest(logits)
        } else {
            self.penalise(logits);
            if let Some(allowed) = allowed {
                allowed.apply(&mut self.scores);
            }
            if self.temperature == 0.0 { likeliest(&self.scores) } else { self.sample() }
        };
        self.take(token);
        token
    }

    /// Notes a token that was chosen, for the penalties.
    pub(crate) fn take(&mut self, token: u32) {
        if self.penalty != 1.0 {
            self.seen.insert(token);
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            *self.counts.entry(token).or_default() += 1;
        }
        if self.dry.is_some() {
            self.history.push(token);
        }
    }

    /// Scores after bias and penalties.
    pub(crate) fn adjust(&mut self, scores: &[f32]) -> &[f32] {
        self.penalise(scores);
        &self.scores
    }

    /// The tokens that may be chosen next and how likely each is, the likeliest first; one alone where the likeliest
    /// is taken.
    pub fn distribution(&mut self, logits: &[f32]) -> Vec<(u32, f64)> {
        self.penalise(logits);
        if self.temperature == 0.0 {
            return vec![(likeliest(&self.scores), 1.0)];
        }
        self.rank();
        let total: f64 = self.ranked.iter().map(|token| self.weight(*token)).sum();
        self.ranked.iter().map(|token| (*token, self.weight(*token) / total)).collect()
    }

    fn changes_logits(&self) -> bool {
        self.penalty != 1.0
            || !self.bias.is_empty()
            || self.presence != 0.0
            || self.frequency != 0.0
            || self.dry.is_some()
    }

    fn penalise(&mut self, logits: &[f32]) {
        self.scores.clear();
        self.scores
            .extend(logits.iter().map(|score| if score.is_nan() { f32::NEG_INFINITY } else { *score }));
        for (token, bias) in &self.bias {
            if let Some(score) = self.scores.get_mut(*token as usize) {
                *score += bias;
            }
        }
        for (token, count) in &self.counts {
            if let Some(score) = self.scores.get_mut(*token as usize) {
                *score -= self.presence + self.frequency * *count as f32;
            }
        }
        if let Some(dry) = &self.dry {
            for (token, length) in passages(&self.history, &self.breakers) {
                let beyond =
                    i32::try_from(length.saturating_sub(dry.allowed_length as usize)).unwrap_or(i32::MAX);
                if length >= dry.allowed_length as usize
                    && let Some(score) = self.scores.get_mut(token as usize)
                {
                    *score -= dry.multiplier * dry.base.powi(beyond);
                }
            }
        }
        for token in &self.seen {
            if let Some(score) = self.scores.get_mut(*token as usize) {
                // CTRL (Keskar et al., 2019): both signs move away from being chosen.
                *score = if *score > 0.0 { *score / self.penalty } else { *score * self.penalty };
            }
        }
    }

    /// How likely a token is, as a multiple of the likeliest; in 64 bits, because thousands are summed.
    fn weight(&self, token: u32) -> f64 {
        weight(self.scores[token as usize], self.best, self.temperature)
    }

    /// Leaves in `ranked` the tokens that may be drawn, the likeliest first.
    fn rank(&mut self) {
        self.best = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let Self { scores, ranked, best, temperature, top_k, top_p, min_p, typical_p, .. } = self;
        ranked.clear();
        if *best == f32::NEG_INFINITY {
            // Nothing is possible: the first is taken.
            ranked.push(0);
            return;
        }
        let weight = |token: &u32| weight(scores[*token as usize], *best, *temperature);
        let by_rank = |a: &u32, b: &u32| {
            scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap_or(Ordering::Equal).then(a.cmp(b))
        };
        // A token whose weight is 0 in 64 bits is never drawn.
        let all = 0..u32::try_from(scores.len()).unwrap_or(u32::MAX);
        ranked.extend(all.filter(|token| weight(token) > 0.0));
        if *top_k > 0 && *top_k < ranked.len() {
            ranked.select_nth_unstable_by(*top_k - 1, by_rank);
            ranked.truncate(*top_k);
        }
        // The order decides which token a random number means, so it is always the full order.
        ranked.sort_unstable_by(by_rank);
        let total = |tokens: &[u32]| tokens.iter().map(weight).sum::<f64>();
        if let Some(top_p) = top_p.filter(|top_p| *top_p < 1.0) {
            let enough = f64::from(top_p) * total(ranked);
            let mut sum = 0.0;
            let mut kept = 0;
            for token in ranked.iter() {
                kept += 1;
                sum += weight(token);
                if sum >= enough {
                    break;
                }
            }
            ranked.truncate(kept.max(1));
        }
        if let Some(min_p) = *min_p {
            let kept = ranked.partition_point(|token| weight(token) >= f64::from(min_p));
            ranked.truncate(kept.max(1));
        }
        if let Some(typical_p) = typical_p.filter(|typical_p| *typical_p < 1.0) {
            let total = total(ranked);
            let surprise = |token: &u32| -(weight(token) / total).ln();
            let expected: f64 = ranked.iter().map(|token| surprise(token) * weight(token) / total).sum();
            let distance = |token: &u32| (surprise(token) - expected).abs();
            let mut nearest = ranked.clone();
            // Equally near ones rank as they are likely: the sort is stable.
            nearest.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
            let mut sum = 0.0;
            let kept = nearest.iter().take_while(|token| {
                let enough = sum >= f64::from(typical_p);
                sum += weight(token) / total;
                !enough
            });
            let kept = kept.count().max(1);
            let furthest = distance(&nearest[kept - 1]);
            ranked.retain(|token| distance(token) <= furthest);
        }
    }

    fn sample(&mut self) -> u32 {
        self.rank();
        let total: f64 = self.ranked.iter().map(|token| self.weight(*token)).sum();
        let mut rest = self.random.unit() * total;
        for token in &self.ranked {
            rest -= self.weight(*token);
            if rest < 0.0 {
                return *token;
            }
        }
        // Rounding can leave a rest above 0 after the last token.
        self.ranked[self.ranked.len() - 1]
    }
}

/// `exp((score - best) / temperature)`.
fn weight(score: f32, best: f32, temperature: f32) -> f64 {
    if score == best { 1.0 } else { f64::exp((f64::from(score) - f64::from(best)) / f64::from(temperature)) }
}

/// The tokens that would go on with a passage that ends the history and stood before, each with the longest such
/// passage's length.
fn passages(history: &[u32], breakers: &HashSet<u32>) -> HashMap<u32, usize> {
    let history = &history[history.len().saturating_sub(DRY_WINDOW)..];
    let mut longest = HashMap::new();
    let Some((last, before)) = history.split_last() else { return longest };
    if breakers.contains(last) {
        return longest;
    }
    for (end, _) in before.iter().enumerate().filter(|(_, token)| *token == last) {
        let same = (0..=end.min(DRY_LONGEST)).take_while(|back| {
            let (a, b) = (history[end - back], history[history.len() - 1 - back]);
            a == b && !breakers.contains(&a)
        });
        let length = same.count();
        let next = history[end + 1];
        let known = longest.entry(next).or_insert(0);
        *known = length.max(*known);
    }
    longest
}

/// How far back DRY looks for a passage: bounds the time of a step.
const DRY_WINDOW: usize = 8192;

/// The longest passage that DRY tells from longer ones: its penalty is beyond any logit, and it bounds the time.
const DRY_LONGEST: usize = 50;

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
