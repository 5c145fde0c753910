//! Answers that must have a form: calls of tools, and JSON. What is generated is held against `jsonschema`, which the
//! generator does not use.

use std::{collections::HashSet, fs};

use futures_util::{StreamExt, future::join_all};
use jsonschema::{Draft, Validator};
use puna_core::{
    BeamOptions, Completion, Constraint, Content, ErrorKind, GenerateOptions, GenerateRequest, Message,
    Model, ModelEvent, ModelStream, StopReason, ToolChoice, ToolSchema,
};
use puna_inference::{CompletionRequest, OnnxModel};
use puna_text::Tokenizer;
use serde_json::{Value, json};

use crate::{answer, ask_with, bundled, load, load_with, read, toy::Toy};

/// Definitions as agents have them.
fn tools() -> Vec<ToolSchema> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tools.json");
    let tools: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(path).expect("the tools")).expect("JSON");
    let text = |tool: &Value, key: &str| tool[key].as_str().expect("a text").to_owned();
    tools
        .iter()
        .map(|tool| ToolSchema {
            name: text(tool, "name"),
            description: text(tool, "description"),
            parameters: tool["parameters"].clone(),
            output: None,
        })
        .collect()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

/// What the calls of a message are, each of which satisfies its tool's schema.
fn calls(completion: &Completion, tools: &[ToolSchema]) -> Vec<String> {
    let mut names = Vec::new();
    for part in &completion.message.content {
        match part {
            Content::ToolCall(call) => {
                let tool = tools
                    .iter()
                    .find(|tool| tool.name == call.name)
                    .unwrap_or_else(|| panic!("no tool `{}`: {completion:?}", call.name));
                let arguments = &call.arguments;
                assert!(validator(&tool.parameters).is_valid(arguments), "{}: {arguments}", call.name);
                names.push(call.name.clone());
            }
            // Only a call that was cut off is none.
            Content::InvalidToolCall(call) => assert_eq!(completion.stop, StopReason::MaxTokens, "{call:?}"),
            _ => {}
        }
    }
    names
}

fn request(text: &str, seed: u64, choice: ToolChoice) -> GenerateRequest {
    let mut request = ask_with(text, |options| {
        options.temperature = Some(1.5);
        options.seed = Some(seed);
        options.max_tokens = Some(150);
    });
    request.tools = tools();
    request.tool_choice = choice;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_valid_whatever_is_drawn() {
    let model = load(&bundled()).expect("the model");
    let tools = tools();
    let (mut free, mut called) = (0, 0);
    for seed in 0..40 {
        let tool = &tools[seed as usize % tools.len()];
        let text = format!("Please use {}", tool.name);

        let asked = if seed % 4 == 0 { "Hello!" } else { &text };
        let (_, completion) = answer(&model, request(asked, seed, ToolChoice::Auto)).await;
        match calls(&completion, &tools).len() {
            0 => free += 1,
            _ => called += 1,
        }

        let (text_said, completion) = answer(&model, request(&text, seed, ToolChoice::None)).await;
        assert!(calls(&completion, &tools).is_empty() && !text_said.is_empty());

        let (said, completion) = answer(&model, request(&text, seed, ToolChoice::Required)).await;
        assert_eq!(said, "");
        assert!(completion.stop != StopReason::ToolCalls || !calls(&completion, &tools).is_empty());
        assert!(completion.usage.forced_tokens > 0, "{:?}", completion.usage);

        let mut named = request(&text, seed, ToolChoice::Named(tool.name.clone()));
        named.parallel_tool_calls = false;
        let (_, completion) = answer(&model, named).await;
        let names = calls(&completion, &tools);
        assert!(names.iter().all(|name| *name == tool.name) && names.len() <= 1, "{names:?}");
        assert_eq!(names.len(), usize::from(completion.stop == StopReason::ToolCalls), "{completion:?}");
    }
    assert!(free > 0 && called > 0, "{free} answers of free text, {called} calls");
}

/// Every schema of the suite that can be held, and those of the tools.
fn schemas(model: &OnnxModel) -> Vec<Value> {
    let suite =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../puna-text/tests/constraint/json_schema_test_suite.json");
    let suite: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(suite).expect("the suite")).expect("JSON");
    let held = |schema: &Value| match model.unconstrained(schema) {
        Ok(left_out) => left_out.is_empty(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{schema}: {error}");
            false
        }
    };
    let suite = suite.iter().map(|case| case["schema"].clone());
    let tools = tools().into_iter().map(|tool| tool.parameters);
    suite.chain(tools).filter(held).collect()
}

