//! Choosing tokens.

use std::collections::BTreeMap;

use proptest::prelude::*;
use puna_core::{DryOptions, ErrorKind, GenerateOptions};
use puna_inference::Sampler;

fn sampler(change: impl FnOnce(&mut GenerateOptions), prompt: &[u32]) -> Sampler {
    let mut options = GenerateOptions { temperature: Some(1.0), seed: Some(7), ..Default::default() };
    change(&mut options);
    Sampler::new(&options, prompt).expect("options")
}

/// The probabilities of softmax at a temperature.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn weight(logit: f32, temperature: f32) -> f64 {
    (f64::from(logit) / f64::from(temperature)).exp()
}

const DRAWS: u32 = 20_000;

/// How often each token is drawn.
fn frequencies(sampler: &mut Sampler, logits: &[f32]) -> Vec<f64> {
    let mut counts = vec![0u32; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.choose(logits) as usize] += 1;
    }
    counts.iter().map(|count| f64::from(*count) / f64::from(DRAWS)).collect()
}

/// Pearson's chi-square of 20,000 draws against the softmax of what the options leave.
#[test]
fn draws_follow_the_distribution() {
    let logits = [0.0, 1.0, 2.0, -1.0, 0.5, 1.0];
    type Change = fn(&mut GenerateOptions);
    let cases: [(Change, f64, &[usize]); 6] = [
        (|options| options.temperature = Some(0.5), 0.5, &[0, 1, 2, 3, 4, 5]),
        (|_| (), 1.0, &[0, 1, 2, 3, 4, 5]),
        (|options| options.temperature = Some(2.0), 2.0, &[0, 1, 2, 3, 4, 5]),
        (|options| options.top_k = Some(3), 1.0, &[1, 2, 5]),
        // 0.46 + 0.17 + 0.17 are less than 0.85; 0.10 more are enough.
        (|options| options.top_p = Some(0.85), 1.0, &[1, 2, 4, 5]),
        // e^-2 = 0.135 is enough, e^-3 is not.
        (|options| options.min_p = Some(0.1), 1.0, &[0, 1, 2, 4, 5]),
    ];
    for (number, (change, temperature, left)) in cases.into_iter().enumerate() {
        let found = frequencies(&mut sampler(change, &[]), &logits);
        let kept: Vec<f32> = left.iter().map(|token| logits[*token]).collect();
        let mut chi_square = 0.0;
        for (token, wanted) in left.iter().zip(softmax(&kept, temperature)) {
            chi_square += f64::from(DRAWS) * (found[*token] - wanted).powi(2) / wanted;
        }
        // With five degrees of freedom one distribution in ten thousand is further off; the seed is fixed.
        assert!(chi_square < 25.7, "case {number}: {chi_square}, {found:?}");
        let others = (0..logits.len()).filter(|token| !left.contains(token)).map(|token| found[token]);
        assert_eq!(others.sum::<f64>(), 0.0, "case {number}: {found:?}");
    }
}

#[test]
fn filters_leave_only_the_likeliest() {
    let logits = [2.0, 1.0, 0.0, -1.0, 1.0];
    let drawn = |change: fn(&mut GenerateOptions)| {
        let found = frequencies(&mut sampler(change, &[]), &logits);
        (0u32..).zip(found).filter(|(_, share)| *share > 0.0).map(|(token, _)| token).collect::<Vec<_>>()
    };
    assert_eq!(drawn(|_| ()), [0, 1, 2, 3, 4]);
    assert_eq!(drawn(|options| options.top_k = Some(1)), [0]);
    assert_eq!(drawn(|options| options.top_k = Some(2)), [0, 1], "of equal ones the first");
    assert_eq!(drawn(|options| options.top_k = Some(99)), [0, 1, 2, 3, 4]);
    assert_eq!(drawn(|options| options.top_p = Some(0.0)), [0]);
    assert_eq!(drawn(|options| options.top_p = Some(0.5)), [0]);
    assert_eq!(drawn(|options| options.top_p = Some(0.7)), [0, 1]);
    assert_eq!(drawn(|options| options.top_p = Some(1.0)), [0, 1, 2, 3, 4]);
    // e^-1 = 0.37, e^-2 = 0.14.
    assert_eq!(drawn(|options| options.min_p = Some(0.2)), [0, 1, 4]);
    assert_eq!(drawn(|options| options.min_p = Some(1.0)), [0]);
}

