"""Writes tiny checkpoints of every architecture, and what transformers computes with them.

    python make.py [CASE ...]

Needs torch, transformers and onnxruntime; half a minute, no network. Everything is seeded. Weights are random, in the types that
checkpoints have; logits are computed in 32-bit floats from the very numbers in the file.
"""

import argparse
import copy
import json
import os
import shutil

import numpy as np
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
CONTEXT = 128
SHAPE = {"vocab_size": 80, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
         "max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False}
GROUPED = SHAPE | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 96}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"type": "longrope", "short_factor": [1.0 + 0.05 * step for step in range(8)], "long_factor": [1.5 + 0.4 * step for step in range(8)]}
# Windows are shorter than the sequences, so that they show.
CASES = {
    "llama": ("llama", SHAPE, "float32"),
    "llama-linear": ("llama", SHAPE | {"num_key_value_heads": 1, "rope_scaling": {"type": "linear", "factor": 4.0}}, "bfloat16"),
    "llama-dynamic": ("llama", SHAPE | {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "hidden_size": 48, "head_dim": 16, "num_attention_heads": 3}, "float16"),
    "llama-biased": ("llama", SHAPE | {"attention_bias": True, "mlp_bias": True}, "float32"),
    "llama3": ("llama", GROUPED | {"rope_theta": 500000.0, "rope_scaling": LLAMA3, "tie_word_embeddings": True}, "bfloat16"),
    "mistral": ("mistral", GROUPED | {"sliding_window": 16}, "bfloat16"),
    "qwen2": ("qwen2", SHAPE | {"num_key_value_heads": 1, "tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}, "bfloat16"),
    "qwen2-yarn": ("qwen2", SHAPE | {"num_key_value_heads": 1, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, "rope_theta": 1000.0}, "bfloat16"),
    "qwen3": ("qwen3", GROUPED, "bfloat16"),
    "phi3": ("phi3", SHAPE | {"num_key_value_heads": 1, "original_max_position_embeddings": CONTEXT, "sliding_window": 20}, "float32"),
    # A sequence within the first training's context has the short factors, a longer one the long ones.
    "phi3-long": ("phi3", SHAPE | {"original_max_position_embeddings": 32, "rope_scaling": LONG, "sliding_window": None}, "bfloat16"),
    "phi4": ("phi3", SHAPE | {"num_key_value_heads": 1, "head_dim": 32, "hidden_size": 64, "partial_rotary_factor": 0.5, "original_max_position_embeddings": CONTEXT, "tie_word_embeddings": True,
                                "intermediate_size": 96, "sliding_window": None}, "float16"),
    "gemma2": ("gemma2", SHAPE | {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 16, "hidden_size": 48,
                                  "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "tie_word_embeddings": True}, "bfloat16"),
}
# Of one case the files are several.
SHARDED = ["llama3"]
# Of these, also what transformers computes with weights as ONNX Runtime's own quantiser rounds them: bits, block, symmetry.
# One has a tied head, the other rows that are no whole number of blocks.
QUANTISED = {"llama3": [(4, 32, True), (4, 32, False), (8, 32, True), (8, 32, False)], "llama-dynamic": [(4, 32, True), (4, 32, False)]}
# Of these, also what it computes with 8-bit weights, a scale for each output, and activations in 8 bits, a scale for each row.
BY_ROWS = ["llama3", "llama-biased"]
ANSWER = 12  # tokens of a greedy continuation
MARGIN = 0.05  # by which each of its tokens is likelier than any other, in logits


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def randomise(model, kind, generator):
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if "embed" in name:
                value.copy_(noise)
            elif value.dim() == 2:
                value.copy_(noise * 1.5 / value.shape[1] ** 0.5)
            elif "norm" in name:
                value.copy_(noise * 0.3 + (0 if kind == "gemma2" else 1))
            else:
                value.copy_(noise * 0.3)


def save(model, folder, shards):
    tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    names = sorted(tensors)
    places = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, os.path.join(folder, file), metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    write(os.path.join(folder, "model.safetensors.index.json"), {"metadata": {"total_size": size}, "weight_map": places})


def rounded(weight, bits, block, symmetric):
    """A matrix with a row for each output, there and back."""
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, bits=bits)
    packed, scales, zeros = DefaultWeightOnlyQuantizer(config).qbits_block_quant(np.ascontiguousarray(weight.T))
    rows, blocks = scales.shape
    if bits == 4:
        packed, zeros = (np.stack([part & 15, part >> 4], -1).reshape(rows, -1) for part in (packed, zeros))
    levels = packed.reshape(rows, blocks, block).astype(np.float32)
    zeros = 2 ** (bits - 1) if symmetric else zeros[:, :blocks, None].astype(np.float32)
    return ((levels - zeros) * scales[:, :, None]).reshape(rows, -1)[:, : weight.shape[1]]


def quantised(model, bits, block, symmetric):
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # The kernel that gathers wants whole blocks: an embedding that has none stays as it is.
            if value.dim() == 2 and not ("embed" in name and value.shape[1] % block):
                value.copy_(torch.from_numpy(rounded(value.numpy(), bits, block, symmetric)))
    return model


class ByRows(torch.nn.Module):
    """A product of 8-bit integers."""

    def __init__(self, linear):
        super().__init__()
        self.scales = (linear.weight.abs().amax(1) / 127).clamp(min=1e-12)
        # In this order, which decides where a weight is in the middle between two levels.
        self.levels = (linear.weight * (1 / self.scales)[:, None]).round().clamp(-127, 127)
        self.bias = linear.bias

    def forward(self, x):
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) * (1 / 127)
        # Whole numbers below 2^24 are exact in floats.
        out = ((x / scale).round() @ self.levels.T) * self.scales * scale
        return out if self.bias is None else out + self.bias


def by_rows(model):
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in list(model.named_modules()):
            if isinstance(module, torch.nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, ByRows(module))
        # A tied head's weights are taken by now.
        embedding = model.get_input_embeddings().weight
        embedding.copy_(torch.from_numpy(rounded(embedding.numpy(), 8, 32, True)))
    return model


def greedy(model, vocabulary, generator, length):
    """A prompt and a continuation of which no token is nearly as likely as another."""
    for _ in range(1000):
        sequence = torch.randint(3, vocabulary, (length,), generator=generator)
        for _ in range(ANSWER):
            best = model(sequence[None]).logits[0, -1].topk(2)
            if best.values[0] - best.values[1] < MARGIN:
                break
            sequence = torch.cat([sequence, best.indices[:1]])
        else:
            return sequence
    raise SystemExit("no prompt has a sure answer")


def make(name):
    kind, shape, dtype = CASES[name]
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    # In the words of transformers 4, which both versions read.
    architecture = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3", "gemma2": "Gemma2"}[kind]
    write(os.path.join(folder, "config.json"), {"model_type": kind, "architectures": [architecture + "ForCausalLM"], "torch_dtype": dtype, **shape})
    generator = torch.Generator().manual_seed(sum(name.encode()))
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    randomise(model, kind, generator)
    model = model.to(getattr(torch, dtype))
    save(model, folder, 3 if name in SHARDED else 1)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        vocabulary = shape["vocab_size"]
        sequences = [torch.randint(3, vocabulary, (length,), generator=generator) for length in [2, 7, 24, 51]]
        # Short enough that nothing changes at the end of a training's context.
        answers = [greedy(model, vocabulary, generator, length) for length in [3, 19]]
        logits = torch.cat([model(sequence[None]).logits[0] for sequence in sequences + answers])
    write(os.path.join(folder, "golden.json"), {"vocabulary": vocabulary, "sequences": [s.tolist() for s in sequences + answers],
                                                "answers": [len(answer) - ANSWER for answer in answers]})
    logits.numpy().astype("<f4").tofile(os.path.join(folder, "golden.f32"))
    for bits, block, symmetric in QUANTISED.get(name, []):
        with torch.no_grad():
            other = quantised(model, bits, block, symmetric)
            scores = torch.cat([other(sequence[None]).logits[0] for sequence in sequences + answers])
            file = f"int{bits}-{block}{'' if symmetric else '-asymmetric'}.f32"
            scores.numpy().astype("<f4").tofile(os.path.join(folder, file))
    if name in BY_ROWS:
        with torch.no_grad():
            other = by_rows(model)
            scores = torch.cat([other(sequence[None]).logits[0] for sequence in sequences + answers])
            scores.numpy().astype("<f4").tofile(os.path.join(folder, "int8-rows.f32"))
    write(os.path.join(folder, "generation_config.json"), {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0, "do_sample": True, "temperature": 0.6})
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    print(f"{name}: {size} bytes, logits spread by {logits.std():.2f}", flush=True)


def write_tokenizer():
    """A token for each of a few characters."""
    characters = "\n abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?!'-"
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {character: 3 + index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.save(os.path.join(HERE, "tokenizer.json"))
    template = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
    write(os.path.join(HERE, "tokenizer_config.json"),
          {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "chat_template": template})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums depends on the threads
    write_tokenizer()
    for name in arguments.cases or CASES:
        make(name)


if __name__ == "__main__":
    main()