/// How many answers come to an end, all of which then satisfy their schemas; one for each schema and seed.
async fn finished(model: &OnnxModel, schemas: &[Value], seeds: u64, temperature: f32) -> usize {
    let runs = schemas.iter().flat_map(|schema| (0..seeds).map(move |seed| (schema, seed)));
    let runs = runs.map(|(schema, seed)| run(model, schema, seed, temperature));
    join_all(runs).await.into_iter().filter(|finished| *finished).count()
}

/// From the bundled model as it is, and with nearly even chances for every token.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_answers_satisfy_their_schemas() {
    let model = load_with(&bundled(), |options| options.queue = 4096).expect("the model");
    let schemas = schemas(&model);
    let (as_it_is, even) =
        (finished(&model, &schemas, 1, 0.8).await, finished(&model, &schemas, 6, 20.0).await);
    println!(
        "{as_it_is} of 1 seed and {even} of 6 seeds of even chances finished, {} schemas",
        schemas.len()
    );
    assert!(as_it_is > 50 && as_it_is + even > 1_000, "{as_it_is} and {even} pairs of schema and seed");
}

/// From graphs of every architecture with random weights, whose tokens are bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_answers_of_random_weights_satisfy_their_schemas() {
    let small = json!({
        "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
        "bos_token_id": 300, "eos_token_id": 301, "pad_token_id": 302, "tie_word_embeddings": true,
    });
    let mut total = 0;
    for shape in ["llama-3.2-1b", "mistral-7b", "qwen-2.5-0.5b", "qwen-3-0.6b", "phi-3-mini", "gemma-2-2b"] {
        let text = puna_export::shape(shape).expect("a shape");
        let mut config: serde_json::Map<_, _> = serde_json::from_str(text).expect("a configuration");
        config.extend(small.as_object().expect("an object").clone());
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("model");
        puna_export::random(
            &json!(config).to_string(),
            7,
            &out,
            &puna_export::ExportOptions::default(),
            &|_| (),
        )
        .unwrap_or_else(|error| panic!("{shape}: {}", error.report()));
        let model = load_with(&out, |options| options.queue = 4096).expect("the model");
        let schemas = schemas(&model);
        let finished = finished(&model, &schemas, 2, 1.0).await;
        println!("{shape}: {finished} of {} answers finished", 2 * schemas.len());
        assert!(finished > 100, "{shape}: {finished}");
        total += finished;
    }
    assert!(total > 1_000, "{total} pairs of schema and seed came to an end");
}

/// Whether an answer came to an end, which then satisfies its schema.
async fn run(model: &OnnxModel, schema: &Value, seed: u64, temperature: f32) -> bool {
    let prompt = model.tokens("{").expect("tokens");
    let options = GenerateOptions {
        temperature: Some(temperature),
        seed: Some(seed),
        max_tokens: Some(80),
        ..GenerateOptions::default()
    };
    // Even chances seldom end a text by themselves.
    let ends = ["\"", "}", "]", "\"}"].map(|text| model.tokens(text).expect("tokens"));
    let logit_bias =
        ends.iter().flatten().map(|token| (*token, if temperature >= 1.0 { 100.0 } else { 0.0 })).collect();
    let constraint = Some(Constraint::JsonSchema(schema.clone()));
    let request =
        CompletionRequest { prompt, options, logit_bias, constraint, ..CompletionRequest::default() };
    let stream = model.complete(request).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let (text, completion) = read(stream).await.unwrap_or_else(|error| panic!("{schema}: {error}"));
    if completion.stop != StopReason::EndOfTurn {
        return false;
    }
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{schema}: {error}: {text}"));
    assert!(validator(schema).is_valid(&value), "{text} is not of {schema}");
    true
}

/// How an answer comes out; the kind of the error of one that cannot go on, as where only a digit that ends an answer
/// is left.
type Outcome = Result<(Message, StopReason), ErrorKind>;

/// How a stream ends, and how many tokens of it were forced.
async fn ended(mut stream: ModelStream) -> (Outcome, u64) {
    loop {
        match stream.next().await.expect("an end") {
            Ok(ModelEvent::Finished(Completion { message, stop, usage })) => {
                return (Ok((message, stop)), usage.forced_tokens);
            }
            Ok(_) => {}
            Err(error) => return (Err(error.kind()), 0),
        }
    }
}

