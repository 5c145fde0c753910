//! Calls behind Mistral's marks.

use super::Table;

pub const TABLE: Table = &[
    // A list.
    (r#"[TOOL_CALLS][{"name": "f", "arguments": {}}]"#, &["f({})"]),
    (r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]"#, &[r#"f({"a":1})"#]),
    (r#"[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "VvvODy9mT"}]"#, &[r#"f({"a":1})"#]),
    (
        r#"[TOOL_CALLS][{"id": "VvvODy9mT", "name": "f", "arguments": {"a": [1, {"b": null}]}}]"#,
        &[r#"f({"a":[1,{"b":null}]})"#],
    ),
    (r#"[TOOL_CALLS][{"arguments": {"a": 1}, "name": "f"}]"#, &[r#"f({"a":1})"#]),
    (
        r#"[TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"a": "]"}}]"#,
        &["f({})", r#"g({"a":"]"})"#],
    ),
    (
        "[TOOL_CALLS] [\n  {\"name\": \"f\", \"arguments\": {}} ,\n  {\"name\": \"g\"}\n]\n",
        &["f({})", "g({})"],
    ),
    (r#"[TOOL_CALLS][{"name": "f", "arguments": "{\"a\": 1}"}]"#, &[r#"f({"a":1})"#]),
    (r#"[TOOL_CALLS]{"name": "f", "arguments": {"a": 1}}"#, &[r#"f({"a":1})"#]),
    (
        r#"[TOOL_CALLS][{"name": "f", "arguments": {}}][TOOL_CALLS][{"name": "g", "arguments": {}}]"#,
        &["f({})", "g({})"],
    ),
    (r#"[TOOL_CALLS][{"name": "f", "arguments": {"a": "[TOOL_CALLS]"}}]"#, &[r#"f({"a":"[TOOL_CALLS]"})"#]),
    // The list need not be closed.
    (r#"[TOOL_CALLS][{"name": "f", "arguments": {}}"#, &["f({})"]),
    // A name and arguments.
    ("[TOOL_CALLS]f[ARGS]{}", &["f({})"]),
    (r#"[TOOL_CALLS]f[ARGS]{"a": 1, "b": {"c": ["d"]}}"#, &[r#"f({"a":1,"b":{"c":["d"]}})"#]),
    (r#"[TOOL_CALLS]get_weather-2[ARGS]{"city": "Zürich 🦙"}"#, &[r#"get_weather-2({"city":"Zürich 🦙"})"#]),
    (r#"[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{"b": 2}"#, &[r#"f({"a":1})"#, r#"g({"b":2})"#]),
    (r#"[TOOL_CALLS]f[CALL_ID]VvvODy9mT[ARGS]{"a": 1}"#, &[r#"f({"a":1})"#]),
    (r#"[TOOL_CALLS]f{"a": 1}"#, &[r#"f({"a":1})"#]),
    ("[TOOL_CALLS] f [ARGS] {\"a\": 1}\n", &[r#"f({"a":1})"#]),
    (r#"[TOOL_CALLS]f[ARGS]{"a": "} [ARGS] \" [TOOL_CALLS]"}"#, &[r#"f({"a":"} [ARGS] \" [TOOL_CALLS]"})"#]),
    (r#"[TOOL_CALLS]f[ARGS]{"a": "\u00fc\n"}"#, &[r#"f({"a":"ü\n"})"#]),
    // Text around calls.
    (r#"Let me see.[TOOL_CALLS]f[ARGS]{}"#, &["Let me see.", "f({})"]),
    (
        "Let me see.\n\n[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}] Done.",
        &["Let me see.", "f({})", " Done."],
    ),
    ("[TOOL_CALLS]f[ARGS]{} Done.", &["f({})", " Done."]),
    // Text.
    ("", &[]),
    ("Hello", &["Hello"]),
    (r#"[{"name": "f", "arguments": {}}]"#, &[r#"[{"name": "f", "arguments": {}}]"#]),
    ("[[TOOL_CALL", &["[[TOOL_CALL"]),
    ("[TOOL_CALL]x", &["[TOOL_CALL]x"]),
    ("f[ARGS]{}", &["f[ARGS]{}"]),
    ("a[0] = [CALL_ID]", &["a[0] = [CALL_ID]"]),
    // Broken ones are told, not swallowed.
    ("[TOOL_CALLS]", &["![TOOL_CALLS]"]),
    ("[TOOL_CALLS][", &["![TOOL_CALLS]"]),
    ("[TOOL_CALLS][]", &["!]"]),
    ("[TOOL_CALLS][1]", &["!1]"]),
    (r#"[TOOL_CALLS][{"a": 1}]"#, &[r#"!{"a": 1}"#]),
    (r#"[TOOL_CALLS][{"name": "f", "arguments": [1]}]"#, &[r#"!{"name": "f", "arguments": [1]}"#]),
    (
        r#"[TOOL_CALLS][{"name": "f", "arguments": {a}}, {"name": "g"}]"#,
        &[r#"!{"name": "f", "arguments": {a}}"#, "g({})"],
    ),
    (r#"[TOOL_CALLS][{"name": "f"} {"name": "g"}]"#, &["f({})", r#"!{"name": "g"}]"#]),
    (r#"[TOOL_CALLS][{"name": "f", "argum"#, &[r#"!{"name": "f", "argum"#]),
    ("[TOOL_CALLS]f", &["!f"]),
    ("[TOOL_CALLS]f[ARGS]", &["!f"]),
    ("[TOOL_CALLS]f g[ARGS]{}", &["!f g[ARGS]{}"]),
    ("[TOOL_CALLS]f[ARGS][1]", &["!f[ARGS][1]"]),
    ("[TOOL_CALLS]f[ARGS]{a: 1}", &["!f[ARGS]{a: 1}"]),
    ("[TOOL_CALLS]f[ARGS]{\"a\": 1", &["!f[ARGS]{\"a\": 1"]),
    ("[TOOL_CALLS]f[CALL_ID]a b[ARGS]{}", &["!f[CALL_ID]a b[ARGS]{}"]),
    ("[TOOL_CALLS]$ x[TOOL_CALLS]g[ARGS]{}", &["!$ x", "g({})"]),
    ("[TOOL_CALLS]f[TOOL_CALLS]g[ARGS]{}", &["!f", "g({})"]),
    ("[TOOL_CALLS]f[ARGS]{}}", &["f({})", "}"]),
];
