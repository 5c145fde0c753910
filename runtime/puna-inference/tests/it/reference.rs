//! Small models of every architecture and precision, as other people's exporters write them, held against what
//! transformers computes. `tests/references/make.py` writes them and says what they are.

use std::{fs, path::Path};

use futures_util::{StreamExt, future::join_all};
use puna_core::{ErrorKind, GenerateOptions, ModelEvent, ModelStream, Usage};
use puna_inference::{CompletionRequest, Exporter, ModelFolder, OnnxModel};
use serde_json::Value;

use crate::{load, load_with, references};

const FAMILIES: [&str; 7] = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "phi3", "gemma2"];

/// Most likely tokens compared at each place: the most that scoring gives.
const TOP: usize = 20;

/// How near a graph comes to transformers in 32-bit floats.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// Every log-probability within this.
    Within(f64),
    /// The likeliest token at this share of the places: quantised activations move every logit.
    Agrees(f64),
}

/// A family's sequences and the log-probabilities at each of their places.
struct Golden {
    sequences: Vec<Vec<u32>>,
    /// `[sequence][place][vocabulary]`
    logprobs: Vec<Vec<Vec<f64>>>,
}

fn golden(family: &str) -> Golden {
    let folder = references().join(family);
    let text = fs::read_to_string(folder.join("golden.json")).expect("the golden");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    let vocabulary = said["vocabulary"].as_u64().expect("a size") as usize;
    let sequences: Vec<Vec<u32>> = serde_json::from_value(said["sequences"].clone()).expect("tokens");
    let bytes = fs::read(folder.join("golden.f32")).expect("the golden");
    let logits: Vec<f64> =
        bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
    assert_eq!(logits.len(), sequences.iter().map(Vec::len).sum::<usize>() * vocabulary);
    let mut rows = logits.chunks(vocabulary).map(log_softmax);
    let logprobs = sequences.iter().map(|sequence| rows.by_ref().take(sequence.len()).collect()).collect();
    Golden { sequences, logprobs }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let best = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - best).exp()).sum();
    logits.iter().map(|logit| logit - best - sum.ln()).collect()
}

/// A folder of its own with a case's files, which lack the tokenizer that all share.
fn folder_of(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_files(&references().join(case), folder.path());
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(references().join(name), folder.path().join(name)).expect("a copy");
    }
    folder
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a case") {
        let entry = entry.expect("a case");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Loads a case and scores its family's sequences, each token forced.
async fn check(case: &str, close: Close) -> (OnnxModel, Agreement) {
    let folder = folder_of(case);
    let model = load(folder.path()).unwrap_or_else(|error| panic!("{case}: {}", error.report()));
    let agreement = check_model(&model, case, close).await;
    (model, agreement)
}

/// At how many places the likeliest token agrees.
#[derive(Clone, Copy, Default)]
struct Agreement {
    agreed: usize,
    places: usize,
}

async fn check_model(model: &OnnxModel, case: &str, close: Close) -> Agreement {
    let golden = golden(case.split('/').next().expect("a family"));
    let (mut worst, mut agreed, mut places) = (0_f64, 0, 0);
    for (sequence, wanted) in golden.sequences.iter().zip(&golden.logprobs) {
        let scores = model.score(sequence, 1, TOP, None).await.expect("scores");
        assert_eq!(scores.len(), sequence.len() - 1, "{case}");
        for (score, wanted) in scores.iter().zip(wanted) {
            let likeliest = (0..wanted.len()).max_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
            agreed += usize::from(score.top[0].0 as usize == likeliest.expect("a vocabulary"));
            places += 1;
            for (token, logprob) in score.top.iter().chain([&(score.token, score.logprob)]) {
                worst = worst.max((logprob - wanted[*token as usize]).abs());
            }
        }
    }
    let share = agreed as f64 / places as f64;
    println!("{case}: worst {worst:.2e}, the likeliest agrees at {agreed} of {places} places");
    match close {
        Close::Within(limit) => assert!(worst <= limit, "{case}: off by {worst}"),
        Close::Agrees(least) => assert!(share >= least, "{case}: {agreed} of {places} agree, off by {worst}"),
    }
    Agreement { agreed, places }
}

