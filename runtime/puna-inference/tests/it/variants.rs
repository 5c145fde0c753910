//! Folders with several graphs, and what their configuration files say, in every exporter's layout.

use std::{fs, path::Path};

use proptest::prelude::*;
use puna_core::ErrorKind;
use puna_inference::{Exporter, FolderOptions, GenerationDefaults, ModelFolder};

/// A folder of files given by path and content.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

/// What is chosen among empty graphs, by its path in the folder.
#[track_caller]
fn check_choice(files: &[&str], options: &FolderOptions, expected: &str, name: &str) {
    let folder = folder_of(&files.iter().map(|file| (*file, "")).collect::<Vec<_>>());
    let found = ModelFolder::open_with(folder.path(), options)
        .unwrap_or_else(|error| panic!("{files:?}: {}", error.report()));
    assert_eq!(found.graph, folder.path().join(expected), "{files:?}");
    assert_eq!(found.variant, name, "{files:?}");
}

const SUFFIXES: [&str; 8] = ["", "_fp16", "_int8", "_uint8", "_quantized", "_q4", "_q4f16", "_bnb4"];

#[test]
fn the_fastest_variant_is_chosen() {
    let processor = FolderOptions::default();
    let half = FolderOptions { half_precision: true, ..FolderOptions::default() };
    for stem in ["model", "decoder_model_merged"] {
        let mut files: Vec<String> =
            SUFFIXES.iter().map(|suffix| format!("onnx/{stem}{suffix}.onnx")).collect();
        let graph = |suffix: &str| format!("onnx/{stem}{suffix}.onnx");
        let ranked = [
            ("q4", "_q4"),
            ("q8", "_quantized"),
            ("int8", "_int8"),
            ("uint8", "_uint8"),
            ("q4f16", "_q4f16"),
            ("fp32", ""),
            ("fp16", "_fp16"),
            ("bnb4", "_bnb4"),
        ];
        check_choice(&refs(&files), &half, &graph("_q4f16"), "q4f16");
        for (name, suffix) in ranked {
            check_choice(&refs(&files), &processor, &graph(suffix), name);
            for wanted in [name, suffix, &graph(suffix)] {
                if !wanted.is_empty() {
                    let options =
                        FolderOptions { variant: Some(wanted.to_owned()), ..FolderOptions::default() };
                    check_choice(&refs(&files), &options, &graph(suffix), name);
                }
            }
            files.retain(|file| *file != graph(suffix));
        }
    }
    // What no list names comes last, and two of a kind in the order of the places.
    check_choice(&["model_odd.onnx", "model_bnb4.onnx"], &processor, "model_bnb4.onnx", "bnb4");
    check_choice(&["model_odd.onnx"], &processor, "model_odd.onnx", "odd");
    check_choice(
        &["onnx/model.onnx", "decoder_model_merged.onnx"],
        &processor,
        "decoder_model_merged.onnx",
        "fp32",
    );
    check_choice(&["decoder_model_merged.onnx", "model.onnx"], &processor, "model.onnx", "fp32");
}

fn refs(files: &[String]) -> Vec<&str> {
    files.iter().map(String::as_str).collect()
}

#[test]
fn every_variant_is_listed_with_its_size() {
    let folder =
        folder_of(&[("onnx/model_q4.onnx", ""), ("model.onnx", ""), ("tokenizer.onnx", ""), ("model", "")]);
    fs::create_dir(folder.path().join("model_fp16.onnx")).expect("a folder");
    let found = ModelFolder::open(folder.path()).expect("a folder");
    let listed: Vec<_> = found.variants.iter().map(|variant| (&*variant.name, &variant.graph)).collect();
    let path = |name| folder.path().join(name);
    assert_eq!(listed, [("fp32", &path("model.onnx")), ("q4", &path("onnx/model_q4.onnx"))]);
    assert_eq!(found.exporter, Exporter::TransformersJs);

    let bundled = ModelFolder::open(&crate::bundled()).expect("the bundled model");
    let [variant] = &bundled.variants[..] else { panic!("{:?}", bundled.variants) };
    let on_disk: u64 = ["model.onnx", "model.onnx.data"]
        .map(|name| crate::bundled().join(name).metadata().expect("a file").len())
        .iter()
        .sum();
    assert_eq!((&*variant.name, variant.bytes, bundled.graph_bytes), ("genai", on_disk, on_disk));
    assert_eq!((bundled.exporter, bundled.architecture.as_deref()), (Exporter::GenAi, Some("llama")));
}

