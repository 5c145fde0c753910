#!/usr/bin/env python3
"""The companion of somebody else's int4 graph: the same model with 8-bit weights and activations, for prompts.

`puna model export --companion int8` makes one from the checkpoint, which is better where there is a checkpoint.

    python3 tests/bench/companion.py FOLDER/model.onnx [FOLDER/model_prefill.onnx]

Every `MatMulNBits` becomes an integer product whose activations are quantised row by row,

    scale = max(|x|) / 127        over the last axis
    u8 = round(x / scale) + 128
    y = MatMulIntegerToFloat(u8, weights as s8, 1, weights' scale of each column, 128, 0) * scale

so that a row's result does not depend on the rows beside it. Weights are those of the int4 graph, with one scale for
each column. The logits are those after the last position alone, which is what a prompt needs. Prints how far its
logits are from the other graph's.
"""

import argparse
import json
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"


def unpack(packed, scales, columns, rows, block):
    """Symmetric 4-bit blocks `[columns, blocks, block / 2]` as floats `[rows, columns]`."""
    low, high = packed & 15, packed >> 4
    values = np.stack([low, high], axis=-1).reshape(columns, -1, block).astype(np.float32) - 8
    return (values * scales.reshape(columns, -1, 1)).reshape(columns, -1)[:, :rows].T


def quantise(weights):
    """Floats `[rows, columns]` as s8 and a scale for each column."""
    scale = np.maximum(np.abs(weights).max(axis=0) / 127, 1e-12)
    return np.clip(np.rint(weights / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


class Writer:
    def __init__(self, model):
        self.graph = model.graph
        self.nodes = []
        self.constants = {}
        # Products that take the same input share its quantised form.
        self.quantised = {}

    def constant(self, name, value):
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def node(self, kind, inputs, name, domain="", **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def activations(self, source):
        if source not in self.quantised:
            largest = self.node("ReduceMax", [self.node("Abs", [source], source + "/abs"), self.constant("companion/last_axis", np.array([-1], np.int64))], source + "/largest", keepdims=1)
            least = self.constant("companion/least", np.array(1e-12, np.float32))
            scale = self.node("Mul", [self.node("Max", [largest, least], source + "/bounded"), self.constant("companion/step", np.array(1 / 127, np.float32))], source + "/scale")
            scaled = self.node("Div", [source, scale], source + "/scaled")
            one, middle = self.constant("companion/one", np.array(1, np.float32)), self.constant("companion/middle", np.array(128, np.uint8))
            self.quantised[source] = self.node("QuantizeLinear", [scaled, one, middle], source + "/u8"), scale
        return self.quantised[source]

    def product(self, node, initializers):
        attributes = {a.name: a.i for a in node.attribute}
        if attributes["bits"] != 4 or len([name for name in node.input if name]) > 3:
            raise SystemExit(f"`{node.name}` is not of symmetric 4-bit blocks")
        packed, scales = (numpy_helper.to_array(initializers[name]) for name in node.input[1:3])
        weights, scale = quantise(unpack(packed, scales, attributes["N"], attributes["K"], attributes["block_size"]))
        name = node.output[0]
        values, row_scale = self.activations(node.input[0])
        one, middle = self.constant("companion/one", np.array(1, np.float32)), self.constant("companion/middle", np.array(128, np.uint8))
        inputs = [values, self.constant(name + "/s8", weights), one, self.constant(name + "/column_scale", scale), middle, self.constant("companion/zero", np.array(0, np.int8))]
        product = self.node("MatMulIntegerToFloat", inputs, name + "/product", MICROSOFT)
        self.node("Mul", [product, row_scale], name)


def convert(source, target):
    model = onnx.load(source)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    writer = Writer(model)
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            writer.nodes.append(node)
            continue
        if node.output[0] == "logits":
            first = writer.constant("companion/first", np.array([-1], np.int64))
            end = writer.constant("companion/end", np.array([np.iinfo(np.int64).max], np.int64))
            axis = writer.constant("companion/positions", np.array([1], np.int64))
            node.input[0] = writer.node("Slice", [node.input[0], first, end, axis], "companion/last")
        writer.product(node, initializers)
    graph = model.graph
    logits = next(output for output in graph.output if output.name == "logits")
    logits.type.tensor_type.shape.dim[1].Clear()
    logits.type.tensor_type.shape.dim[1].dim_value = 1
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend([*kept, *writer.constants.values()])
    data = os.path.basename(target) + ".data"
    if os.path.exists(os.path.join(os.path.dirname(target), data)):
        os.remove(os.path.join(os.path.dirname(target), data))
    onnx.save(model, target, save_as_external_data=True, all_tensors_to_one_file=True, location=data, size_threshold=1024)


def compare(source, target, tokens=48, seed=1):
    """The logits after the last of some tokens, by both."""
    with open(os.path.join(os.path.dirname(source), "genai_config.json")) as file:
        head_size = json.load(file)["model"]["decoder"]["head_size"]
    logits = []
    for file in (source, target):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(seed)
        vocabulary = next(o.shape[2] for o in session.get_outputs() if o.name == "logits")
        feeds = {"input_ids": random.integers(0, vocabulary, (1, tokens)), "attention_mask": np.ones((1, tokens), np.int64)}
        for entry in session.get_inputs():
            if entry.name.startswith("past"):
                feeds[entry.name] = np.zeros((1, entry.shape[1], 0, head_size), np.float32)
        logits.append(session.run(["logits"], feeds)[0][0, -1])
        del session
    error = np.abs(logits[0] - logits[1])
    spread = logits[0].std()
    print(f"logits differ by {error.mean():.4f} on average and {error.max():.4f} at most; they spread by {spread:.4f}")
    print(f"likeliest token: {logits[0].argmax()} and {logits[1].argmax()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph")
    parser.add_argument("companion", nargs="?")
    args = parser.parse_args()
    target = args.companion or args.graph.replace(".onnx", "_prefill.onnx")
    convert(args.graph, target)
    compare(args.graph, target)


if __name__ == "__main__":
    main()
