"""Pico's text: Python sources that this interpreter comes with, and some of which are held out."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HELD_OUT = ("heapq.py", "textwrap.py", "shlex.py", "queue.py", "graphlib.py", "fractions.py")
"""Ordinary library code, about 100 kB, whose tests are held back from training too."""

PACKAGES = {
    "MIT": (
        "_pytest", "anyio", "charset_normalizer", "filelock", "fontTools", "gguf", "h11", "identify", "markdown_it",
        "mypy", "pip", "platformdirs", "pre_commit", "pydantic", "pyparsing", "rich", "setuptools", "typer", "urllib3",
        "virtualenv", "xdist", "yaml",
    ),
    "MIT-CMU": ("PIL",),
    "BSD": (
        "click", "contourpy", "dateutil", "fsspec", "grimp", "httpcore2", "httpx2", "idna", "importlinter", "jinja2",
        "mpmath", "networkx", "numpy", "prompt_toolkit", "pygments", "sympy",
    ),
    "Apache-2.0": ("huggingface_hub", "packaging", "requests", "scikit_build_core", "sortedcontainers"),
    "ISC": ("pexpect", "ptyprocess", "shellingham"),
    "PSF-2.0": ("distlib", "matplotlib", "mpl_toolkits"),
}  # fmt: skip
"""What nearlight and its tests install, as far as it is Python to learn from and its licence is among these."""

_SHARES = {"library": 0.42, "tests": 0.08, "packages": 0.5}
"""How many of the sequences come from where: most of the library's own text are tests, which repeat themselves, and
what people ask of a model looks like the library."""

_TABLES = ("encodings/", "pydoc_data/", "lib2to3/pgen2/", "site-packages/", "test/cjkencodings/")
_NO_LESSON = re.compile(r"(^|/)(tests?|testing|_vendor|_distutils|unicodedata)/|/test_|_test\.py$|_builtins\.py$")
_SMALLEST, _LARGEST = 200, 400_000


@dataclass(frozen=True)
class Sources:
    """Training files, the library's, its tests' and other packages' apart, and the text that is never trained on."""

    library: list[str]
    tests: list[str]
    packages: list[str]
    held_out: str

    @property
    def training(self) -> list[str]:
        return self.library + self.tests + self.packages


def read_corpus() -> Sources:
    """Read the running interpreter's library and packages, leaving out tables and what is not text."""
    places = sysconfig.get_paths()
    root, site = Path(places["stdlib"]), Path(places["purelib"])
    library: list[str] = []
    tests: list[str] = []
    held_out_tests = {f"test/test_{name}" for name in HELD_OUT}
    for name, text in _files(root, root):
        if name in HELD_OUT or name in held_out_tests or name.startswith(_TABLES) or "site-packages" in name:
            continue
        (tests if name.startswith(("test/", "idlelib/idle_test/")) or "/tests/" in name else library).append(text)
    packages = [
        text
        for names in PACKAGES.values()
        for package in names
        for name, text in _files(site / package, site)
        if not _NO_LESSON.search(name)
    ]
    held_out = "".join((root / name).read_text(encoding="utf-8") for name in HELD_OUT)
    return Sources(library, tests, packages, held_out)


def _files(directory: Path, root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(directory.rglob("*.py")):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if _SMALLEST <= len(text) <= _LARGEST:
            yield path.relative_to(root).as_posix(), text


@dataclass(frozen=True)
class Corpus:
    """Tokens by where they come from, each file followed by the end-of-text token. Shapes: uint16 [N] each."""

    tokens: Mapping[str, np.ndarray]

    @staticmethod
    def encode(sources: Sources, tokenizer: Tokenizer, end: int) -> Corpus:
        def in_a_row(texts: list[str]) -> np.ndarray:
            order = np.random.default_rng(0).permutation(len(texts))
            encoded = tokenizer.encode_batch([texts[i] for i in order])
            return np.concatenate([np.array([*one.ids, end], dtype=np.uint16) for one in encoded])

        return Corpus({place: in_a_row(getattr(sources, place)) for place in _SHARES})

    def batch(self, generator: np.random.Generator, n_sequences: int, length: int) -> np.ndarray:
        """Cut sequences at random places. Shapes: -> int64 [n_sequences, length]."""

        def sequence() -> np.ndarray:
            ids = self.tokens[generator.choice(list(_SHARES), p=list(_SHARES.values()))]
            start = generator.integers(0, len(ids) - length)
            return ids[start : start + length]

        return np.stack([sequence() for _ in range(n_sequences)]).astype(np.int64)
