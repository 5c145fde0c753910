"""Trains puna-tiny. Warm up, hold, then decay the learning rate to nothing over the last part of the time given.

    python train.py OUT --minutes 60 --decay-minutes 12 [--resume CHECKPOINT] [--threads 4]
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import time
from collections import defaultdict

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from cases import cases
from dialogues import dialogue
from model import Config, Llama, initialise
from render import segments
from tokenizer import train as train_tokenizer

TOKENS, POOL, LONGEST = 6144, 512, 896  # a step; rows sorted by length at a time; longer rows are cut
RATE, WARM_UP, BETAS, DECAY = 8e-4, 150, (0.9, 0.98), 0.05
RANDOM_REPEATS = 0.12  # share of rows that are random segments, repeated; fades out with the copy dialogues


def encode(tokenizer, messages, tools):
    ids, learnt = [], []
    parts = segments(messages, tools)
    for (_, learn), encoding in zip(parts, tokenizer.encode_batch([text for text, _ in parts], add_special_tokens=False)):
        ids += encoding.ids
        learnt += [learn] * len(encoding.ids)
    return ids, learnt


def row(tokenizer, pieces, rng, progress):
    """One row: token ids and whether each is learnt."""
    fade = max(0.0, 1 - progress / 0.25)
    if rng.random() < max(RANDOM_REPEATS * fade, 0.03):
        segment = [rng.randrange(8, tokenizer.get_vocab_size()) for _ in range(rng.randint(20, 120))]
        length = len(segment) * 2 + rng.randint(0, 100)
        return (segment * 8)[:length], [i >= len(segment) for i in range(length)]
    d = dialogue(rng, progress, pieces)
    ids, learnt = encode(tokenizer, d.messages, d.tools)
    return ids[:LONGEST], learnt[:LONGEST]


def produce(path, seed, progress, queue):
    """Batches of rows of like length, TOKENS each with the padding."""
    os.nice(2)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer, rng = Tokenizer.from_file(path), random.Random(seed)
    pieces = sorted(token for token in tokenizer.get_vocab() if token.isascii() and token.isalpha())
    while True:
        pool = sorted((row(tokenizer, pieces, rng, progress.value) for _ in range(POOL)), key=lambda r: len(r[0]))
        batches, current = [], []
        for r in pool:
            if current and len(r[0]) * (len(current) + 1) > TOKENS:
                batches.append(current)
                current = []
            current.append(r)
        rng.shuffle(batches)
        for rows in batches:
            queue.put(rows)


def batch(rows):
    """Token ids [rows, length - 1] and targets of the same shape, -100 where nothing is learnt."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in rows])
    learnt = torch.tensor([learnt + [False] * (length - len(learnt)) for _, learnt in rows])
    return ids[:, :-1], torch.where(learnt[:, 1:], ids[:, 1:], -100)


def evaluate(model, tokenizer, prepared):
    """Exact match of the last message under greedy decoding: the text is exact if and only if every token is the likeliest
    after the ones before, so one pass over the expected text decides it."""
    right, names, total = defaultdict(int), defaultdict(int), defaultdict(int)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(prepared), 16):
            group = prepared[start:start + 16]
            length = max(len(ids) for _, ids, *_ in group)
            ids = torch.zeros(len(group), length, dtype=torch.long)
            for i, (_, case, *_) in enumerate(group):
                ids[i, :len(case)] = torch.tensor(case)
            guesses = model.logits(model.hidden(ids)).argmax(-1)
            for i, (key, case, begin, name_end) in enumerate(group):
                hits = guesses[i, begin - 1:len(case) - 1] == ids[i, begin:len(case)]
                right[key] += bool(hits.all())
                names[key] += bool(hits[:name_end].all())
                total[key] += 1
    model.train()
    return {key: (right[key] / total[key], names[key] / total[key]) for key in total}


def prepare(tokenizer, count):
    out = []
    for case in cases(count, seed=1):
        call = case["expect"].get("call")
        last = {"role": "assistant", "content": case["expect"].get("text", "")}
        if call:
            last["tool_calls"] = [{"function": call}]
        ids, learnt = encode(tokenizer, case["messages"] + [last], case["tools"])
        begin = max(i for i in range(len(ids)) if learnt[i] and not learnt[i - 1])
        name_end = ids.index(tokenizer.token_to_id('", "parameters": {"'), begin) - begin + 1 if call and call["arguments"] else len(ids) - begin
        out.append((f"{case['suite']}/{case['held_out']}", ids, begin, name_end))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--decay-minutes", type=float, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume")
    parser.add_argument("--fade-minutes", type=float, default=8, help="when the copy curriculum has faded out")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    path = os.path.join(args.out, "tokenizer.json")
    tokenizer = Tokenizer.from_file(path) if os.path.exists(path) else train_tokenizer(path)
    prepared = prepare(tokenizer, 40)

    model = Llama(Config())
    initialise(model, args.seed)
    decayed = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=RATE, betas=BETAS, fused=True)
    step = tokens = 0
    if args.resume:
        state = torch.load(args.resume)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, tokens = state["step"], state["tokens"]

    progress, queue = multiprocessing.Value("d", 1.0 if args.resume else 0.0), multiprocessing.Queue(16)
    producer = multiprocessing.Process(target=produce, args=(path, args.seed * 1000 + step, progress, queue), daemon=True)
    producer.start()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters", flush=True)

    began = last = saved = time.time()
    running, seen = 0.0, tokens
    while True:
        elapsed = (time.time() - began) / 60
        if elapsed >= args.minutes or os.path.exists(os.path.join(args.out, "stop")):
            break
        if not args.resume:
            progress.value = min(1.0, elapsed / args.fade_minutes * 0.25) if elapsed < args.fade_minutes else 1.0
        decay = min(1.0, (args.minutes - elapsed) / args.decay_minutes)
        rate = RATE * min(1.0, (step + 1) / WARM_UP) * decay
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, targets = batch(queue.get())
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.hidden(ids)
            wanted = targets != -100
            logits = model.logits(hidden[wanted])
        loss = F.cross_entropy(logits.float(), targets[wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, tokens, running = step + 1, tokens + ids.numel(), running + loss.item()
        if step % 50 == 0:
            now = time.time()
            print(f"{(now - began) / 60:5.1f} min  step {step}  loss {running / 50:.4f}  rate {rate:.1e}  {(tokens - seen) / (now - last):.0f} tokens/s", flush=True)
            running, last, seen = 0.0, now, tokens
        if time.time() - saved > 480:
            saved = time.time()
            save(model, optimizer, step, tokens, args.out)
            report(model, tokenizer, prepared)
            last, seen = time.time(), tokens
    save(model, optimizer, step, tokens, args.out)
    report(model, tokenizer, prepared)
    producer.terminate()
    with open(os.path.join(args.out, "trained.json"), "w") as file:
        json.dump({"parameters": parameters, "steps": step, "tokens": tokens, "minutes": (time.time() - began) / 60, "seed": args.seed}, file)


def report(model, tokenizer, prepared):
    for key, (exact, name) in evaluate(model, tokenizer, prepared).items():
        print(f"    {key:28} exact {exact:.2f}  name {name:.2f}" if key.startswith(("tool", "concierge/")) else f"    {key:28} exact {exact:.2f}", flush=True)


def save(model, optimizer, step, tokens, out):
    temporary = os.path.join(out, "checkpoint.tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "tokens": tokens}, temporary)
    os.replace(temporary, os.path.join(out, "checkpoint.pt"))


if __name__ == "__main__":
    main()
