//! Conversations to prompts.

use std::{collections::BTreeMap, fs, path::Path};

use puna_core::{
    Content, ErrorKind, Message, Role, ToolCall, ToolError, ToolErrorKind, ToolOutcome, ToolResult,
    ToolSchema,
};
use puna_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use crate::{bundled, tokenizer};

const SPECIAL: [&str; 2] = ["<|eot_id|>", "<|begin_of_text|>"];

fn template(text: &str) -> Result<ChatTemplate, puna_core::Error> {
    let special = SPECIAL.map(str::to_owned).to_vec();
    ChatTemplate::new(text.to_owned(), "<|begin_of_text|>".to_owned(), "<|eot_id|>".to_owned(), special)
}

fn message(value: &Value) -> Message {
    let text = value["content"].as_str().expect("content");
    match value["role"].as_str().expect("a role") {
        "system" => Message::system(text),
        "user" => Message::user(text),
        "tool" => {
            let value: Value = serde_json::from_str(text).expect("a result in JSON");
            let outcome = match value["error"].as_str() {
                Some(error) => {
                    ToolOutcome::Failure { error: ToolError::new(ToolErrorKind::NotFound, error.to_owned()) }
                }
                None => ToolOutcome::Success { value },
            };
            Message::tool(ToolResult { call_id: "c".to_owned(), name: "tool".to_owned(), outcome })
        }
        "assistant" => {
            let calls = value["tool_calls"].as_array().into_iter().flatten().map(|call| {
                Content::ToolCall(ToolCall {
                    id: "c".to_owned(),
                    name: call["function"]["name"].as_str().expect("a name").to_owned(),
                    arguments: call["function"]["arguments"].clone(),
                })
            });
            let text = (!text.is_empty()).then(|| Content::text(text));
            Message { role: Role::Assistant, content: text.into_iter().chain(calls).collect() }
        }
        role => panic!("an unknown role {role}"),
    }
}

/// The templates write what transformers makes of them, and are the same tokens; `tests/goldens/make.py` wrote the
/// goldens.
#[test]
fn prompts_are_those_of_transformers() {
    let goldens: Vec<Value> = serde_json::from_str(include_str!("../goldens/templates.json")).expect("JSON");
    let tokenizer = tokenizer();
    let tiny = ChatTemplate::from_folder(&bundled(), &tokenizer).expect("the bundled template");
    let llama2 = template(include_str!("../../src/llama2.jinja")).expect("the default template");
    let llama = template(include_str!("../../src/llama3.jinja")).expect("the default template");
    let indented = template(include_str!("../goldens/indented.jinja")).expect("a template");
    let today = template("{{ strftime_now('%d %b %Y') }}").expect("a template");
    let today = today.render(&[], &[]).expect("a day").text();
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families");
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for golden in &goldens {
        let name = golden["template"].as_str().expect("a name");
        let family;
        let template = match name {
            "llama2" => &llama2,
            "llama3" => &llama,
            "puna-tiny" => &tiny,
            "indented" => &indented,
            file => {
                family =
                    template(&fs::read_to_string(families.join(file)).expect("a file")).expect("a template");
                &family
            }
        };
        let messages: Vec<Message> =
            golden["messages"].as_array().expect("messages").iter().map(message).collect();
        let tools: Vec<ToolSchema> = golden["tools"]
            .as_array()
            .expect("tools")
            .iter()
            .map(|tool| serde_json::from_value(tool["function"].clone()).expect("a tool"))
            .collect();
        let (rendered, refused) = counts.entry(name).or_default();
        let Some(text) = golden["text"].as_str() else {
            *refused += 1;
            let error = template.render(&messages, &tools).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{golden}");
            continue;
        };
        *rendered += 1;
        let prompt =
            template.render(&messages, &tools).unwrap_or_else(|error| panic!("{golden}: {}", error.report()));
        assert_eq!(prompt.text(), text.replace("{today}", &today), "{golden}");
        // Special tokens that somebody said are text to Puna, and tokens to transformers.
        if golden["tokens"].is_array() && !golden["messages"].to_string().contains("<|") {
            let tokens = json!(tokenizer.encode_prompt(&prompt).expect("tokens"));
            assert_eq!(tokens, golden["tokens"], "{golden}");
        }
    }
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.values().all(|(rendered, _)| *rendered >= 8), "{counts:?}");
}

/// A tokenizer as Llama 2's: pieces of text, a token for each byte, 32,000 in all.
fn of_llama_2() -> Tokenizer {
    let mut names = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    names.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    names.extend((names.len()..32_000).map(|number| format!("w{number}")));
    let vocabulary: serde_json::Map<_, _> =
        names.into_iter().enumerate().map(|(id, name)| (name, json!(id))).collect();
    let special = |id: usize, name: &str| json!({"id": id, "content": name, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let file = json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "model": { "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocabulary, "merges": [] },
    });
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("a file");
    Tokenizer::from_folder(folder.path()).expect("a tokenizer")
}

#[test]
fn llama_2_has_a_default_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = ChatTemplate::from_folder(folder.path(), &of_llama_2()).expect("the default");
    let messages = [Message::system("Be brief."), Message::user(" Hi </s>")];
    let prompt = template.render(&messages, &[]).expect("a conversation");
    assert_eq!(prompt.text(), "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi </s> [/INST]");
    assert!(!template.takes_tools());
}