#[test]
fn repetition_is_penalised_in_prompt_and_answer() {
    let greedy = |options: &mut GenerateOptions| {
        options.temperature = Some(0.0);
        options.repetition_penalty = Some(2.0);
    };
    let mut sampler = sampler(greedy, &[0]);
    // 3.0 / 2 = 1.5 is below 2.0; then 2.0 / 2 = 1.0, below 1.5.
    assert_eq!(sampler.choose(&[3.0, 2.0, 0.0]), 1);
    assert_eq!(sampler.choose(&[3.0, 2.0, 0.0]), 0);
    // Below zero the penalty makes a token less likely too.
    assert_eq!(sampler.choose(&[-1.0, -1.0, -1.5]), 2);
}

#[test]
fn numbers_that_are_none_are_impossible() {
    for logits in [
        vec![f32::NAN, 1.0],
        vec![f32::NEG_INFINITY, 1.0],
        vec![f32::NAN, f32::NEG_INFINITY, f32::NAN, 0.0, f32::NAN].into_iter().chain([f32::NAN]).collect(),
    ] {
        let right =
            u32::try_from(logits.iter().position(|logit| logit.is_finite()).expect("one")).expect("small");
        for temperature in [0.0, 1.0] {
            assert_eq!(
                sampler(|options| options.temperature = Some(temperature), &[]).choose(&logits),
                right,
                "{logits:?}"
            );
        }
    }
    for logits in [vec![f32::NAN; 3], vec![f32::NEG_INFINITY; 3]] {
        for temperature in [0.0, 1.0] {
            assert!(sampler(|options| options.temperature = Some(temperature), &[]).choose(&logits) < 3);
        }
    }
}

