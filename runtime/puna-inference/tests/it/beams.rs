//! The likeliest answer as a whole.

use puna_core::{BeamOptions, CancellationToken, ErrorKind, GenerateOptions, Model, StopReason};
use puna_inference::{CompletionRequest, OnnxModel};

use crate::{answer, ask_with, batching::idle, bundled, load, load_with, read};

/// A sequence of tokens and the sum of their log-probabilities.
type Beam = (Vec<u32>, f64);

/// The same search without a cache, from what scoring tells; for answers that end with `length`, and never before.
async fn naive(model: &OnnxModel, prompt: &[u32], beams: usize, length: usize) -> Beam {
    let mut running: Vec<Beam> = vec![(Vec::new(), 0.0)];
    for _ in 0..length {
        let mut next = Vec::new();
        for (tokens, score) in &running {
            // Any token will do to be told what was likelier.
            let sequence = [prompt, tokens, &[0]].concat();
            let scores = model.score(&sequence, sequence.len() - 1, 20, None).await.expect("scores");
            for (token, logprob) in &scores[0].top {
                next.push(([&tokens[..], &[*token]].concat(), score + logprob));
            }
        }
        next.sort_by(|a, b| b.1.total_cmp(&a.1));
        next.truncate(beams);
        running = next;
    }
    running.swap_remove(0)
}

fn request(prompt: &[u32], beams: u32, max_tokens: u32) -> CompletionRequest {
    let beam = (beams > 1).then(|| BeamOptions { beams, ..BeamOptions::default() });
    let options = GenerateOptions { max_tokens: Some(max_tokens), beam, ..GenerateOptions::default() };
    CompletionRequest { prompt: prompt.to_vec(), options, ignore_end: true, ..CompletionRequest::default() }
}

/// The sum of the log-probabilities of a text after a prompt.
async fn likelihood(model: &OnnxModel, prompt: &[u32], text: &str) -> f64 {
    let tokens =
        [prompt, &model.tokens(text).expect("tokens")[model.tokens("").expect("tokens").len()..]].concat();
    model.score(&tokens, prompt.len(), 0, None).await.expect("scores").iter().map(|score| score.logprob).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_finds_what_a_naive_search_finds() {
    let model = load(&bundled()).expect("the model");
    let plain = load(&bundled()).expect("the model");
    let (mut better, mut searches) = (0, 0);
    for text in ["Once upon a time", "The weather in", "one two", "My name is", "I am not sure"] {
        let prompt = model.tokens(text).expect("tokens");
        for beams in [2, 4, 7] {
            let (tokens, expected) = naive(&plain, &prompt, beams, 10).await;
            let (found, completion) =
                read(model.complete(request(&prompt, beams as u32, 10)).expect("a request"))
                    .await
                    .expect("an answer");
            assert_eq!(completion.stop, StopReason::MaxTokens);
            assert_eq!(completion.usage.completion_tokens, 10);
            // Of two that are as likely, either: the model rounds what goes into its products.
            if found != plain.text(&tokens).expect("a text") {
                let likely = likelihood(&plain, &prompt, &found).await;
                assert!((likely - expected).abs() < 0.3, "`{text}` {beams}: `{found}` {likely} {expected}");
            }
            let (greedy, _) =
                read(model.complete(request(&prompt, 1, 10)).expect("a request")).await.expect("an answer");
            better += usize::from(likelihood(&plain, &prompt, &greedy).await < expected - 0.3);
            searches += 1;
        }
    }
    assert!(better > 0, "a search finds nothing better than greedy in {searches}");
}

/// Beams in the company of other requests, and several searches at a time.
#[tokio::test(flavor = "multi_thread")]
async fn beside_others() {
    let model = load_with(&bundled(), |options| options.deterministic = true).expect("the model");
    let searching = |text: &str| {
        ask_with(text, |options| {
            options.max_tokens = Some(30);
            options.beam = Some(BeamOptions::default());
        })
    };
    let requests = [searching("Hello"), ask_with("Thanks!", |_| ()), searching("Who wrote Hamlet?")];
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(answer(&model, request.clone()).await.0);
    }
    let together =
        futures_util::future::join_all(requests.iter().map(|request| answer(&model, request.clone()))).await;
    for (number, ((text, completion), alone)) in together.into_iter().zip(alone).enumerate() {
        assert_eq!(text, alone, "request {number}");
        assert_eq!(completion.stop, StopReason::EndOfTurn);
    }
    // The beams' own memory is given back.
    let status = idle(&model).await;
    let token = model.details().cache_bytes_per_token as u64;
    assert!(status.cache_bytes < 400 * token, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_cut_short() {
    let model = load(&bundled()).expect("the model");
    let prompt = model.tokens("one two three four five six").expect("tokens");
    let (whole, _) =
        read(model.complete(request(&prompt, 3, 40)).expect("a request")).await.expect("an answer");
    let stop: String = whole.chars().skip(3).take(2).collect();
    let mut stopped = request(&prompt, 3, 40);
    stopped.options.stop = vec![stop.clone()];
    let (text, completion) = read(model.complete(stopped).expect("a request")).await.expect("an answer");
    assert!(!text.contains(&stop), "`{text}` has `{stop}`");
    assert_eq!(completion.stop, StopReason::StopString);
    // The best so far comes when a search is cut short.
    let cancel = CancellationToken::default();
    let mut cut = request(&prompt, 3, 1500);
    cut.cancel = cancel.clone();
    let stream = model.complete(cut).expect("a request");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    cancel.cancel();
    let (text, completion) = read(stream).await.expect("an answer");
    assert_eq!(completion.stop, StopReason::Cancelled);
    assert!(completion.usage.completion_tokens > 0 && !text.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_searched_is_told() {
    let model = load(&bundled()).expect("the model");
    let beams = |beams| Some(BeamOptions { beams, ..BeamOptions::default() });
    for (change, told) in [
        (GenerateOptions { beam: beams(1), ..Default::default() }, "`beam.beams` is `1`"),
        (GenerateOptions { beam: beams(1000), ..Default::default() }, "from 2 to 64"),
        (
            GenerateOptions { beam: beams(2), temperature: Some(1.0), ..Default::default() },
            "`temperature` is `1`",
        ),
        (
            GenerateOptions {
                beam: Some(BeamOptions { length_penalty: f32::NAN, ..BeamOptions::default() }),
                ..Default::default()
            },
            "length_penalty",
        ),
    ] {
        let error =
            model.generate(ask_with("Hi", |options| *options = change)).await.err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(told), "no `{told}` in {error}");
    }
    let two = ask_with("Hi", |options| options.beam = beams(2));
    assert!(model.choices(&two, 2).is_err_and(|error| error.to_string().contains("finds one")));
    // Memory is budgeted for every beam.
    let small = load_with(&bundled(), |options| options.cache_memory = Some(400_000)).expect("the model");
    let many = ask_with("Hi", |options| {
        options.beam = beams(64);
        options.max_tokens = Some(20);
    });
    let error = small.generate(many).await.expect("a request");
    let error = read(error).await.expect_err("too little memory");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    answer(&small, ask_with("Hi", |options| options.max_tokens = Some(5))).await;
}
