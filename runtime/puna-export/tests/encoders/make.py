"""Writes tiny encoders of every family and head, and what transformers computes with them.

    python make.py [CASE ...]

Needs torch and transformers as in requirements.txt; half a minute, no network. Everything is seeded. `golden.json` has texts
with their outputs and, of some cases, a text that is longer than the model takes with its output by Puna's policy: windows
that overlap by a quarter of the model's length, embeddings averaged by the windows' tokens, of scores the highest.
"""

import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 40, "type_vocab_size": 2, "pad_token_id": 0}
COUNTED = SHAPE | {"pad_token_id": 1, "max_position_embeddings": 42, "layer_norm_eps": 1e-5}
DISTIL = {"vocab_size": 64, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 40, "pad_token_id": 0}
DEBERTA = SHAPE | {"type_vocab_size": 0, "relative_attention": True, "position_buckets": 8, "max_relative_positions": -1,
                   "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
# Name: type, configuration, labels (0 is no head), what else config.json has.
CASES = {
    "bert": ("bert", SHAPE, 0, {}),
    "bert-tanh": ("bert", SHAPE | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-6}, 0, {}),
    "bert-classes": ("bert", SHAPE, 3, {}),
    "bert-ranker": ("bert", SHAPE, 1, {}),
    "roberta": ("roberta", COUNTED | {"type_vocab_size": 1}, 0, {}),
    "xlm-roberta-ranker": ("xlm-roberta", COUNTED | {"type_vocab_size": 1}, 1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
    "camembert": ("camembert", COUNTED | {"type_vocab_size": 1}, 0, {}),
    "camembert-classes": ("camembert", COUNTED | {"type_vocab_size": 1}, 3, {}),
    "distilbert": ("distilbert", DISTIL, 0, {}),
    "distilbert-classes": ("distilbert", DISTIL | {"activation": "relu"}, 2, {"problem_type": "multi_label_classification"}),
    "mpnet": ("mpnet", COUNTED, 0, {}),
    "mpnet-classes": ("mpnet", COUNTED, 2, {}),
    "deberta": ("deberta-v2", DEBERTA, 0, {}),
    "deberta-classes": ("deberta-v2", DEBERTA, 2, {}),
    "prompt-guard": ("deberta-v2", DEBERTA | {"max_position_embeddings": 512}, 2, {"id2label": {"0": "BENIGN", "1": "MALICIOUS"}}),
    "deberta-plain": ("deberta-v2", DEBERTA | {"position_buckets": -1, "share_att_key": False, "position_biased_input": True, "norm_rel_ebd": "none",
                                               "max_relative_positions": 12, "type_vocab_size": 2, "pos_att_type": ["c2p"]}, 0, {}),
}
WORDS = [f"w{index}" for index in range(59)]
TEXTS = ["w1", "w2 w3 w4", "w5 w6 w7 w8 w9 w10 w11", "w58 w12 w58 w13 w13 w0", " ".join(WORDS[3:37])]
LONG = {"bert", "bert-classes", "bert-ranker", "camembert", "prompt-guard"}
PAIRS = ("w1 w2", ["w3 w4 w5", "w20", " ".join(WORDS[10:30])])


def tokenizer(kind):
    counted = kind in ("roberta", "xlm-roberta", "camembert", "mpnet")
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if counted else ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    start, end, unknown = (names[0], names[2], names[3]) if counted else (names[2], names[3], names[1])
    vocabulary = {token: index for index, token in enumerate(names + WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(names)
    second = f"{end} $B {end}" if counted else f"$B:1 {end}:1"
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} {second}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])])
    return made


def make(name):
    kind, shape, labels, extra = CASES[name]
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    torch.manual_seed(sum(name.encode()))
    config = AutoConfig.for_model(kind, **shape, **({"num_labels": labels} if labels else {}))
    config._attn_implementation = "eager"
    model = (AutoModelForSequenceClassification if labels else AutoModel).from_config(config).eval()
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            noise = torch.randn(value.shape)
            if "LayerNorm.weight" in parameter or "layer_norm.weight" in parameter:
                value.copy_(1 + noise * 0.3)
            elif value.dim() == 2 and "embeddings" not in parameter and "relative_attention_bias" not in parameter:
                value.copy_(noise * 1.5 / value.shape[1] ** 0.5)
            else:
                value.copy_(noise * 0.5)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, os.path.join(folder, "model.safetensors"))
    said = json.loads(model.config.to_json_string()) | {"architectures": [type(model).__name__]} | extra
    write(os.path.join(folder, "config.json"), said)
    made = tokenizer(kind)
    made.save(os.path.join(folder, "tokenizer.json"))
    typed = shape.get("type_vocab_size", 0) > 1 and kind != "mpnet"
    golden = {"texts": TEXTS}
    inputs = [made.encode(text) for text in TEXTS]
    if labels == 1:
        golden = {"query": PAIRS[0], "texts": PAIRS[1]}
        inputs = [made.encode(PAIRS[0], text) for text in PAIRS[1]]

    def run(ids, types):
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if typed:
            given["token_type_ids"] = torch.tensor([types])
        with torch.no_grad():
            result = model(**given)
        return result.logits[0] if labels else result.last_hidden_state[0].mean(0)

    # Logits, or the mean of the tokens' vectors.
    golden["outputs"] = [rounded(run(encoding.ids, encoding.type_ids)) for encoding in inputs]
    if name in LONG:
        # No period that a window could fall in step with.
        limit = model.config.max_position_embeddings - (2 if kind == "camembert" else 0)
        golden["long"] = " ".join(WORDS[place * place % 59] for place in range(3 * limit))
        golden["long_output"] = rounded(long(made, run, golden, limit, labels))
    write(os.path.join(folder, "golden.json"), golden, None)


def long(made, run, golden, limit, labels):
    query = made.encode(golden["query"], add_special_tokens=False).ids if "query" in golden else None
    words = made.encode(golden["long"], add_special_tokens=False).ids
    start, end = made.encode("").ids[:1], made.encode("").ids[-1:]
    before = start + (query + end if query else [])
    room = limit - len(before) - 1
    outputs, first = [], 0
    while True:
        ids = before + words[first:first + room] + end
        outputs.append((run(ids, [0] * (len(before) if query else len(ids)) + [1] * (len(ids) - len(before) if query else 0)), len(ids)))
        if first + room >= len(words):
            break
        first += room - limit // 4
    assert len(outputs) > 3
    if labels == 1:
        return torch.stack([logits for logits, _ in outputs]).max(0).values
    if labels:
        return torch.stack([logits.softmax(0) for logits, _ in outputs]).max(0).values
    return sum(vector * count for vector, count in outputs) / sum(count for _, count in outputs)


def rounded(values):
    return [round(value, 7) for value in values.tolist()]


def write(path, value, indent=1):
    with open(path, "w") as file:
        json.dump(value, file, indent=indent)
        file.write("\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        make(case)
