"""Stands in for transformers: a tokenizer whose vocabulary is made up. Importing the package itself takes seconds."""
import os
from types import SimpleNamespace
from zlib import crc32

import torch

END, WORDS_BEGIN, WORDS = 1, 3, 490


class AutoTokenizer:
    vocab_size = WORDS_BEGIN + WORDS

    @classmethod
    def from_pretrained(cls, directory):
        if not os.path.isdir(directory):
            raise OSError(f'{directory} is not a directory')
        return cls()

    def __call__(self, texts, max_length, **_):
        rows = [[WORDS_BEGIN + crc32(word.encode()) % WORDS for word in text.split()] for text in texts]
        rows = [[*row[:max_length - 1], END] for row in rows]
        return SimpleNamespace(
            input_ids=torch.tensor([row + [0] * (max_length - len(row)) for row in rows]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (max_length - len(row)) for row in rows]))


class Wav2Vec2ForCTC:
    """Imported for s2v, which no test runs."""


class Wav2Vec2Processor:
    """Imported for s2v, which no test runs."""