#[test]
fn puna_json_chooses_and_options_overrule_it() {
    let folder = folder_of(&[
        ("model.onnx", ""),
        ("model_q4.onnx", ""),
        ("model_int8.onnx", ""),
        ("model_prefill.onnx", ""),
        ("genai_config.json", r#"{"model": {"decoder": {"filename": "model.onnx"}}}"#),
    ]);
    let path = |name| folder.path().join(name);
    let open = |variant: Option<&str>, companion: Option<&str>| {
        let options = FolderOptions {
            variant: variant.map(str::to_owned),
            companion: companion.map(str::to_owned),
            ..FolderOptions::default()
        };
        ModelFolder::open_with(folder.path(), &options).map(|found| (found.graph, found.companion))
    };
    let prefill = Some(path("model_prefill.onnx"));
    assert_eq!(open(None, None).expect("a folder"), (path("model.onnx"), prefill.clone()));
    fs::write(path("puna.json"), r#"{"variant": "q4", "companion": "model_int8.onnx"}"#).expect("a file");
    let int8 = Some(path("model_int8.onnx"));
    assert_eq!(open(None, None).expect("a folder"), (path("model_q4.onnx"), int8));
    assert_eq!(
        open(Some("genai"), Some("model_prefill.onnx")).expect("a folder"),
        (path("model.onnx"), prefill)
    );
    fs::write(path("model_q4_prefill.onnx"), "").expect("a file");
    fs::write(path("puna.json"), "{}").expect("a file");
    let own = Some(path("model_q4_prefill.onnx"));
    assert_eq!(open(Some("q4"), None).expect("a folder"), (path("model_q4.onnx"), own));

    for (variant, companion, kind, told) in [
        (Some("q8"), None, ErrorKind::NotFound, "`genai`, `int8`, `q4`"),
        (None, Some("none.onnx"), ErrorKind::NotFound, "none.onnx"),
        (None, Some("../model.onnx"), ErrorKind::InvalidInput, "inside the folder"),
    ] {
        let error = open(variant, companion).expect_err(told);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(told), "no `{told}` in: {error}");
    }
}

#[test]
fn a_folder_without_a_graph_says_what_it_has_instead() {
    for (file, told) in [
        ("model.safetensors", "PyTorch"),
        ("onnx/decoder_with_past_model.onnx", "export it again as one"),
        ("tokenizer.json", "no `model.onnx`"),
    ] {
        let error = ModelFolder::open(folder_of(&[(file, "")]).path()).expect_err(file);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(told), "no `{told}` in: {error}");
    }
}

