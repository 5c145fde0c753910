//! Calls in the tags of Hermes and Qwen.

use super::Table;

pub const TABLE: Table = &[
    ("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", &["f({})"]),
    (
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": [true, null], \"c\": {\"d\": \"e\"}}}\n</tool_call>",
        &[r#"f({"a":1,"b":[true,null],"c":{"d":"e"}})"#],
    ),
    (r#"<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>"#, &[r#"f({"a":1})"#]),
    (r#"<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>"#, &[r#"f({"a":1})"#]),
    (r#"<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>"#, &[r#"f({"a":1})"#]),
    (r#"<tool_call>{"name": "f"}</tool_call>"#, &["f({})"]),
    (r#"<tool_call>{"name": "f", "arguments": null}</tool_call>"#, &["f({})"]),
    (r#"<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>"#, &[r#"f({"a":1})"#]),
    (
        r#"<tool_call>{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}</tool_call>"#,
        &[r#"f({"a":1})"#],
    ),
    // Several.
    (
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
        &["f({})", "g({})"],
    ),
    (
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
        &["f({})", "g({})"],
    ),
    (r#"<tool_call>{"name": "f"}<tool_call>{"name": "g"}</tool_call>"#, &["f({})", "g({})"]),
    // The last one need not be closed.
    ("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}", &["f({})"]),
    ("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_", &["f({})"]),
    // Text around calls.
    (
        "<think>\nI need {a tool}.\n</think>\n\n<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
        &["<think>\nI need {a tool}.\n</think>", "f({})"],
    ),
    ("See: <tool_call>{\"name\": \"f\"}</tool_call> Done.\n", &["See: ", "f({})", " Done.\n"]),
    (
        "a\n<tool_call>{\"name\": \"f\"}</tool_call>\nb\n<tool_call>{\"name\": \"g\"}</tool_call>\n",
        &["a", "f({})", "\nb", "g({})"],
    ),
    // Strings that look like structure.
    (
        r#"<tool_call>{"name": "f", "arguments": {"a": "</tool_call> } <tool_call> \" \\"}}</tool_call>"#,
        &[r#"f({"a":"</tool_call> } <tool_call> \" \\"})"#],
    ),
    (
        r#"<tool_call>{"name": "f", "arguments": {"a": "ü 🦙 \u00fc\n"}}</tool_call>"#,
        &[r#"f({"a":"ü 🦙 ü\n"})"#],
    ),
    // Text.
    ("", &[]),
    ("Hello", &["Hello"]),
    ("{\"name\": \"f\", \"arguments\": {}}", &["{\"name\": \"f\", \"arguments\": {}}"]),
    ("[f(a=1)]", &["[f(a=1)]"]),
    ("<tool_cal", &["<tool_cal"]),
    ("<tool_calls>", &["<tool_calls>"]),
    ("1 < 2 <<tool>> </tool_call>", &["1 < 2 <<tool>> </tool_call>"]),
    ("<think>\n\n</think>\n\nHi  \n ", &["<think>\n\n</think>\n\nHi  \n "]),
    ("   ", &["   "]),
    // Broken ones are told, not swallowed.
    ("<tool_call>", &["!<tool_call>"]),
    ("<tool_call></tool_call>text", &["!<tool_call>", "text"]),
    ("<tool_call>f(1)</tool_call> text", &["!f(1)", " text"]),
    ("<tool_call>[{\"name\": \"f\"}]</tool_call>", &["![{\"name\": \"f\"}]"]),
    ("<tool_call>{}</tool_call>", &["!{}"]),
    ("<tool_call>{\"a\": 1}</tool_call>", &["!{\"a\": 1}"]),
    ("<tool_call>{\"name\": \"f\", \"a\": 1}</tool_call>", &["!{\"name\": \"f\", \"a\": 1}"]),
    ("<tool_call>{\"name\": 7, \"arguments\": {}}</tool_call>", &["!{\"name\": 7, \"arguments\": {}}"]),
    ("<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>", &["!{\"name\": \"\", \"arguments\": {}}"]),
    (
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        &["!{\"name\": \"f\", \"arguments\": [1]}"],
    ),
    (
        "<tool_call>{\"name\": \"f\", \"arguments\": {a: 1}}</tool_call>ok",
        &["!{\"name\": \"f\", \"arguments\": {a: 1}}", "ok"],
    ),
    (
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call>",
        &["!{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call>"],
    ),
    ("<tool_call>{\"name\": \"f\", \"arguments\": ", &["!{\"name\": \"f\", \"arguments\": "]),
    ("<tool_call>{\"name\": \"f\"}}</tool_call>", &["f({})", "!}"]),
    (
        "<tool_call>{\"name\": \"f\"} and <tool_call>{\"name\": \"g\"}</tool_call>",
        &["f({})", "!and ", "g({})"],
    ),
];
