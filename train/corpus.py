"""Pico's text: the Python sources of the standard library, some files of which are held out."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HELD_OUT = ("heapq.py", "textwrap.py", "shlex.py", "queue.py", "graphlib.py", "fractions.py")
"""Ordinary library code, about 100 kB, whose tests are held back from training too."""

_TABLES = ("encodings/", "pydoc_data/", "lib2to3/pgen2/", "site-packages/", "test/cjkencodings/")
_SMALLEST, _LARGEST = 200, 400_000


@dataclass(frozen=True)
class Sources:
    """Training files, and the text that is never trained on."""

    training: list[str]
    held_out: str


def read_corpus() -> Sources:
    """Read the standard library of the running interpreter, leaving out tables and what is not text."""
    root = Path(sysconfig.get_paths()["stdlib"])
    training = []
    held_out_tests = {f"test/test_{name}" for name in HELD_OUT}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name in HELD_OUT or name in held_out_tests or name.startswith(_TABLES) or "site-packages" in name:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if _SMALLEST <= len(text) <= _LARGEST:
            training.append(text)
    held_out = "".join((root / name).read_text(encoding="utf-8") for name in HELD_OUT)
    return Sources(training, held_out)


@dataclass(frozen=True)
class Corpus:
    """All training tokens in a row, each file followed by the end-of-text token. Shapes: ids uint16 [N]."""

    ids: np.ndarray

    @staticmethod
    def encode(texts: list[str], tokenizer: Tokenizer, end: int) -> Corpus:
        order = np.random.default_rng(0).permutation(len(texts))
        encoded = tokenizer.encode_batch([texts[i] for i in order])
        return Corpus(np.concatenate([np.array([*one.ids, end], dtype=np.uint16) for one in encoded]))

    def batch(self, generator: np.random.Generator, n_sequences: int, length: int) -> np.ndarray:
        """Cut sequences at random places. Shapes: -> int64 [n_sequences, length]."""
        starts = generator.integers(0, len(self.ids) - length, n_sequences)
        return np.stack([self.ids[start : start + length] for start in starts]).astype(np.int64)