#[test]
fn generation_defaults_are_read_in_their_order() {
    let said = |files: &[(&str, &str)]| {
        let folder = folder_of(&[&[("model.onnx", "")], files].concat());
        ModelFolder::open(folder.path()).expect("a folder").generation
    };
    assert_eq!(said(&[]), GenerationDefaults::default());
    let generation =
        ("generation_config.json", r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": null}"#);
    let genai = (
        "genai_config.json",
        r#"{"search": {"do_sample": false, "temperature": 1.0, "top_k": 50, "repetition_penalty": 1.1}}"#,
    );
    let all = said(&[generation, genai, ("config.json", r#"{"min_p": 0.05, "temperature": 2}"#)]);
    assert_eq!(
        all,
        GenerationDefaults {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(50),
            top_p: Some(0.9),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
        }
    );
    let options = all.options();
    assert_eq!((options.temperature, options.top_k, options.top_p), (Some(0.6), Some(50), Some(0.9)));
    let greedy = said(&[genai]).options();
    assert_eq!((greedy.temperature, greedy.top_k, greedy.repetition_penalty), (Some(0.0), None, Some(1.1)));
}

/// Numbers that no model has, and values of the wrong type, are errors that name file, key and value.
#[test]
fn absurd_numbers_are_refused() {
    let cases = [
        ("config.json", "max_position_embeddings", "1000000000000000000"),
        ("config.json", "max_position_embeddings", "1e30"),
        ("config.json", "num_hidden_layers", "1000000000"),
        ("config.json", "num_attention_heads", "0"),
        ("config.json", "num_key_value_heads", "-8"),
        ("config.json", "hidden_size", "18446744073709551615"),
        ("config.json", "head_dim", "0"),
        ("config.json", "vocab_size", r#""many""#),
        ("config.json", "eos_token_id", "4294967296"),
        ("config.json", "model_type", "[]"),
        ("generation_config.json", "temperature", "-1"),
        ("generation_config.json", "temperature", "1e39"),
        ("generation_config.json", "top_p", "1.5"),
        ("generation_config.json", "top_k", "-1"),
        ("generation_config.json", "repetition_penalty", "0"),
        ("generation_config.json", "do_sample", "1"),
        ("puna.json", "variant", "4"),
        ("puna.json", "companion", r#""/etc/hosts""#),
    ];
    for (file, key, value) in cases {
        let folder = folder_of(&[("model.onnx", ""), (file, &format!(r#"{{"{key}": {value}}}"#))]);
        let error = ModelFolder::open(folder.path()).err().unwrap_or_else(|| panic!("{key}: {value}"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        for part in [file, key, "must be"] {
            assert!(error.to_string().contains(part), "no `{part}` in: {error}");
        }
    }
    let nested = r#"{"text_config": {"num_attention_heads": 4, "hidden_size": 64}}"#;
    let found = ModelFolder::open(folder_of(&[("model.onnx", ""), ("config.json", nested)]).path());
    assert_eq!(found.expect("a folder").sizes.head_dim, Some(16));
}

/// Files that are large, deep, not text or not files at all end in an error, not in memory or a hang.
#[test]
fn configuration_files_are_bounded() {
    let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(5 << 20));
    let many = format!(r#"{{"eos_token_id": [{}1]}}"#, "1,".repeat(1_000_000));
    for (content, told) in [
        (deep.as_bytes(), "recursion"),
        (large.as_bytes(), "too large"),
        (many.as_bytes(), "at most 256"),
        (b"{\"a\": \"\xff\"}", "not JSON"),
        (b"[1]", "object"),
        (b"null", "object"),
    ] {
        let folder = folder_of(&[("model.onnx", "")]);
        fs::write(folder.path().join("config.json"), content).expect("a file");
        let error = ModelFolder::open(folder.path()).expect_err(told);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{told}");
        let shown = error.report();
        assert!(shown.contains(told) && shown.len() < 1000, "no `{told}` in: {shown:.1000}");
    }
    let folder = folder_of(&[("model.onnx", ""), ("config.json/file", "")]);
    let error = ModelFolder::open(folder.path()).expect_err("a folder");
    assert!(error.to_string().contains("not a file"), "{error}");
    #[cfg(unix)]
    {
        let folder = folder_of(&[("model.onnx", "")]);
        std::os::unix::fs::symlink(Path::new("/dev/zero"), folder.path().join("config.json"))
            .expect("a link");
        let error = ModelFolder::open(folder.path()).expect_err("a device");
        assert!(error.to_string().contains("not a file"), "{error}");
    }
    // The mark that some editors put before a text is none of its content.
    let folder =
        folder_of(&[("model.onnx", ""), ("config.json", "\u{feff}{\"max_position_embeddings\": 77}")]);
    assert_eq!(ModelFolder::open(folder.path()).expect("a folder").context_length, 77);
}

/// Damage to a graph's file: bytes changed, taken out and put in.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..12)),
        1..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a graph's file is damaged, it is read to an end or to an error that names a file.
    #[test]
    fn damaged_graphs_are_read_within_bounds(damage in damage()) {
        static GRAPH: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            fs::read(crate::references().join("llama3/transformers-js/onnx/model_q4.onnx")).expect("a graph")
        });
        let mut graph = GRAPH.clone();
        for (place, taken, put) in damage {
            let start = place.index(graph.len() + 1);
            let end = (start + taken).min(graph.len());
            graph.splice(start..end, put);
        }
        let folder = folder_of(&[("tokenizer.json", "")]);
        fs::write(folder.path().join("model_q4.onnx"), graph).expect("a file");
        for part in ["model_q4.onnx_data", "model_q4.onnx_data_1"] {
            fs::copy(crate::references().join("llama3/transformers-js/onnx").join(part), folder.path().join(part)).expect("a copy");
        }
        if let Err(error) = ModelFolder::open(folder.path()) {
            prop_assert!([ErrorKind::NotFound, ErrorKind::Corrupt, ErrorKind::InvalidInput].contains(&error.kind()), "{}", error);
            prop_assert!(error.to_string().contains("model_q4.onnx"), "{}", error);
        }
    }

    /// Whatever a configuration file holds, what is read of it is within its bounds.
    #[test]
    fn any_configuration_is_read_within_bounds(
        file in prop::sample::select(&["config.json", "generation_config.json", "genai_config.json"][..]),
        values in prop::collection::vec(value(), 16),
    ) {
        let keys = [
            "max_position_embeddings", "num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim",
            "vocab_size", "num_hidden_layers", "eos_token_id", "temperature", "top_k", "top_p", "do_sample",
        ];
        // Both spellings: at the top and where the builder has them.
        let top: serde_json::Map<_, _> =
            keys.iter().zip(&values).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut content = serde_json::Value::Object(top.clone());
        content["search"] = serde_json::Value::Object(top);
        content["model"] = serde_json::json!({
            "context_length": values[12], "vocab_size": values[13], "eos_token_id": values[14],
            "decoder": {"head_size": values[15], "num_key_value_heads": values[12]},
        });
        let folder = folder_of(&[("model.onnx", ""), (file, &content.to_string())]);
        match ModelFolder::open(folder.path()) {
            Ok(found) => {
                prop_assert!((2..=1 << 27).contains(&found.context_length));
                let sizes = [found.sizes.vocab_size, found.sizes.kv_heads, found.sizes.head_dim, found.sizes.layers];
                prop_assert!(sizes.iter().flatten().all(|size| (1..=1 << 24).contains(size)));
                prop_assert!(found.generation.top_p.is_none_or(|sum| (0.0..=1.0).contains(&sum)));
                prop_assert!(found.generation.temperature.is_none_or(|value| value >= 0.0 && value.is_finite()));
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::InvalidInput);
                prop_assert!(error.to_string().contains(file) && error.to_string().len() < 1000, "{}", error);
            }
        }
    }
}

/// Values that a key may have: mostly fitting ones, so that one wrong value among them is reached.
fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    prop_oneof![
        12 => Just(Value::Null),
        3 => (1..100_u64).prop_map(|number| json!(number)),
        1 => any::<u64>().prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => Just(json!(0.5)),
        1 => any::<bool>().prop_map(|flag| json!(flag)),
        1 => ".{0,200}".prop_map(|text| json!(text)),
        1 => prop::collection::vec(any::<u32>(), 0..300).prop_map(|ids| json!(ids)),
    ]
}
