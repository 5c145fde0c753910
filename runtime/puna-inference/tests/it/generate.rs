//! Prompts, answers, and what ends them.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all};
use puna_core::{
    CancellationToken, Content, ErrorKind, GenerateOptions, Message, Model, ModelEvent, StopReason,
    ToolSchema,
};
use serde_json::json;

use crate::{answer, ask, ask_with, bundled, load, load_with, read};

/// Long answers: repeats what is said, which every version of the model does.
fn long(words: usize) -> String {
    let words: Vec<String> = (0..words).map(|word| format!("w{word}")).collect();
    format!("Repeat: {}", words.join(" "))
}

/// Random text, so that an answer goes on until something ends it.
fn babble(options: &mut GenerateOptions) {
    options.temperature = 50.0;
    options.seed = Some(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_however_it_comes_about() {
    let model = load(&bundled()).expect("the model");
    let question = long(8);
    let (text, first) = answer(&model, ask(&question)).await;
    assert_eq!(text, first.message.plain_text(), "the deltas are the message");
    assert_eq!(first.usage.cached_tokens, 0);
    assert_eq!(first.usage.prompt_tokens, model.prompt(&ask(&question)).expect("a prompt").len() as u64);
    assert!(first.usage.completion_tokens > 1 && first.usage.prefill_ms > 0.0 && first.usage.decode_ms > 0.0);
    // Again, from the cache.
    let (again, second) = answer(&model, ask(&question)).await;
    assert_eq!(again, text);
    assert_eq!(second.usage.cached_tokens, first.usage.prompt_tokens - 1, "all but the last token are known");
    assert_eq!(second.usage.completion_tokens, first.usage.completion_tokens);
    // After other conversations took its place.
    for other in 0..6 {
        answer(&model, ask_with(&format!("{other} {}", long(30)), |options| options.max_tokens = Some(3)))
            .await;
    }
    assert_eq!(answer(&model, ask(&question)).await.0, text);
    // Loaded anew, with another thread count and a smaller context.
    let other = load_with(&bundled(), |options| {
        options.threads = Some(1);
        options.context_limit = Some(512);
    });
    assert_eq!(answer(&other.expect("the model"), ask(&question)).await.0, text);
}

/// A conversation that goes on finds its beginning in the cache; prompts beyond one chunk of the prefill too.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_goes_on_is_not_computed_again() {
    let (kept, fresh) = (load(&bundled()).expect("the model"), load(&bundled()).expect("the model"));
    let mut messages = Vec::new();
    for turn in 0..4 {
        messages.push(Message::user(format!("{turn} {}", long(60))));
        let mut request = ask("");
        request.messages = messages.clone();
        request.options.max_tokens = Some(12);
        let (text, completion) = answer(&kept, request.clone()).await;
        if turn > 0 {
            let cached = completion.usage.cached_tokens as f64 / completion.usage.prompt_tokens as f64;
            assert!(cached > 0.4, "only {cached} of the prompt was cached");
        }
        // A model that never saw the conversation computes all of it and says the same.
        let unrelated = ask_with(&format!("unrelated {turn}"), |options| options.max_tokens = Some(1));
        answer(&fresh, unrelated).await;
        let (expected, computed) = answer(&fresh, request).await;
        assert_eq!(text, expected, "turn {turn}: {:?} {:?}", completion.usage, computed.usage);
        messages.push(Message::assistant(text));
    }
    let mut request = ask("");
    request.messages = messages;
    assert!(kept.prompt(&request).expect("a prompt").len() > 512, "the prompt is longer than a chunk");
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_decide() {
    let model = load(&bundled()).expect("the model");
    let say = |seed: Option<u64>| {
        ask_with("Hello", |options| {
            babble(options);
            options.seed = seed;
            options.max_tokens = Some(20);
        })
    };
    let (one, _) = answer(&model, say(Some(1))).await;
    assert_eq!(answer(&model, say(Some(1))).await.0, one);
    assert_ne!(answer(&model, say(Some(2))).await.0, one);
    assert_ne!(answer(&model, say(None)).await.0, answer(&model, say(None)).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_strings_end_an_answer_and_are_not_in_it() {
    let model = load(&bundled()).expect("the model");
    let (whole, _) = answer(&model, ask(&long(6))).await;
    assert!(whole.len() > 6, "an answer to cut: {whole}");
    // Every place in the answer, across tokens too.
    let starts: Vec<usize> = whole.char_indices().map(|(at, _)| at).step_by(3).collect();
    for start in starts {
        let Some(stop) = whole.get(start..start + 4) else { continue };
        let request = ask_with(&long(6), |options| options.stop = vec!["never".to_owned(), stop.to_owned()]);
        let (text, completion) = answer(&model, request).await;
        let expected = &whole[..whole.find(stop).expect("it is in the answer")];
        assert_eq!((text.as_str(), completion.stop), (expected, StopReason::StopString), "`{stop}`");
        assert_eq!(completion.message.plain_text(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_an_answer() {
    let model = load_with(&bundled(), |options| options.context_limit = Some(64)).expect("the model");
    let (_, completion) = answer(&model, ask_with(&long(8), |options| options.max_tokens = Some(5))).await;
    assert_eq!((completion.stop, completion.usage.completion_tokens), (StopReason::MaxTokens, 5));

    let (_, completion) = answer(&model, ask_with("Hello", babble)).await;
    assert_eq!(completion.stop, StopReason::ContextFull, "{completion:?}");
    assert_eq!(completion.usage.prompt_tokens + completion.usage.completion_tokens, 64);

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
    let request = ask(&long(8));
    request.cancel.cancel();
    assert_eq!(answer(&model, request).await.1.stop, StopReason::Cancelled);
    let mut request = ask(&long(8));
    request.deadline = Some(Instant::now());
    let (text, completion) = answer(&model, request).await;
    assert_eq!((text.as_str(), completion.stop), ("", StopReason::Deadline));
    // In the middle of an answer that would go on for two thousand tokens.
    let cancel = CancellationToken::new();
    let mut request = ask_with("Hello", babble);
    request.cancel = cancel.clone();
    let mut stream = model.generate(request).await.expect("a request");
    let Some(Ok(ModelEvent::TextDelta(first))) = stream.next().await else { panic!("it begins") };
    cancel.cancel();
    let (rest, completion) = read(stream).await.expect("an answer");
    assert_eq!(completion.stop, StopReason::Cancelled);
    assert_eq!(completion.message.plain_text(), first + &rest, "what was said so far is told");
    let mut request = ask_with("Hello", babble);
    request.deadline = Some(Instant::now() + Duration::from_millis(80));
    assert_eq!(answer(&model, request).await.1.stop, StopReason::Deadline);
    // Who goes away holds nobody up.
    for _ in 0..3 {
        drop(model.generate(ask_with("Hello", babble)).await.expect("a request"));
    }
    let (text, _) = answer(&model, ask(&long(6))).await;
    let fresh = load(&bundled()).expect("the model");
    assert_eq!(answer(&fresh, ask(&long(6))).await.0, text, "nothing was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_what_each_gets_alone() {
    let model = load(&bundled()).expect("the model");
    let questions: Vec<String> = (1..=12).map(|words| format!("{words} {}", long(words))).collect();
    let together = join_all(questions.iter().map(|question| answer(&model, ask(question)))).await;
    let alone = load(&bundled()).expect("the model");
    for (question, (text, _)) in questions.iter().zip(together) {
        assert_eq!(answer(&alone, ask(question)).await.0, text, "{question}");
    }
    // Two models in one process do not disturb each other.
    let (here, there) =
        futures_util::future::join(answer(&model, ask(&long(9))), answer(&alone, ask(&long(9)))).await;
    assert_eq!(here.0, there.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told() {
    let model = load(&bundled()).expect("the model");
    let mut waiting = Vec::new();
    let error = loop {
        match model.generate(ask_with("Hello", babble)).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 1000, "requests are taken without end");
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    drop(waiting);
    // Those who waited have gone: there is room again, soon.
    let until = Instant::now() + Duration::from_secs(60);
    while model.generate(ask("Hello")).await.is_err() {
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
        ("temperature", |options| options.temperature = -1.0),
        ("temperature", |options| options.temperature = f32::NAN),
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
    let mut request = ask("");
    request.messages.clear();
    let (text, _) = match model.generate(request).await {
        Ok(stream) => read(stream).await.expect("an answer"),
        Err(error) => (error.to_string(), answer(&model, ask("Hello")).await.1),
    };
    assert!(text.len() < 100_000);
}
