#!/usr/bin/env python3
"""Writes goldens.json: what transformers' beam search gives for models that know only the last token. Needs torch and
transformers.

    python3 runtime/puna-inference/tests/beams/make.py
"""

import json
import os
import random

import torch
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

random.seed(5)
torch.manual_seed(5)


class Table(PreTrainedModel, GenerationMixin):
    """The logits after each token, whatever was before it."""

    config_class = PretrainedConfig

    def __init__(self, config, table):
        super().__init__(config)
        self.table = torch.nn.Parameter(table)

    def forward(self, input_ids, attention_mask=None, **_):
        return CausalLMOutput(logits=self.table[input_ids])

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids}


cases = []
for number in range(150):
    size = random.choice([6, 8, 11])
    table = (torch.randn(size, size) * random.choice([0.5, 1, 2])).round(decimals=5)
    eos = random.sample(range(2, size), random.choice([1, 1, 2]))
    case = {
        "table": [[round(float(value), 5) for value in row] for row in table],
        "first": random.randrange(size),
        "eos": eos,
        "beams": random.choice([2, 3, 4]),
        "length_penalty": random.choice([1.0, 1.0, 0.0, 2.0, -0.5]),
        "early_stopping": random.random() < 0.3,
        "repetition_penalty": random.choice([1.0, 1.0, 1.3]),
        "max_tokens": random.choice([1, 4, 12]),
    }
    model = Table(PretrainedConfig(vocab_size=size, is_encoder_decoder=False), table).eval()
    with torch.no_grad():
        out = model.generate(
            torch.tensor([[case["first"]]]), attention_mask=torch.ones(1, 1, dtype=torch.long), num_beams=case["beams"],
            length_penalty=case["length_penalty"], early_stopping=case["early_stopping"], eos_token_id=eos,
            pad_token_id=0, repetition_penalty=case["repetition_penalty"], max_new_tokens=case["max_tokens"], do_sample=False,
            use_cache=False, return_dict_in_generate=True, output_scores=True)
    tokens = out.sequences[0, 1:].tolist()
    for place, token in enumerate(tokens):
        if token in eos:
            tokens = tokens[:place + 1]
            break
    cases.append(case | {"tokens": tokens, "score": round(float(out.sequences_scores[0]), 5)})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