/// Graphs in 32-bit floats, and in int4 that is computed in 32-bit floats: the weights are on int4's grid.
#[tokio::test(flavor = "multi_thread")]
async fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        let (model, _) = check(&format!("{family}/genai-fp32"), Close::Within(1e-3)).await;
        assert!(model.details().cache_in_place, "{family}");
    }
    // Its sliding layer takes no buffers shorter than its window.
    let (model, _) = check("gemma2/genai-windowed", Close::Within(1e-3)).await;
    assert!(model.details().cache_in_place);
    // One of them has layers 0 and 5.
    for family in ["llama2", "llama3", "qwen3", "phi3"] {
        let (model, _) = check(&format!("{family}/optimum"), Close::Within(1e-3)).await;
        assert!(!model.details().cache_in_place, "{family}");
    }
    for case in ["genai-int4-exact", "genai-pruned", "optimum-merged", "transformers-js"] {
        check(&format!("llama3/{case}"), Close::Within(1e-3)).await;
    }
}

/// Graphs that round activations or weights: what they choose is what the model chooses.
#[tokio::test(flavor = "multi_thread")]
async fn quantised_graphs_choose_the_same_tokens() {
    let mut int4 = Agreement::default();
    let exports = FAMILIES.iter().map(|family| format!("{family}/genai-int4"));
    for case in exports.chain(["llama3/genai-int4-qdq".to_owned()]) {
        // A hundred places have one or two where two tokens are nearly as likely: kernels of other processors
        // round them another way.
        let (_, agreement) = check(&case, Close::Agrees(0.97)).await;
        int4.agreed += agreement.agreed;
        int4.places += agreement.places;
    }
    assert!(int4.agreed * 100 > int4.places * 99, "{} of {} agree", int4.agreed, int4.places);
    for case in ["genai-int8", "genai-fp16", "genai-fp16-unfused"] {
        check(&format!("llama3/{case}"), Close::Agrees(0.97)).await;
    }
    // Optimum leaves out the bound that Gemma 2 puts on attention.
    check("gemma2/optimum", Close::Agrees(0.97)).await;
    // One scale for all activations of a tensor, learnt from a hundred tokens: the export itself loses this much.
    check("llama3/optimum-qdq", Close::Agrees(0.85)).await;
}

/// A token and its log-probability, for each token of an answer.
type Tokens = Vec<(u32, f64)>;

/// Continues sequences, all at once or one after the other.
async fn continued(model: &OnnxModel, prompts: &[Vec<u32>], at_once: bool) -> (Vec<Tokens>, Usage) {
    let mut usage = Usage::default();
    let start = |prompt: &Vec<u32>| {
        let options =
            GenerateOptions { max_tokens: Some(24), temperature: Some(0.0), ..GenerateOptions::default() };
        let request =
            CompletionRequest { prompt: prompt.clone(), options, logprobs: Some(0), ..Default::default() };
        model.complete(CompletionRequest { ignore_end: true, ..request }).expect("a request")
    };
    let take = async |mut stream: ModelStream| {
        let mut tokens = Vec::new();
        while let Some(event) = stream.next().await {
            match event.expect("an answer") {
                ModelEvent::Token(score) => tokens.push((score.token, score.logprob)),
                ModelEvent::Finished(completion) => return (tokens, completion.usage),
                _ => {}
            }
        }
        panic!("the stream ended without an end")
    };
    let mut answers = Vec::new();
    if at_once {
        for (tokens, _) in join_all(prompts.iter().map(start).map(take)).await {
            answers.push(tokens);
        }
    } else {
        for prompt in prompts {
            let (tokens, said) = take(start(prompt)).await;
            usage.accepted_tokens += said.accepted_tokens;
            usage.cached_tokens += said.cached_tokens;
            answers.push(tokens);
        }
    }
    (answers, usage)
}

/// The same tokens, as likely but for rounding, up to where two are as likely.
fn check_tokens(case: &str, found: &[Tokens], expected: &[Tokens]) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{case} {number}");
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let off = (found.1 - expected.1).abs();
            assert!(off < 1e-4, "{case} {number} at {place}: {found:?} {expected:?}");
            if found.0 != expected.0 {
                break;
            }
        }
    }
}

