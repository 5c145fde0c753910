//! Prompts, answers, and what ends them.

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all};
use puna_core::{
    CancellationToken, Content, ErrorKind, GenerateOptions, GenerateRequest, Message, Model, ModelEvent,
    StopReason, ToolSchema,
};
use puna_inference::OnnxModel;
use serde_json::json;

use crate::{answer, ask, ask_with, batching::check_same, bundled, load, load_with, read, toy::Toy};

/// What a model repeats at length.
fn long(words: usize) -> String {
    let words: Vec<String> = (0..words).map(|word| format!("w{word}")).collect();
    format!("Repeat: {}", words.join(" "))
}

/// An answer of some length, whatever the model makes of the question.
fn say(words: usize) -> GenerateRequest {
    ask_with(&long(words), |options| options.max_tokens = Some(80))
}

/// A model that writes zeros and never ends of itself, and its folder.
fn endless(context: usize) -> (OnnxModel, tempfile::TempDir) {
    let folder = Toy { constant: true, ..Toy::default() }.folder(context, None);
    (load(folder.path()).expect("the model"), folder)
}

/// Prompt and answer of an endless model: more than it writes before a test stops it.
const FAR: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_however_it_comes_about() {
    let model = load(&bundled()).expect("the model");
    let question = say(8);
    let (text, first) = answer(&model, question.clone()).await;
    assert_eq!(text, first.message.plain_text(), "the deltas are the message");
    assert_eq!(first.usage.cached_tokens, 0);
    assert_eq!(first.usage.prompt_tokens, model.prompt(&question).expect("a prompt").len() as u64);
    assert!(first.usage.completion_tokens > 1 && first.usage.prefill_ms > 0.0 && first.usage.decode_ms > 0.0);
    // Again, from the cache.
    let (again, second) = answer(&model, question.clone()).await;
    assert_eq!(again, text);
    assert_eq!(second.usage.cached_tokens, first.usage.prompt_tokens - 1, "all but the last token are known");
    assert_eq!(second.usage.completion_tokens, first.usage.completion_tokens);
    // After other conversations took its place.
    for other in 0..6 {
        answer(&model, ask_with(&format!("{other} {}", long(30)), |options| options.max_tokens = Some(3)))
            .await;
    }
    assert_eq!(answer(&model, question.clone()).await.0, text);
    // Loaded anew, with another thread count and a smaller context.
    let other = load_with(&bundled(), |options| {
        options.threads = Some(1);
        options.context_limit = Some(512);
    });
    assert_eq!(answer(&other.expect("the model"), question).await.0, text);
}

