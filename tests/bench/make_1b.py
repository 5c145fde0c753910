#!/usr/bin/env python3
"""A model of Llama-3.2-1B's shape with random weights, in the forms that `engine.py` compares.

    python3 tests/bench/make_1b.py FOLDER

Writes, a few minutes and some 5 GB:

    FOLDER/weights                  the checkpoint, in bf16
    FOLDER/onnx/model.onnx          int4 (MatMulNBits, blocks of 32, accuracy level 4), by `puna model export`
    FOLDER/onnx/model_prefill.onnx  its companion: 8-bit weights and activations
    FOLDER/model.gguf               Q4_0 of the same weights, for llama.cpp

What exists is kept. Needs torch, transformers, gguf, and Rust to build the exporter. Random weights say nothing
about quality and everything about speed, which does not depend on their values.
"""

import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEED = 20
SHAPE = dict(
    vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
    num_key_value_heads=8, head_dim=64, max_position_embeddings=131072, rms_norm_eps=1e-5, tie_word_embeddings=True,
    bos_token_id=128000, eos_token_id=[128001, 128008, 128009], rope_theta=500000.0,
)
ROPE_SCALING = dict(
    rope_type="llama3", factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192,
    rope_theta=500000.0,
)


def make_tokenizer(folder):
    """Bytes, names that no text has, and Llama 3's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab.update({f"unused{index}": index for index in range(len(vocab), 128000)})
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 8: "eom_id", 9: "eot_id", 10: "python_tag"}
    special = [f"<|{named.get(index, f'reserved_special_token_{index}')}|>" for index in range(256)]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[9])
    fast.save_pretrained(folder)


def make_weights(folder):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(**SHAPE, rope_scaling=ROPE_SCALING)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    make_tokenizer(folder)


def make_int4(weights, folder):
    puna = ["cargo", "run", "--release", "--quiet", "-p", "puna-cli", "--"]
    subprocess.run([*puna, "model", "export", weights, "--out", folder, "--companion", "int8"], check=True, cwd=ROOT, stdout=sys.stderr)


def make_gguf(weights, file):
    import gguf
    import numpy as np
    import torch
    from safetensors import safe_open

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(SHAPE["rms_norm_eps"])
    writer.add_rope_dimension_count(SHAPE["head_dim"])
    writer.add_rope_freq_base(SHAPE["rope_theta"])
    writer.add_vocab_size(SHAPE["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    vocab = json.load(open(os.path.join(weights, "tokenizer.json")))
    tokens = {**vocab["model"]["vocab"], **{t["content"]: t["id"] for t in vocab["added_tokens"]}}
    tokens = [token for token, _ in sorted(tokens.items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    # There must be one.
    writer.add_token_merges(["a b"])
    special = [gguf.TokenType.CONTROL if token.startswith("<|") else gguf.TokenType.NORMAL for token in tokens]
    writer.add_token_types(special)
    writer.add_bos_token_id(128000)
    writer.add_eos_token_id(128009)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, SHAPE["num_hidden_layers"])
    with safe_open(os.path.join(weights, "model.safetensors"), "pt") as tensors:
        for name in tensors.keys():
            data = tensors.get_tensor(name).to(torch.float32).numpy()
            for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
                if part in name:
                    # llama.cpp keeps the two halves of a rotation beside each other.
                    rows = data.reshape(SHAPE[heads], 2, data.shape[0] // SHAPE[heads] // 2, data.shape[1])
                    data = rows.swapaxes(1, 2).reshape(data.shape)
            kind = gguf.GGMLQuantizationType.F32 if data.ndim == 1 else gguf.GGMLQuantizationType.Q4_0
            target = names.get_name(name, try_suffixes=(".weight",))
            writer.add_tensor(target, gguf.quants.quantize(data, kind) if data.ndim > 1 else data.astype(np.float32), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    args = parser.parse_args()
    args.folder = os.path.abspath(args.folder)
    weights, onnx = os.path.join(args.folder, "weights"), os.path.join(args.folder, "onnx")
    steps = [
        ("random weights", os.path.join(weights, "tokenizer.json"), lambda _: make_weights(weights)),
        ("int4 graph and companion", os.path.join(onnx, "model.onnx"), lambda _: make_int4(weights, onnx)),
        ("Q4_0 file", os.path.join(args.folder, "model.gguf"), lambda file: make_gguf(weights, file)),
    ]
    for what, file, make in steps:
        if not os.path.exists(file):
            print(f"making {what}", file=sys.stderr)
            make(file)


if __name__ == "__main__":
    main()
