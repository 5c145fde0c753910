"""Makes scores.json: a collection of words, questions, and the BM25 scores that bm25s gives (Lucene's form, k1 = 1.2,
b = 0.75, no stemming, no stop words).

    pip install bm25s==0.3.16 && python3 make.py > scores.json
"""

import json
import random

import bm25s

# None ends in s, so that a stemmer of plurals leaves them as they are.
WORDS = """llama alpaca condor guanaco fox hare puma toad flamingo viscacha salt snow wind rain fog ice lake river
stone sand wool fibre loom thread dye weaver herder trader miner baker bread potato maize quinoa broth fire night dawn
noon dusk road bridge village market plaza bell drum flute song dance mask horn hoof hide ear tooth eye climb carry
walk rest hum sing spin cut boil freeze dry melt high cold thin dark red white old young slow far""".split()

random.seed(7)
weights = [1 / (rank + 1) for rank in range(len(WORDS))]
documents = [
    " ".join(random.choices(WORDS, weights, k=random.choice([1, 3, 8, 20, 60]))) for _ in range(120)
]
questions = [" ".join(random.choices(WORDS, k=random.choice([1, 2, 3, 5]))) for _ in range(40)]
questions += ["llama llama alpaca", "unknown llama", "llama"]

model = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
model.index([text.split() for text in documents], show_progress=False)


def scores(question):
    words = [word for word in question.split() if word in model.vocab_dict]
    found = model.get_scores(words)
    # Lucene leaves out the factor k1 + 1, which is the same for all.
    return {str(place): round(float(score) * 2.2, 6) for place, score in enumerate(found) if score > 0}


print(json.dumps({
    "documents": documents,
    "questions": [{"text": question, "scores": scores(question)} for question in questions],
}, indent=None, separators=(",", ":")).replace('{"text"', '\n{"text"'))
