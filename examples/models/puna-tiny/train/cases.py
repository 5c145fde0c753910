"""Evaluation cases: the last message of each dialogue is what the model must write, exactly."""

import json
import random
import sys

from dialogues import CONCIERGE, Dialogue, Draw, concierge_request, failure, result_for, toolbox

TOOL_SUITES = {"tool-1": 1, "tool-2": 2, "tool-3": 3, "tool-4": 4}

# More tools than training ever showed: made where suites are named on the command line.
MANY_TOOLS = {"tool-8": 8, "tool-16": 16}


def tools_case(d, count):
    out = Dialogue(d)
    functions, requests = toolbox(d, count, [])
    out.add_tools(functions)
    name, text, arguments, *_ = d.rng.choice(requests)()
    out.call(text, name, arguments)
    return out


def concierge_case(d):
    out = Dialogue(d, "You are the concierge. Use the tools for sums, units, dates and times. Remember what the user tells you.")
    out.add_tools(CONCIERGE.values())
    name = d.rng.choice(list(CONCIERGE))
    text, arguments, *_ = concierge_request(d, name)
    out.call(text, name, arguments)
    return out


def added_case(d):
    """Tools that were never seen, beside the concierge's."""
    out = Dialogue(d, "You are the concierge. Use the tools for sums, units, dates and times. Remember what the user tells you.")
    functions, requests = toolbox(d, d.rng.randint(1, 2), CONCIERGE)
    out.add_tools(functions)
    name, text, arguments, *_ = d.rng.choice(requests[:len(functions) - len(CONCIERGE)])()
    out.call(text, name, arguments)
    return out


def concierge_answer_case(d):
    out = concierge_case(d)
    out.messages = out.messages[:-2]
    name = d.rng.choice(list(CONCIERGE))
    text, arguments, value, answer = concierge_request(d, name)
    out.call(text, name, arguments)
    out.result(*(failure(d) if d.chance(0.15) else (value, answer)))
    return out


def result_case(d):
    out = Dialogue(d)
    functions, requests = toolbox(d, d.rng.randint(1, 3), [])
    out.add_tools(functions)
    name, text, arguments, value, answer = d.rng.choice(requests)()
    out.call(text, name, arguments)
    out.result(*(failure(d) if d.chance(0.15) else (value, answer)))
    return out


def context_case(d, present):
    out = Dialogue(d)
    out.context(present)
    return out


def memory_case(d, known, after_tools=False):
    out = Dialogue(d)
    if after_tools or d.chance(0.4):
        out.add_tools(CONCIERGE.values())
    for _ in range(d.rng.randint(1, 4)):
        out.tell()
    if after_tools:
        functions, requests = toolbox(d, 0, CONCIERGE)
        for _ in range(d.rng.randint(1, 3)):
            out.use(d.rng.choice(requests), 1.0)
    if d.chance(0.3):
        out.greet()
    before = len(out.messages)
    while len(out.messages) == before:
        out.recall(known)
    return out


def unknown_case(d):
    out = Dialogue(d)
    if d.chance(0.7):
        out.add_tools(CONCIERGE.values())
    out.unknown()
    return out


def chat_case(d):
    out = Dialogue(d)
    if d.chance(0.5):
        out.add_tools(CONCIERGE.values())
    out.greet()
    return out


SUITES = {**{name: lambda d, n=n: tools_case(d, n) for name, n in TOOL_SUITES.items()},
          "concierge": concierge_case, "tools-added": added_case, "concierge-answer": concierge_answer_case, "result": result_case,
          "context": lambda d: context_case(d, True), "context-absent": lambda d: context_case(d, False),
          "memory": lambda d: memory_case(d, True), "memory-absent": lambda d: memory_case(d, False), "memory-tools": lambda d: memory_case(d, True, True),
          "chat": chat_case, "unknown": unknown_case}
EXTRA = {name: lambda d, n=n: tools_case(d, n) for name, n in MANY_TOOLS.items()}


def cases(count: int, seed: int, names=()):
    for suite, make in {**SUITES, **EXTRA}.items():
        if suite not in (names or SUITES):
            continue
        for held_out in ("values", "names"):
            if suite.startswith(("concierge", "chat", "unknown")) and held_out == "names":
                continue
            rng = random.Random(f"{seed}/{suite}/{held_out}")
            for index in range(count):
                dialogue = make(Draw(rng, held_out))
                *messages, last = dialogue.messages
                if last.get("tool_calls"):
                    expect = {"call": last["tool_calls"][0]["function"]}
                else:
                    expect = {"text": last["content"]}
                yield {"id": f"{suite}-{held_out}-{index}", "suite": suite, "held_out": held_out, "messages": messages,
                       "tools": dialogue.tools, "expect": expect}


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        for case in cases(int(sys.argv[2]), 20_000, sys.argv[3:]):
            file.write(json.dumps(case, ensure_ascii=False) + "\n")
