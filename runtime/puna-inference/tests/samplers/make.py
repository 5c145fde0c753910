#!/usr/bin/env python3
"""Writes goldens.json: what transformers' processors leave of random logits. Needs torch and transformers.

    python3 runtime/puna-inference/tests/samplers/make.py
"""

import json
import os
import random

import torch
from transformers.generation import logits_process as hf

random.seed(3)
torch.manual_seed(3)
cases = []
for number in range(120):
    size = random.choice([3, 8, 40])
    logits = (torch.randn(size, dtype=torch.float32) * random.choice([0.5, 2, 6])).round(decimals=3)
    prompt = [random.randrange(size) for _ in range(random.randrange(1, 6))]
    options, processors = {}, []
    if random.random() < 0.4:
        options["repetition_penalty"] = random.choice([0.7, 1.3, 2.0])
        processors.append(hf.RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    options["temperature"] = random.choice([0.3, 1.0, 1.7])
    processors.append(hf.TemperatureLogitsWarper(options["temperature"]))
    for name, share, values, make in (
        ("top_k", 0.4, [1, 2, 5, 30], lambda value: hf.TopKLogitsWarper(value)),
        ("top_p", 0.5, [0.2, 0.6, 0.95], lambda value: hf.TopPLogitsWarper(value)),
        ("min_p", 0.4, [0.02, 0.2, 0.7], lambda value: hf.MinPLogitsWarper(value)),
        ("typical_p", 0.5, [0.1, 0.5, 0.9], lambda value: hf.TypicalLogitsWarper(value)),
    ):
        if random.random() < share:
            options[name] = random.choice(values)
            processors.append(make(options[name]))
    scores = hf.LogitsProcessorList(processors)(torch.tensor([prompt]), logits.double()[None].clone())
    left = torch.softmax(scores[0], dim=-1)
    kept = {token: float(left[token]) for token in range(size) if torch.isfinite(scores[0, token])}
    cases.append({"logits": [round(float(value), 3) for value in logits], "prompt": prompt, "options": options, "left": kept})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
