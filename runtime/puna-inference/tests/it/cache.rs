//! The cache in place gives what a cache that grows gives.

use std::fs;

use serde_json::{Value, json};

use crate::{answer, ask, ask_with, bundled, copy, load};

/// Sets what the exporter says of sharing the cache's buffers; null says nothing.
fn share(folder: &std::path::Path, share: Value) {
    let path = folder.join("genai_config.json");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("the file")).expect("JSON");
    config["search"]["past_present_share_buffer"] = share;
    fs::write(&path, config.to_string()).expect("the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_place_growing_and_found_out() {
    let folder = copy();
    let mut answers = Vec::new();
    // The export says it runs in place; told nothing, the probe finds that out.
    for (said, in_place) in [(json!(true), true), (json!(false), false), (Value::Null, true)] {
        share(folder.path(), said.clone());
        let model = load(folder.path()).expect("the model");
        assert_eq!(model.details().cache_in_place, in_place, "{said}");
        let mut texts = Vec::new();
        for question in
            ["Hello", "What is my name?", "Repeat: one two three four five six seven eight nine ten"]
        {
            texts.push(answer(&model, ask(question)).await.0);
        }
        // Back to the first, whose keys and values are still there.
        texts.push(answer(&model, ask("Hello there")).await.0);
        let random = ask_with("Hello", |options| {
            options.temperature = 5.0;
            options.seed = Some(3);
            options.max_tokens = Some(300);
        });
        texts.push(answer(&model, random).await.0);
        answers.push(texts);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
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
