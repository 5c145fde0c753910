//! Many requests at a time: each gets what it gets alone.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all};
use puna_core::{
    CancellationToken, ErrorKind, GenerateOptions, GenerateRequest, Message, Model, ModelEvent, StopReason,
};
use puna_inference::{CompletionRequest, EngineStatus, OnnxModel};
use puna_text::Tokenizer;

use crate::{answer, ask, ask_with, bundled, exact, load, load_with, read, toy::Toy};

/// Requests of different lengths and ends.
fn questions(count: usize) -> Vec<GenerateRequest> {
    let questions = [
        "Hello",
        "Repeat: one two three four five six seven eight nine ten",
        "What is my name?",
        "Thanks!",
        "Repeat: a b c",
        "Who wrote Hamlet?",
    ];
    (0..count)
        .map(|number| {
            let words: Vec<String> = (0..number * 13 % 60).map(|word| format!("w{word}")).collect();
            let question = format!("{} {}", questions[number % questions.len()], words.join(" "));
            ask_with(&question, |options| options.max_tokens = Some(8 + number as u32 % 40))
        })
        .collect()
}

/// The answers' texts, asked one after the other of a fresh model.
async fn alone(folder: &std::path::Path, requests: &[GenerateRequest]) -> Vec<String> {
    let model = load_with(folder, |options| options.draft_tokens = 0).expect("the model");
    let mut texts = Vec::new();
    for request in requests {
        texts.push(answer(&model, request.clone()).await.0);
    }
    texts
}

/// The answers' texts, asked all at once.
async fn together(model: &OnnxModel, requests: &[GenerateRequest]) -> Vec<String> {
    join_all(requests.iter().map(|request| answer(model, request.clone())))
        .await
        .into_iter()
        .map(|(text, _)| text)
        .collect()
}

/// What two likely tokens may differ by where rounding decides between them, in the logarithm of their probability: the
/// bundled model rounds what goes into its products to 8 bits, so the last bit of an attention, which is another for
/// several rows or on another processor, can move a logit by hundredths.
const TIE: f64 = 0.2;

/// Two greedy answers to a request are the same, or part where two tokens are as likely.
pub async fn check_same(model: &OnnxModel, request: &GenerateRequest, found: &str, expected: &str) {
    if found == expected {
        return;
    }
    let mut tokens = model.prompt(request).expect("a prompt");
    let tokenizer = Tokenizer::from_folder(&bundled()).expect("a tokenizer");
    let encode = |text: &str| tokenizer.encode_text(text).expect("tokens");
    let (found_tokens, expected_tokens) = (encode(found), encode(expected));
    let shared = found_tokens.iter().zip(&expected_tokens).take_while(|(a, b)| a == b).count();
    let from = tokens.len() + shared;
    tokens.extend(&expected_tokens[..shared]);
    let mut likely = Vec::new();
    for answer in [found_tokens, expected_tokens] {
        // An answer that ended chose a token that ends.
        let Some(next) = answer.get(shared) else { continue };
        let scores = model.score(&[&tokens[..], &[*next]].concat(), from, 1, None).await.expect("scores");
        likely.push((scores[0].logprob, scores[0].top[0].1));
    }
    for (logprob, best) in likely {
        assert!(best - logprob < TIE, "`{found}` and `{expected}` part at token {shared}: {logprob} {best}");
    }
}

