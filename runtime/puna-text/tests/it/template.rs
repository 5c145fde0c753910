//! Conversations to prompts.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use puna_core::{
    Content, ErrorKind, Message, Role, ToolCall, ToolError, ToolErrorKind, ToolOutcome, ToolResult,
    ToolSchema,
};
use puna_text::{ChatTemplate, RenderOptions, TemplateDocument, Tokenizer};
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
    let llama2 = template(include_str!("../../src/template/llama2.jinja")).expect("the default template");
    let llama = template(include_str!("../../src/template/llama3.jinja")).expect("the default template");
    let indented = template(include_str!("../goldens/indented.jinja")).expect("a template");
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
        let list = |of: &'static str| golden[of].as_array().into_iter().flatten();
        let tools: Vec<ToolSchema> = list("tools")
            .map(|tool| serde_json::from_value(tool["function"].clone()).expect("a tool"))
            .collect();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let documents: Vec<_> = list("documents")
            .map(|document| TemplateDocument {
                title: text(&document["title"]),
                text: text(&document["text"]),
            })
            .collect();
        let options = RenderOptions {
            tools: &tools,
            documents: &documents,
            add_generation_prompt: golden["add_generation_prompt"].as_bool().unwrap_or(true),
            now: Some(UNIX_EPOCH + Duration::from_secs(golden["now"].as_u64().expect("seconds"))),
            variables: golden["variables"].as_object().cloned().unwrap_or_default(),
        };
        let prompt = template.render(&messages, &options);
        let (rendered, refused) = counts.entry(name).or_default();
        let Some(text) = golden["text"].as_str() else {
            *refused += 1;
            assert_eq!(prompt.expect_err(name).kind(), ErrorKind::InvalidInput, "{golden}");
            continue;
        };
        *rendered += 1;
        let prompt = prompt.unwrap_or_else(|error| panic!("{golden}: {}", error.report()));
        assert_eq!(prompt.text(), text, "{golden}");
        // Special tokens that somebody said are text to Puna, and tokens to transformers.
        if golden["tokens"].is_array()
            && !["messages", "documents"].iter().any(|of| golden[of].to_string().contains("<|"))
        {
            let tokens = json!(tokenizer.encode_prompt(&prompt).expect("tokens"));
            assert_eq!(tokens, golden["tokens"], "{golden}");
        }
    }
    assert_eq!(counts.len(), 13, "{counts:?}");
    assert!(counts.values().all(|(rendered, _)| *rendered >= 20), "{counts:?}");
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
    let prompt = template.render(&messages, &RenderOptions::default()).expect("a conversation");
    assert_eq!(prompt.text(), "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi </s> [/INST]");
    assert!(!template.takes_tools());
}

#[test]
fn templates_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let render = || {
        let template = ChatTemplate::from_folder(folder.path(), &tokenizer())?;
        Ok::<_, puna_core::Error>(template.render(&[Message::user("hi")], &RenderOptions::default())?.text())
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
        ("{{ 'abc'.count('') }}{{ 'abcb'.count('b') }}", "42"),
        ("{% generation %}a {%- endgeneration -%} b{%- if generation is defined %}c{% endif %}", "ab"),
        (
            "{% macro m(ns) %}{% set ns.x = 3 %}{% endmacro %}{% set n = namespace() %}{{ m(n) }}{{ n.x }}",
            "3",
        ),
        (
            "{% for i in [1, [2, 3]] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ i }}{% endif %}{% endfor %}",
            "123",
        ),
        ("{% for x in range(3) if x %}{{ x }}{% else %}none{% endfor %}{{ [1, 2, 3][::-1] }}", "12[3, 2, 1]"),
        ("{{ {'b': 1, 'a': 2}.items() | list | tojson }}", r#"[["b", 1], ["a", 2]]"#),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('y') }}", "<y>"),
    ] {
        let prompt =
            template(text).expect("a template").render(&[Message::user("hi ")], &RenderOptions::default());
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
        ("{% include 'chat' %}".to_owned(), "no other templates"),
        ("{% extends 'chat' %}".to_owned(), "no other templates"),
        ("{% if x %}{% import '/etc/passwd' as x %}{% endif %}".to_owned(), "no other templates"),
        (format!("{{{{ {}1 }}}}", "[".repeat(10_000)), "recursion"),
        ("{% if true %}".repeat(10_000), "recursion"),
    ] {
        let error = template(&text).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.report().contains(told), "{text}: {}", error.report());
    }
    for (text, told) in [
        (
            "{% set r = range(100000) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
            "instructions",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ raise_exception('only one user message') }}", "only one user message"),
        ("{{ messages[0].content.nothing() }}", "no method named nothing"),
        ("{{ nothing() }}", "nothing is unknown"),
        ("{{ messages[0] | nothing }}", "nothing is unknown"),
        ("{{ strftime_now('%') }}", "%"),
        ("{% for i in [1] %}{{ loop.cycle() }}{% endfor %}", "breaks what runs templates"),
        ("{{ 'x' * 1000000000000 }}", "too large"),
        ("{{ super() }}", "outside of block"),
        ("{{ self.body() }}", "no method named body"),
    ] {
        let error = template(text)
            .expect("it parses")
            .render(&[Message::user("hi")], &RenderOptions::default())
            .expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.report().contains(told), "{text}: {}", error.report());
    }
}

