"""Exact match of an exported model on eval/cases.jsonl: free-running greedy decoding, without constraints.

    python evaluate.py ONNX_FOLDER CASES [--hf FOLDER] [--wrong FILE] [--threads 2]

`--hf` runs the Hugging Face folder in PyTorch instead, `--compare` both, and says how many texts differ.
"""

import argparse
import json
import os
from collections import defaultdict

import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

MOST = 160  # tokens of an answer


class Template:
    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer_config.json")) as file:
            config = json.load(file)
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template, self.bos = environment.from_string(config["chat_template"]), config["bos_token"]

    def render(self, messages, tools):
        return self.template.render(messages=messages, tools=tools, bos_token=self.bos, add_generation_prompt=True)


class OnnxModel:
    """Greedy decoding with a growing cache."""

    def __init__(self, folder, threads):
        import onnxruntime
        with open(os.path.join(folder, "genai_config.json")) as file:
            model = json.load(file)["model"]
        decoder = model["decoder"]
        self.eos, self.layers = set(model["eos_token_id"]), decoder["num_hidden_layers"]
        self.shape = [1, decoder["num_key_value_heads"], 0, decoder["head_size"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(os.path.join(folder, decoder["filename"]), options, providers=["CPUExecutionProvider"])
        self.outputs = ["logits"] + [f"present.{layer}.{part}" for layer in range(self.layers) for part in ("key", "value")]

    def generate(self, ids):
        past = {name.replace("present", "past_key_values"): np.zeros(self.shape, np.float32) for name in self.outputs[1:]}
        out, total, step = [], 0, ids
        while len(out) < MOST:
            total += len(step)
            logits, *present = self.session.run(self.outputs, {"input_ids": np.array([step], np.int64), "attention_mask": np.ones((1, total), np.int64), **past})
            token = int(logits[0, -1].argmax())
            if token in self.eos:
                break
            out.append(token)
            past, step = dict(zip(past, present)), [token]
        return out


class TorchModel:
    """The same with transformers, in fp32."""

    def __init__(self, folder, threads):
        import torch
        from transformers import LlamaForCausalLM
        torch.set_num_threads(threads)
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.torch = torch

    def generate(self, ids):
        with self.torch.no_grad():
            out = self.model.generate(self.torch.tensor([ids]), attention_mask=self.torch.ones(1, len(ids), dtype=self.torch.long), do_sample=False, max_new_tokens=MOST)
        out = out[0, len(ids):].tolist()
        return out[:-1] if out and out[-1] in self.model.generation_config.eos_token_id else out


def same(a, b):
    """Equal as JSON: 1 is not 1.0 nor true; the order of keys does not matter."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def score(expect, text):
    """Whether each part is right. `values` counts only where the keys are right."""
    if "call" not in expect:
        return {"exact": text in expect.get("any_of", [expect.get("text")])}
    try:
        call = json.loads(text)
        name, arguments = call["name"], call["parameters"]
        keys = list(arguments) == list(expect["call"]["arguments"])
    except (ValueError, TypeError, KeyError):
        return {"exact": False, "name": False, "keys": False, "values": False}
    right = {"name": name == expect["call"]["name"], "keys": keys, "values": same(arguments, expect["call"]["arguments"])}
    return {"exact": right["name"] and right["values"] and list(call) == ["name", "parameters"], **right}


def table(scores):
    """Markdown, a line for each suite and kind of held-out material."""
    lines = ["| suite | held out | cases | name | keys | values | exact |", "|---|---|---|---|---|---|---|"]
    for (suite, held_out), rows in scores.items():
        share = lambda part: f"{100 * sum(row[part] for row in rows) / len(rows):.0f}" if part in rows[0] else ""
        lines.append(f"| {suite} | {held_out} | {len(rows)} | {share('name')} | {share('keys')} | {share('values')} | {share('exact')} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("cases")
    parser.add_argument("--hf")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--wrong", help="where to write what came out wrong")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="only every n-th case")
    args = parser.parse_args()
    tokenizer, template = Tokenizer.from_file(os.path.join(args.folder, "tokenizer.json")), Template(args.folder)
    model = TorchModel(args.hf, args.threads) if args.hf and not args.compare else OnnxModel(args.folder, args.threads)
    other = TorchModel(args.hf, args.threads) if args.compare else None
    scores, differing, count = defaultdict(list), 0, 0
    wrong = open(args.wrong, "w") if args.wrong else None
    with open(args.cases) as file:
        for number, line in enumerate(file):
            if number % args.every:
                continue
            case = json.loads(line)
            ids = tokenizer.encode(template.render(case["messages"], case["tools"]), add_special_tokens=False).ids
            out = model.generate(ids)
            text = tokenizer.decode(out, skip_special_tokens=False)
            count += 1
            if other and (theirs := other.generate(ids)) != out:
                differing += 1
            result = score(case["expect"], text)
            scores[case["suite"], case["held_out"]].append(result)
            if wrong and not result["exact"]:
                wrong.write(json.dumps({**case, "got": text, "tokens": len(ids)}, ensure_ascii=False) + "\n")
    print(table(scores))
    if other:
        print(f"\n{differing} of {count} texts differ between ONNX and PyTorch")


if __name__ == "__main__":
    main()