proptest! {
    #[test]
    fn greedy_takes_the_first_of_the_likeliest(logits in prop::collection::vec(-4i8..4, 1..50)) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let first = logits.iter().position(|logit| *logit == best).expect("one");
        prop_assert_eq!(sampler(|options| options.temperature = Some(0.0), &[]).choose(&logits) as usize, first);
    }

    #[test]
    fn any_logits_and_options_give_a_token(
        logits in prop::collection::vec(prop::num::f32::ANY, 1..60),
        temperature in 0.0f32..10.0,
        top_k in 0u32..70,
        top_p in prop::option::of(0.0f32..=1.0),
        min_p in prop::option::of(0.0f32..=1.0),
        penalty in prop::option::of(0.1f32..3.0),
        more in (prop::option::of(0.0f32..=1.0), prop::option::of(-2.0f32..=2.0), prop::option::of(-2.0f32..=2.0), any::<bool>()),
        seed in any::<u64>(),
    ) {
        let (typical_p, presence_penalty, frequency_penalty, dry) = more;
        let options = GenerateOptions {
            temperature: Some(temperature), top_k: Some(top_k), top_p, min_p, repetition_penalty: penalty, seed: Some(seed),
            typical_p, presence_penalty, frequency_penalty, dry: dry.then(DryOptions::default), ..Default::default()
        };
        let mut one = Sampler::new(&options, &[0, 3, 1000]).expect("options");
        let mut two = one.clone();
        let possible = logits.iter().any(|logit| *logit > f32::NEG_INFINITY);
        for _ in 0..4 {
            let token = one.choose(&logits);
            prop_assert!((token as usize) < logits.len());
            prop_assert!(!possible || !logits[token as usize].is_nan(), "{token} is no number");
            prop_assert_eq!(two.choose(&logits), token, "the same seed gives the same tokens");
        }
    }

    /// The filters as they are defined, one token at a time: no ranks, no sums that are kept.
    #[test]
    fn filters_keep_their_definitions(
        logits in prop::collection::vec(-3i8..4, 1..12),
        temperature in 0.3f32..3.0,
        top_k in 0u32..14,
        top_p in prop::option::of(0.05f32..=1.0),
        min_p in prop::option::of(0.0f32..=1.0),
        seed in any::<u64>(),
    ) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let options = GenerateOptions { temperature: Some(temperature), top_k: Some(top_k), top_p, min_p, seed: Some(seed), ..Default::default() };
        let mut sampler = Sampler::new(&options, &[]).expect("options");
        let likely = |token: usize| (logits[token], std::cmp::Reverse(token));
        let before = |token: usize| (0..logits.len()).filter(move |other| likely(*other) > likely(token));
        let in_k = |token: usize| top_k == 0 || before(token).count() < top_k as usize;
        let of_k: f64 = (0..logits.len()).filter(|token| in_k(*token)).map(|token| weight(logits[token], temperature)).sum();
        for _ in 0..8 {
            let token = sampler.choose(&logits) as usize;
            prop_assert!(in_k(token), "{} is not of the {}", token, top_k);
            if let Some(top_p) = top_p {
                let likelier: f64 = before(token).map(|other| weight(logits[other], temperature)).sum();
                prop_assert!(likelier / of_k < f64::from(top_p) + 1e-9, "{} is beyond {}", token, top_p);
            }
            if let Some(min_p) = min_p {
                let best = logits.iter().copied().fold(f32::MIN, f32::max);
                let share = weight(logits[token], temperature) / weight(best, temperature);
                prop_assert!(share + 1e-9 >= f64::from(min_p), "{} has a share of {}", token, share);
            }
        }
    }
}

/// What transformers' processors leave, and how likely, over random logits and options (`tests/samplers/make.py`).
#[test]
fn what_is_left_is_what_transformers_leaves() {
    #[derive(serde::Deserialize)]
    struct Case {
        logits: Vec<f32>,
        prompt: Vec<u32>,
        options: GenerateOptions,
        left: BTreeMap<u32, f64>,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("../samplers/goldens.json")).expect("goldens");
    assert!(cases.len() > 100);
    for (number, Case { logits, prompt, options, left }) in cases.into_iter().enumerate() {
        let mut sampler = Sampler::new(&options, &prompt).expect("options");
        let found: BTreeMap<u32, f64> = sampler.distribution(&logits).into_iter().collect();
        let tokens = |map: &BTreeMap<u32, f64>| map.keys().copied().collect::<Vec<_>>();
        assert_eq!(tokens(&found), tokens(&left), "case {number}: {options:?}");
        for (token, share) in &left {
            assert!((found[token] - share).abs() < 1e-5, "case {number}: {token} {} {share}", found[token]);
        }
    }
}

#[track_caller]
fn check_greedy(options: GenerateOptions, bias: &[(u32, f32)], logits: &[f32], expected: &[u32]) {
    let bias = bias.iter().copied().collect();
    let mut sampler = Sampler::new(&options, &[]).expect("options").with_bias(&bias).expect("a bias");
    let found: Vec<u32> = expected.iter().map(|_| sampler.choose(logits)).collect();
    assert_eq!(found, expected, "{options:?}");
}