/// Tokens that are forced, guessed, computed beside others or found in a cache change no answer.
#[tokio::test(flavor = "multi_thread")]
async fn in_whatever_way_it_is_computed() {
    // Its logits are the same to the bit in whatever company.
    let toy = Toy { ends: true, ..Toy::default() }.folder(2048, None);
    let mut requests = Vec::new();
    for (number, tool) in tools().into_iter().enumerate() {
        let mut required =
            request(&format!("{} {}", tool.name, "word ".repeat(number * 9)), 0, ToolChoice::Required);
        required.options.temperature = Some(0.0);
        let mut schema = required.clone();
        schema.tools = Vec::new();
        schema.tool_choice = ToolChoice::Auto;
        schema.constraint = Some(Constraint::JsonSchema(tool.parameters));
        requests.extend([required, schema]);
    }
    let plain = load_with(toy.path(), |options| options.draft_tokens = 0).expect("the model");
    let mut expected = Vec::new();
    for request in &requests {
        // No token is forced where all are told.
        let told = GenerateRequest { logprobs: Some(0), ..request.clone() };
        let (outcome, forced) = ended(plain.generate(told).await.expect("a request")).await;
        assert_eq!(forced, 0);
        expected.push(outcome);
    }
    assert!(expected.iter().filter(|outcome| outcome.is_ok()).count() * 2 > expected.len(), "{expected:?}");
    let forced = |outcomes: Vec<(Outcome, u64)>| {
        let forced: u64 = outcomes.iter().map(|(_, forced)| forced).sum();
        assert!(forced > 100, "{forced} tokens");
        outcomes.into_iter().map(|(outcome, _)| outcome).collect::<Vec<_>>()
    };
    for slots in [1, 3, 8] {
        let model = load_with(toy.path(), |options| options.slots = slots).expect("the model");
        for _ in 0..2 {
            let asked = requests.iter().map(|request| async {
                ended(model.generate(request.clone()).await.expect("a request")).await
            });
            let together = join_all(asked).await;
            assert_eq!(forced(together), expected, "{slots} slots");
        }
        let mut alone = Vec::new();
        for request in &requests {
            alone.push(ended(model.generate(request.clone()).await.expect("a request")).await);
        }
        assert_eq!(forced(alone), expected, "{slots} slots, alone");
    }
}

/// Several answers to one request are computed together, and each has the form.
#[tokio::test(flavor = "multi_thread")]
async fn every_choice_has_the_form() {
    let model = load_with(&bundled(), |options| options.slots = 8).expect("the model");
    let tools = tools();
    let mut different = HashSet::new();
    let mut finished = 0;
    for (number, tool) in tools.iter().enumerate() {
        let required =
            request(&format!("Please use {}", tool.name), 100 * number as u64, ToolChoice::Required);
        let mut schema = required.clone();
        schema.tools = Vec::new();
        schema.tool_choice = ToolChoice::Auto;
        schema.constraint = Some(Constraint::JsonSchema(tool.parameters.clone()));
        let held = model.unconstrained(&tool.parameters).expect("a schema").is_empty();
        for request in [required, schema] {
            let streams = model.choices(&request, 8).expect("choices");
            let answers = join_all(streams.into_iter().map(read)).await;
            for answer in answers {
                let (text, completion) = answer.expect("an answer");
                different.insert(format!("{:?}", completion.message));
                if !request.tools.is_empty() {
                    finished += calls(&completion, &tools).len();
                } else if held && completion.stop == StopReason::EndOfTurn {
                    let value: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(validator(&tool.parameters).is_valid(&value), "{text} is not of {}", tool.name);
                    finished += 1;
                }
            }
        }
    }
    assert!(finished > 100 && different.len() >= 80, "{finished} finished, {} different", different.len());
}

