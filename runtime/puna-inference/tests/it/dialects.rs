//! What exporters do differently, with graphs whose answers are known.

use puna_core::{GenerateRequest, Message, StopReason};

use crate::{
    answer, ask_with, load, load_with,
    toy::{BFLOAT16, FLOAT, FLOAT16, INT8, Rows, Toy, UINT8},
};

fn request(messages: Vec<Message>, max_tokens: u32) -> GenerateRequest {
    let mut request = ask_with("", |options| options.max_tokens = Some(max_tokens));
    request.messages = messages;
    request
}

/// Asks, goes on, goes back, and begins anew: what is cached changes no answer.
async fn check(toy: &Toy, in_place: bool) {
    let folder = toy.folder(2048, None);
    let model = load(folder.path()).unwrap_or_else(|error| panic!("{toy:?}: {}", error.report()));
    let details = model.details();
    assert_eq!(details.cache_in_place, in_place, "{toy:?}");
    assert_eq!(details.last_logits_only, toy.rows != Rows::All, "{toy:?}");
    assert_eq!(details.context_length, toy.fixed.map_or(2048, |length| length as usize), "{toy:?}");
    let first = vec![Message::user("a b c d e f g h")];
    let mut on = first.clone();
    on.push(Message::assistant(toy.expected(&model, &request(first.clone(), 40), 40)));
    on.push(Message::user("go on"));
    // Longer than a chunk of the prefill and than two steps of the cache.
    let long = vec![Message::user("x y z ".repeat(300))];
    let mut back = on.clone();
    back[2] = Message::user("something else");
    for (name, messages, cached) in
        [("first", first, false), ("on", on, true), ("back", back, true), ("long", long, false)]
    {
        if let Some(length) = toy.fixed
            && model.prompt(&request(messages.clone(), 1)).expect("a prompt").len() + 40 > length as usize
        {
            continue;
        }
        let request = request(messages, 40);
        let expected = toy.expected(&model, &request, 40);
        let (text, completion) = answer(&model, request).await;
        assert_eq!(text, expected, "{name}: {toy:?}");
        // Every prompt begins with the same few tokens of the template.
        let usage = completion.usage;
        assert_eq!(usage.cached_tokens * 2 > usage.prompt_tokens, cached, "{name}: {usage:?}");
        assert_eq!(usage.prompt_tokens > 512, name == "long", "{name}: {usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_and_rows_in_every_dialect() {
    for (attention_mask, position_ids) in [(true, true), (true, false), (false, true), (false, false)] {
        check(&Toy { attention_mask, position_ids, ..Toy::default() }, false).await;
    }
    check(&Toy { use_cache_branch: true, ..Toy::default() }, false).await;
    for rows in [Rows::Asked("num_logits_to_keep"), Rows::Asked("logits_to_keep"), Rows::Last] {
        check(&Toy { rows, ..Toy::default() }, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_and_logits_of_every_type() {
    for element in [FLOAT, FLOAT16, BFLOAT16, INT8, UINT8] {
        check(&Toy { element, ..Toy::default() }, false).await;
    }
    for logits in [FLOAT16, BFLOAT16] {
        check(&Toy { logits, ..Toy::default() }, false).await;
    }
}

/// Layers whose numbers have gaps, and whose caches differ in heads, width and type.
#[tokio::test(flavor = "multi_thread")]
async fn caches_that_differ_from_layer_to_layer() {
    for (element, second) in [(FLOAT, FLOAT16), (FLOAT16, FLOAT), (BFLOAT16, INT8)] {
        check(&Toy { element, second: Some(second), ..Toy::default() }, false).await;
    }
}

/// A graph that fixes the cache's length runs in place, and what an earlier conversation left in it is not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_fixed_length() {
    for rows in [Rows::All, Rows::Last] {
        for length in [96, 1024] {
            check(&Toy { fixed: Some(length), rows, ..Toy::default() }, true).await;
        }
    }
    let toy = Toy { fixed: Some(96), ..Toy::default() };
    let folder = toy.folder(2048, None);
    let model = load(folder.path()).expect("the model");
    let (text, completion) = answer(&model, ask_with("to the end", |_| ())).await;
    assert_eq!(completion.stop, StopReason::ContextFull);
    assert_eq!(completion.usage.prompt_tokens + completion.usage.completion_tokens, 96);
    assert_eq!(text, toy.expected(&model, &ask_with("to the end", |_| ()), text.len()));
    for (limit, context) in [(64, 64), (200, 96)] {
        let model = load_with(folder.path(), |options| options.context_limit = Some(limit));
        assert_eq!(model.expect("the model").details().context_length, context);
    }
}

/// The growing cache answers where the exporter calls it shared and it cannot be.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_wrongly_called_shared() {
    for said in [Some(true), Some(false), None] {
        let toy = Toy::default();
        let folder = toy.folder(2048, said);
        let model = load(folder.path()).expect("the model");
        assert!(!model.details().cache_in_place, "{said:?}");
        let request = ask_with("Hello", |options| options.max_tokens = Some(300));
        assert_eq!(answer(&model, request.clone()).await.0, toy.expected(&model, &request, 300), "{said:?}");
    }
}
