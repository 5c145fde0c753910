#!/usr/bin/env python3
"""Puna's engine against onnxruntime-genai on the same folder and llama.cpp on the same shape, in turns.

    python3 tests/bench/engine.py FOLDER [--threads 2] [--rounds 3] [--json]

FOLDER is what `make_1b.py` made; it is made when it is missing. Needs a Python with
onnxruntime-genai (`--python`), and for llama.cpp node and npm, which installs node-llama-cpp into the folder once; a
peer that cannot run is left out and told. Every program has as many threads and, with `--cores`, the same cores.

Prints the median of each figure over the rounds and Puna's ratio to each peer; above 1 Puna is better. Puna runs three
times a round: with the int4 graph alone, with prompts through the companion, and with the companion alone. Guessing ahead
is off, because text without a meaning repeats itself.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
QUESTION = 16

GENAI = """
import json, resource, sys, time
import numpy as np
import onnxruntime_genai as og
plan = json.loads(sys.argv[1])
model = og.Model(og.Config(plan["folder"]))
def prompt(base, length):
    return [(base * 7919 + place) * 48271 % 100000 + 300 for place in range(length)]
def write(prompts, tokens):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompts[0]) + tokens + 1, do_sample=False, batch_size=len(prompts))
    generator = og.Generator(model, params)
    began = time.perf_counter()
    generator.append_tokens(np.array(prompts, dtype=np.int32))
    generator.generate_next_token()
    middle = time.perf_counter()
    for _ in range(tokens - 1):
        generator.generate_next_token()
    return middle - began, time.perf_counter() - middle
figures = {}
for turn in (0, 1):
    figures["prefill"] = plan["prompt_tokens"] / write([prompt(turn, plan["prompt_tokens"])], 1)[0]
    figures["decode"] = (plan["tokens"] - 1) / write([prompt(turn + 9, plan["question"])], plan["tokens"])[1]
    prompts = [prompt(100 * turn + index, plan["question"]) for index in range(plan["streams"])]
    # One after the other, and all in one batch.
    figures["sequential"] = plan["tokens"] / sum(write(prompts[:1], plan["tokens"]))
    figures["concurrent"] = plan["streams"] * plan["tokens"] / sum(write(prompts, plan["tokens"]))
figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
# A second turn in another request computes the conversation again.
figures["second_turn_ms"] = 1000 * write([prompt(7, plan["prefix_tokens"] + plan["question"])], 1)[0]
print(json.dumps(figures))
"""


def run(command, cores, **options):
    if cores:
        command = ["taskset", "-c", cores, *command]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, **options)
    if result.returncode:
        raise SystemExit(f"{command[0]} failed with {result.returncode}")
    return result.stdout


def last_json(output):
    return json.loads(output.strip().splitlines()[-1])


def puna(binary, args, companion):
    folder = os.path.join(args.folder, "onnx")
    command = [binary, "model", "bench", folder, "--json", "--threads", str(args.threads), "--rounds", "1"]
    command += ["--companion", companion, "--prompt-tokens", str(args.prompt_tokens), "--tokens", str(args.tokens)]
    command += ["--streams", str(args.streams), "--prefix-tokens", str(args.prefix_tokens)]
    figures = json.loads(run(command, args.cores))
    return {
        "prefill": figures["prefill_tokens_per_second"],
        "decode": figures["decode_tokens_per_second"],
        "concurrent": figures["concurrent_tokens_per_second"],
        "second_turn_ms": figures["second_turn_ms"],
        "peak": figures["peak_memory_bytes"],
    }


def genai_folder(args):
    """The int4 graph alone, with as many threads."""
    source, target = os.path.join(args.folder, "onnx"), os.path.join(args.folder, "genai")
    os.makedirs(target, exist_ok=True)
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"):
        link = os.path.join(target, name)
        if not os.path.exists(link):
            os.symlink(os.path.join("..", "onnx", name), link)
    with open(os.path.join(source, "genai_config.json")) as file:
        config = json.load(file)
    config["model"]["decoder"].setdefault("session_options", {})["intra_op_num_threads"] = args.threads
    with open(os.path.join(target, "genai_config.json"), "w") as file:
        json.dump(config, file)
    return target


def llama_folder(args):
    """Where node-llama-cpp is installed, or nothing where it cannot be."""
    if not shutil.which("npm"):
        return None
    folder = os.path.join(args.folder, "node")
    if not os.path.isdir(os.path.join(folder, "node_modules", "node-llama-cpp")):
        os.makedirs(folder, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "node-llama-cpp@3"]
        if subprocess.run(install, cwd=folder, stdout=sys.stderr).returncode:
            return None
    shutil.copy(os.path.join(HERE, "llama.mjs"), folder)
    return folder


def bandwidth(args):
    """Bytes a second that so many threads read, from memory that no cache holds."""
    code = (
        "import sys, time, threading, numpy as np\n"
        "threads = int(sys.argv[1]); data = [np.ones(1 << 28, np.uint8).view(np.uint64) for _ in range(threads)]\n"
        "def read(part): part.max()\n"
        "best = 0\n"
        "for _ in range(5):\n"
        "    began = time.perf_counter()\n"
        "    work = [threading.Thread(target=read, args=(part,)) for part in data]\n"
        "    [thread.start() for thread in work]; [thread.join() for thread in work]\n"
        "    best = max(best, threads * (1 << 28) / (time.perf_counter() - began))\n"
        "print(best)\n"
    )
    return float(run([args.python, "-c", code, str(args.threads)], args.cores))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prefix-tokens", type=int, default=2000)
    parser.add_argument("--cores", help="pin everything to these, as `taskset -c` takes them")
    parser.add_argument("--python", default=sys.executable, help="a Python that has onnxruntime-genai and what make_1b.py needs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    args.folder = os.path.abspath(args.folder)

    graph = os.path.join(args.folder, "onnx", "model.onnx")
    subprocess.run([args.python, os.path.join(HERE, "make_1b.py"), args.folder], check=True)
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "puna-cli"], check=True, cwd=ROOT)
    binary = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "puna")
    plan = {"threads": args.threads, "prompt_tokens": args.prompt_tokens, "tokens": args.tokens, "streams": args.streams, "prefix_tokens": args.prefix_tokens, "question": QUESTION}
    plan["folder"], plan["gguf"] = genai_folder(args), os.path.join(args.folder, "model.gguf")
    node = llama_folder(args)
    runners = {
        "puna": lambda: puna(binary, args, "never"),
        "puna, companion for prompts": lambda: puna(binary, args, "prefill"),
        "puna, companion alone": lambda: puna(binary, args, "always"),
        "onnxruntime-genai": lambda: last_json(run([args.python, "-c", GENAI, json.dumps(plan)], args.cores)),
    }
    if node:
        runners["llama.cpp"] = lambda: last_json(run(["node", "llama.mjs", json.dumps(plan)], args.cores, cwd=node))
    else:
        print("llama.cpp is left out: npm could not install node-llama-cpp", file=sys.stderr)
    rounds = {name: [] for name in runners}
    for turn in range(args.rounds):
        for name, runner in runners.items():
            print(f"round {turn + 1} of {args.rounds}: {name}", file=sys.stderr)
            rounds[name].append(runner())
    figures = {name: {key: statistics.median(r[key] for r in runs) for key in runs[0]} for name, runs in rounds.items()}
    speed = bandwidth(args)
    read = os.path.getsize(graph + ".data")
    if args.json:
        print(json.dumps({"plan": plan, "figures": figures, "rounds": rounds, "bandwidth": speed, "graph_bytes": read}, indent=1))
        return
    show(args, figures, speed, read)


def show(args, figures, speed, read):
    print(f"{args.threads} threads, prompts of {args.prompt_tokens} tokens, answers of {args.tokens}, medians of {args.rounds} rounds")
    print(f"{'':30}{'prefill':>10}{'decode':>10}{f'{args.streams} streams':>12}{'second turn':>14}{'peak memory':>14}")
    print(f"{'':30}{'tokens/s':>10}{'tokens/s':>10}{'tokens/s':>12}{'ms':>14}{'GiB':>14}")
    for name, row in figures.items():
        second = f"{row['second_turn_ms']:.0f}" if "second_turn_ms" in row else "-"
        print(f"{name:30}{row['prefill']:10.0f}{row['decode']:10.1f}{row['concurrent']:12.1f}{second:>14}{row['peak'] / 2**30:14.2f}")
    ours = [name for name in figures if name.startswith("puna")]
    for peer in (name for name in figures if name not in ours):
        other = figures[peer]
        print(f"\nratios to {peer}")
        for name in ours:
            row = figures[name]
            second = f"{other['second_turn_ms'] / row['second_turn_ms']:.1f}" if "second_turn_ms" in other else "-"
            print(f"{name:30}{row['prefill'] / other['prefill']:10.2f}{row['decode'] / other['decode']:10.2f}{row['concurrent'] / other['concurrent']:12.2f}{second:>14}{row['peak'] / other['peak']:14.2f}")
    sequential = figures["onnxruntime-genai"]["sequential"]
    print(f"\n{args.streams} streams against onnxruntime-genai's requests one after the other, {sequential:.1f} tokens/s")
    for name in ours:
        print(f"{name:30}{figures[name]['concurrent'] / sequential:10.2f}")
    share = figures["puna"]["decode"] * read / speed
    print(f"\nmemory is read at {speed / 1e9:.1f} GB/s by {args.threads} threads; decoding reads {read / 1e9:.2f} GB a token, {100 * share:.0f} % of that")


if __name__ == "__main__":
    main()
