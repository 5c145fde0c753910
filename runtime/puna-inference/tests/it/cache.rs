//! The cache in place gives what a cache that grows gives.

use std::fs;

use puna_core::{GenerateRequest, Message};
use serde_json::{Value, json};

use crate::{answer, ask_with, bundled, copy, load};

/// Sets what the exporter says of sharing the cache's buffers.
fn share(folder: &std::path::Path, share: Option<bool>) {
    let path = folder.join("genai_config.json");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("the file")).expect("JSON");
    let search = config["search"].as_object_mut().expect("an object");
    search.remove("past_present_share_buffer");
    search.extend(share.map(|share| ("past_present_share_buffer".to_owned(), json!(share))));
    fs::write(&path, config.to_string()).expect("the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_place_growing_and_found_out() {
    let folder = copy();
    let mut answers = Vec::new();
    // The export says it runs in place; told nothing, the probe finds that out.
    for (said, in_place) in [(Some(true), true), (Some(false), false), (None, true)] {
        share(folder.path(), said);
        let model = load(folder.path()).expect("the model");
        assert_eq!(model.details().cache_in_place, in_place, "{said:?}");
        let mut texts = Vec::new();
        for question in
            ["Hello", "What is my name?", "Repeat: one two three four five six seven eight nine ten"]
        {
            texts.push(answer(&model, short(question)).await.0);
        }
        // A prompt of several chunks, and back to the middle of the last.
        for (more, cached) in [("Hello", false), ("Good bye", true)] {
            let mut request = short(&"one two three ".repeat(150));
            request.messages.extend([Message::assistant(texts[0].clone()), Message::user(more)]);
            let (text, completion) = answer(&model, request).await;
            let usage = completion.usage;
            assert!(usage.prompt_tokens > 512, "{usage:?}");
            assert_eq!(usage.cached_tokens > 512, cached, "{said:?}: {usage:?}");
            texts.push(text);
        }
        let random = ask_with("Hello", |options| {
            options.temperature = Some(5.0);
            options.seed = Some(3);
            options.max_tokens = Some(300);
        });
        texts.push(answer(&model, random).await.0);
        answers.push(texts);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

fn short(question: &str) -> GenerateRequest {
    ask_with(question, |options| options.max_tokens = Some(60))
}

#[test]
fn details_tell_what_was_found() {
    let model = load(&bundled()).expect("the model");
    let details = model.details();
    assert_eq!(details.name, "puna-tiny");
    assert_eq!(details.threads, 2);
    let config: Value =
        serde_json::from_str(&fs::read_to_string(bundled().join("config.json")).expect("the file"))
            .expect("JSON");
    assert_eq!(json!(details.vocabulary), config["vocab_size"]);
    assert_eq!(json!(details.context_length), config["max_position_embeddings"]);
    let number = |key: &str| config[key].as_u64().expect("a number") as usize;
    let per_token = number("num_hidden_layers") * number("num_key_value_heads") * number("head_dim") * 2 * 4;
    assert_eq!(details.cache_bytes_per_token, per_token);
}
