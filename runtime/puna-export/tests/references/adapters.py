"""Writes adapters for some of the checkpoints here, as PEFT saves them, and what it computes with them.

    python adapters.py [NAME ...]

Needs torch, transformers and peft; half a minute, no network. Everything is seeded; both matrices of a pair are random.
`golden.f32` has the logits of the checkpoint's own sequences, in its order.
"""

import argparse
import json
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# A checkpoint and an adapter of it. Ranks and factors differ between modules, some modules have no pair, and two adapters of
# one checkpoint differ.
ADAPTERS = {
    "llama3-all": ("llama3", {"r": 4, "lora_alpha": 6, "target_modules": ALL, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"mlp.up_proj": 3}}),
    "llama3-values": ("llama3", {"r": 8, "lora_alpha": 8, "target_modules": ["v_proj", "down_proj"], "layers_to_transform": [1]}),
    "llama-biased": ("llama-biased", {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "o_proj", "gate_proj"]}),
    "phi3-fused": ("phi3", {"r": 4, "lora_alpha": 5, "use_rslora": True, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}),
    "gemma2-all": ("gemma2", {"r": 2, "lora_alpha": 4, "target_modules": ALL}),
    "qwen3-queries": ("qwen3", {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}),
}


def make(name):
    case, settings = ADAPTERS[name]
    folder = os.path.join(HERE, "adapters", name)
    shutil.rmtree(folder, ignore_errors=True)
    source = os.path.join(HERE, case)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    base = AutoModelForCausalLM.from_pretrained(source, attn_implementation="eager", dtype=torch.float32).eval()
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        with open(os.path.join(source, "golden.json")) as file:
            sequences = json.load(file)["sequences"]
        logits = torch.cat([model(torch.tensor([sequence])).logits[0] for sequence in sequences])
        with model.disable_adapter():
            plain = torch.cat([model(torch.tensor([sequence])).logits[0] for sequence in sequences])
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as file:
        config = json.load(file)
    config["base_model_name_or_path"] = case
    config["target_modules"] = sorted(config["target_modules"])
    with open(path, "w") as file:
        json.dump(config, file, indent=1, sort_keys=True)
        file.write("\n")
    logits.numpy().astype("<f4").tofile(os.path.join(folder, "golden.f32"))
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    print(f"{name}: {size} bytes, logits moved by {(logits - plain).abs().mean():.2f} in the mean", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums depends on the threads
    for name in arguments.names or ADAPTERS:
        make(name)


if __name__ == "__main__":
    main()
