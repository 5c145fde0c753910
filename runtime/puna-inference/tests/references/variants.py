"""The graphs of one model: by onnxruntime-genai's builder, by optimum, and quantised as transformers.js has them."""

import os
import shutil
import subprocess
import sys
import tempfile

import onnx
from onnx.external_data_helper import set_external_data
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16

HERE = os.path.dirname(os.path.abspath(__file__))
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
CONFIGS = ["config.json", "generation_config.json", "genai_config.json"]
# All that the builder makes for a processor, and 16-bit graphs, which it makes for others and which run here all the same.
BUILDER = {
    "genai-fp32": ("fp32", "cpu", ["windowed_kv_cache=false"]),
    "genai-int4": ("int4", "cpu", ["windowed_kv_cache=false"]),
    "genai-int4-exact": ("int4", "cpu", ["accuracy_level=1"]),
    "genai-int4-qdq": ("int4", "cpu", ["use_qdq=true"]),
    "genai-int8": ("int8", "cpu", []),
    "genai-pruned": ("int4", "cpu", ["prune_lm_head=true", "accuracy_level=1"]),
    "genai-windowed": ("int4", "cpu", ["accuracy_level=1"]),
    "genai-fp16": ("fp16", "cuda", []),
    "genai-fp16-unfused": ("fp16", "dml", []),
}
EVERY_FAMILY = ["genai-fp32", "genai-int4"]
# The others differ in nothing from these for a runtime.
BY_OPTIMUM = ["llama2", "llama3", "qwen3", "phi3", "gemma2"]


def write_all(name, source, target, optimum):
    kinds = EVERY_FAMILY
    if name == "llama3":
        kinds = [kind for kind in BUILDER if kind != "genai-windowed"]
    elif name == "gemma2":
        kinds = [*kinds, "genai-windowed"]
    for kind in kinds:
        by_builder(source, os.path.join(target, kind), *BUILDER[kind])
    if name in BY_OPTIMUM:
        by_optimum(source, os.path.join(target, "optimum"), optimum)
    if name == "llama2":
        # Not every layer of some models has attention.
        renamed(os.path.join(target, "optimum", "model.onnx"), "1", "5")
    if name == "llama3":
        merged(source, os.path.join(target, "optimum-merged"), optimum)
        for_the_browser(os.path.join(target, "optimum"), os.path.join(target, "transformers-js"))
        quantised(os.path.join(target, "optimum", "model.onnx"), os.path.join(target, "optimum-qdq"))


def run(command):
    done = subprocess.run(command, env=OFFLINE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def by_builder(source, target, precision, provider, options):
    with tempfile.TemporaryDirectory() as out:
        run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", out, "-p", precision, "-e", provider,
             "-c", os.path.join(out, "cache"), *(["--extra_options", *options] if options else [])])
        os.makedirs(target)
        for name in os.listdir(out):
            if name in CONFIGS or name.startswith("model.onnx"):
                shutil.copy(os.path.join(out, name), target)


def by_optimum(source, target, python):
    with tempfile.TemporaryDirectory() as out:
        run([python, "-c", f"from optimum.exporters.onnx import main_export\nmain_export({source!r}, {out!r}, "
                           "task='text-generation-with-past', do_validation=False)"])
        os.makedirs(target)
        for name in CONFIGS[:2]:
            shutil.copy(os.path.join(out, name), target)
        save(onnx.load(os.path.join(out, "model.onnx")), os.path.join(target, "model.onnx"))


def merged(source, target, python):
    """The graph with two branches and `use_cache_branch`, which optimum wrote until its version 1.14."""
    with tempfile.TemporaryDirectory() as out:
        run([python, os.path.join(HERE, "merge.py"), source, out])
        os.makedirs(target)
        for name in CONFIGS[:2]:
            shutil.copy(os.path.join(out, "with", name), target)
        save(onnx.load(os.path.join(out, "merged.onnx")), os.path.join(target, "decoder_model_merged.onnx"))


