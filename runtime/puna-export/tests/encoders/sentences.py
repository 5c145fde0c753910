"""Writes what sentence-transformers computes in each of its ways to make a text's vector of its tokens'.

    python sentences.py

Needs what requirements.txt names; seconds, no network. The model is that of `bert`, which make.py writes. `sentences.json` has
for each case the files that make the checkpoint one of sentence-transformers, which read them for this, and the vectors of
TEXTS as documents and as questions.
"""

import json
import os
import shutil
import tempfile

import torch
from sentence_transformers import SentenceTransformer

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["w1", "w2 w3 w4", "w5 w6 w7 w8 w9 w10 w11", "W58 w12 W58 w13 w13 w0", " ".join(f"w{place}" for place in range(3, 30))]
PROMPTS = {"query": "w40 w41: ", "passage": "w42 w43 w44: ", "other": "w45 w46 "}
FLAGS = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]


def flags(*chosen):
    """As older versions saved it."""
    return {"word_embedding_dimension": 32, **{f"pooling_mode_{name}": name in chosen for name in FLAGS}}


def mode(name, **others):
    return {"embedding_dimension": 32, "pooling_mode": name, "include_prompt": True, **others}


# Name: the pooling, whether vectors are scaled, prompts and the name of the one where none is named, what else.
CASES = {
    "mean": (mode("mean"), True, {}, None, {}),
    "cls": (flags("cls_token"), True, {}, None, {}),
    "max": (flags("max_tokens"), False, {}, None, {}),
    "mean_sqrt_len": (flags("mean_sqrt_len_tokens"), False, {}, None, {}),
    "weighted_mean": (flags("weightedmean_tokens"), True, {}, None, {}),
    "last": (flags("lasttoken"), False, {}, None, {}),
    "max_named": (mode("max"), False, {}, None, {}),
    "weighted_mean_named": (mode("weightedmean"), False, {}, None, {}),
    "several": (flags("mean_tokens", "max_tokens", "lasttoken"), True, {}, None, {}),
    "several_named": (mode(["lasttoken", "cls", "mean_sqrt_len_tokens"]), False, {}, None, {}),
    "no_flag": (flags(), False, {}, None, {}),
    "prompts": (mode("mean"), True, {**PROMPTS}, None, {}),
    "documents": (mode("mean"), True, {**PROMPTS, "document": "w47 "}, None, {}),
    "default_prompt": (mode("cls"), False, {"other": PROMPTS["other"]}, "other", {}),
    "prompts_left_out": (mode("mean", include_prompt=False), True, PROMPTS, None, {}),
    "prompts_left_out_weighted": (mode(["weightedmean", "cls", "max"], include_prompt=False), False, PROMPTS, None, {}),
    "lower_case": (mode("mean"), True, {}, None, {"do_lower_case": True}),
    "short": (mode("mean"), True, {}, None, {"max_seq_length": 8}),
}


def files(pooling, scaled, prompts, default, others):
    kind = "sentence_transformers.models."
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{kind}Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}Pooling"}]
    if scaled:
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{kind}Normalize"})
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "config_sentence_transformers.json": {"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": "cosine"},
        "sentence_bert_config.json": {"max_seq_length": 40, "do_lower_case": False, **others},
    }


def make(name):
    pooling, scaled, prompts, default, others = CASES[name]
    made = files(pooling, scaled, prompts, default, others)
    with tempfile.TemporaryDirectory() as folder:
        for file in ["config.json", "model.safetensors", "tokenizer.json"]:
            shutil.copy(os.path.join(HERE, "bert", file), folder)
        os.makedirs(os.path.join(folder, "2_Normalize"))
        tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                     "sep_token": "[SEP]", "mask_token": "[MASK]", "model_max_length": 40}
        for file, value in {**made, "tokenizer_config.json": tokenizer}.items():
            path = os.path.join(folder, file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as target:
                json.dump(value, target)
        model = SentenceTransformer(folder, device="cpu")
        # What `encode_document` takes a prompt from by its documentation; version 6.2 takes none where `document` is not there.
        prompt = next((prompts[key] for key in ["document", "passage", "corpus"] if key in prompts), prompts.get(default, ""))
        documents = [model.encode(text, prompt=prompt) for text in TEXTS]
        queries = [model.encode(text, prompt=prompts.get("query", prompts.get(default, ""))) for text in TEXTS]
    rounded = lambda rows: [[round(float(value), 7) for value in row] for row in rows]
    return {"name": name, "files": made, "documents": rounded(documents), "queries": rounded(queries) if prompts else []}


if __name__ == "__main__":
    torch.set_num_threads(1)
    said = [json.dumps(make(name)) for name in CASES]
    with open(os.path.join(HERE, "sentences.json"), "w") as file:
        file.write('{"texts": ' + json.dumps(TEXTS) + ', "cases": [\n' + ",\n".join(said) + "\n]}\n")
