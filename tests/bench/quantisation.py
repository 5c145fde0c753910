#!/usr/bin/env python3
"""What each form of weights costs the bundled model, as a table for `runtime/puna-export/README.md`.

    python3 tests/bench/quantisation.py FOLDER [--puna target/release/puna] [--cases 25]

Makes a checkpoint of the weights in examples/models/puna-tiny (8 bits by blocks, widened), exports it in each form, with
rotation and without, and measures: perplexity and divergence from the 32-bit form over the text of the evaluation's
dialogues, and exact match on tool calls through the engine's whole loop. Needs onnx and safetensors; some minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY = os.path.join(ROOT, "examples/models/puna-tiny")
FORMS = {
    "fp32": ["--weights", "fp32"],
    "int8": ["--weights", "int8"],
    "int8, 8-bit activations": ["--weights", "int8", "--activations", "int8"],
    "int4": ["--weights", "int4"],
    "int4, zero points": ["--weights", "int4", "--asymmetric"],
    "int4, blocks of 64": ["--weights", "int4", "--block", "64"],
}


def widened(tensors, attributes, inputs):
    """A matrix in blocks as floats, with a row for each output."""
    bits, block = attributes["bits"], attributes["block_size"]
    packed, scales = tensors[inputs[1]], tensors[inputs[2]]
    rows, columns = attributes["N"], attributes["K"]
    packed = packed.reshape(rows, -1)
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], -1).reshape(rows, -1)
    levels = packed.reshape(rows, -1, block).astype(np.float32)
    zero = 2.0 ** (bits - 1)
    if len(inputs) > 3 and inputs[3]:
        zeros = tensors[inputs[3]].reshape(rows, -1)
        if bits == 4:
            zeros = np.stack([zeros & 15, zeros >> 4], -1).reshape(rows, -1)
        zero = zeros[:, : levels.shape[1], None].astype(np.float32)
    return ((levels - zero) * scales.reshape(rows, -1, 1)).reshape(rows, -1)[:, :columns]


def make_checkpoint(folder):
    """The bundled model's weights by the names that Hugging Face gives them."""
    os.makedirs(folder, exist_ok=True)
    model = onnx.load(os.path.join(TINY, "model.onnx"))
    tensors = {tensor.name: numpy_helper.to_array(tensor, TINY) for tensor in model.graph.initializer}
    with open(os.path.join(TINY, "config.json")) as file:
        config = json.load(file)
    width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    queries, keys = (config[name] * width for name in ("num_attention_heads", "num_key_value_heads"))
    weights = {}
    for node in model.graph.node:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "MatMulNBits":
            matrix = widened(tensors, attributes, list(node.input))
            parts = node.name.strip("/").split("/")  # model/layers.0/attn/qkv_proj/…
            if "lm_head" in node.name:
                weights["model.embed_tokens.weight"] = matrix
                continue
            at = f"model.{parts[1]}"
            name = next(part for part in parts if part.endswith("_proj"))
            if name == "qkv_proj":
                for part, rows in zip("qkv", np.split(matrix, [queries, queries + keys])):
                    weights[f"{at}.self_attn.{part}_proj.weight"] = rows
            else:
                weights[f"{at}.{'self_attn' if name == 'o_proj' else 'mlp'}.{name}.weight"] = matrix
        for name in node.input:
            if "layernorm.weight" in name and name in tensors:
                layers = config["num_hidden_layers"]
                # The builder counts the last norm as one more layer's.
                name_of = name.replace(f"layers.{layers}.final_norm_layernorm", "norm").replace(f"layers.{layers}.final_norm", "norm")
                weights[name_of] = tensors[name].astype(np.float32)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(TINY, name), folder)
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, os.path.join(folder, "model.safetensors"))


def make_cases(folder, count):
    """Tool calls alone, and the text of all dialogues."""
    everything = os.path.join(folder, "all.jsonl")
    subprocess.run([sys.executable, "cases.py", everything, str(count)], check=True, cwd=os.path.join(TINY, "train"), stdout=subprocess.DEVNULL)
    with open(everything) as file:
        cases = [json.loads(line) for line in file]
    calls, text = os.path.join(folder, "calls.jsonl"), os.path.join(folder, "text.txt")
    with open(calls, "w") as file:
        chosen = [case for case in cases if case["suite"] in TOOL_SUITES]
        file.writelines(json.dumps(case) + "\n" for case in chosen)
    with open(text, "w") as file:
        for case in cases:
            file.writelines(message["content"] + "\n" for message in case["messages"] if message["content"])
            expected = case["expect"]
            file.write((expected["text"] if "text" in expected else json.dumps(expected["call"])) + "\n")
    return calls, text, len(chosen)


TOOL_SUITES = ["tool-1", "tool-2", "tool-3", "tool-4"]


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--puna", default=os.path.join(ROOT, "target/release/puna"))
    parser.add_argument("--evaluate", default=os.path.join(ROOT, "target/release/examples/evaluate"))
    parser.add_argument("--cases", type=int, default=25, help="of each suite, with held-out values and with held-out names")
    parser.add_argument("--tokens", type=int, default=8192)
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    checkpoint = os.path.join(args.folder, "checkpoint")
    make_checkpoint(checkpoint)
    calls, text, count = make_cases(args.folder, args.cases)
    base = None
    print(f"| weights | rotated | MB | perplexity | divergence, nats | same likeliest token | exact calls of {count} |\n|---|---|---|---|---|---|---|")
    for form, options in FORMS.items():
        for rotated in (False, True):
            out = os.path.join(args.folder, f"{form.replace(', ', '-').replace(' ', '-')}{'-rotated' if rotated else ''}")
            shutil.rmtree(out, ignore_errors=True)
            output([args.puna, "model", "export", checkpoint, "--out", out, *options, *(["--rotate"] if rotated else [])])
            base = base or out
            found = json.loads(output([args.puna, "model", "compare", base, out, "--text", text, "--tokens", str(args.tokens), "--rounds", "0", "--json"]))
            scores = os.path.join(args.folder, "scores.json")
            output([args.evaluate, out, calls, "--json", scores])
            with open(scores) as file:
                exact = sum(row["score"]["exact"] for row in json.load(file))
            print(f"| {form} | {'yes' if rotated else 'no'} | {found['other']['bytes'] / 1e6:.1f} | {found['other']['perplexity']:.3f} | {found['divergence']:.5f} | "
                  f"{100 * found['agreement']:.1f} % | {exact} |", flush=True)


if __name__ == "__main__":
    main()
