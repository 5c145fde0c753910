//! Any text as a chat template: it is refused, or renders a conversation, in bounded time and memory.
#![no_main]

use std::{panic, process, sync::Once, thread};

use puna_core::{Content, Message, Role, ToolCall, ToolSchema};
use puna_text::{ChatTemplate, RenderOptions, TemplateDocument};
use serde_json::json;

/// Longest prompt: what a template may make, and a name of a special token that is cut.
const MAX_BYTES: usize = 257 << 20;

static HOOK: Once = Once::new();

fn check(text: &str) {
    // A panic of what runs templates is an error of the template's; any other is a defect.
    HOOK.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |told| {
            if thread::current().name() != Some("puna-template") {
                abort(told);
                process::abort();
            }
        }));
    });
    let special = vec!["<|eot|>".to_owned()];
    let Ok(template) = ChatTemplate::new(text.to_owned(), "<s>".to_owned(), "</s>".to_owned(), special) else {
        return;
    };
    let call = ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: json!({ "a": [1, "x"] }) };
    let messages = [
        Message::system("Be brief.<|eot|>"),
        Message::user("Hello"),
        Message { role: Role::Assistant, content: vec![Content::text("Yes."), Content::ToolCall(call)] },
    ];
    let tool = ToolSchema {
        name: "f".to_owned(),
        description: "Does “f”.".to_owned(),
        parameters: json!({ "type": "object", "properties": { "a": { "type": "array" } } }),
        output: None,
    };
    let document = TemplateDocument { title: "T".to_owned(), text: "A text.".to_owned() };
    let options = RenderOptions { tools: &[tool], documents: &[document], ..RenderOptions::default() };
    if let Ok(prompt) = template.render(&messages, &options) {
        assert!(prompt.text().len() < MAX_BYTES);
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| check(text));