/// Whatever runs beside an answer, whatever is cached or guessed, and in whatever pieces its prompt is computed: the same
/// tokens, in every kind of graph that does not round activations.
#[tokio::test(flavor = "multi_thread")]
async fn alone_together_guessed_cached() {
    let fused = FAMILIES.iter().map(|family| (format!("{family}/genai-fp32"), true));
    let plain =
        ["llama2/optimum", "llama3/optimum", "qwen3/optimum", "phi3/optimum", "llama3/optimum-merged"];
    let plain = plain.iter().map(|case| ((*case).to_owned(), true));
    // One gives logits for the last position alone.
    let others = [("llama3/genai-int4-exact", true), ("llama3/genai-pruned", false)];
    let others = others.iter().map(|(case, guesses)| ((*case).to_owned(), *guesses));
    for (case, guesses) in fused.chain(plain).chain(others) {
        let folder = folder_of(&case);
        let mut prompts = golden(case.split('/').next().expect("a family")).sequences;
        // Of many lengths, and one of several chunks that says the same again and again.
        for (number, prompt) in prompts.iter_mut().enumerate() {
            prompt.truncate(3 + number * 5);
        }
        let longest = prompts.concat();
        let context = load(folder.path()).expect("the model").details().context_length;
        prompts.push(longest.iter().cycle().take(200.min(context - 24)).copied().collect());
        let fresh =
            |draft| load_with(folder.path(), |options| options.draft_tokens = draft).expect("the model");
        let model = fresh(0);
        assert!(model.details().batches, "{case}");
        assert_eq!(model.details().guesses, guesses, "{case}");
        let (expected, _) = continued(&model, &prompts, false).await;
        // Again from what is cached, which leaves other pieces to compute.
        let (cached, usage) = continued(&model, &prompts, false).await;
        assert!(usage.cached_tokens > 0, "{case}");
        check_tokens(&format!("{case} cached"), &cached, &expected);
        let (together, _) = continued(&fresh(0), &prompts, true).await;
        check_tokens(&format!("{case} together"), &together, &expected);
        let (guessed, usage) = continued(&fresh(8), &prompts, false).await;
        assert_eq!(usage.accepted_tokens > 0, guesses, "{case}");
        check_tokens(&format!("{case} guessed"), &guessed, &expected);
    }
}

#[test]
fn the_types_of_weights_are_told() {
    for (case, weights) in [
        ("llama3/genai-fp32", "fp32"),
        ("llama3/genai-fp16", "fp16"),
        ("llama3/genai-int4", "int4"),
        ("llama3/genai-int8", "int8"),
        ("llama3/genai-int4-qdq", "int4"),
        ("llama3/optimum", "fp32"),
        ("llama3/optimum-qdq", "int8"),
    ] {
        let folder = ModelFolder::open(&references().join(case)).expect("a folder");
        assert_eq!(folder.weights, weights, "{case}");
    }
}

