//! Folders that hold no model, or a damaged one.

use std::{fs, path::Path};

use puna_core::ErrorKind;
use puna_inference::{ModelFolder, examine};
use serde_json::{Value, json};

use crate::{
    answer, ask_with, bundled, copy, load,
    toy::{FLOAT16, INT64, Toy},
};

fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(name);
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).expect("the file")).expect("JSON");
    change(&mut value);
    fs::write(&path, value.to_string()).expect("the file");
}

fn cut(folder: &Path, name: &str, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(folder.join(name)).expect("the file");
    file.set_len(length).expect("a shorter file");
}

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).expect("the file");
}

#[test]
fn what_is_wrong_is_named() {
    type Damage = fn(&Path);
    let cases: [(&[&str], Damage, ErrorKind); 19] = [
        (&["model.onnx"], |folder| remove(folder, "model.onnx"), ErrorKind::NotFound),
        (&["model.onnx"], |folder| cut(folder, "model.onnx", 0), ErrorKind::Corrupt),
        (&["model.onnx"], |folder| cut(folder, "model.onnx", 2000), ErrorKind::Corrupt),
        (
            &["model.onnx"],
            |folder| fs::write(folder.join("model.onnx"), "no graph").expect("a file"),
            ErrorKind::Corrupt,
        ),
        (&["model.onnx.data", "is missing"], |folder| remove(folder, "model.onnx.data"), ErrorKind::NotFound),
        (
            &["model.onnx.data", "1000 bytes", "cut"],
            |folder| cut(folder, "model.onnx.data", 1000),
            ErrorKind::Corrupt,
        ),
        (
            &["model.onnx.data", "git lfs pull"],
            |folder| {
                fs::write(
                    folder.join("model.onnx.data"),
                    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10247168\n",
                )
                .expect("a file");
            },
            ErrorKind::Corrupt,
        ),
        (&["tokenizer.json"], |folder| remove(folder, "tokenizer.json"), ErrorKind::NotFound),
        (&["config.json"], |folder| cut(folder, "config.json", 20), ErrorKind::InvalidInput),
        (&["genai_config.json"], |folder| cut(folder, "genai_config.json", 20), ErrorKind::InvalidInput),
        (
            &["context length", "genai_config.json", "many"],
            |folder| {
                edit(folder, "genai_config.json", |config| config["model"]["context_length"] = json!("many"))
            },
            ErrorKind::InvalidInput,
        ),
        (
            &["eos_token_id", "generation_config.json", "end"],
            |folder| edit(folder, "generation_config.json", |config| config["eos_token_id"] = json!(["end"])),
            ErrorKind::InvalidInput,
        ),
        (
            &["inside the folder", "genai_config.json", "../model.onnx"],
            |folder| {
                edit(folder, "genai_config.json", |config| {
                    config["model"]["decoder"]["filename"] = json!("../model.onnx")
                });
            },
            ErrorKind::InvalidInput,
        ),
        (
            &["other.onnx", "genai_config.json"],
            |folder| {
                edit(folder, "genai_config.json", |config| {
                    config["model"]["decoder"]["filename"] = json!("other.onnx")
                });
            },
            ErrorKind::NotFound,
        ),
        (
            &["inside the folder", "genai_config.json", "/etc/hosts"],
            |folder| {
                edit(folder, "genai_config.json", |config| {
                    config["model"]["decoder"]["filename"] = json!("/etc/hosts")
                });
            },
            ErrorKind::InvalidInput,
        ),
        (
            &["context length", "config.json", "-1"],
            |folder| {
                remove(folder, "genai_config.json");
                edit(folder, "config.json", |config| config["max_position_embeddings"] = json!(-1));
            },
            ErrorKind::InvalidInput,
        ),
        (&["tokenizer.json"], |folder| cut(folder, "tokenizer.json", 1000), ErrorKind::InvalidInput),
        (
            &["chat template"],
            |folder| {
                edit(folder, "tokenizer_config.json", |config| {
                    config["chat_template"] = json!("{% if %}");
                });
            },
            ErrorKind::InvalidInput,
        ),
        (
            &["different models"],
            |folder| {
                edit(folder, "tokenizer.json", |tokenizer| {
                    let added = tokenizer["added_tokens"].as_array_mut().expect("a list");
                    let mut token = added[0].clone();
                    for number in 0..200 {
                        token["id"] = json!(5000 + number);
                        token["content"] = json!(format!("<extra {number}>"));
                        added.push(token.clone());
                    }
                });
            },
            ErrorKind::InvalidInput,
        ),
    ];
    for (told, damage, kind) in cases {
        let folder = copy();
        damage(folder.path());
        let error = load(folder.path()).err().unwrap_or_else(|| panic!("{told:?}: it loads"));
        assert_eq!(error.kind(), kind, "{told:?}: {}", error.report());
        for part in told {
            assert!(error.report().contains(part), "no `{part}` in: {}", error.report());
        }
    }
}

