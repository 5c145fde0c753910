//! Choosing tokens.

use proptest::prelude::*;
use puna_core::GenerateOptions;
use puna_inference::Sampler;

fn sampler(change: impl FnOnce(&mut GenerateOptions), prompt: &[u32]) -> Sampler {
    let mut options = GenerateOptions { temperature: 1.0, seed: Some(7), ..Default::default() };
    change(&mut options);
    Sampler::new(&options, prompt).expect("options")
}

/// The probabilities of softmax at a temperature.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// How often each token is drawn.
fn frequencies(sampler: &mut Sampler, logits: &[f32]) -> Vec<f64> {
    const DRAWS: u32 = 20_000;
    let mut counts = vec![0u32; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.choose(logits) as usize] += 1;
    }
    counts.iter().map(|count| f64::from(*count) / f64::from(DRAWS)).collect()
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [0.0, 1.0, 2.0, -1.0, 0.5];
    for temperature in [0.5f32, 1.0, 2.0] {
        let found = frequencies(&mut sampler(|options| options.temperature = temperature, &[]), &logits);
        for (found, wanted) in found.iter().zip(softmax(&logits, temperature.into())) {
            // Five standard deviations of 20,000 draws: the seed is fixed, so this never varies.
            let tolerance = 5.0 * (wanted * (1.0 - wanted) / 20_000.0).sqrt();
            assert!((found - wanted).abs() < tolerance, "{temperature}: {found} and not {wanted}");
        }
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
    assert_eq!(drawn(|options| options.top_k = 1), [0]);
    assert_eq!(drawn(|options| options.top_k = 2), [0, 1], "of equal ones the first");
    assert_eq!(drawn(|options| options.top_k = 99), [0, 1, 2, 3, 4]);
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
        options.temperature = 0.0;
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
                sampler(|options| options.temperature = temperature, &[]).choose(&logits),
                right,
                "{logits:?}"
            );
        }
    }
    for logits in [vec![f32::NAN; 3], vec![f32::NEG_INFINITY; 3]] {
        for temperature in [0.0, 1.0] {
            assert!(sampler(|options| options.temperature = temperature, &[]).choose(&logits) < 3);
        }
    }
}

proptest! {
    #[test]
    fn greedy_takes_the_first_of_the_likeliest(logits in prop::collection::vec(-4i8..4, 1..50)) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let first = logits.iter().position(|logit| *logit == best).expect("one");
        prop_assert_eq!(sampler(|options| options.temperature = 0.0, &[]).choose(&logits) as usize, first);
    }

    #[test]
    fn any_logits_and_options_give_a_token(
        logits in prop::collection::vec(any::<f32>(), 1..60),
        temperature in 0.0f32..10.0,
        top_k in 0u32..70,
        top_p in prop::option::of(0.0f32..=1.0),
        min_p in prop::option::of(0.0f32..=1.0),
        penalty in prop::option::of(0.1f32..3.0),
        seed in any::<u64>(),
    ) {
        let options = GenerateOptions {
            temperature, top_k, top_p, min_p, repetition_penalty: penalty, seed: Some(seed), ..Default::default()
        };
        let mut one = Sampler::new(&options, &[0, 3, 1000]).expect("options");
        let mut two = one.clone();
        for _ in 0..4 {
            let token = one.choose(&logits);
            prop_assert!((token as usize) < logits.len());
            prop_assert_eq!(two.choose(&logits), token, "the same seed gives the same tokens");
        }
    }
}