def for_the_browser(source, target):
    """What transformers.js' conversion script writes: the suffixes of each precision, in `onnx`. The one without a suffix
    is optimum's graph."""
    graphs = os.path.join(target, "onnx")
    os.makedirs(graphs)
    for name in CONFIGS[:2]:
        shutil.copy(os.path.join(source, name), target)
    path = os.path.join(source, "model.onnx")
    place = lambda suffix: os.path.join(graphs, f"model{suffix}.onnx")
    save(convert_float_to_float16(onnx.load(path), keep_io_types=False), place("_fp16"))
    q4 = MatMulNBitsQuantizer(onnx.load(path), algo_config=DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True))
    q4.process()
    split(q4.model.model, place("_q4"))
    bnb4 = MatMulBnb4Quantizer(onnx.load(path), MatMulBnb4Quantizer.NF4, 32)
    bnb4.process()
    save(bnb4.model.model, place("_bnb4"))
    quantize_dynamic(path, place("_quantized"), weight_type=QuantType.QInt8, per_channel=True,
                     extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True})
    save(onnx.load(place("_quantized")), place("_quantized"))


class Sequences(CalibrationDataReader):
    """The golden's tokens, to learn the activations' ranges from."""

    def __init__(self, graph, folder):
        import json
        import numpy as np
        with open(os.path.join(folder, "golden.json")) as file:
            sequences = json.load(file)["sequences"]
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.graph.input}
        empty = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items() if name.startswith("past")}
        self.rest = iter([{"input_ids": np.array([tokens]), "attention_mask": np.ones((1, len(tokens)), np.int64),
                           "position_ids": np.arange(len(tokens))[None], **empty} for tokens in sequences])

    def get_next(self):
        return next(self.rest, None)


def quantised(path, target):
    """int8 weights and activations, as pairs of QuantizeLinear and DequantizeLinear."""
    os.makedirs(target)
    for name in CONFIGS[:2]:
        shutil.copy(os.path.join(os.path.dirname(path), name), target)
    out = os.path.join(target, "model.onnx")
    quantize_static(path, out, Sequences(onnx.load(path), os.path.dirname(target)), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
                    extra_options={"MatMulConstBOnly": True})
    save(onnx.load(out), out)


def renamed(path, layer, name):
    graph = onnx.load(path)
    rename = lambda text: text.replace(f"past_key_values.{layer}.", f"past_key_values.{name}.").replace(f"present.{layer}.", f"present.{name}.")
    for value in [*graph.graph.input, *graph.graph.output]:
        value.name = rename(value.name)
    for node in graph.graph.node:
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
    save(graph, path)


def save(graph, path):
    """Without what no runtime reads, which is half of such a small file."""
    strip(graph)
    onnx.save(graph, path)


def strip(model):
    del model.metadata_props[:]
    graph = model.graph
    kept = {value.name for value in [*graph.input, *graph.output]}
    short = {}

    def named(name):
        if not name or name in kept:
            return name
        return short.setdefault(name, f"v{len(short)}")

    def walk(graph):
        del graph.value_info[:]
        graph.doc_string = ""
        for tensor in graph.initializer:
            tensor.name = named(tensor.name)
        for value in [*graph.input, *graph.output]:
            value.name = named(value.name)
            del value.metadata_props[:]
        for node in graph.node:
            node.name = node.doc_string = ""
            del node.metadata_props[:]
            node.input[:] = map(named, node.input)
            node.output[:] = map(named, node.output)
            for attribute in node.attribute:
                attribute.doc_string = ""
                if attribute.type == onnx.AttributeProto.GRAPH:
                    walk(attribute.g)
                elif attribute.type == onnx.AttributeProto.TENSOR:
                    attribute.t.name = ""

    walk(graph)


def split(model, path):
    """The weights in two files, as large exports have them: `….onnx_data` and `….onnx_data_1`."""
    strip(model)
    weights = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= 256]
    for number, tensor in enumerate(weights):
        set_external_data(tensor, location=os.path.basename(path) + ("_data" if number < len(weights) // 2 else "_data_1"))
    onnx.save(model, path)
