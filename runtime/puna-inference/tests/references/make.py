"""Writes the reference models and what transformers computes with them.

    python make.py --optimum OTHER_PYTHON [FAMILY ...]

`python` has the packages of requirements.txt, `OTHER_PYTHON` those of requirements-optimum.txt. Everything is seeded.

Each family is a tiny model of its architecture, trained for seconds on a task that needs attention: the next token is a
fixed permutation of the last one, and which of two permutations is told by the token two places before. So it is sure of
every next token whatever it is fed, and an agreement of the likeliest tokens means something, which it does not
between random weights. Then its weights are put on the grid of int4 (blocks of 32, symmetric), so that the graphs of
every precision that int4 or finer holds compute the same function, and one golden serves them all.
"""

import argparse
import json
import os
import shutil
import tempfile

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

import variants

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 80  # no other matrix has as many rows: the builder takes the first that does for the head
CONTEXT = 128
BLOCK = 32  # of int4: weights that share a scale
STEPS = 1500
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False}
GROUPED = SHAPE | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # kernels take heads of 16, 32, …
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
# The window is shorter than the golden sequences, so that sliding attention shows.
FAMILIES = {
    "llama2": ("llama", SHAPE),
    "llama3": ("llama", GROUPED | {"rope_theta": 500000.0, "rope_scaling": SCALED}),
    # Since version 0.2 without a window; the builder leaves that of 0.1 out.
    "mistral": ("mistral", SHAPE | {"num_key_value_heads": 1, "sliding_window": None}),
    "qwen2": ("qwen2", SHAPE | {"num_key_value_heads": 1}),
    "qwen3": ("qwen3", GROUPED),
    "phi3": ("phi3", SHAPE | {"num_key_value_heads": 1, "original_max_position_embeddings": CONTEXT}),
    # The builder rounds the root of the width to two digits: this one's is whole, as that of the model of 2B.
    "gemma2": ("gemma2", SHAPE | {"hidden_size": 64, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16,
                                    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}),
}
ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                 "phi3": "Phi3ForCausalLM", "gemma2": "Gemma2ForCausalLM"}


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def task(generator, rows, length, tables):
    tokens = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    told = torch.cat([torch.zeros(rows, 2, dtype=torch.long), tokens[:, :-2] % 2], 1)
    return tokens, tables[told, tokens]


def train(model, generator):
    tables = torch.stack([torch.randperm(VOCABULARY - 3, generator=generator) + 3 for _ in range(2)])
    tables = torch.cat([torch.zeros(2, 3, dtype=torch.long) + 3, tables], 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, STEPS)
    for step in range(STEPS):
        tokens, wanted = task(generator, 16, 48, tables)
        # The weights as int4 holds them, with gradients for those they come from.
        with torch.no_grad():
            kept = {name: value.clone() for name, value in model.named_parameters() if on_grid(name, value)}
            if step > STEPS // 2:
                for name, value in model.named_parameters():
                    if name in kept:
                        value.copy_(snapped(value))
        loss = F.cross_entropy(model(tokens).logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in kept:
                    value.copy_(kept[name])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return tables, loss.item()


def on_grid(name, value):
    return value.dim() == 2 and "embed" not in name


def snapped(weight):
    """Symmetric int4 as ONNX Runtime's quantiser rounds: the scale makes a block's largest value -8."""
    blocks = weight.reshape(weight.shape[0], -1, BLOCK)
    largest = blocks.gather(2, blocks.abs().argmax(2, keepdim=True))
    scale = largest / -8
    levels = torch.where(scale == 0, torch.zeros_like(blocks), blocks / torch.where(scale == 0, 1, scale)).round().clamp(-8, 7)
    return (levels * scale).reshape(weight.shape)


def family(name, work):
    kind, shape = FAMILIES[name]
    folder = os.path.join(work, name)
    os.makedirs(folder)
    # In the words of transformers 4, which both versions read.
    write(os.path.join(folder, "config.json"),
          {"model_type": kind, "architectures": [ARCHITECTURES[kind]], "torch_dtype": "float32", **shape})
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(11)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").float()
    tables, loss = train(model, generator)
    model.eval()
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if on_grid(parameter, value):
                value.copy_(snapped(value))
                assert torch.equal(snapped(value), value), parameter
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        shutil.copy(os.path.join(saved, "model.safetensors"), folder)
    write(os.path.join(folder, "generation_config.json"), {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0, "do_sample": True,
                                                           "temperature": 0.6, "top_p": 0.9})
    write_tokenizer(folder)
    golden(name, model, generator, tables, loss)
    return folder


def write_tokenizer(folder):
    """A token for each of a few characters, enough for a template's words."""
    characters = "\n abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?!'-"
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {character: 3 + index for index, character in enumerate(characters[:VOCABULARY - 3])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    template = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
    write(os.path.join(folder, "tokenizer_config.json"),
          {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "chat_template": template})


def golden(name, model, generator, tables, loss):
    """`golden.json` with the sequences, and `golden.f32` with transformers' logits at each of their places, in order."""
    sequences = [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in [2, 7, 24, 51]]
    sequences.append(torch.cat([torch.arange(3, 12), torch.full((8,), 20), torch.arange(40, 30, -1), torch.tensor([0, 1, 2, 63])]))
    logits = []
    right = total = 0
    with torch.no_grad():
        for sequence in sequences:
            scores = model(sequence[None]).logits[0]
            logits.append(scores)
            told = torch.cat([torch.zeros(2, dtype=torch.long), sequence[:-2] % 2])
            right += (scores.argmax(1) == tables[told, sequence]).sum().item()
            total += len(sequence)
    logits = torch.cat(logits)
    best = logits.topk(2, 1).values
    margin = (best[:, 0] - best[:, 1]) / logits.std(1)
    print(f"{name}: loss {loss:.3f}, {right} of {total} right, least margin {margin.min():.3f} deviations, logits to {logits.abs().max():.1f}", flush=True)
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump({"vocabulary": VOCABULARY, "sequences": [sequence.tolist() for sequence in sequences]}, file)
        file.write("\n")
    logits.numpy().astype("<f4").tofile(os.path.join(folder, "golden.f32"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimum", required=True, help="the interpreter that has optimum")
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums depends on the threads
    write_tokenizer(HERE)  # one for all
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.families or FAMILIES:
            shutil.rmtree(os.path.join(HERE, name), ignore_errors=True)
            source = family(name, work)
            variants.write_all(name, source, os.path.join(HERE, name), arguments.optimum)
    total = sum(os.path.getsize(os.path.join(root, file)) for root, _, files in os.walk(HERE) for file in files)
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
