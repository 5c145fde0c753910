#!/usr/bin/env python3
"""What holding answers to a form costs and saves, against the same engine's free decoding in the same run.

    python3 tests/bench/constrained.py [--model FOLDER] [--shape llama-3.2-1b] [--rounds 3]

Builds the example `constrained_speed` and, without a model, a graph of random weights of a known shape in int4. Prints
the medians of the rounds, alone and in a batch of 8, and whether each figure is what it should be.
"""

import argparse
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Figures and the least they should be.
TARGETS = {
    "constrained prose over free": 0.95,
    "constrained JSON over free": 0.95,
    "a call with a long text over plain decoding of as many tokens": 0.95,
    "a call over plain decoding of as many tokens": 1.5,
}


def run(*command):
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{command[0]} failed with {result.returncode}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's folder; else one is made")
    parser.add_argument("--shape", default="llama-3.2-1b")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if not model:
            model = os.path.join(folder, "model")
            run("cargo", "run", "-q", "--release", "-p", "puna-cli", "--", "model", "random", "--shape", arguments.shape, "--weights", "int4", "--out", model)
        table = run("cargo", "run", "-q", "--release", "-p", "puna-inference", "--example", "constrained_speed", "--", os.path.abspath(model), "--rounds", str(arguments.rounds))
    print(table)
    missed = 0
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] not in TARGETS:
            continue
        for where, figure in zip(["alone", "in a batch of 8"], cells[1:]):
            met = float(figure) >= TARGETS[cells[0]]
            missed += not met
            print(f"{cells[0]}, {where}: {figure}, {'met' if met else 'MISSED'} (at least {TARGETS[cells[0]]})")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
