//! Which facts bear on a question: by meaning and by words, fused; then how new and how useful they were. Scopes are small,
//! so that everything is compared with everything, exactly.

use std::collections::{HashMap, HashSet};

use super::fact::Fact;

/// The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): score = sum of 1 / (60 + rank).
const FUSION: f64 = 60.0;

/// Facts below this cosine bear on nothing: unrelated sentences of MiniLM lie below it.
const LEAST_COSINE: f32 = 0.2;

/// Two statements at this cosine say the same, if they also have the same numbers and negations. Rewordings of a sentence
/// lie above it with MiniLM; sentences that differ in a name lie below.
pub const SAME_COSINE: f32 = 0.95;

/// How much the newest fact gains over one that is old, and the most used over one that never was: enough to settle what is
/// near a tie, too little to bring up what does not bear on the question.
const RECENCY_GAIN: f64 = 0.05;
const USE_GAIN: f64 = 0.05;

/// In how long a fact's recency halves: 30 days.
const HALF_LIFE_MS: f64 = 30.0 * 24.0 * 3_600_000.0;

/// Uses at which the gain is whole.
const MANY_USES: f64 = 100.0;

/// Words that turn a statement round, in the languages that the default embedder knows best.
const NEGATIONS: [&str; 12] =
    ["not", "no", "never", "none", "without", "cannot", "don't", "doesn't", "isn't", "kein", "nicht", "nie"];

/// Words that say little of what is asked. In so few sentences they can be as rare as those that say it all.
const FUNCTION_WORDS: &str = " a about am an and any are as at be been but by can could did do does for from had has have he \
     her his how i if in is it its me my of on or our she should so that the their them there they this to us was we were \
     what when where which who whom whose why will with would you your ";

/// What such a word counts.
const FUNCTION_WORD_WEIGHT: f64 = 0.1;

/// A fact with its vector, where there is one.
pub(crate) struct Candidate {
    pub(crate) fact: Fact,
    pub(crate) vector: Option<Vec<f32>>,
}

/// The candidates that bear on a question, the most relevant first, with their scores.
pub(crate) fn rank(
    candidates: Vec<Candidate>,
    question: &str,
    vector: Option<&[f32]>,
    now_ms: u64,
) -> Vec<(Fact, f64)> {
    let mut scores = vec![0.0; candidates.len()];
    for list in [by_words(&candidates, question), by_meaning(&candidates, vector)] {
        for (rank, place) in (1_u32..).zip(list) {
            scores[place] += 1.0 / (FUSION + f64::from(rank));
        }
    }
    let mut found: Vec<(Fact, f64)> = candidates
        .into_iter()
        .zip(scores)
        .filter(|(_, score)| *score > 0.0)
        .map(|(candidate, score)| {
            let gain = gain(&candidate.fact, now_ms);
            (candidate.fact, score * gain)
        })
        .collect();
    // Ties in the order of time, so that the same question gives the same answer.
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.id.cmp(&a.0.id)));
    found
}

fn gain(fact: &Fact, now_ms: u64) -> f64 {
    let age = now_ms.saturating_sub(fact.used_ms.unwrap_or(0).max(fact.valid_from_ms)) as f64;
    let uses = (1.0 + fact.uses as f64).ln() / (1.0 + MANY_USES).ln();
    1.0 + RECENCY_GAIN * 0.5_f64.powf(age / HALF_LIFE_MS) + USE_GAIN * uses.min(1.0)
}