/// Graphs that load and that are no Llama with a cache.
#[test]
fn graphs_of_other_kinds_are_refused() {
    let rename = |from, to| Toy { rename: Some((from, to)), ..Toy::default() };
    let odd = |heads, width| Toy { odd: Some((heads, width)), ..Toy::default() };
    let cases = [
        ("`past_key_values` inputs", Toy { cache: false, ..Toy::default() }),
        ("no output `logits`", rename("logits", "answers")),
        ("no input `input_ids`", Toy { position_ids: false, ..rename("input_ids", "position_ids") }),
        ("the input `pixel_values`", rename("input_ids", "pixel_values")),
        ("the input `key_cache`", rename("past_key_values.0.key", "key_cache")),
        ("`past_key_values.1.key` and no output", rename("past_key_values.0.key", "past_key_values.1.key")),
        ("of type i64, not a float", Toy { logits: INT64, ..Toy::default() }),
        ("one cannot follow the other", Toy { given: Some(FLOAT16), ..Toy::default() }),
        ("a dimension of 1000000000", odd(1_000_000_000, 2)),
        ("a dimension of 0", odd(2, 0)),
        ("takes 2147483648 bytes of keys and values", odd(8192, 65536)),
        ("`use_cache_branch` of type i64", Toy { use_cache_branch: true, branch: INT64, ..Toy::default() }),
    ];
    for (told, toy) in cases {
        let folder = toy.folder(2048, None);
        let error = load(folder.path()).err().unwrap_or_else(|| panic!("{told}: it loads"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{told}: {}", error.report());
        for part in [told, "model.onnx"] {
            assert!(error.report().contains(part), "no `{part}` in: {}", error.report());
        }
    }
}

/// A context that no memory holds is only a number until somebody fills it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_context_costs_nothing() {
    let folder = copy();
    edit(folder.path(), "genai_config.json", |config| config["model"]["context_length"] = json!(100_000_000));
    let model = load(folder.path()).expect("the model");
    assert_eq!(model.details().context_length, 100_000_000);
    let (_, completion) = answer(&model, ask_with("Hello", |options| options.max_tokens = Some(5))).await;
    assert!(completion.usage.completion_tokens > 0);
}

#[test]
fn paths_that_are_no_folders() {
    for (path, kind) in [
        (Path::new("/nowhere/at/all").to_owned(), ErrorKind::NotFound),
        (bundled().join("model.onnx"), ErrorKind::NotFound),
        (tempfile::tempdir().expect("a folder").path().to_owned(), ErrorKind::NotFound),
    ] {
        let error = load(&path).err().expect("no model");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path.to_str().expect("UTF-8")), "{error}");
        assert_eq!(examine(&path).expect_err("no model").kind(), kind);
    }
}

/// Sizes that a graph leaves open come from the configuration: without it they cannot be known.
#[test]
fn open_sizes_come_from_the_configuration() {
    let folder = copy();
    let said = ModelFolder::open(folder.path()).expect("a folder").sizes;
    assert!(said.kv_heads.is_some() && said.head_dim.is_some() && said.vocab_size.is_some(), "{said:?}");
    remove(folder.path(), "genai_config.json");
    let config = ModelFolder::open(folder.path()).expect("a folder").sizes;
    assert_eq!((config.kv_heads, config.head_dim), (said.kv_heads, said.head_dim));
    load(folder.path()).expect("config.json says it too");
    edit(folder.path(), "config.json", |config| {
        let config = config.as_object_mut().expect("an object");
        config.remove("head_dim");
        config.remove("num_attention_heads");
    });
    let error = load(folder.path()).err().expect("nobody says how wide a head is");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("head_dim"), "{error}");
}

#[test]
fn a_folder_is_examined_without_its_graph() {
    let report = examine(&bundled()).expect("the bundled model");
    let on_disk: u64 = ["model.onnx", "model.onnx.data"]
        .iter()
        .map(|name| fs::metadata(bundled().join(name)).expect("the file").len())
        .sum();
    assert_eq!(report.graph_bytes, on_disk);
    assert!(report.context_length >= 1024 && report.vocabulary > 1000, "{report:?}");
    // Whether its files are whole is told all the same.
    for (name, length) in [("model.onnx", 10), ("model.onnx.data", on_disk / 2)] {
        let folder = copy();
        cut(folder.path(), name, length);
        let error = examine(folder.path()).expect_err("a part of a file");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// What the configuration files say, where they differ and where one is missing.
#[test]
fn what_the_configuration_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    let said = || ModelFolder::open(folder.path()).expect("a folder");
    fs::create_dir(folder.path().join("onnx")).expect("a folder");
    write("onnx/model.onnx", "");
    let found = said();
    assert_eq!(found.graph, folder.path().join("onnx/model.onnx"));
    assert_eq!((found.context_length, found.eos, found.share_buffer), (2048, vec![], None));
    write("model.onnx", "");
    assert_eq!(said().graph, folder.path().join("model.onnx"));

    write(
        "config.json",
        r#"{"max_position_embeddings": 100, "eos_token_id": 1, "hidden_size": 64, "num_attention_heads": 8}"#,
    );
    let found = said();
    assert_eq!((found.context_length, found.eos), (100, vec![1]));
    assert_eq!(
        (found.sizes.kv_heads, found.sizes.head_dim, found.sizes.vocab_size),
        (Some(8), Some(8), None)
    );
    write("generation_config.json", r#"{"eos_token_id": [3, 2]}"#);
    assert_eq!(said().eos, [3, 2, 1], "every id that a file names ends an answer");

    write("other.onnx", "");
    write(
        "genai_config.json",
        r#"{"model": {"context_length": 50, "eos_token_id": [2, 4], "vocab_size": 9,
            "decoder": {"filename": "other.onnx", "num_key_value_heads": 2, "head_size": 16}},
            "search": {"past_present_share_buffer": true}}"#,
    );
    let found = said();
    assert_eq!(found.graph, folder.path().join("other.onnx"));
    assert_eq!((found.context_length, found.share_buffer), (50, Some(true)));
    assert_eq!(found.eos, [2, 4, 3, 1]);
    assert_eq!(
        (found.sizes.kv_heads, found.sizes.head_dim, found.sizes.vocab_size),
        (Some(2), Some(16), Some(9))
    );
    assert_eq!(found.name(), folder.path().file_name().expect("a name").to_string_lossy());
}