/// Every precision of one folder as transformers.js' models have them, with weights in two further files.
#[tokio::test(flavor = "multi_thread")]
async fn every_variant_of_a_folder_runs() {
    let folder = folder_of("llama3/transformers-js");
    let place = |name: &str| folder.path().join("onnx").join(name);
    fs::copy(references().join("llama3/optimum/model.onnx"), place("model.onnx")).expect("a copy");
    let found = ModelFolder::open(folder.path()).expect("a folder");
    assert_eq!((found.exporter, &*found.variant), (Exporter::TransformersJs, "q4"));
    let names: Vec<_> = found.variants.iter().map(|variant| &*variant.name).collect();
    assert_eq!(names, ["fp32", "bnb4", "fp16", "q4", "q8"]);
    let parts = ["model_q4.onnx", "model_q4.onnx_data", "model_q4.onnx_data_1"];
    let bytes: u64 = parts.iter().map(|part| place(part).metadata().expect("a part").len()).sum();
    assert_eq!(found.graph_bytes, bytes);

    for (variant, close) in [
        ("fp32", Close::Within(1e-3)),
        ("q4", Close::Within(1e-3)),
        ("fp16", Close::Agrees(0.97)),
        ("bnb4", Close::Agrees(0.9)),
        ("q8", Close::Agrees(0.95)),
    ] {
        fs::write(folder.path().join("puna.json"), format!(r#"{{"variant": "{variant}"}}"#)).expect("a file");
        let model = load(folder.path()).unwrap_or_else(|error| panic!("{variant}: {}", error.report()));
        check_model(&model, &format!("llama3/{variant}"), close).await;
    }

    // Of the parts, the missing or short one is named, and what else there is.
    fs::remove_file(folder.path().join("puna.json")).expect("the file");
    for (part, length) in [(parts[2], None), (parts[1], Some(1000))] {
        let whole = fs::read(place(part)).expect("a part");
        match length {
            None => fs::remove_file(place(part)).expect("a part"),
            Some(length) => fs::write(place(part), &whole[..length]).expect("a part"),
        }
        let error = load(folder.path()).err().expect("weights are missing");
        let kind = if length.is_some() { ErrorKind::Corrupt } else { ErrorKind::NotFound };
        assert_eq!(error.kind(), kind, "{error}");
        for told in [&format!("{part}`"), "variant `q4`", "`fp32`"] {
            assert!(error.to_string().contains(told), "no `{told}` in: {error}");
        }
        fs::write(place(part), whole).expect("a part");
    }
}

/// Where no file says that the cache can be shared, as in transformers.js' folders, a probe finds it out; and sizes
/// that the graph leaves open come from `config.json`.
#[tokio::test(flavor = "multi_thread")]
async fn sharing_is_found_without_a_word_of_it() {
    let folder = folder_of("llama3/transformers-js");
    let graphs = references().join("llama3/genai-int4-exact");
    // The graph names its weights' file.
    for (from, to) in [("model.onnx", "model_q4.onnx"), ("model.onnx.data", "model.onnx.data")] {
        fs::copy(graphs.join(from), folder.path().join("onnx").join(to)).expect("a copy");
    }
    let model = load(folder.path()).unwrap_or_else(|error| panic!("{}", error.report()));
    assert!(model.details().cache_in_place && model.details().graph.ends_with("onnx/model_q4.onnx"));
    check_model(&model, "llama3/in place", Close::Within(1e-3)).await;
}

/// What the exporters' configuration files say of the models.
#[test]
fn folders_are_told_by_their_files() {
    for (case, exporter, architecture) in [
        ("llama2/genai-fp32", Exporter::GenAi, "llama"),
        ("llama2/optimum", Exporter::Optimum, "llama"),
        ("llama3/optimum-merged", Exporter::Optimum, "llama"),
        ("mistral/genai-int4", Exporter::GenAi, "mistral"),
        ("qwen3/optimum", Exporter::Optimum, "qwen3"),
        ("phi3/optimum", Exporter::Optimum, "phi3"),
        ("gemma2/optimum", Exporter::Optimum, "gemma2"),
    ] {
        let found = ModelFolder::open(&references().join(case)).expect(case);
        assert_eq!((found.exporter, found.architecture.as_deref()), (exporter, Some(architecture)), "{case}");
        assert_eq!((found.context_length, &*found.eos), (128, &[2][..]), "{case}");
        assert_eq!(found.sizes.head_dim, Some(16), "{case}");
    }
    let generation = ModelFolder::open(&references().join("llama3/optimum")).expect("a folder").generation;
    assert_eq!(
        (generation.do_sample, generation.temperature, generation.top_p),
        (Some(true), Some(0.6), Some(0.9))
    );
}

/// The Hugging Face cache keeps files under other names elsewhere, and links to them.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_links_loads() {
    let files = folder_of("llama3/genai-fp32");
    let folder = tempfile::tempdir().expect("a folder");
    let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshot"));
    fs::create_dir_all(&blobs).expect("a folder");
    fs::create_dir_all(&snapshot).expect("a folder");
    for (number, entry) in fs::read_dir(files.path()).expect("a folder").enumerate() {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), blobs.join(number.to_string())).expect("a copy");
        std::os::unix::fs::symlink(
            Path::new("../blobs").join(number.to_string()),
            snapshot.join(entry.file_name()),
        )
        .expect("a link");
    }
    let model = load(&snapshot).unwrap_or_else(|error| panic!("{}", error.report()));
    check_model(&model, "llama3/links", Close::Within(1e-3)).await;
}