async fn check_all_same(
    model: &OnnxModel,
    requests: &[GenerateRequest],
    found: &[String],
    expected: &[String],
) {
    assert_eq!(found.len(), expected.len());
    for ((request, found), expected) in requests.iter().zip(found).zip(expected) {
        check_same(model, request, found, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn together_as_alone() {
    let growing = Toy::default().folder(2048, None);
    let last = Toy { rows: crate::toy::Rows::Last, ..Toy::default() }.folder(2048, None);
    let fixed = Toy { fixed: Some(400), ..Toy::default() }.folder(400, None);
    for (folder, batches) in [
        (bundled(), true),
        (growing.path().to_owned(), false),
        (last.path().to_owned(), false),
        (fixed.path().to_owned(), false),
    ] {
        let requests = questions(24);
        let expected = alone(&folder, &requests).await;
        for slots in [1, 3, 8] {
            let model = load_with(&folder, |options| options.slots = slots).expect("the model");
            assert!(batches || !model.details().batches, "the toys' rows depend on each other");
            assert_eq!(model.details().slots, slots);
            for round in 0..2 {
                let found = together(&model, &requests).await;
                if batches {
                    check_all_same(&model, &requests, &found, &expected).await;
                } else {
                    assert_eq!(found, expected, "{slots} slots, round {round}");
                }
            }
            let EngineStatus { active, queued, cache_bytes, .. } = idle(&model).await;
            assert_eq!((active, queued), (0, 0));
            assert!(cache_bytes > 0, "the conversations are kept");
        }
    }
}

/// The status once nothing runs.
pub async fn idle(model: &OnnxModel) -> EngineStatus {
    let began = Instant::now();
    loop {
        let status = model.status();
        if status.active == 0 && status.queued == 0 {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Another session with the same beginning finds it computed, while the first still runs and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_is_computed_once() {
    let system: Vec<String> = (0..200).map(|word| format!("rule{word}")).collect();
    let session = |question: &str| {
        let mut request = ask_with(question, |options| options.max_tokens = Some(30));
        request.messages.insert(0, Message::system(system.join(" ")));
        request
    };
    let requests: Vec<_> = ["Hello", "What is my name?", "Who wrote Hamlet?", "Thanks!"].map(session).into();
    let expected = alone(&bundled(), &requests).await;
    let model = load(&bundled()).expect("the model");
    let answers = join_all(requests.iter().map(|request| answer(&model, request.clone()))).await;
    let mut computed = 0;
    for ((request, (text, completion)), expected) in requests.iter().zip(&answers).zip(&expected) {
        check_same(&model, request, text, expected).await;
        computed += completion.usage.prompt_tokens - completion.usage.cached_tokens;
    }
    let prompt = answers[0].1.usage.prompt_tokens;
    assert!(
        prompt > 500 && computed < prompt * 3 / 2,
        "{computed} tokens of prompts of {prompt} were computed"
    );
    // A conversation that goes on, beside a new one: each finds its own.
    let mut longer = requests[0].clone();
    longer.messages.extend([Message::assistant(answers[0].0.clone()), Message::user("Thanks!")]);
    let more = [longer, session("Good bye")];
    let expected = alone(&bundled(), &more).await;
    let answers = join_all(more.iter().map(|request| answer(&model, request.clone()))).await;
    for ((request, (text, completion)), expected) in more.iter().zip(&answers).zip(&expected) {
        let usage = completion.usage;
        check_same(&model, request, text, expected).await;
        assert!(usage.cached_tokens * 10 > usage.prompt_tokens * 8, "{usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_cost_one_prompt() {
    let load = || load_with(&bundled(), |options| options.deterministic = true).expect("the model");
    let model = load();
    let words: Vec<String> = (0..150).map(|word| format!("w{word}")).collect();
    let mut request = ask_with(&words.join(" "), |options| {
        options.temperature = Some(3.0);
        options.seed = Some(5);
        options.max_tokens = Some(12);
    });
    let streams = model.choices(&request, 4).expect("the choices");
    let choices = join_all(streams.into_iter().map(read)).await;
    let choices: Vec<_> = choices.into_iter().map(|choice| choice.expect("an answer")).collect();
    let computed: u64 =
        choices.iter().map(|(_, choice)| choice.usage.prompt_tokens - choice.usage.cached_tokens).sum();
    let prompt = choices[0].1.usage.prompt_tokens;
    assert!(prompt > 400 && computed < prompt + 4 * 128, "{computed} computed of {prompt}");
    for (index, (text, _)) in choices.iter().enumerate() {
        request.options.seed = Some(5 + index as u64);
        let (expected, _) = answer(&load(), request.clone()).await;
        assert_eq!(*text, expected, "choice {index}");
    }
    assert!(choices.iter().any(|(text, _)| *text != choices[0].0), "the seeds differ");
    for count in [0, 9] {
        let Err(error) = model.choices(&request, count) else { panic!("{count} choices") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("from 1 to 8"), "{error}");
    }
}

/// Guessing ahead saves steps where the answer repeats what was said, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_change_nothing() {
    let folder = exact();
    let model = load(folder.path()).expect("the model");
    let requests = questions(24);
    let expected = alone(folder.path(), &requests).await;
    let (mut drafted, mut accepted) = (0, 0);
    for (request, expected) in requests.iter().zip(&expected) {
        let (text, completion) = answer(&model, request.clone()).await;
        check_same(&model, request, &text, expected).await;
        assert!(completion.usage.accepted_tokens <= completion.usage.drafted_tokens);
        drafted += completion.usage.drafted_tokens;
        accepted += completion.usage.accepted_tokens;
    }
    assert!(accepted > 20 && accepted < drafted, "{accepted} of {drafted}");
    let plain = load_with(folder.path(), |options| options.draft_tokens = 0).expect("the model");
    let (_, completion) = answer(&plain, requests[1].clone()).await;
    assert_eq!(completion.usage.drafted_tokens, 0);
}

/// The deterministic setting: alone, beside others, cached or fresh, whatever the seed.
#[tokio::test(flavor = "multi_thread")]
async fn deterministic_to_the_bit() {
    let load = |slots| {
        load_with(&bundled(), |options| {
            options.deterministic = true;
            options.slots = slots;
        })
        .expect("the model")
    };
    let mut requests = questions(10);
    for (number, request) in requests.iter_mut().enumerate() {
        // So flat that any other bit changes the answer soon.
        request.options.temperature = Some(6.0);
        request.options.seed = Some(number as u64);
    }
    let mut expected = Vec::new();
    for request in &requests {
        expected.push(answer(&load(1), request.clone()).await.0);
    }
    let model = load(8);
    for _ in 0..2 {
        assert_eq!(together(&model, &requests).await, expected);
    }
    // A conversation that goes on holds answers that were computed token by token.
    let mut request = requests[9].clone();
    request.options.max_tokens = Some(150);
    for turn in 0..4 {
        let (text, completion) = answer(&model, request.clone()).await;
        let (fresh, _) = answer(&load(1), request.clone()).await;
        assert_eq!(text, fresh, "turn {turn}");
        assert!(turn == 0 || completion.usage.cached_tokens >= 128, "turn {turn}: {:?}", completion.usage);
        request.messages.extend([Message::assistant(text), Message::user("Go on")]);
    }
}

/// How likely tokens are does not depend on how they were computed, and adds up.
#[tokio::test(flavor = "multi_thread")]
async fn scores() {
    let folder = exact();
    let model = load(folder.path()).expect("the model");
    let tokens =
        model.prompt(&ask("Repeat: one two three four five six seven eight nine")).expect("a prompt");
    let whole = model.score(&tokens, 1, 3, None).await.expect("scores");
    assert_eq!(whole.len(), tokens.len() - 1);
    for (score, token) in whole.iter().zip(&tokens[1..]) {
        assert_eq!(score.token, *token);
        assert!(score.logprob <= 0.0 && score.top.len() == 3, "{score:?}");
        assert!(score.top.is_sorted_by(|a, b| a.1 >= b.1), "{score:?}");
        assert!(score.logprob <= score.top[0].1);
        if let Some((_, logprob)) = score.top.iter().find(|(other, _)| other == token) {
            assert_eq!(*logprob, score.logprob);
        }
    }
    // All of the vocabulary but the likeliest 20 has what is left.
    let top = model.score(&tokens, tokens.len() - 1, 20, None).await.expect("scores");
    let sum: f64 = top[0].top.iter().map(|(_, logprob)| logprob.exp()).sum();
    assert!(sum > 0.5 && sum <= 1.0 + 1e-9, "{sum}");
    // From another place, and beside others.
    for from in [2, tokens.len() / 2, tokens.len() - 1] {
        let (part, _) = tokio::join!(model.score(&tokens, from, 0, None), answer(&model, ask("Hello")));
        for (part, whole) in part.expect("scores").iter().zip(&whole[from - 1..]) {
            assert_eq!(part.token, whole.token);
            assert!((part.logprob - whole.logprob).abs() < 1e-3, "{part:?} {whole:?}");
        }
    }
    // What greedy decoding writes is what is likeliest.
    let request = ask_with("Repeat: one two three", |options| options.max_tokens = Some(6));
    let (text, _) = answer(&model, request.clone()).await;
    let mut tokens = model.prompt(&request).expect("a prompt");
    let from = tokens.len();
    tokens
        .extend(Tokenizer::from_folder(&bundled()).expect("a tokenizer").encode_text(&text).expect("tokens"));
    for score in model.score(&tokens, from, 1, None).await.expect("scores") {
        assert_eq!(score.token, score.top[0].0, "{score:?} in `{text}`");
    }
    for (tokens, from, top, part) in [
        (&tokens[..3], 0, 0, "from `0` of 3"),
        (&tokens[..3], 3, 0, "from `3` of 3"),
        (&tokens[..3], 1, 21, "at most 20"),
    ] {
        let error = model.score(tokens, from, top, None).await.expect_err("nothing to score");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = model.score(&vec![5; 100_000], 1, 0, None).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    let error = model.score(&[1, 4_000_000_000], 1, 0, None).await.expect_err("no token");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Keys and values keep to their budget: old conversations go first, then requests wait, and what never fits is told.
#[tokio::test(flavor = "multi_thread")]
async fn memory_has_a_budget() {
    let whole = load(&bundled()).expect("the model");
    let token = whole.details().cache_bytes_per_token as u64;
    let requests = questions(24);
    let expected = alone(&bundled(), &requests).await;
    // Room for two of the longest at a time.
    let budget = 1_000 * token;
    let model = load_with(&bundled(), |options| options.cache_memory = Some(budget)).expect("the model");
    check_all_same(&model, &requests, &together(&model, &requests).await, &expected).await;
    let status = idle(&model).await;
    assert!(status.cache_bytes > 0 && status.cache_bytes <= budget, "{status:?}");
    assert_eq!(status.cache_budget_bytes, budget);
    let words: Vec<String> = (0..350).map(|word| format!("w{word}")).collect();
    let stream = model.generate(ask(&words.join(" "))).await.expect("a place in the queue");
    let error = read(stream).await.expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    for part in ["cache_memory", &budget.to_string()] {
        assert!(error.to_string().contains(part), "no `{part}` in {error}");
    }
    let again = together(&model, &requests[..4]).await;
    check_all_same(&model, &requests[..4], &again, &expected[..4]).await;
    // An answer that outgrows what is left says so.
    let endless = Toy { constant: true, ..Toy::default() }.folder(20_000, None);
    let model =
        load_with(endless.path(), |options| options.cache_memory = Some(700 * 16)).expect("the model");
    let error =
        read(model.generate(ask("Hello")).await.expect("a place")).await.expect_err("it grows too long");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("cache_memory"), "{error}");
}

/// With hardly any memory every request ends: answered, or told that the cache is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_budget_fails_requests_alone() {
    let token = load(&bundled()).expect("the model").details().cache_bytes_per_token as u64;
    for (slots, tokens) in [(2, 300), (3, 520), (5, 1100)] {
        let model = load_with(&bundled(), |options| {
            options.slots = slots;
            options.queue = 100;
            options.cache_memory = Some(tokens * token);
        })
        .expect("the model");
        let requests = (0..40_u32).map(|number| {
            let prompt = (0..1 + number * 37 % 250).map(|place| 100 + (number * 31 + place * 7) % 2000);
            let request = CompletionRequest {
                prompt: prompt.collect(),
                options: GenerateOptions {
                    max_tokens: Some(1 + number * 53 % 400),
                    ..GenerateOptions::default()
                },
                ignore_end: true,
                ..CompletionRequest::default()
            };
            read(model.complete(request).expect("a place"))
        });
        let (mut answered, mut refused) = (0, 0);
        for outcome in join_all(requests).await {
            match outcome {
                Ok((_, completion)) => {
                    assert_eq!(completion.stop, StopReason::MaxTokens);
                    answered += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                    assert!(error.to_string().contains("cache_memory"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(answered > 5 && refused > 0, "{answered} answered, {refused} refused with {tokens} tokens");
        assert!(idle(&model).await.cache_bytes <= tokens * token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_can_go_and_too_many_are_refused() {
    let folder = Toy { constant: true, ..Toy::default() }.folder(20_000, None);
    let model = load_with(folder.path(), |options| {
        options.slots = 1;
        options.queue = 3;
    })
    .expect("the model");
    let first = CancellationToken::new();
    let mut request = ask("Hello");
    request.cancel = first.clone();
    let mut running = model.generate(request.clone()).await.expect("a place");
    assert!(running.next().await.is_some(), "it runs");
    // One waits to be cancelled, two until nobody reads; one then for a deadline.
    let second = CancellationToken::new();
    request.cancel = second.clone();
    let cancelled = model.generate(request.clone()).await.expect("a place");
    let filling = model.generate(ask("Hello")).await.expect("a place");
    let abandoned = model.generate(ask("Hello")).await.expect("a place");
    let Err(error) = model.generate(ask("Hello")).await else { panic!("three wait") };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("3 requests wait"), "{error}");
    assert_eq!((model.status().active, model.status().queued), (1, 3));
    drop(filling);
    while model.status().queued > 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut late = ask("Hello");
    late.deadline = Some(Instant::now() + Duration::from_millis(5));
    let late = model.generate(late).await.expect("the place that was left");
    drop(abandoned);
    second.cancel();
    for (stream, stop) in [(cancelled, StopReason::Cancelled), (late, StopReason::Deadline)] {
        let (text, completion) = read(stream).await.expect("an outcome");
        assert_eq!((text.as_str(), completion.stop), ("", stop), "while the first runs");
    }
    first.cancel();
    let mut end = None;
    while let Some(event) = running.next().await {
        if let ModelEvent::Finished(completion) = event.expect("an event") {
            end = Some(completion.stop);
        }
    }
    assert_eq!(end, Some(StopReason::Cancelled));
    idle(&model).await;
    for slots in [0, 257] {
        let Err(error) = load_with(folder.path(), |options| options.slots = slots) else {
            panic!("{slots} slots")
        };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("`slots` is `{slots}`")), "{error}");
    }
}

/// A text longer than the context is scored in windows, and each of its tokens once.
#[tokio::test(flavor = "multi_thread")]
async fn perplexity() {
    let model = load(&bundled()).expect("the model");
    let words: Vec<String> = (0..90).map(|word| format!("w{word}")).collect();
    let tokens = model.tokens(&words.join(" ")).expect("tokens");
    let whole = model.perplexity(&tokens, None).await.expect("a perplexity");
    let scores = model.score(&tokens, 1, 0, None).await.expect("scores");
    let sum: f64 = scores.iter().map(|score| score.logprob).sum();
    assert_eq!((whole.tokens, whole.logprob), (tokens.len() - 1, sum));
    assert!((whole.perplexity.ln() + sum / whole.tokens as f64).abs() < 1e-9, "{whole:?}");

    let small = load_with(&bundled(), |options| options.context_limit = Some(64)).expect("the model");
    let windows = small.perplexity(&tokens, None).await.expect("a perplexity");
    let (mut expected, mut scored) = (0.0, 1);
    while scored < tokens.len() {
        let end = if scored == 1 { 64 } else { (scored + 32).min(tokens.len()) };
        let start = end.saturating_sub(64);
        for place in scored..end {
            // Each token alone, after what its window holds before it.
            let score = model.score(&tokens[start..=place], place - start, 0, None).await.expect("a score");
            expected += score[0].logprob;
        }
        scored = end;
    }
    assert_eq!(windows.tokens, tokens.len() - 1);
    // The bundled model rounds what goes into its products to 8 bits, so the last bit of an attention shows.
    let difference = (windows.logprob - expected).abs() / windows.tokens as f64;
    assert!(difference < 1e-3, "{} {expected}", windows.logprob);
    let error = model.perplexity(&tokens[..1], None).await.expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Tokens are continued as they stand, past the end where that is asked.
#[tokio::test(flavor = "multi_thread")]
async fn completions() {
    let model = load(&bundled()).expect("the model");
    let request = ask_with("Hello", |options| options.max_tokens = Some(40));
    let (text, completion) = answer(&model, request.clone()).await;
    assert_eq!(completion.stop, StopReason::EndOfTurn);
    let mut raw = CompletionRequest {
        prompt: model.prompt(&request).expect("a prompt"),
        options: request.options,
        ..CompletionRequest::default()
    };
    assert_eq!(read(model.complete(raw.clone()).expect("a place")).await.expect("an answer").0, text);
    raw.ignore_end = true;
    let (longer, completion) = read(model.complete(raw).expect("a place")).await.expect("an answer");
    assert_eq!((completion.stop, completion.usage.completion_tokens), (StopReason::MaxTokens, 40));
    assert!(longer.starts_with(&text) && longer.len() > text.len(), "{longer}");
    let Err(error) = model.complete(CompletionRequest::default()) else { panic!("there is nothing") };
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Every token that is written can be told with its likelihood, before its text.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told() {
    let model = load(&bundled()).expect("the model");
    let mut request = ask_with("Repeat: one two three", |options| options.max_tokens = Some(9));
    let (text, completion) = answer(&model, request.clone()).await;
    request.logprobs = Some(2);
    for temperature in [0.0, 2.0] {
        request.options.temperature = Some(temperature);
        request.options.seed = Some(1);
        let mut tokens = Vec::new();
        let mut written = String::new();
        let mut count = 0;
        let mut stream = model.generate(request.clone()).await.expect("a request");
        while let Some(event) = stream.next().await {
            match event.expect("an event") {
                ModelEvent::Token(score) => {
                    assert!(score.top.len() == 2 && score.logprob <= score.top[0].1 && score.logprob <= 0.0);
                    assert!(temperature > 0.0 || score.top[0].0 == score.token, "greedy takes the likeliest");
                    tokens.push(score.token);
                }
                ModelEvent::TextDelta(delta) => written.push_str(&delta),
                ModelEvent::Finished(completion) => count = completion.usage.completion_tokens,
                other => panic!("an unknown event {other:?}"),
            }
        }
        assert_eq!(tokens.len() as u64, count);
        assert_eq!(model.text(&tokens).expect("a text"), written);
        assert!(temperature > 0.0 || (&written, count) == (&text, completion.usage.completion_tokens));
    }
    // A bias makes a token certain.
    let mut request = ask_with("Hello", |options| options.max_tokens = Some(3));
    request.logit_bias = [(77, 100.0)].into();
    let (text, _) = answer(&model, request.clone()).await;
    assert_eq!(text, model.text(&[77, 77, 77]).expect("a text"));
    request.logprobs = Some(21);
    let Err(error) = model.generate(request).await else { panic!("too many") };
    assert!(error.to_string().contains("at most 20"), "{error}");
}
