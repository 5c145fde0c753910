#!/usr/bin/env python3
"""Adding documents to a knowledge base against LangChain and LlamaIndex, in one run, in turns.

    pip install langchain-core langchain-text-splitters llama-index-core onnxruntime tokenizers numpy [sentence-transformers]
    cargo build --release -p puna-cli
    python tests/bench/ingestion.py [--puna target/release/puna] [--threads 2] [--rounds 3] [--documents 40]

The documents are the topics of Python's own help (`pydoc_data`), a file each; the model is all-MiniLM-L6-v2, out of Puna's cache
folder (`puna embed hello` puts it there); chunks are of 200 of its tokens and overlap by 20; all have the same threads.

Peers embed with the same graph in ONNX Runtime, in batches of 32 that are padded to their longest text as their own
embedders have it, and, where it is installed, with sentence-transformers, which is their usual way. They keep vectors in their own store in memory,
which writes nothing; Puna's base is on the disk, with an index of words, when a document counts. Each way runs in a process of
its own: from files to vectors that can be searched; loading the model is left out. The time in the embedder is that in which
it was asked, also while something else was done beside it.

Prints the median of chunks a second over the rounds, the most memory of the process, the share of time in the embedder, and the ratios to
the best peer.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("PUNA_CACHE_DIR", pathlib.Path.home() / ".cache/puna"))
MODEL = CACHE / "models/all-MiniLM-L6-v2"
SIZE, OVERLAP = 200, 20

# What both peers share: the files, the count of tokens and the embedder, whose time is counted.
SHARED = """
import json, pathlib, sys, time
import numpy as np
from tokenizers import Tokenizer
files, threads, kind, graph, checkpoint, size, overlap = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6], int(sys.argv[6]), int(sys.argv[7])
counter = Tokenizer.from_file(checkpoint + "/tokenizer.json")
counter.no_truncation(); counter.no_padding()
def tokens(text):
    return counter.encode(text, add_special_tokens=False).ids
spent = 0.0
if kind == "onnx":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph + "/model.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(checkpoint + "/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    def encode(texts):
        vectors = []
        for first in range(0, len(texts), 32):
            batch = tokenizer.encode_batch(texts[first:first + 32])
            ids = np.array([one.ids for one in batch], dtype=np.int64)
            mask = np.array([one.attention_mask for one in batch], dtype=np.int64)
            hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            vectors.extend((pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).tolist())
        return vectors
else:
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(threads)
    model = SentenceTransformer(checkpoint, device="cpu")
    def encode(texts):
        return model.encode(texts, batch_size=32, normalize_embeddings=True).tolist()
def embed(texts):
    global spent
    begun = time.perf_counter()
    vectors = encode(texts)
    spent += time.perf_counter() - begun
    return vectors
embed(["Once to warm up."])
spent = 0.0
def report(chunks, seconds):
    print(json.dumps({"chunks": chunks, "seconds": seconds, "embedding_seconds": spent}))
def texts():
    return [(path.name, path.read_text()) for path in sorted(pathlib.Path(files).iterdir())]
"""

LANGCHAIN = SHARED + """
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
class Ours(Embeddings):
    def embed_documents(self, texts):
        return embed(texts)
    def embed_query(self, text):
        return embed([text])[0]
begun = time.perf_counter()
splitter = RecursiveCharacterTextSplitter(
    chunk_size=size, chunk_overlap=overlap, length_function=lambda text: len(tokens(text)), add_start_index=True
)
documents = splitter.split_documents([Document(text, metadata={"source": name}) for name, text in texts()])
store = InMemoryVectorStore(Ours())
store.add_documents(documents)
report(len(documents), time.perf_counter() - begun)
assert store.similarity_search("How is a list sorted?", k=1)
"""

LLAMA_INDEX = SHARED + """
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import SentenceSplitter
class Ours(BaseEmbedding):
    def _get_text_embedding(self, text):
        return embed([text])[0]
    def _get_text_embeddings(self, texts):
        return embed(texts)
    def _get_query_embedding(self, query):
        return embed([query])[0]
    async def _aget_query_embedding(self, query):
        return embed([query])[0]
begun = time.perf_counter()
splitter = SentenceSplitter(chunk_size=size, chunk_overlap=overlap, tokenizer=tokens, include_metadata=False)
nodes = splitter.get_nodes_from_documents([Document(text=text, metadata={"source": name}) for name, text in texts()])
index = VectorStoreIndex(nodes, embed_model=Ours(embed_batch_size=32))
report(len(nodes), time.perf_counter() - begun)
assert index.as_retriever(similarity_top_k=1).retrieve("How is a list sorted?")
"""


def write_documents(folder, count):
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items())[:count]:
        (folder / f"{name.replace('/', '_')}.txt").write_text(text)


def run(command):
    """What the command prints as its last line of JSON, and the most memory that it had."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryDirectory() as data:
        command = [str(part).replace("DATA", data) for part in command]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode:
        sys.exit(f"{command[0]} failed with {process.returncode}: {text[-2000:]}")
    return json.loads(text[text.index("{"):]) | {"peak_bytes": usage.ru_maxrss * 1024}


def has_torch():
    return subprocess.run([sys.executable, "-c", "import sentence_transformers"], capture_output=True).returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--puna", type=pathlib.Path, default=ROOT / "target/release/puna")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_documents(folder, arguments.documents)
        text_bytes = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{arguments.documents} documents, {text_bytes:,} bytes, {arguments.threads} threads, median of {arguments.rounds}")
        options = ["--by", "recursive", "--size", SIZE, "--overlap", OVERLAP, "--threads", arguments.threads]
        ways = {"Puna": [arguments.puna, "knowledge", "add", "bench", folder, "--data", "DATA", "--json", *options]}
        for peer, script in (("LangChain", LANGCHAIN), ("LlamaIndex", LLAMA_INDEX)):
            for kind in ["onnx"] + ["torch"] * has_torch():
                ways[f"{peer}, {kind}"] = [
                    sys.executable, "-c", script, folder, arguments.threads, kind, MODEL / "fp32", MODEL / "checkpoint", SIZE, OVERLAP
                ]
        found = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, command in ways.items():
                found[way].append(run(command))
    print("| | chunks | chunks/s | KiB of text/s | peak MiB | in the embedder |\n|---|---|---|---|---|---|")
    rates, peaks = {}, {}
    for way, rounds in found.items():
        rates[way] = statistics.median(one["chunks"] / one["seconds"] for one in rounds)
        peaks[way] = statistics.median(one["peak_bytes"] for one in rounds)
        text_rate = statistics.median(text_bytes / one["seconds"] for one in rounds) / 1024
        share = statistics.median(one["embedding_seconds"] / one["seconds"] for one in rounds)
        print(f"| {way} | {rounds[0]['chunks']} | {rates[way]:.1f} | {text_rate:.1f} | {peaks[way] / 2**20:.0f} | {share:.0%} |")
    peers = [way for way in ways if way != "Puna"]
    fastest, leanest = max(peers, key=rates.get), min(peers, key=peaks.get)
    for what, ratio, good in (
        (f"chunks a second to the fastest peer ({fastest})", rates["Puna"] / rates[fastest], rates["Puna"] >= 2 * rates[fastest]),
        (f"memory to the leanest peer ({leanest})", peaks["Puna"] / peaks[leanest], 2 * peaks["Puna"] <= peaks[leanest]),
    ):
        print(f"{what}: {ratio:.2f}x, {'as wanted' if good else 'not what is wanted'}")


main()
