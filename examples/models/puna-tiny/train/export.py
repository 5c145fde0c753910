"""Writes the shipped files from a checkpoint: a Hugging Face folder first, then ONNX by onnxruntime-genai's builder.

    python export.py CHECKPOINT TOKENIZER HUGGINGFACE_FOLDER ONNX_FOLDER [--precision int8]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from model import Config, Llama
from render import SPECIAL

CONTEXT = 2048  # tokens; training rows are shorter, so answers get worse beyond about a thousand
SHIPPED = ["config.json", "generation_config.json", "genai_config.json", "tokenizer.json", "tokenizer_config.json", "model.onnx", "model.onnx.data"]
HERE = os.path.dirname(os.path.abspath(__file__))


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def whole_heads(weights, c: Config):
    """Adds heads of zeros to every group of query heads until their number divides the width, as Hugging Face demands of a
    Llama's configuration. They say nothing: the function is the same."""
    group, wanted = c.num_attention_heads // c.num_key_value_heads, c.num_attention_heads // c.num_key_value_heads
    while c.hidden_size % (wanted * c.num_key_value_heads):
        wanted += 1
    for name, value in weights.items():
        if name.endswith(("q_proj.weight", "o_proj.weight")):
            rows = value if name.endswith("q_proj.weight") else value.T
            rows = rows.reshape(c.num_key_value_heads, group, c.head_dim, c.hidden_size)
            rows = F.pad(rows, (0, 0, 0, 0, 0, wanted - group)).reshape(-1, c.hidden_size)
            weights[name] = (rows if name.endswith("q_proj.weight") else rows.T).contiguous()
    return weights, replace(c, num_attention_heads=wanted * c.num_key_value_heads)


def huggingface(checkpoint, tokenizer_path, folder):
    """The model as any tool that reads Hugging Face's Llama takes it."""
    os.makedirs(folder, exist_ok=True)
    tokenizer = Tokenizer.from_file(tokenizer_path)
    model = Llama(Config())
    model.load_state_dict(torch.load(checkpoint, map_location="cpu")["model"])
    weights, shape = whole_heads(model.to_huggingface(), model.c)
    config = shape.to_huggingface(tokenizer, CONTEXT)
    write(folder, "config.json", config)
    write(folder, "generation_config.json", {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")} | {"do_sample": False})
    with open(os.path.join(HERE, "chat_template.jinja")) as file:
        template = file.read()
    write(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>", "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(tokenizer.token_to_id(token)): {"content": token, "special": True, "normalized": False, "lstrip": False,
                                                                     "rstrip": False, "single_word": False} for token in SPECIAL},
        "chat_template": template})
    shutil.copy(tokenizer_path, os.path.join(folder, "tokenizer.json"))
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    return config


def onnx(source, target, precision, options):
    """The graph with the inputs and outputs of every Llama that onnxruntime-genai's builder exports."""
    subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", target, "-p", precision, "-e", "cpu",
                    "-c", os.path.join(source, "cache"), *(["--extra_options", *options] if options else [])],
                   check=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}, stdout=subprocess.DEVNULL)
    for name in SHIPPED[:5]:  # the builder writes some anew: ours say what the checkpoint was made with
        if name != "genai_config.json":
            shutil.copy(os.path.join(source, name), os.path.join(target, name))
    for name in set(os.listdir(target)) - set(SHIPPED):
        path = os.path.join(target, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    path = os.path.join(target, "genai_config.json")
    with open(path) as file:
        genai = json.load(file)
    with open(os.path.join(source, "config.json")) as file:
        config = json.load(file)
    genai["model"] |= {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    genai["search"] |= {"past_present_share_buffer": True, "do_sample": False, "max_length": CONTEXT}
    write(target, "genai_config.json", genai)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("tokenizer")
    parser.add_argument("huggingface")
    parser.add_argument("onnx")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("options", nargs="*", help="KEY=VALUE for the builder, such as block_size=64")
    args = parser.parse_args()
    huggingface(args.checkpoint, args.tokenizer, args.huggingface)
    onnx(args.huggingface, args.onnx, args.precision, args.options)
    for name in sorted(os.listdir(args.onnx)):
        print(f"{os.path.getsize(os.path.join(args.onnx, name)):>10} {name}")


if __name__ == "__main__":
    main()
