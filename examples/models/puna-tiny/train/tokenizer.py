"""Trains the tokenizer: byte-level BPE in which a word is the same tokens wherever it stands, so that it can be copied."""

import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from dialogues import dialogue
from render import GLUE, SPECIAL, segments

VOCABULARY = 3072
# Letters, one digit, line breaks, and the rest (blanks with punctuation) apart: no word takes the blank before it along.
SPLIT = r"\p{L}+|\p{N}|\n+|[^\p{L}\p{N}\n]+"


def train(path: str, count: int = 30_000, seed: int = 1) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(seed)

    def texts():
        for index in range(count):
            d = dialogue(rng, index / count)
            text = "".join(part for part, _ in segments(d.messages, d.tools))
            for token in SPECIAL + GLUE:
                text = text.replace(token, "\n")
            yield text

    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(SPECIAL) - len(GLUE), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in GLUE])
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    tokenizer.save(path)
    return tokenizer


if __name__ == "__main__":
    train(sys.argv[1])
