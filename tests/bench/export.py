#!/usr/bin/env python3
"""`puna model export` against onnxruntime-genai's builder: the same checkpoint of Llama-3.2-1B's shape to int4.

    python3 tests/bench/export.py FOLDER [--puna target/release/puna] [--threads 2] [--rounds 3] [--speed-only]

FOLDER/weights is the checkpoint, which `make_1b.py` makes; it is made when it is missing. Needs a Python with
onnxruntime-genai and its builder's packages. Prints how long each took, the most memory it had, and what it wrote;
then how fast each graph is in onnxruntime-genai and in Puna's engine, and how fast Puna's companion takes prompts,
medians over the rounds, the programs in turns. Random weights: speed does not depend on their values.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

GENAI = """
import json, sys, time
import numpy as np
import onnxruntime_genai as og
folder, prompt_tokens, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = og.Model(og.Config(folder))
def write(length, tokens, base):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=length + tokens + 1, do_sample=False)
    generator = og.Generator(model, params)
    began = time.perf_counter()
    generator.append_tokens(np.array([[(base * 7919 + place) * 48271 % 100000 + 300 for place in range(length)]], dtype=np.int32))
    generator.generate_next_token()
    middle = time.perf_counter()
    for _ in range(tokens - 1):
        generator.generate_next_token()
    return middle - began, time.perf_counter() - middle
for turn in (0, 1):  # the first warms up
    prefill = prompt_tokens / write(prompt_tokens, 1, turn)[0]
    decode = (tokens - 1) / write(16, tokens, turn + 9)[1]
print(json.dumps({"prefill": prefill, "decode": decode}))
"""


def measured(command, **options):
    """How long a program takes, and the most memory that it had."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def folder_size(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.startswith("model"))


def checkpoint(folder):
    weights = os.path.join(folder, "weights")
    if not os.path.exists(os.path.join(weights, "tokenizer.json")):
        spec = importlib.util.spec_from_file_location("make_1b", os.path.join(HERE, "make_1b.py"))
        make_1b = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(make_1b)
        make_1b.make_weights(weights)
    return weights


def warmed(weights):
    """Both read from the system's cache."""
    for name in os.listdir(weights):
        with open(os.path.join(weights, name), "rb") as file:
            while file.read(1 << 24):
                pass


def set_threads(folder, threads):
    path = os.path.join(folder, "genai_config.json")
    with open(path) as file:
        config = json.load(file)
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    with open(path, "w") as file:
        json.dump(config, file)


def last_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed with {done.returncode}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--puna", default=os.path.join(ROOT, "target/release/puna"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--speed-only", action="store_true", help="take the exports of an earlier run")
    args = parser.parse_args()
    weights = checkpoint(args.folder)
    ours, theirs, cache = (os.path.join(args.folder, name) for name in ("export-puna", "export-builder", "export-cache"))

    if not args.speed_only:
        for folder in (ours, theirs, cache):
            shutil.rmtree(folder, ignore_errors=True)
        warmed(weights)
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", weights, "-o", theirs, "-p", "int4", "-e", "cpu", "-c", cache,
                   "--extra_options", "int4_accuracy_level=4", "int4_block_size=32"]
        rows = {"builder": (*measured(builder, stderr=subprocess.DEVNULL), folder_size(theirs))}
        shutil.rmtree(cache, ignore_errors=True)
        rows["puna"] = (*measured([args.puna, "model", "export", weights, "--out", ours]), folder_size(ours))
        both = os.path.join(args.folder, "export-both")
        shutil.rmtree(both, ignore_errors=True)
        command = [args.puna, "model", "export", weights, "--out", both, "--companion", "int8"]
        rows["puna, with companion"] = (*measured(command), folder_size(both))
        for folder in (ours, theirs, both):
            set_threads(folder, args.threads)
        print(f"{'export':24}{'seconds':>10}{'peak MiB':>10}{'MB':>10}")
        for name, (seconds, peak, size) in rows.items():
            print(f"{name:24}{seconds:10.1f}{peak / 2**20:10.0f}{size / 1e6:10.1f}", flush=True)

    figures = {}
    both = os.path.join(args.folder, "export-both")
    for turn in range(args.rounds):
        for name, folder in (("builder's graph", theirs), ("puna's graph", ours)):
            result = last_json([sys.executable, "-c", GENAI, folder, str(args.prompt_tokens), str(args.tokens)])
            for figure in ("prefill", "decode"):
                figures.setdefault((f"{name}, genai", figure), []).append(result[figure])
        # The context bounds what is asked of memory.
        bench = ["model", "bench", "--json", "--threads", str(args.threads), "--context", "4096", "--rounds", "1", "--streams", "1",
                 "--prompt-tokens", str(args.prompt_tokens), "--tokens", str(args.tokens), "--prefix-tokens", "16"]
        for name, folder, options in (("builder's graph", theirs, []), ("puna's graph", ours, []), ("puna's companion", both, ["--companion", "prefill"])):
            result = last_json([args.puna, *bench, *options, folder])
            for figure in ("prefill", "decode"):
                figures.setdefault((f"{name}, puna", figure), []).append(result[f"{figure}_tokens_per_second"])
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
    print(f"{'tokens/s':28}{'prefill':>10}{'decode':>10}")
    for name in dict.fromkeys(name for name, _ in figures):
        prefill, decode = (statistics.median(figures[name, figure]) for figure in ("prefill", "decode"))
        print(f"{name:28}{prefill:10.1f}{decode:10.1f}")


if __name__ == "__main__":
    main()
