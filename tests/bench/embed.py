#!/usr/bin/env python3
"""Puna's embedder against sentence-transformers and fastembed's ONNX path on the same texts and threads, in turns.

    python3 tests/bench/embed.py --python VENV/bin/python [--threads 2] [--rounds 3] [--json]

VENV has runtime/puna-export/tests/encoders/requirements.txt and fastembed. The model is all-MiniLM-L6-v2, out of Puna's cache
folder (`puna embed hello` puts it there). fastembed takes models from a hub alone: what runs here is its own code, batches of
256 padded to the longest, the whole session with all optimisations, on the graph that torch's exporter made.

Puna's is its own, in Rust (`cargo build --release -p puna-cli -p puna-inference --examples`), from texts to vectors; beside it the
same graphs in Python with batches as Puna makes them, which tells graph and embedder apart.

Prints the median of texts a second over the rounds and Puna's ratio to the better of the others; above 1 Puna is better.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEXTS = os.path.join(ROOT, "runtime/puna-export/tests/encoders/minilm.txt")

TORCH = """
import sys, time, torch
from sentence_transformers import SentenceTransformer
checkpoint, texts, threads = sys.argv[1], open(sys.argv[2]).read().splitlines(), int(sys.argv[3])
torch.set_num_threads(threads)
model = SentenceTransformer(checkpoint, device="cpu")
model.encode(texts[:16])
began = time.perf_counter()
model.encode(texts, batch_size=32)
print(len(texts) / (time.perf_counter() - began))
"""

# fastembed's OnnxTextModel: tokenizers' encode_batch with padding to the longest of a batch, one run a batch, the mean in numpy.
ONNX = """
import sys, time
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer
folder, texts, threads, checkpoint = sys.argv[1], open(sys.argv[2]).read().splitlines(), int(sys.argv[3]), sys.argv[4]
tokenizer = Tokenizer.from_file(checkpoint + "/tokenizer.json")
tokenizer.enable_truncation(256)
tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
options.intra_op_num_threads = options.inter_op_num_threads = threads
session = ort.InferenceSession(folder + "/model.onnx", options, providers=["CPUExecutionProvider"])
def embed(texts, size=256):
    out = []
    for start in range(0, len(texts), size):
        batch = tokenizer.encode_batch(texts[start:start + size])
        mask = np.array([one.attention_mask for one in batch], dtype=np.int64)
        inputs = {"input_ids": np.array([one.ids for one in batch], dtype=np.int64), "attention_mask": mask,
                  "token_type_ids": np.zeros_like(mask)}
        hidden = session.run(None, inputs)[0]
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        out.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
    return np.concatenate(out)
embed(texts[:16])
began = time.perf_counter()
embed(texts)
print(len(texts) / (time.perf_counter() - began))
"""

# Puna's graphs with batches as its runtime makes them: texts of like lengths, 1024 tokens at most, the mean in numpy.
PUNA = """
import sys, time
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer
folder, texts, threads, checkpoint = sys.argv[1], open(sys.argv[2]).read().splitlines(), int(sys.argv[3]), sys.argv[4]
tokenizer = Tokenizer.from_file(checkpoint + "/tokenizer.json")
tokenizer.enable_truncation(256)
tokenizer.no_padding()
options = ort.SessionOptions()
options.intra_op_num_threads = threads
options.enable_mem_pattern = False
session = ort.InferenceSession(folder + "/model.onnx", options, providers=["CPUExecutionProvider"])
def embed(texts, budget=1024):
    encodings = tokenizer.encode_batch(texts)
    order = sorted(range(len(texts)), key=lambda index: -len(encodings[index].ids))
    while order:
        longest = len(encodings[order[0]].ids)
        size = max(1, budget // longest)
        batch, order = order[:size], order[size:]
        ids = np.zeros((len(batch), longest), dtype=np.int64)
        mask = ids.copy()
        for row, index in enumerate(batch):
            ids[row, :len(encodings[index].ids)] = encodings[index].ids
            mask[row, :len(encodings[index].ids)] = 1
        hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
embed(texts[:16])
began = time.perf_counter()
embed(texts)
print(len(texts) / (time.perf_counter() - began))
"""

EXPORT = """
import sys, torch
from transformers import AutoModel
class Plain(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
model = Plain(AutoModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval())
ids = torch.ones(2, 9, dtype=torch.long)
names = ["input_ids", "attention_mask", "token_type_ids"]
torch.onnx.export(model, (ids, ids, ids * 0), sys.argv[2] + "/model.onnx", input_names=names, output_names=["last_hidden_state"],
                  dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names}, opset_version=17, dynamo=False)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--puna", default=os.path.join(ROOT, "target/release/puna"))
    parser.add_argument("--embedder", default=os.path.join(ROOT, "target/release/examples/embed_speed"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=4, help="how often the 200 texts are read in a turn")
    parser.add_argument("--prepare", metavar="DIR", help="write what is measured there and stop; given again, measure that")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cache = os.environ.get("PUNA_CACHE_DIR") or os.path.expanduser("~/.cache/puna")
    checkpoint = os.path.join(cache, "models/all-MiniLM-L6-v2/checkpoint")
    work = arguments.prepare or tempfile.mkdtemp()
    texts = os.path.join(work, "texts")
    ready = os.path.exists(texts)
    if not ready:
        os.makedirs(os.path.join(work, "torch"), exist_ok=True)
        subprocess.run([arguments.python, "-c", EXPORT, checkpoint, os.path.join(work, "torch")], check=True, capture_output=True)
        for weights in ("fp32", "int8"):
            subprocess.run([arguments.puna, "model", "export", checkpoint, "--out", os.path.join(work, weights),
                            "--weights", weights], check=True, capture_output=True)
        with open(TEXTS) as source, open(texts, "w") as target:
            target.write(source.read() * arguments.copies)
        if arguments.prepare:
            return
    threads = str(arguments.threads)
    ours = lambda form: json.loads(output([arguments.embedder, os.path.join(work, form), threads, texts]))["texts_per_second"]
    graph = lambda form: float(output([arguments.python, "-c", PUNA, os.path.join(work, form), texts, threads, checkpoint]))
    turns = {
        "puna fp32": lambda: ours("fp32"),
        "puna int8": lambda: ours("int8"),
        "its graph in Python, fp32": lambda: graph("fp32"),
        "its graph in Python, int8": lambda: graph("int8"),
        "sentence-transformers": lambda: float(output([arguments.python, "-c", TORCH, checkpoint, texts, threads]).split()[-1]),
        "fastembed's path": lambda: float(output([arguments.python, "-c", ONNX, os.path.join(work, "torch"), texts, threads, checkpoint])),
    }
    figures = {name: [] for name in turns}
    for _ in range(arguments.rounds):
        for name, turn in turns.items():
            figures[name].append(turn())
    medians = {name: statistics.median(values) for name, values in figures.items()}
    best = max(medians["sentence-transformers"], medians["fastembed's path"])
    report = {"texts_per_second": medians, "fp32_ratio": medians["puna fp32"] / best, "int8_ratio": medians["puna int8"] / best}
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, value in medians.items():
        print(f"{name:26} {value:8.1f} texts a second")
    print(f"Puna to the better of the others: fp32 {report['fp32_ratio']:.2f}, int8 {report['int8_ratio']:.2f}")


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