/// Places of candidates that share words with the question, those with the rarest words first.
fn by_words(candidates: &[Candidate], question: &str) -> Vec<usize> {
    let words: Vec<HashSet<String>> =
        candidates.iter().map(|candidate| words(&candidate.fact.searched()).into_iter().collect()).collect();
    let mut frequency: HashMap<&str, f64> = HashMap::new();
    for word in words.iter().flatten() {
        *frequency.entry(word).or_default() += 1.0;
    }
    let asked: HashSet<String> = self::words(question).into_iter().collect();
    let all = candidates.len() as f64;
    // The inverse document frequency of BM25, which is never below 0.
    let weight = |word: &String| {
        let count = frequency.get(word.as_str()).copied().unwrap_or(0.0);
        let part = if FUNCTION_WORDS.contains(&format!(" {word} ")) { FUNCTION_WORD_WEIGHT } else { 1.0 };
        part * (1.0 + (all - count + 0.5) / (count + 0.5)).ln()
    };
    let scores =
        words.iter().map(|words| asked.iter().filter(|word| words.contains(*word)).map(weight).sum());
    in_order(scores.enumerate().filter(|(_, score): &(usize, f64)| *score > 0.0).collect())
}

/// Places of candidates that are near the question's vector, the nearest first.
fn by_meaning(candidates: &[Candidate], vector: Option<&[f32]>) -> Vec<usize> {
    let Some(vector) = vector else { return Vec::new() };
    let near = candidates.iter().enumerate().filter_map(|(place, candidate)| {
        let cosine = cosine(candidate.vector.as_ref()?, vector);
        (cosine >= LEAST_COSINE).then_some((place, f64::from(cosine)))
    });
    in_order(near.collect())
}

fn in_order(mut scored: Vec<(usize, f64)>) -> Vec<usize> {
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    scored.into_iter().map(|(place, _)| place).collect()
}

/// The candidate that says the same as a statement.
pub(crate) fn same<'a>(
    candidates: &'a [Candidate],
    statement: &str,
    vector: Option<&[f32]>,
) -> Option<&'a Candidate> {
    let normal = words(statement);
    let exact = candidates.iter().find(|candidate| words(&candidate.fact.searched()) == normal);
    exact.or_else(|| {
        let vector = vector?;
        let telling = telling(&normal);
        candidates.iter().find(|candidate| {
            candidate.vector.as_ref().is_some_and(|other| cosine(other, vector) >= SAME_COSINE)
                && self::telling(&words(&candidate.fact.searched())) == telling
        })
    })
}

/// The words that make two sentences mean something else however alike they are: those with digits, and negations.
fn telling(words: &[String]) -> Vec<&str> {
    let tells = |word: &&String| {
        word.chars().any(char::is_numeric) || NEGATIONS.contains(&word.as_str()) || word.ends_with("n't")
    };
    let mut telling: Vec<&str> = words.iter().filter(tells).map(String::as_str).collect();
    telling.sort_unstable();
    telling
}

/// Words in lower case; of scripts that write none apart, each pair of characters that stand beside each other.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut word, mut before) = (String::new(), None);
    let end = |word: &mut String, found: &mut Vec<String>| {
        let whole = std::mem::take(word);
        let trimmed = whole.trim_matches('\'');
        if !trimmed.is_empty() {
            found.push(trimmed.to_owned());
        }
    };
    for character in text.chars().flat_map(char::to_lowercase) {
        let dense = is_dense(character);
        if dense {
            end(&mut word, &mut found);
            match before.replace(character) {
                Some(before) => found.push([before, character].iter().collect()),
                None => found.push(character.to_string()),
            }
            continue;
        }
        before = None;
        if character.is_alphanumeric() || character == '\'' {
            word.push(character);
        } else {
            end(&mut word, &mut found);
        }
    }
    end(&mut word, &mut found);
    found
}

/// Whether a character is of a script that is written without blanks between words, or with endings that hide them:
/// Chinese, Japanese, Korean, Thai.
fn is_dense(character: char) -> bool {
    matches!(character,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}' | '\u{0e00}'..='\u{0e7f}' | '\u{20000}'..='\u{2fa1f}')
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let (mut dot, mut left, mut right) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        dot += x * y;
        left += x * x;
        right += y * y;
    }
    let length = (left * right).sqrt();
    if length > 0.0 { dot / length } else { 0.0 }
}
