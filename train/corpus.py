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
    """Training files, the library's and its tests' apart, and the text that is never trained on."""

    library: list[str]
    tests: list[str]
    held_out: str

    @property
    def training(self) -> list[str]:
        return self.library + self.tests


def read_corpus() -> Sources:
    """Read the standard library of the running interpreter, leaving out tables and what is not text."""
    root = Path(sysconfig.get_paths()["stdlib"])
    library: list[str] = []
    tests: list[str] = []
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
            (tests if name.startswith(("test/", "idlelib/idle_test/")) or "/tests/" in name else library).append(text)
    held_out = "".join((root / name).read_text(encoding="utf-8") for name in HELD_OUT)
    return Sources(library, tests, held_out)


@dataclass(frozen=True)
class Corpus:
    """Tokens of the library and of its tests, each file followed by the end-of-text token. Shapes: uint16 [N].

    Two thirds of the files' text are tests, which repeat themselves; what people ask of a model looks like the library.
    So a sequence is taken from the library with a probability of its own.
    """

    library: np.ndarray
    tests: np.ndarray
    library_share: float

    @staticmethod
    def encode(sources: Sources, tokenizer: Tokenizer, end: int, library_share: float) -> Corpus:
        def in_a_row(texts: list[str]) -> np.ndarray:
            order = np.random.default_rng(0).permutation(len(texts))
            encoded = tokenizer.encode_batch([texts[i] for i in order])
            return np.concatenate([np.array([*one.ids, end], dtype=np.uint16) for one in encoded])

        return Corpus(in_a_row(sources.library), in_a_row(sources.tests), library_share)

    def batch(self, generator: np.random.Generator, n_sequences: int, length: int) -> np.ndarray:
        """Cut sequences at random places. Shapes: -> int64 [n_sequences, length]."""

        def sequence() -> np.ndarray:
            ids = self.library if generator.random() < self.library_share else self.tests
            start = generator.integers(0, len(ids) - length)
            return ids[start : start + length]

        return np.stack([sequence() for _ in range(n_sequences)]).astype(np.int64)
