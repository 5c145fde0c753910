#!/usr/bin/env python3
"""Single-stream decode speed of Puna's loop against onnxruntime-genai's, on the same folder, prompt and threads.

    python3 tests/bench/decode.py [--model FOLDER] [--threads 2] [--words 100] [--tokens 200] [--rounds 7]

Installs onnxruntime-genai into a throw-away environment (or takes `--python`, one that has it), copies the model's
folder with end tokens that never come, so that both write exactly as many tokens, and lets both run in turns. Prints
medians and the ratio of the two; above 1 Puna is faster. Both decode greedily; Puna's time holds detokenising and
events, the peer's only its `generate_next_token` calls. Puna decodes plainly and, as it does by itself, with guesses of
what comes next, which help as much as the text repeats itself.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv

PEER = "onnxruntime-genai==0.18.0"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PEER_LOOP = """
import json, sys, time
import onnxruntime_genai as og
folder, prompt, tokens, runs = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = og.Model(og.Config(folder))
out = []
for run in range(runs + 1):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + tokens + 1, do_sample=False)
    generator = og.Generator(model, params)
    begin = time.perf_counter()
    generator.append_tokens(prompt)
    middle = time.perf_counter()
    written = 0
    while written < tokens and not generator.is_done():
        generator.generate_next_token()
        written += 1
    end = time.perf_counter()
    if run:
        out.append({"completion_tokens": written, "prefill_ms": (middle - begin) * 1000, "decode_ms": (end - middle) * 1000})
print(json.dumps({"runs": out, "version": og.__version__}))
"""


def run(command, **options):
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, **options)
    if result.returncode:
        sys.exit(f"{command[0]} failed with {result.returncode}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def endless(model, folder, threads):
    """A copy of the folder whose end tokens never come, and whose peer uses as many threads."""
    target = os.path.join(folder, "model")
    shutil.copytree(model, target, ignore=shutil.ignore_patterns("train", "eval"))
    unused = json.load(open(os.path.join(target, "config.json")))["pad_token_id"]
    for name in ("config.json", "generation_config.json", "genai_config.json"):
        path = os.path.join(target, name)
        with open(path) as file:
            config = json.load(file)
        (config["model"] if name == "genai_config.json" else config)["eos_token_id"] = unused
        if name == "genai_config.json":
            session = config["model"]["decoder"].setdefault("session_options", {})
            session["intra_op_num_threads"] = threads
        with open(path, "w") as file:
            json.dump(config, file)
    return target


def speed(runs):
    return [1000 * (r["completion_tokens"] - 1) / r["decode_ms"] for r in runs]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(ROOT, "examples/models/puna-tiny"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--words", type=int, default=100, help="words of the prompt")
    parser.add_argument("--tokens", type=int, default=200, help="tokens to write")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--python", help="a Python that has onnxruntime-genai")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        python = args.python
        if not python:
            venv.create(os.path.join(folder, "venv"), with_pip=True)
            python = os.path.join(folder, "venv", "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
        build = ["cargo", "build", "--release", "--quiet", "-p", "puna-inference", "--example", "decode_speed"]
        subprocess.run(build, check=True, cwd=ROOT)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        ours = os.path.join(target, "release", "examples", "decode_speed")
        model = endless(args.model, folder, args.threads)
        puna, guessing, peer = [], [], []
        for turn in range(args.rounds):
            command = [ours, model, str(args.threads), str(args.words), str(args.tokens), "3"]
            result = run([*command, "0"], cwd=ROOT)
            puna += result["runs"]
            guessing += run([*command, "8"], cwd=ROOT)["runs"]
            theirs = run([python, "-c", PEER_LOOP, model, json.dumps(result["prompt"]), str(args.tokens), "3"])
            peer += theirs["runs"]
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        written = {r["completion_tokens"] for r in puna + guessing + peer}
        if written != {args.tokens}:
            sys.exit(f"not every run wrote {args.tokens} tokens: {written}")
        print(f"{os.path.basename(os.path.normpath(args.model))}: {args.threads} threads, {len(result['prompt'])} tokens of prompt, {args.tokens} written, {len(puna)} runs each")
        print(f"{'':24}{'Puna':>10}{'genai ' + theirs['version']:>16}{'ratio':>9}")
        theirs = statistics.median(speed(peer))
        for name, runs in (("decode, tokens/s", puna), ("with guesses", guessing)):
            decode = statistics.median(speed(runs))
            print(f"{name:24}{decode:10.0f}{theirs:16.0f}{decode / theirs:9.2f}")
        prefill = [statistics.median(r["prefill_ms"] for r in runs) for runs in (puna, peer)]
        print(f"{'prompt, ms':24}{prefill[0]:10.1f}{prefill[1]:16.1f}{prefill[1] / prefill[0]:9.2f}")


if __name__ == "__main__":
    main()
