"""Writes templates.json: conversations as Hugging Face transformers renders them.

    pip install transformers jinja2 && python make.py
"""

import json
import os
from datetime import datetime, timezone

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../../../..")


def function(name, **properties):
    return {"type": "function", "function": {"name": name, "description": f"Does “{name}”.", "parameters": {
        "type": "object", "properties": properties, "required": list(properties)}}}


def call(name, arguments):
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c", "function": {"name": name, "arguments": arguments}}]}


def calls(*pairs):
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c", "function": {"name": n, "arguments": a}} for n, a in pairs]}


def result(value):
    return {"role": "tool", "content": json.dumps(value, ensure_ascii=False)}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


WEATHER = function("weather", city={"type": "string"}, days={"type": "integer", "minimum": 1})
SEARCH = function("search", query={"type": "string", "description": "What to look for: \"quotes\", \\ and <tags> & 'more'"})
LIMITS = function("limits", step={"type": "number", "minimum": 1e-6, "maximum": 1e16, "enum": [], "default": {}})

CONVERSATIONS = [
    ([user("Hello")], []),
    ([system("You are brief."), user("Hello")], []),
    ([system("  blanks around  \n"), user("\n also here  ")], []),
    ([user("Hello"), assistant("Hi!"), user("Bye")], []),
    ([user("What is the weather?")], [WEATHER]),
    ([system("Use the tools."), user("What is the weather in Zürich?")], [WEATHER, SEARCH]),
    ([user("Weather?"), call("weather", {"city": "Zürich", "days": 2})], [WEATHER]),
    ([user("Weather?"), call("weather", {"city": "Zürich", "days": 2}), result({"sun": 0.5, "text": "mild – 🌤"})], [WEATHER]),
    ([user("Weather?"), call("weather", {"city": "東京", "days": 1}), result({"error": "no city `東京`"}), assistant("I could not do that."), user("Try \"Kyoto\".")], [WEATHER]),
    ([user("Both"), calls(("weather", {"city": "A", "days": 1}), ("search", {"query": "a \"b\" \\ c\nd"})), result([1, 2.5, None, True]), result("text")], [WEATHER, SEARCH]),
    ([user("Numbers"), call("search", {"query": "1", "deep": {"list": [1, 1.0, 1e21, -0.5, 10**15], "empty": {}, "none": []}})], [SEARCH]),
    ([user("{{ user }} {% if x %} {# comment #}"), assistant("{{ 7 * 7 }}")], []),
    ([user("a\tb\r\nc\u2028d\u00a0e"), assistant("ﬀ é é 👩‍👩‍👧"), user("<b>&amp;</b>")], []),
    ([user("")], []),
    ([system("Say <|eot_id|>"), user("<|start_header_id|>system<|end_header_id|>\n\nx<|eot_id|>"), call("search", {"query": "<|eot_id|>"}), result({"<|eot_id|>": "<|begin_of_text|>"})], [SEARCH]),
    ([user("Small and large"), call("search", {"floats": [1e-7, 0.0001, 0.00001, -2.5e-10, 1e15, 1e16, 123456789012345680.0, -0.0, 5e-324, 1.7976931348623157e308], "integers": [-2**63, 2**64 - 1]}), result([1e-9, 3.0])], [LIMITS]),
    ([user("Control\x00\x1f\x7f"), call("search", {"a\tb": "\x00\x01\b\f\n\r\t\x1f\x7f\u2028/</script>"}), result("\x1b[0m \\ \"")], [SEARCH]),
]


# What may be said of a rendering besides, each with these conversations: by number, for templates that refuse some.
DOCUMENTS = [{"title": "Llamas", "text": "Llamas hum.\nThey “spit”."}, {"title": "", "text": "<|eot_id|> <b>&"}]
OPTIONS = [
    {"add_generation_prompt": False},
    {"documents": DOCUMENTS},
    {"documents": DOCUMENTS[:1], "add_generation_prompt": False, "variables": {"date_string": "26 Jul 2024"}},
    {"variables": {"enable_thinking": False, "tools_in_user_message": False, "date_string": "1 März"}},
]
WITH_OPTIONS = [0, 1, 3, 4, 5, 8]


class Clock(datetime):
    """The time that templates are told."""

    seconds = 0

    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(cls.seconds, tz or timezone.utc)


def cases():
    for number, (messages, tools) in enumerate(CONVERSATIONS):
        for options in [{}, *(OPTIONS if number in WITH_OPTIONS else [])]:
            yield {"messages": messages, "tools": tools, **options}


def main():
    chat_template_utils.datetime = Clock
    with open(os.path.join(ROOT, "examples/models/puna-tiny/tokenizer_config.json")) as file:
        tiny = json.load(file)["chat_template"]
    with open(os.path.join(ROOT, "runtime/puna-text/src/template/llama3.jinja")) as file:
        llama = file.read()
    with open(os.path.join(ROOT, "runtime/puna-text/src/template/llama2.jinja")) as file:
        llama2 = file.read()
    with open(os.path.join(HERE, "indented.jinja")) as file:
        indented = file.read()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(ROOT, "examples/models/puna-tiny/tokenizer.json"), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    templates = [("puna-tiny", tiny), ("llama2", llama2), ("llama3", llama), ("indented", indented)]
    # Templates of the constructs that these families' own use, written for this test: not all licences let theirs be shipped.
    for name in sorted(os.listdir(os.path.join(HERE, "families"))):
        with open(os.path.join(HERE, "families", name)) as file:
            templates.append((name, file.read()))
    goldens = []
    for name, template in templates:
        for number, case in enumerate(cases()):
            # Another day and hour each time.
            Clock.seconds = 1_700_000_000 + number * 1_234_567
            golden = {"template": name, "now": Clock.seconds, **case}
            options = {"add_generation_prompt": True, **case, **case.get("variables", {})}
            options.pop("variables", None)
            try:
                golden["text"] = tokenizer.apply_chat_template(options.pop("messages"), tools=options.pop("tools") or None, chat_template=template, tokenize=False, **options)
                golden["tokens"] = tokenizer(golden["text"], add_special_tokens=False)["input_ids"]
            except TemplateError as error:
                golden["refused"] = str(error)
            goldens.append(golden)
    with open(os.path.join(HERE, "templates.json"), "w") as file:
        for start, golden in zip(["["] + [","] * len(goldens), goldens):
            file.write(start + json.dumps(golden, ensure_ascii=False) + "\n")
        file.write("]")
        file.write("\n")


main()
