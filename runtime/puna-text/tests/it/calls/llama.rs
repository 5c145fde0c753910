//! Calls in the JSON of Llama 3.1 and 3.2, and behind its tag.

use super::Table;

pub const TABLE: Table = &[
    // Calls in every form that Llama 3.1 and its kin write.
    (r#"{"name": "f", "parameters": {}}"#, &["f({})"]),
    (
        r#"{"name": "f", "parameters": {"a": 1, "b": [true, null], "c": {"d": "e"}}}"#,
        &[r#"f({"a":1,"b":[true,null],"c":{"d":"e"}})"#],
    ),
    (r#"{"name": "f", "arguments": {"a": 1}}"#, &[r#"f({"a":1})"#]),
    (r#"{"name": "f"}"#, &["f({})"]),
    (r#"{"name": "f", "parameters": null}"#, &["f({})"]),
    (r#"{"parameters": {"a": 1}, "name": "f"}"#, &[r#"f({"a":1})"#]),
    (r#"{"type": "function", "name": "f", "parameters": {}}"#, &["f({})"]),
    (r#"{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}"#, &[r#"f({"a":1})"#]),
    (r#"{"name": "f", "arguments": "{\"a\": 1}"}"#, &[r#"f({"a":1})"#]),
    ("  \n {\"name\": \"f\", \"parameters\": {}}", &["f({})"]),
    ("{\n  \"name\" : \"f\" ,\n  \"parameters\" : { }\n}\n", &["f({})"]),
    (r#"<|python_tag|>{"name": "f", "parameters": {}}"#, &["f({})"]),
    // Several.
    ("{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"g\", \"parameters\": {}}", &["f({})", "g({})"]),
    (r#"{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}"#, &["f({})", "g({})"]),
    (r#"{"name": "f", "parameters": {}},{"name": "f", "parameters": {}}"#, &["f({})", "f({})"]),
    (r#"{"name": "f", "parameters": {}}{"name": "g", "parameters": {}}"#, &["f({})", "g({})"]),
    // Strings that look like structure.
    (r#"{"name": "f", "parameters": {"a": "} { ] \" \\"}}"#, &[r#"f({"a":"} { ] \" \\"})"#]),
    (r#"{"name": "f", "parameters": {"a": "ü 🦙 \u00fc\n"}}"#, &[r#"f({"a":"ü 🦙 ü\n"})"#]),
    (r#"{"name": "f", "parameters": {"a": "{\"name\": \"g\"}"}}"#, &[r#"f({"a":"{\"name\": \"g\"}"})"#]),
    (
        r#"{"name": "f", "parameters": {"n": 1e3, "m": -0.5, "big": 12345678901234567890}}"#,
        &[r#"f({"n":1000.0,"m":-0.5,"big":12345678901234567890})"#],
    ),
    // Text around calls.
    ("Let me see.\n{\"name\": \"f\", \"parameters\": {}}", &["Let me see.", "f({})"]),
    ("{\"name\": \"f\", \"parameters\": {}}\nDone.", &["f({})", "\nDone."]),
    // Text.
    ("", &[]),
    ("Hello", &["Hello"]),
    ("7006652", &["7006652"]),
    ("   ", &["   "]),
    ("A set {1, 2} and {\"a\": 1}", &["A set {1, 2} and {\"a\": 1}"]),
    ("{1, 2}", &["{1, 2}"]),
    ("{}", &["{}"]),
    ("{ }", &["{ }"]),
    (r#"{"answer": 42}"#, &[r#"{"answer": 42}"#]),
    (r#"[{"name": "f"}]"#, &[r#"[{"name": "f"}]"#]),
    ("the call {\"name\": \"f\"} is within a line", &["the call {\"name\": \"f\"} is within a line"]),
    ("<|python", &["<|python"]),
    ("<|python_tags|>", &["<|python_tags|>"]),
    ("{\"parameters\": {\"a\": 1}}", &["{\"parameters\": {\"a\": 1}}"]),
    // Answers in JSON that have a name.
    (r#"{"name": "Ada", "age": 36}"#, &[r#"{"name": "Ada", "age": 36}"#]),
    (r#"{"age": 36, "name": "Ada"}"#, &[r#"{"age": 36, "name": "Ada"}"#]),
    (r#"{"name": {"first": "Ada"}, "age": 36}"#, &[r#"{"name": {"first": "Ada"}, "age": 36}"#]),
    (r#"{"type": "circle", "r": 1}"#, &[r#"{"type": "circle", "r": 1}"#]),
    (r#"{"type": "function", "id": "7", "name": "f"}"#, &["f({})"]),
    (r#"{"type": "circle", "name": "f"}"#, &[r#"{"type": "circle", "name": "f"}"#]),
    ("{\"type\": 1}\n{\"name\": \"f\"}", &["{\"type\": 1}", "f({})"]),
    // Broken ones are told, not swallowed.
    (r#"{"name": "f", "parameters": {"a": 1}"#, &[r#"!{"name": "f", "parameters": {"a": 1}"#]),
    (r#"{"name": "f", "parameters": "#, &[r#"!{"name": "f", "parameters": "#]),
    (r#"{"name": "f", "parameters": {a: 1}}"#, &[r#"!{"name": "f", "parameters": {a: 1}}"#]),
    (r#"{"name": "f", "parameters": {"a": 1,}}"#, &[r#"!{"name": "f", "parameters": {"a": 1,}}"#]),
    (r#"{"name": "f", "parameters": [1]}"#, &[r#"!{"name": "f", "parameters": [1]}"#]),
    (r#"{"name": "f", "parameters": "x"}"#, &[r#"!{"name": "f", "parameters": "x"}"#]),
    (r#"{"name": "", "parameters": {}}"#, &[r#"!{"name": "", "parameters": {}}"#]),
    (r#"{"name": 7, "parameters": {}}"#, &[r#"!{"name": 7, "parameters": {}}"#]),
    (r#"{"name": "f", "parameters": {}]"#, &[r#"!{"name": "f", "parameters": {}]"#]),
    (r#"{"name"#, &[r#"{"name"#]),
    // Behind the tag: JSON, a built-in tool, or code.
    ("Let me see. <|python_tag|>{\"name\": \"f\", \"parameters\": {}}", &["Let me see. ", "f({})"]),
    (
        r#"<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}"#,
        &["f({})", "g({})"],
    ),
    (
        r#"<|python_tag|>brave_search.call(query="llamas in Peru")"#,
        &[r#"brave_search({"query":"llamas in Peru"})"#],
    ),
    (
        "<|python_tag|>\nwolfram_alpha.call(query='2 + 2', n=[1, None])\nSo.",
        &[r#"wolfram_alpha({"query":"2 + 2","n":[1,null]})"#, "\nSo."],
    ),
    (r#"<|python_tag|>brave_search.call("llamas")"#, &[r#"!brave_search.call("llamas")"#]),
    (r#"<|python_tag|>brave_search.call(query="lla"#, &[r#"!brave_search.call(query="lla"#]),
    (
        "<|python_tag|>import math\nprint(\"π\",\tmath.pi)\n",
        &[r#"code_interpreter({"code":"import math\nprint(\"π\",\tmath.pi)\n"})"#],
    ),
    ("Text first.\n<|python_tag|>x = {1}", &["Text first.", r#"code_interpreter({"code":"x = {1}"})"#]),
    ("<|python_tag|>{1: 2}", &[r#"code_interpreter({"code":"{1: 2}"})"#]),
    ("<|python_tag|>{\"a\": 2}\n[3]", &[r#"code_interpreter({"code":"{\"a\": 2}\n[3]"})"#]),
    ("<|python_tag|>brave", &[r#"code_interpreter({"code":"brave"})"#]),
    ("<|python_tag|>a.b(c)", &[r#"code_interpreter({"code":"a.b(c)"})"#]),
    ("<|python_tag|>{\"na", &[r#"code_interpreter({"code":"{\"na"})"#]),
    ("<|python_tag|>{\"name\": \"f\"", &["!{\"name\": \"f\""]),
    ("<|python_tag|> \n", &["!<|python_tag|>"]),
    // Twice is one time too many.
    (
        r#"{"name": "f", "parameters": {"a": 1}, "parameters": {"a": 2}}"#,
        &[r#"!{"name": "f", "parameters": {"a": 1}, "parameters": {"a": 2}}"#],
    ),
    (
        r#"{"name": "f", "parameters": {"a": 1}, "name": "g"}"#,
        &[r#"!{"name": "f", "parameters": {"a": 1}, "name": "g"}"#],
    ),
    (
        r#"{"name": "f", "parameters": {}, "arguments": {}}"#,
        &[r#"!{"name": "f", "parameters": {}, "arguments": {}}"#],
    ),
    (
        r#"{"n\u0061me": "f", "type": "function", "parameters": {}}"#,
        &[r#"{"n\u0061me": "f", "type": "function", "parameters": {}}"#],
    ),
    (r#"{"type": "function", "n\u0061me": "f", "parameters": {}}"#, &["f({})"]),
    // Llama 4's marks.
    ("<|python_start|>See.<|python_end|>{\"name\": \"f\", \"parameters\": {}}", &["See.", "f({})"]),
];