/// Templates that grow without end, and the start of each's error. `x` doubles in a loop of `DOUBLING`.
const BOMBS: [(&str, &str); 66] = [
    ("{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "a value of more"),
    ("{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "a value of more"),
    ("{% for i in range(99) %}{% set ns.x = ns.x * 2 %}{% endfor %}", "a value of more"),
    ("{% for i in range(9999) %}{% set ns.x = [ns.x, 'x' * 100000000] %}{% endfor %}", "a value of more"),
    ("{% for i in range(9999) %}{% set ns.l = ns.l + ['x' * 100000] %}{% endfor %}", "reads too much"),
    ("{% for i in range(99) %}{% set ns.l = ns.l + ns.l + [1] %}{% endfor %}", "a value of more"),
    ("{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}", "a value of more"),
    (
        "{% for i in range(99) %}{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l | tojson }}",
        "a value of more",
    ),
    (
        "{% for i in range(99) %}{% set ns.l = {'a': ns.l, 'b': ns.l} %}{{ ns.l == ns.l }}{% endfor %}",
        "a value of more",
    ),
    ("{% for i in range(99) %}{% set ns.l = dict(a=ns.l, b=ns.l) %}{% endfor %}", "a value of more"),
    ("{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}", "deeper than 128"),
    ("{% for i in range(9999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}", "deeper than 128"),
    (
        "{% for i in range(999) %}{% set ns.l = ns.l[0:] + [i] %}{% endfor %}{{ ns.l | length }}{{ raise_exception('the end') }}",
        "the end",
    ),
    (
        "{% for i in range(999) %}{% set ns.l = (ns.l + [i]) | reverse %}{% endfor %}{{ ns.l | length }}{{ raise_exception('the end') }}",
        "the end",
    ),
    ("{{ [1] * 1000000000 }}", "a value of more"),
    ("{{ ([1] * 1000000000)[1:2] }}", "a value of more"),
    ("{{ ((range(99999) | list) * 9999) | length }}", "a value of more"),
    ("{% for i in range(99999) %}{% set ns.l = range(99999) | list %}{% endfor %}", "bytes of texts"),
    (
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endfor %}",
        "bytes of texts",
    ),
    ("{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}", "bytes of texts"),
    ("{% for i in range(99999) %}LONG{% endfor %}", "bytes of texts"),
    ("{% set x %}{% for i in range(99999) %}LONG{% endfor %}{% endset %}", "bytes of texts"),
    (
        "{% for i in range(99) %}{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}{% endfor %}",
        "a value of more",
    ),
    ("{% filter upper %}{% for i in range(99999) %}LONG{% endfor %}{% endfilter %}", "bytes of texts"),
    (
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% for i in range(99) %}{% set ns.x = m(ns.x) %}{% endfor %}",
        "a value of more",
    ),
    (
        "{% macro m(n) %}{{ caller() }}{{ caller() }}{% endmacro %}{% for i in range(99) %}{% set x %}{% call m(1) %}{{ ns.x }}{% endcall %}{% endset %}{% set ns.x = x %}{% endfor %}",
        "a value of more",
    ),
    (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}LONG{% endmacro %}{{ m(20) }}",
        "a value of more",
    ),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    ("{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('x') }}", "a value of more"),
    ("{% for x in [[[[1]]]] recursive %}{{ loop([x, x]) }}{% endfor %}", "recursion"),
    (
        "{% for i in range(99) recursive %}{% set ns.x = ns.x ~ ns.x %}{{ loop([ns.x, ns.x]) }}{% endfor %}",
        "a value of more",
    ),
    ("{% set x = 'x' * 100000 %}{{ x | replace('x', x) }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ x.replace('x', x) }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ x | replace('', x) }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ range(9999) | join(x) }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ x.join(range(9999)) }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ range(9999) | map('replace', '', x) | list }}", "bytes of texts"),
    ("{% set x = 'x' * 100000 %}{{ range(9999) | map(attribute='y', default=x) | list }}", "a value of more"),
    ("{% set x = 'x' * 100000 %}{{ [x] * 9999 }}", "a value of more"),
    ("{{ ('\n' * 100000) | indent(100000, true, true) }}", "a value of more"),
    ("{{ ('x\n' * 100000) | indent(width=100000) }}", "a value of more"),
    ("{{ 'x' | indent(18446744073709551615) }}", "a value of more"),
    ("{{ '%999999999d' | format(1) }}", "a value of more"),
    ("{{ '%.999999999f' | format(1.0) }}", "a value of more"),
    ("{{ ('%9999d' * 9999) | format(1) }}", "a value of more"),
    ("{{ ('{0}' * 99999).format('x' * 99999) }}", "a value of more"),
    ("{{ '{:>999999999}'.format(1) }}", "a value of more"),
    ("{{ '{:99999999999999999999999}'.format(1) }}", "a value of more"),
    ("{{ [1] | batch(18446744073709551615, 'x') }}", "a value of more"),
    ("{{ [1] | slice(18446744073709551615, 'x') }}", "a value of more"),
    ("{{ ([[1]] * 9999) | map('batch', 99999) | list }}", "bytes of texts"),
    ("{{ ('x' * 9000000) | list }}", "a value of more"),
    ("{{ ('x ' * 9000000).split() }}", "a value of more"),
    ("{% for i in range(9999) %}{{ ('x ' * 8000000) in ('x ' * 8000000) }}{% endfor %}", "bytes of texts"),
    (
        "{% set x = 'x' * 9000000 %}{% for i in range(99999) %}{% if x ~ 'a' == x ~ 'b' %}{% endif %}{% endfor %}",
        "bytes of texts",
    ),
    (
        "{% set x = 'x' * 9000000 %}{% for i in range(99999) %}{% if 'y' in x %}{% endif %}{% endfor %}",
        "reads too much",
    ),
    (
        "{% set x = range(99999) | list %}{% for i in range(99999) %}{{ x | sort | unique | list | length }}{% endfor %}",
        "bytes of texts",
    ),
    (
        "{% set x = range(99999) | list %}{% for i in range(99999) %}{% if i in x %}{% endif %}{% endfor %}",
        "reads too much",
    ),
    ("{% set ns.a = ns %}{{ ns }}", "a namespace"),
    ("{% set a = [ns] %}{% set ns.a = a %}{{ ns | tojson }}", "a namespace"),
    ("{{ strftime_now('%9999999999Y') }}", ""),
    ("{{ strftime_now('%Y' * 999) }}", "at most 256 bytes"),
    (
        "{% set x = 'x' * 9000000 %}{% for i in range(99999) %}{% if x[-1] %}{% endif %}{% endfor %}",
        "reads too much",
    ),
    (
        "{% set x = 'x' * 9000000 %}{% for i in range(99999) %}{% if x | length %}{% endif %}{% endfor %}",
        "reads too much",
    ),
    (
        "{% set x = '%Y' * 4000000 %}{% for i in range(99999) %}{{ strftime_now(x) }}{% endfor %}",
        "at most 256 bytes",
    ),
    (
        "{% set x = range(99999) | list %}{% for i in range(99999) %}{% if x | string %}{% endif %}{% endfor %}",
        "reads too much",
    ),
];

