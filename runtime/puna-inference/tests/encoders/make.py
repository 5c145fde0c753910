"""Writes encoders in the folders of other exporters: optimum's, and that of transformers.js.

    python make.py

`python` has the packages of ../references/requirements-optimum.txt and sentence-transformers 5.1.2; half a minute, no network. The
checkpoints and what transformers computes with them are those of puna-export's tests, whose `make.py` and `sentences.py` write them.
Of each folder `golden.json` has texts and outputs; of embeddings without a pooling of their own the tokens' mean.
"""

import json
import os
import shutil
import tempfile

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import main_export

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKPOINTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(HERE))), "puna-export/tests/encoders")
SPECIAL = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
           "mask_token": "[MASK]", "model_max_length": 40}
# Folder: checkpoint, optimum's task, the case of sentence-transformers.
CASES = {
    "optimum": ("bert", "feature-extraction", None),
    "optimum-classes": ("bert-classes", "text-classification", None),
    "optimum-sentences": ("bert", "feature-extraction", "weighted_mean"),
    "transformers-js": ("bert-ranker", "text-classification", None),
}


def read(path):
    with open(path) as file:
        return json.load(file)


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump(value, file)
        file.write("\n")


def save(path, target):
    model = onnx.load(path)
    # Names of Python's modules and places in its files: most of such a small graph.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    onnx.save(model, target)


def make(name):
    checkpoint, task, sentence = CASES[name]
    target = os.path.join(HERE, name)
    shutil.rmtree(target, ignore_errors=True)
    golden = read(os.path.join(CHECKPOINTS, checkpoint, "golden.json"))
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as out:
        for file in ["config.json", "model.safetensors", "tokenizer.json"]:
            shutil.copy(os.path.join(CHECKPOINTS, checkpoint, file), source)
        write(os.path.join(source, "tokenizer_config.json"), SPECIAL)
        if sentence:
            said = read(os.path.join(CHECKPOINTS, "sentences.json"))
            case = next(case for case in said["cases"] if case["name"] == sentence)
            for file, value in case["files"].items():
                write(os.path.join(source, file), value)
            os.makedirs(os.path.join(source, "2_Normalize"))
            golden = {"texts": said["texts"], "outputs": case["documents"]}
        main_export(source, out, task=task, do_validation=False, library_name="sentence_transformers" if sentence else "transformers")
        os.makedirs(target)
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"]:
            shutil.copy(os.path.join(out, file), target)
        graph = os.path.join(out, "model.onnx")
        if name == "transformers-js":
            save(graph, os.path.join(target, "onnx/model.onnx"))
            # As its conversion script has it.
            quantize_dynamic(graph, os.path.join(out, "q8.onnx"), weight_type=QuantType.QInt8, per_channel=True,
                             extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True})
            save(os.path.join(out, "q8.onnx"), os.path.join(target, "onnx/model_quantized.onnx"))
        else:
            save(graph, os.path.join(target, "model.onnx"))
    write(os.path.join(target, "golden.json"), {key: golden[key] for key in ["query", "texts", "outputs"] if key in golden})


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    for case in CASES:
        make(case)