#[test]
fn templates_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let render = || {
        let template = ChatTemplate::from_folder(folder.path(), &tokenizer())?;
        Ok::<_, puna_core::Error>(template.render(&[Message::user("hi")], &[])?.text())
    };
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    // A Llama's tokenizer and no template: Llama 3's form.
    assert!(render().expect("the default").starts_with("<|begin_of_text|><|start_header_id|>user"));
    write("tokenizer_config.json", r#"{"chat_template": "one {{ messages[0].content }}"}"#);
    assert_eq!(render().expect("a template"), "one hi");
    let several = json!({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]});
    write("tokenizer_config.json", &several.to_string());
    assert_eq!(render().expect("a template"), "t");
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}"}"#,
    );
    assert_eq!(render().expect("a template"), "<s>");
    write("chat_template.jinja", "file");
    assert_eq!(render().expect("a template"), "file");
    write("tokenizer_config.json", "{");
    let error = render().expect_err("no JSON");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("tokenizer_config.json"), "{error}");
}

/// What Python's string methods do in templates.
#[test]
fn templates_may_use_python() {
    for (text, wanted) in [
        ("{{ messages[0]['content'].strip().upper() }}", "HI"),
        ("{{ messages[0].content.split('h') | tojson }}", r#" ["", "i "]"#.trim()),
        ("{% for m in messages %}{{ loop.index0 }}{% break %}{% endfor %}", "0"),
        (
            "{{ {'a': [1, none, true]} | tojson(indent=2) }}",
            "{\n  \"a\": [\n    1,\n    null,\n    true\n  ]\n}",
        ),
        ("{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}", "2"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('y') }}", "<y>"),
    ] {
        let prompt = template(text).expect("a template").render(&[Message::user("hi ")], &[]);
        assert_eq!(
            prompt.unwrap_or_else(|error| panic!("{text}: {}", error.report())).text(),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn templates_that_are_wrong_are_refused_in_time() {
    for (text, told) in [
        ("{% if %}".to_owned(), "syntax error"),
        ("{% for m in messages %}".to_owned(), "syntax error"),
        ("{{ 'x".to_owned(), "syntax error"),
        ("{{ a | nothing }}{% endif %}".to_owned(), "syntax error"),
        (format!("{{{{ {}1 }}}}", "[".repeat(10_000)), "recursion"),
        ("{% if true %}".repeat(10_000), "recursion"),
    ] {
        let error = template(&text).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.report().contains(told), "{text}: {}", error.report());
    }
    for (text, told) in [
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "instructions"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ raise_exception('only one user message') }}", "only one user message"),
        ("{% include 'chat' %}", "recursion"),
        ("{% extends 'chat' %}", "cycle"),
        ("{% include '/etc/passwd' %}", "not found"),
        ("{{ messages[0].content.nothing() }}", "no method named nothing"),
        ("{{ nothing() }}", "nothing is unknown"),
        ("{{ messages[0] | nothing }}", "nothing is unknown"),
        ("{{ strftime_now('%') }}", "%"),
        ("{{ 'x' * 1000000000000 }}", "too large"),
        ("{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}", "bytes"),
    ] {
        let error = template(text).expect("it parses").render(&[Message::user("hi")], &[]).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.report().contains(told), "{text}: {}", error.report());
    }
}

/// The parser goes deeper with every operator: the process must not end for want of stack.
#[test]
fn templates_of_endless_chains_are_parsed_or_refused() {
    const LONGEST: usize = 128 << 10;
    for (start, operator, end) in [
        ("{{ ", "-", "1 }}"),
        ("{{ ", "not ", "1 }}"),
        ("{{ 1", "+1", " }}"),
        ("{{ 1", "*1", " }}"),
        ("{{ 1", "**1", " }}"),
        ("{{ 1", "~1", " }}"),
        ("{{ 1", "<1", " }}"),
        ("{{ 1", " in a", " }}"),
        ("{{ 1", " is a", " }}"),
        ("{{ 1", " or 1", " }}"),
        ("{{ 1", " if 1 else 1", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "()", " }}"),
        ("{{ a", "[1]", " }}"),
        ("{{ 'a'", "|trim", " }}"),
        ("{% if a %}", "{% elif a %}", "{% endif %}"),
    ] {
        let chain = |bytes: usize| {
            let count = (bytes - start.len() - end.len()) / operator.len();
            format!("{start}{}{end}", operator.repeat(count))
        };
        if let Err(error) = template(&chain(LONGEST)).and_then(|template| template.render(&[], &[])) {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operator}: {}", error.report());
        }
        let error = template(&chain(LONGEST + 2 * operator.len())).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operator}");
        assert!(error.to_string().contains("longer than 131072 bytes"), "{operator}: {error}");
    }
}

#[test]
fn messages_of_other_models_are_refused() {
    let media = puna_core::Media { media_type: "image/png".to_owned(), url: "data:".to_owned() };
    let message = Message { role: Role::User, content: vec![Content::Image(media)] };
    let error = template("x").expect("a template").render(&[message], &[]).expect_err("no picture");
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("image/png"), "{error}");
}