/// Most memory that a process may have taken that renders one of the bombs: what a template may make, and some thirty
/// times its largest value for a moment.
const MOST_MEMORY_KB: u64 = 512 << 10;

/// What a process with nothing else to do takes to render the template in its environment, or a harmless one.
#[test]
fn a_template_takes_bounded_memory() {
    let bomb =
        env::var("PUNA_TEST_BOMB").ok().map(|number| BOMBS[number.parse::<usize>().expect("a number")]);
    let (text, told) = bomb.unwrap_or(("{{ raise_exception('harmless') }}", "harmless"));
    let long = "A text that stands between two tags. ".repeat(1000);
    let text = format!("{{% set ns = namespace(x='xy', l=[1]) %}}{}", text.replace("LONG", &long));
    let error = template(&text).expect("it parses").render(&[], &RenderOptions::default()).expect_err(&text);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.report().contains(told), "{text}: {}", error.report());
    if bomb.is_some() && cfg!(target_os = "linux") {
        let status = fs::read_to_string("/proc/self/status").expect("what the process takes");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most it took");
        let most: u64 = most.trim().trim_end_matches(" kB").parse().expect("kB");
        println!("{} kB", most);
        assert!(most < MOST_MEMORY_KB, "{text}: {most} kB");
    }
}

#[test]
fn templates_that_explode_are_cut_off() {
    let mut failed = Vec::new();
    for (number, (text, _)) in BOMBS.iter().enumerate() {
        let child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "template::a_template_takes_bounded_memory", "--nocapture"])
            .env("PUNA_TEST_BOMB", number.to_string())
            .output()
            .expect("a process");
        let told =
            [child.stdout, child.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
        if !child.status.success() || !told.contains("1 passed") {
            failed.push(format!("{text}: {told}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
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
        if let Err(error) =
            template(&chain(LONGEST)).and_then(|template| template.render(&[], &RenderOptions::default()))
        {
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
    let error = template("x")
        .expect("a template")
        .render(&[message], &RenderOptions::default())
        .expect_err("no picture");
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("image/png"), "{error}");
}
