"""Dialogues as text, in the form of chat_template.jinja, with the spans that the model must learn to write."""

import json

GLUE = [  # JSON between the words of a tool, one token each: prompts become half as long
    '{"name": "', '", "description": "', '", "parameters": {"type": "object", "properties": {"', '": {"type": "string"}',
    '": {"type": "number"}', '": {"type": "integer"}', '": {"type": "boolean"}', '": {"description": "',
    '", "type": "string"}', '", "type": "number"}', '", "type": "integer"}', '", "type": "boolean"}', '}, "required": ["',
    '", "parameters": {"', '"]}}', '", "enum": ["', '": {"type": "string", "enum": ["',
]
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
           "<|python_tag|>", "<|finetune_right_pad_id|>"]
TOOLS_INTRO = ('Reply with {"name": function name, "parameters": dictionary of argument name and its value} to call a function.')


def dumps(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def call_text(call: dict) -> str:
    return f'{{"name": "{call["name"]}", "parameters": {dumps(call["arguments"])}}}'


def message_text(message: dict) -> str:
    """What stands between a message's header and its <|eot_id|>."""
    if message.get("tool_calls"):
        return "\n".join(call_text(call["function"]) for call in message["tool_calls"])
    return message["content"]


def segments(messages: list, tools: list):
    """(text, learnt) pairs: `learnt` text is what the assistant writes."""
    out = ["<|begin_of_text|>"]
    system = messages[0]["content"] if messages and messages[0]["role"] == "system" else None
    if tools:
        listing = "\n".join(dumps(tool["function"]) for tool in tools)
        system = (system + "\n\n" if system else "") + TOOLS_INTRO + "\n\n" + listing
    if system is not None:
        out[0] += f"<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>"
    result = []
    for message in messages:
        if message["role"] == "system":
            continue
        role = "ipython" if message["role"] == "tool" else message["role"]
        out.append(f"<|start_header_id|>{role}<|end_header_id|>\n\n")
        if role == "assistant":
            result.append(("".join(out), False))
            result.append((message_text(message) + "<|eot_id|>", True))
            out = []
        else:
            out.append(message_text(message) + "<|eot_id|>")
    if out:
        result.append(("".join(out), False))
    return result