/// A conversation that goes on finds its beginning in the cache, and is answered as by a model that computes all of
/// it; prompts of several chunks of the prefill too.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_goes_on_is_not_computed_again() {
    let kept = load(&bundled()).expect("the model");
    let mut messages = Vec::new();
    for turn in 0..4 {
        messages.push(Message::user(format!("{turn} {}", long(100))));
        let mut request = ask("");
        request.messages = messages.clone();
        request.options.max_tokens = Some(12);
        let (text, completion) = answer(&kept, request.clone()).await;
        let usage = completion.usage;
        assert_eq!(usage.cached_tokens * 5 > usage.prompt_tokens * 2, turn > 0, "turn {turn}: {usage:?}");
        let fresh = load(&bundled()).expect("the model");
        let (expected, computed) = answer(&fresh, request.clone()).await;
        assert_eq!(computed.usage.cached_tokens, 0);
        check_same(&fresh, &request, &text, &expected).await;
        messages.push(Message::assistant(text));
        assert!(usage.prompt_tokens > 2 * 512 || turn < 3, "the last takes three chunks: {usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_decide() {
    // So flat that any other bit changes the answer soon, and the second prompt is found in the cache.
    let model = load_with(&bundled(), |options| options.deterministic = true).expect("the model");
    let say = |seed: Option<u64>| {
        ask_with("Hello", |options| {
            options.temperature = Some(50.0);
            options.seed = seed;
            options.max_tokens = Some(20);
        })
    };
    let (one, _) = answer(&model, say(Some(1))).await;
    assert_eq!(answer(&model, say(Some(1))).await.0, one);
    assert_ne!(answer(&model, say(Some(2))).await.0, one);
    assert_ne!(answer(&model, say(None)).await.0, answer(&model, say(None)).await.0);
}

/// What a request does not say of sampling is as the model's authors chose.
#[tokio::test(flavor = "multi_thread")]
async fn authors_choose_what_requests_do_not_say() {
    let folder = Toy::default().folder(2048, None);
    let authors = r#"{"do_sample": true, "temperature": 40.0, "top_k": 3}"#;
    let plain = load(folder.path()).expect("the model");
    fs::write(folder.path().join("generation_config.json"), authors).expect("a file");
    let chosen = load(folder.path()).expect("the model");
    assert_eq!(chosen.details().generation.temperature, Some(40.0));
    let say = |change: fn(&mut GenerateOptions)| {
        ask_with("Hello", |options| {
            (options.seed, options.max_tokens) = (Some(7), Some(20));
            change(options);
        })
    };
    let said = |options: &mut GenerateOptions| {
        (options.temperature, options.top_k) = (Some(40.0), Some(3));
    };
    let (sampled, _) = answer(&chosen, say(|_| {})).await;
    assert_eq!(sampled, answer(&plain, say(said)).await.0);
    let greedy = |options: &mut GenerateOptions| options.temperature = Some(0.0);
    let (likeliest, _) = answer(&chosen, say(greedy)).await;
    assert_eq!(likeliest, answer(&plain, say(|_| {})).await.0);
    assert_ne!(sampled, likeliest);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_strings_end_an_answer_and_are_not_in_it() {
    let toy = Toy::default().folder(2048, None);
    for folder in [bundled(), toy.path().to_owned()] {
        let model = load(&folder).expect("the model");
        let (whole, _) = answer(&model, say(6)).await;
        assert!(whole.len() > 6, "an answer to cut: {whole}");
        // Every place in the answer, across tokens too.
        for start in whole.char_indices().map(|(at, _)| at).step_by(3) {
            let Some(stop) = whole.get(start..start + 4) else { continue };
            let mut request = say(6);
            request.options.stop = vec!["never".to_owned(), stop.to_owned()];
            let (text, completion) = answer(&model, request).await;
            let expected = &whole[..whole.find(stop).expect("it is in the answer")];
            assert_eq!((text.as_str(), completion.stop), (expected, StopReason::StopString), "`{stop}`");
            assert_eq!(completion.message.plain_text(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_an_answer() {
    let (_, folder) = endless(2048);
    let model = load_with(folder.path(), |options| options.context_limit = Some(64)).expect("the model");
    assert_eq!((model.details().context_length, model.info().context_length), (64, 64));
    let (text, completion) = answer(&model, ask_with("Hello", |options| options.max_tokens = Some(5))).await;
    assert_eq!((completion.stop, completion.usage.completion_tokens), (StopReason::MaxTokens, 5));
    assert_eq!(text, "00000");

    let (text, completion) = answer(&model, ask("Hello")).await;
    assert_eq!(completion.stop, StopReason::ContextFull, "{completion:?}");
    assert_eq!(completion.usage.prompt_tokens + completion.usage.completion_tokens, 64);
    assert_eq!(text.len() as u64, completion.usage.completion_tokens, "the last token is told too");

    let Err(error) = model.generate(ask(&long(60))).await else { panic!("it does not fit") };
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    let needed = model.prompt(&ask(&long(60))).expect("a prompt").len();
    for part in [needed.to_string().as_str(), "64", "shorten"] {
        assert!(error.to_string().contains(part), "no `{part}` in {error}");
    }
    let Err(error) = model.generate(ask_with("Hello", |options| options.max_tokens = Some(64))).await else {
        panic!("it does not fit")
    };
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    // The model goes on.
    answer(&model, ask("Hello")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_and_deadlines_take_effect_anywhere() {
    let model = load(&bundled()).expect("the model");
    // Before it begins.
    let request = say(8);
    request.cancel.cancel();
    assert_eq!(answer(&model, request).await.1.stop, StopReason::Cancelled);
    let mut request = say(8);
    request.deadline = Some(Instant::now());
    let (text, completion) = answer(&model, request).await;
    assert_eq!((text.as_str(), completion.stop), ("", StopReason::Deadline));
    let (text, _) = answer(&model, say(6)).await;
    let fresh = load(&bundled()).expect("the model");
    assert_eq!(answer(&fresh, say(6)).await.0, text, "nothing was left behind");
    // In the middle of an answer.
    let (model, _folder) = endless(FAR);
    let cancel = CancellationToken::new();
    let mut request = ask("Hello");
    request.cancel = cancel.clone();
    let mut stream = model.generate(request).await.expect("a request");
    let Some(Ok(ModelEvent::TextDelta(first))) = stream.next().await else { panic!("it begins") };
    cancel.cancel();
    let (rest, completion) = read(stream).await.expect("an answer");
    assert_eq!(completion.stop, StopReason::Cancelled);
    assert_eq!(completion.message.plain_text(), first + &rest, "what was said so far is told");
    let mut request = ask("Hello");
    request.deadline = Some(Instant::now() + Duration::from_millis(80));
    assert_eq!(answer(&model, request).await.1.stop, StopReason::Deadline);
}

/// Stops a request between two chunks of its prompt. How long that takes is the machine's business, so the time is
/// searched for.
async fn check_stopped_in_prefill(reason: StopReason, stop: fn(&mut GenerateRequest, Duration)) {
    let model = load(&bundled()).expect("the model");
    let mut wait = Duration::from_millis(20);
    for attempt in 0..60 {
        // Another beginning every time, so that nothing of it is cached.
        let mut request = ask(&format!("{attempt} {}", long(400)));
        let whole = request.clone();
        stop(&mut request, wait);
        let (text, completion) = answer(&model, request).await;
        let usage = completion.usage;
        if usage.completion_tokens > 0 {
            wait = wait.mul_f64(0.6);
            continue;
        }
        if usage.prompt_tokens == 0 {
            wait = wait.mul_f64(1.5);
            continue;
        }
        assert_eq!((text.as_str(), completion.stop), ("", reason));
        assert_eq!(completion.message.content, []);
        assert!(usage.prefill_ms > 0.0 && usage.decode_ms == 0.0, "{usage:?}");
        // The chunks that were computed are a beginning for who asks again.
        let mut again = whole;
        again.cancel = CancellationToken::new();
        again.options.max_tokens = Some(20);
        let (text, completion) = answer(&model, again.clone()).await;
        let cached = completion.usage.cached_tokens;
        assert!(cached > 0 && cached < usage.prompt_tokens - 1 && cached % 128 == 0, "{cached}");
        let fresh = load(&bundled()).expect("the model");
        assert_eq!(answer(&fresh, again).await.0, text);
        return;
    }
    panic!("no prompt was stopped in the middle; the last wait was {wait:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_stopped_in_the_middle() {
    check_stopped_in_prefill(StopReason::Deadline, |request, wait| {
        request.deadline = Some(Instant::now() + wait);
    })
    .await;
    check_stopped_in_prefill(StopReason::Cancelled, |request, wait| {
        let cancel = request.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            cancel.cancel();
        });
    })
    .await;
}

/// Who goes away is not worked for: the answer, whose text is known, did not get to its middle.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_nobody_reads_is_not_written() {
    const MIDDLE: usize = 12_000;
    let toy = Toy { position_ids: false, attention_mask: false, constant: true, ..Toy::default() };
    let folder = toy.folder(FAR, Some(false));
    let mut cached = Vec::new();
    for goes_away in [true, false] {
        let model = load(folder.path()).expect("the model");
        let question = ask("count");
        let mut stream = model.generate(question.clone()).await.expect("a request");
        let Some(Ok(ModelEvent::TextDelta(_))) = stream.next().await else { panic!("it begins") };
        if goes_away {
            drop(stream);
        } else {
            let (text, completion) = read(stream).await.expect("an answer");
            assert_eq!(completion.stop, StopReason::ContextFull);
            assert!(text.len() > MIDDLE, "{}", text.len());
        }
        let mut next = question;
        next.messages.push(Message::assistant(toy.expected(&model, &ask("count"), MIDDLE)));
        next.messages.push(Message::user("and on"));
        next.options.max_tokens = Some(1);
        cached.push(answer(&model, next).await.1.usage.cached_tokens);
    }
    assert!(cached[0] < MIDDLE as u64 && cached[1] > MIDDLE as u64, "{cached:?}");
}

/// Nor is a prompt computed that nobody waits for any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_nobody_waits_for_is_not_computed() {
    let (model, _folder) = endless(FAR);
    let mut cached = Vec::new();
    for goes_away in [true, false] {
        let first = ask("Hello");
        let cancel = first.cancel.clone();
        let first = model.generate(first).await.expect("a request");
        let second = ask_with(&format!("{goes_away} {}", long(50)), |options| options.max_tokens = Some(1));
        let waits = model.generate(second.clone()).await.expect("a request");
        let waits = (!goes_away).then_some(waits);
        cancel.cancel();
        read(first).await.expect("an answer");
        if let Some(waits) = waits {
            read(waits).await.expect("an answer");
        }
        let usage = answer(&model, second).await.1.usage;
        cached.push(usage.cached_tokens == usage.prompt_tokens - 1);
    }
    assert_eq!(cached, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_what_each_gets_alone() {
    let model = load(&bundled()).expect("the model");
    let questions: Vec<GenerateRequest> = (1..=12).map(say).collect();
    let together = join_all(questions.iter().map(|question| answer(&model, question.clone()))).await;
    let alone = load(&bundled()).expect("the model");
    for (question, (text, _)) in questions.iter().zip(together) {
        assert_eq!(answer(&alone, question.clone()).await.0, text, "{:?}", question.messages);
    }
    // Two models in one process do not disturb each other.
    let (here, there) = futures_util::future::join(answer(&model, say(9)), answer(&alone, say(9))).await;
    assert_eq!(here.0, there.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told() {
    let (model, _folder) = endless(FAR);
    let mut waiting = Vec::new();
    let error = loop {
        match model.generate(ask("Hello")).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 1000, "requests are taken without end");
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    drop(waiting);
    // Those who waited have gone: there is room again, soon.
    let until = Instant::now() + Duration::from_secs(60);
    while model.generate(say(1)).await.is_err() {
        assert!(Instant::now() < until, "the queue stays full");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_come_as_calls() {
    let model = load(&bundled()).expect("the model");
    let mut request = ask("What is 17 times 23?");
    request.tools = vec![ToolSchema {
        name: "calculate".to_owned(),
        description: "Evaluate a mathematical expression and give the exact result.".to_owned(),
        parameters: json!({"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}),
        output: None,
    }];
    let (text, completion) = answer(&model, request).await;
    assert_eq!((text.as_str(), completion.stop), ("", StopReason::ToolCalls), "{completion:?}");
    let [Content::ToolCall(call)] = &completion.message.content[..] else { panic!("{completion:?}") };
    assert_eq!(call.name, "calculate");
    assert!(call.arguments["expression"].is_string(), "{call:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_checked() {
    let model = load(&bundled()).expect("the model");
    type Change = fn(&mut GenerateOptions);
    let cases: [(&str, Change); 6] = [
        ("temperature", |options| options.temperature = Some(-1.0)),
        ("temperature", |options| options.temperature = Some(f32::NAN)),
        ("top_p", |options| options.top_p = Some(1.5)),
        ("min_p", |options| options.min_p = Some(-0.1)),
        ("repetition_penalty", |options| options.repetition_penalty = Some(0.0)),
        ("repetition_penalty", |options| options.repetition_penalty = Some(f32::INFINITY)),
    ];
    for (name, change) in cases {
        let Err(error) = model.generate(ask_with("Hello", change)).await else { panic!("{name} is taken") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
    // Zero tokens are no answer: one is the least.
    let (_, completion) = answer(&model, ask_with("Hello", |options| options.max_tokens = Some(0))).await;
    assert_eq!((completion.stop, completion.usage.completion_tokens), (StopReason::MaxTokens, 1));
}

/// What an answer cost adds up, whatever ended it.
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_what_happened() {
    let toy = Toy { ends: true, ..Toy::default() };
    let folder = toy.folder(2048, None);
    let model = load(folder.path()).expect("the model");
    let mut stops = Vec::new();
    for number in 0..8 {
        let request = ask_with(&format!("Question {number}"), |options| options.max_tokens = Some(5));
        let expected = toy.expected(&model, &request, 5);
        let began = Instant::now();
        let (text, completion) = answer(&model, request.clone()).await;
        let (usage, elapsed) = (completion.usage, began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(text, expected);
        // The token that ends an answer counts and has no text.
        let (tokens, stop) = match text.len() {
            5 => (5, StopReason::MaxTokens),
            length => (length + 1, StopReason::EndOfTurn),
        };
        assert_eq!((usage.completion_tokens, completion.stop), (tokens as u64, stop), "{text}");
        assert_eq!(usage.prompt_tokens, model.prompt(&request).expect("a prompt").len() as u64);
        assert!(usage.cached_tokens < usage.prompt_tokens, "{usage:?}");
        assert!(usage.prefill_ms > 0.0 && usage.decode_ms > 0.0, "{usage:?}");
        assert!(usage.prefill_ms + usage.decode_ms <= elapsed, "{usage:?} in {elapsed} ms");
        stops.push(stop);
    }
    assert!(stops.contains(&StopReason::MaxTokens) && stops.contains(&StopReason::EndOfTurn), "{stops:?}");
}

/// Requests that wait are answered in the order they came, where one is computed at a time.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_served_in_order() {
    let model = load_with(&bundled(), |options| options.slots = 1).expect("the model");
    let order = Mutex::new(Vec::new());
    let mut waiting = Vec::new();
    for number in 0..10 {
        let stream = model
            .generate(ask_with(&format!("{number}"), |options| options.max_tokens = Some(4)))
            .await
            .expect("a place in the queue");
        let order = &order;
        waiting.push(async move {
            read(stream).await.expect("an answer");
            order.lock().expect("the order").push(number);
        });
    }
    join_all(waiting).await;
    assert_eq!(order.into_inner().expect("the order"), (0..10).collect::<Vec<_>>());
}
