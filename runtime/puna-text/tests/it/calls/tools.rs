//! Texts of models that were given the tools `f` and `g`.

use super::Table;

pub const LLAMA: Table = &[
    // In a later line of text, an object is a call only with a tool's name.
    ("See:\n{\"name\": \"f\", \"parameters\": {\"a\": 1}}", &["See:", "f({\"a\":1})"]),
    ("See:\n{\"name\": \"h\", \"parameters\": {}}", &["See:\n{\"name\": \"h\", \"parameters\": {}}"]),
    ("See:\n{\"name\": \"Ada\"}", &["See:\n{\"name\": \"Ada\"}"]),
    ("See:\n{\"name\": \"h\"}\nand on\n{\"name\": \"f\"}", &["See:\n{\"name\": \"h\"}\nand on", "f({})"]),
    ("See:\n{\"name\": \"h\"}\n{\"name\": \"f\"}", &["See:\n{\"name\": \"h\"}", "f({})"]),
    ("See:\n{\"parameters\": {}, \"name\": \"h\"}", &["See:\n{\"parameters\": {}, \"name\": \"h\"}"]),
    ("See:\n{\"parameters\": {}, \"name\": \"g\"}", &["See:", "g({})"]),
    (
        "See:\n{\"type\": \"function\", \"function\": {\"name\": \"h\", \"parameters\": {}}}",
        &["See:\n{\"type\": \"function\", \"function\": {\"name\": \"h\", \"parameters\": {}}}"],
    ),
    (
        "See:\n{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}",
        &["See:", "f({})"],
    ),
    ("```json\n{\"name\": \"f\", \"parameters\": {}}\n```", &["```json", "f({})", "\n```"]),
    (
        "```json\n{\"name\": \"h\", \"parameters\": {}}\n```",
        &["```json\n{\"name\": \"h\", \"parameters\": {}}\n```"],
    ),
    // Broken ones too.
    ("See:\n{\"name\": \"f\", \"parameters\": {a}}", &["See:", "!{\"name\": \"f\", \"parameters\": {a}}"]),
    ("See:\n{\"name\": \"h\", \"parameters\": {a}}", &["See:\n{\"name\": \"h\", \"parameters\": {a}}"]),
    ("See:\n{\"name\": 7, \"parameters\": {}}", &["See:\n{\"name\": 7, \"parameters\": {}}"]),
    ("See:\n{\"name\": \"f\", \"parameters\": {", &["See:", "!{\"name\": \"f\", \"parameters\": {"]),
    ("See:\n{\"name\": \"f\", \"parameters\": 7}", &["See:", "!{\"name\": \"f\", \"parameters\": 7}"]),
    ("See:\n{\"name\": \"h\", \"parameters\": {", &["See:\n{\"name\": \"h\", \"parameters\": {"]),
    ("See:\n{\"name\": \"f", &["See:\n{\"name\": \"f"]),
    (
        "See:\n{\"name\": \"f\", \"parameters\": {}, \"name\": \"h\"}",
        &["See:", "!{\"name\": \"f\", \"parameters\": {}, \"name\": \"h\"}"],
    ),
    // Where nothing was said, and behind a call or the tag, a wrong name is the model's mistake.
    ("{\"name\": \"h\", \"parameters\": {}}", &["h({})"]),
    (" \n{\"name\": \"h\", \"parameters\": {}}", &["h({})"]),
    ("{\"name\": \"h\", \"parameters\": {a}}", &["!{\"name\": \"h\", \"parameters\": {a}}"]),
    ("See:\n{\"name\": \"f\"}; {\"name\": \"h\"}", &["See:", "f({})", "h({})"]),
    ("{\"name\": \"f\"}\n\n{\"name\": \"h\"}", &["f({})", "h({})"]),
    ("{\"name\": \"f\"}\nSo\n{\"name\": \"h\"}", &["f({})", "\nSo\n{\"name\": \"h\"}"]),
    ("See:\n<|python_tag|>{\"name\": \"h\", \"parameters\": {}}", &["See:", "h({})"]),
    ("See:\n<|python_tag|>h.call(a=1)", &["See:", "h({\"a\":1})"]),
    ("<|python_start|>See.<|python_end|>{\"name\": \"h\", \"parameters\": {}}", &["See.", "h({})"]),
    ("{\"answer\": 1}\n{\"name\": \"h\"}", &["{\"answer\": 1}\n{\"name\": \"h\"}"]),
    ("{\"answer\": 1}\n{\"name\": \"g\"}", &["{\"answer\": 1}", "g({})"]),
];

pub const PYTHONIC: Table = &[
    ("See:\n[f(a=1)]", &["See:", "f({\"a\":1})"]),
    ("See:\n[h(a=1)]", &["See:\n[h(a=1)]"]),
    ("See:\n[h(a=1)]\n[g()]", &["See:\n[h(a=1)]", "g({})"]),
    ("See:\n[h(a=", &["See:\n[h(a="]),
    ("See:\n[f(a=", &["See:", "!f(a="]),
    ("See:\n[f(), h()]", &["See:", "f({})", "h({})"]),
    ("See:\n[h(), f()]", &["See:\n[h(), f()]"]),
    ("See:\n[f(7)]", &["See:", "!f(7)"]),
    ("See:\n[h(7)]", &["See:\n[h(7)]"]),
    ("[h(a=1)]", &["h({\"a\":1})"]),
    ("[f()]\n[h()]", &["f({})", "h({})"]),
    ("See:<|python_start|>[h()]<|python_end|>", &["See:", "h({})"]),
    ("[h(x) for x in list]", &["!h(x) for x in list"]),
    ("So:\n[h(x) for x in list]", &["So:\n[h(x) for x in list]"]),
];

pub const HERMES: Table = &[
    // A mark is an attempt, wherever it stands.
    ("See:\n<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call>", &["See:", "h({})"]),
    (
        "See:\n<tool_call>{\"name\": \"h\", \"arguments\": {a}}</tool_call>",
        &["See:", "!{\"name\": \"h\", \"arguments\": {a}}"],
    ),
    ("See:\n{\"name\": \"f\", \"arguments\": {}}", &["See:\n{\"name\": \"f\", \"arguments\": {}}"]),
];

pub const MISTRAL: Table = &[
    ("See:\n[TOOL_CALLS][{\"name\": \"h\", \"arguments\": {}}]", &["See:", "h({})"]),
    ("See:\n[TOOL_CALLS]h[ARGS]{\"a\": 1}", &["See:", "h({\"a\":1})"]),
    ("See:\n[{\"name\": \"f\", \"arguments\": {}}]", &["See:\n[{\"name\": \"f\", \"arguments\": {}}]"]),
];