#[test]
fn bias_and_penalties_of_what_was_written() {
    let options = |presence_penalty, frequency_penalty| GenerateOptions {
        presence_penalty,
        frequency_penalty,
        ..GenerateOptions::default()
    };
    let logits = [1.0, 0.5, 0.0];
    check_greedy(options(None, None), &[], &logits, &[0, 0, 0]);
    check_greedy(options(None, None), &[(2, 3.0), (9, 100.0)], &logits, &[2, 2, 2]);
    // Once, however often it was written: 1.0 - 0.7 < 0.5, then 0.5 - 0.7 < 0.3.
    check_greedy(options(Some(0.7), None), &[], &logits, &[0, 1, 0, 0]);
    // For each time: 1.0, 0.6 > 0.5, 0.2 < 0.5, 0.1 < 0.2.
    check_greedy(options(None, Some(0.4)), &[], &logits, &[0, 0, 1, 0]);
    check_greedy(options(None, Some(-1.0)), &[], &[0.0, 0.5], &[1, 1, 1]);
}

/// A passage of `allowed_length` tokens may stand again; each token more costs more.
#[test]
fn dry_discourages_passages() {
    let options = |allowed_length| GenerateOptions {
        dry: Some(DryOptions { multiplier: 1.0, base: 2.0, allowed_length, ..DryOptions::default() }),
        ..GenerateOptions::default()
    };
    let history = [1, 2, 3, 4, 9, 1, 2, 3];
    // After `1 2 3` stood 4: a passage of 3 costs 2 ^ (3 - allowed).
    for (allowed, breakers, expected) in [
        (2, &[][..], Some(2.0)),
        (1, &[], Some(4.0)),
        (3, &[], Some(1.0)),
        (4, &[], None),
        // The passage begins after a breaker, and is `3` or `2 3`.
        (1, &[2], Some(1.0)),
        (2, &[2], None),
        (1, &[1], Some(2.0)),
        (1, &[3], None),
    ] {
        let sampler = Sampler::new(&options(allowed), &history).expect("options");
        let mut sampler = sampler.with_breakers(breakers.iter().copied().collect());
        let cost = expected.unwrap_or(0.0);
        // Token 4 leads by a little more or less than it loses.
        for (lead, chosen) in [(cost + 0.1, 4), (cost - 0.1, 5)] {
            let mut logits = vec![0.0; 10];
            logits[4] = lead + 1.0;
            logits[5] = 1.0;
            assert_eq!(sampler.clone().choose(&logits), chosen, "{allowed} {breakers:?} {lead}");
        }
        sampler.choose(&[0.0, 1.0]);
    }
}

#[test]
fn options_beyond_their_range_are_told() {
    type Change = fn(&mut GenerateOptions);
    let dry = |change: fn(&mut DryOptions)| {
        let mut dry = DryOptions::default();
        change(&mut dry);
        GenerateOptions { dry: Some(dry), ..GenerateOptions::default() }
    };
    let cases: [(Change, &str); 6] = [
        (|options| options.temperature = Some(-1.0), "`temperature` is `-1`"),
        (|options| options.typical_p = Some(1.5), "`typical_p` is `1.5`"),
        (|options| options.presence_penalty = Some(3.0), "`presence_penalty` is `3`"),
        (|options| options.frequency_penalty = Some(f32::NAN), "`frequency_penalty` is `NaN`"),
        (|options| options.min_p = Some(-0.1), "`min_p` is `-0.1`"),
        (|options| options.repetition_penalty = Some(0.0), "`repetition_penalty` is `0`"),
    ];
    let all = cases.map(|(change, part)| {
        let mut options = GenerateOptions::default();
        change(&mut options);
        (options, part)
    });
    let of_dry = [
        (dry(|dry| dry.multiplier = -1.0), "`dry.multiplier` is `-1`"),
        (dry(|dry| dry.base = 0.5), "`dry.base` is `0.5`"),
    ];
    for (options, part) in all.into_iter().chain(of_dry) {
        let error = Sampler::new(&options, &[]).expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "no `{part}` in {error}");
    }
    let sampler = Sampler::new(&GenerateOptions::default(), &[]).expect("options");
    for bias in [-101.0, 100.5, f32::NAN] {
        let error = sampler.clone().with_bias(&[(3, bias)].into()).expect_err("a bias");
        assert!(error.to_string().contains("token 3"), "{error}");
    }
}