/// The likeliest answer of those that have the form: there are so few that none of them is dropped on the way.
#[tokio::test(flavor = "multi_thread")]
async fn beams_keep_to_the_form() {
    let model = load(&bundled()).expect("the model");
    let beam = |beams| Some(BeamOptions { beams, length_penalty: 0.0, ..BeamOptions::default() });
    // Any of the tokens that end the bundled model's answers.
    let tokenizer = Tokenizer::from_folder(&bundled()).expect("the tokenizer");
    let ends = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"].map(|end| tokenizer.token_to_id(end));
    let answers = ["yes, always", "no, never", "perhaps", "in Peru", "I am not sure", "7", "No."];
    let start = model.tokens("").expect("tokens").len();
    let mut chosen = HashSet::new();
    for text in ["Is it so? ", "Where are llamas? ", "One two ", "My name is ", "The weather in "] {
        let prompt = model.tokens(text).expect("tokens");
        let mut likeliest = (f64::NEG_INFINITY, "");
        for answer in answers {
            for end in ends {
                let end = [end.expect("a token")];
                let tokens = [&prompt[..], &model.tokens(answer).expect("tokens")[start..], &end].concat();
                let scores = model.score(&tokens, prompt.len(), 0, None).await.expect("scores");
                let score = scores.iter().map(|score| score.logprob).sum();
                if score > likeliest.0 {
                    likeliest = (score, answer);
                }
            }
        }
        let constraint = Some(Constraint::Regex(answers.map(|answer| answer.replace('.', "\\.")).join("|")));
        let options = GenerateOptions { max_tokens: Some(30), beam: beam(64), ..GenerateOptions::default() };
        let request = CompletionRequest { prompt, options, constraint, ..CompletionRequest::default() };
        let (found, completion) = read(model.complete(request).expect("a request")).await.expect("an answer");
        assert_eq!((found.as_str(), completion.stop), (likeliest.1, StopReason::EndOfTurn), "{text}");
        chosen.insert(found);
    }
    assert!(chosen.len() > 1, "{chosen:?}");

    let tools = tools();
    let mut finished = 0;
    for tool in &tools {
        let mut called = request(&format!("Please use {}", tool.name), 0, ToolChoice::Required);
        called.options =
            GenerateOptions { max_tokens: Some(150), beam: beam(4), ..GenerateOptions::default() };
        finished += calls(&answer(&model, called.clone()).await.1, &tools).len();
        called.tools = Vec::new();
        called.tool_choice = ToolChoice::Auto;
        called.constraint = Some(Constraint::JsonSchema(tool.parameters.clone()));
        let (text, completion) = answer(&model, called).await;
        let held = model.unconstrained(&tool.parameters).expect("a schema").is_empty();
        if held && completion.stop == StopReason::EndOfTurn {
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert!(validator(&tool.parameters).is_valid(&value), "{text} is not of {}", tool.name);
            finished += 1;
        }
    }
    assert!(finished > tools.len(), "{finished} of {} answers", 2 * tools.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_and_grammars() {
    let model = load(&bundled()).expect("the model");
    for (constraint, pattern) in [
        (Constraint::Regex("(yes|no), [0-9]{3}".to_owned()), &["yes, ", "no, "]),
        (Constraint::Lark("start: (\"left\" | \"right\") \"!\"".to_owned()), &["left!", "right!"]),
    ] {
        let mut request = ask_with("Which way?", |options| options.max_tokens = Some(20));
        request.constraint = Some(constraint);
        let (text, completion) = answer(&model, request).await;
        assert_eq!(completion.stop, StopReason::EndOfTurn);
        assert!(pattern.iter().any(|start| text.starts_with(start)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_held_is_told() {
    let model = load(&bundled()).expect("the model");
    let deep = (0..300).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    let base = || request("Hello", 1, ToolChoice::Auto);
    let schema = |schema: Value| GenerateRequest {
        constraint: Some(Constraint::JsonSchema(schema)),
        tools: Vec::new(),
        ..base()
    };
    for (request, kind, told) in [
        (schema(json!(false)), ErrorKind::InvalidInput, ""),
        (schema(json!({"$ref": "https://example.com/schema.json"})), ErrorKind::InvalidInput, "example.com"),
        (schema(deep), ErrorKind::ResourceExhausted, "deep"),
        (
            GenerateRequest { tool_choice: ToolChoice::Named("nothing".to_owned()), ..base() },
            ErrorKind::NotFound,
            "`nothing`",
        ),
        (
            GenerateRequest { tools: Vec::new(), tool_choice: ToolChoice::Required, ..base() },
            ErrorKind::InvalidInput,
            "no tool",
        ),
    ] {
        let error = model.generate(request).await.err().expect("an error");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(told), "no `{told}` in {error}");
    }
    // The engine goes on, also without holding calls.
    answer(&model, base()).await;
    let free = load_with(&bundled(), |options| options.constrain_calls = false).expect("the model");
    let (_, completion) = answer(&free, base()).await;
    assert_eq!(completion.usage.forced_tokens, 0);
}
