"""vocab.json + merges.txt: byte-level BPE as GPT-2 published it, and Qwen2's variant of it.

The two files hold the vocabulary and the merges, in order; how text is cut into words is not in them, so it follows
from `tokenizer_class`: GPT-2's pattern, or Qwen2's with NFC normalization first.

Source: GPT-2's encoder.py; transformers 5's Qwen2Tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nearlight.errors import TextError
from nearlight.package.package import TokenizerFiles
from nearlight.text.files import read_bytes
from nearlight.text.hf_settings import (
    declared_added_tokens,
    ends_around,
    ids_of_named,
    named_tokens,
    read_json,
    undeclared_special_tokens,
    wants,
)
from nearlight.text.pre_tokenizers import GPT2, QWEN2
from nearlight.text.spelling import BYTE_LEVEL
from nearlight.text.tokenizer import BuiltTokenizer, errors_as_text

# Special tokens of each class where the package names none; used only if the vocabulary has them.
_CLASS_DEFAULTS = {
    "gpt2": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "qwen2": dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
}


def build_from_vocab_merges(files: TokenizerFiles, special_tokens: Mapping[str, str]) -> BuiltTokenizer:
    """Build byte-level BPE from vocab.json and merges.txt.

    Raises: TextError naming the file and the entry that is wrong.
    """
    from tokenizers import Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    vocab = _read_vocab(files.directory / "vocab.json")
    merges = _read_merges(files.directory / "merges.txt")
    family, warnings = _family(files)
    named = named_tokens(files.settings, special_tokens)
    declared = declared_added_tokens(files, named)
    taken = {id: text for text, id in vocab.items()}
    for id, token in declared.items():
        if token.content not in vocab:
            if id in taken:
                raise TextError(
                    f"added token {token.content!r}",
                    where=files.directory / "tokenizer_config.json",
                    expected="an id of its own",
                    found=f"{id}, which vocab.json gives to {taken[id]!r}",
                )
            # Into the vocabulary itself: only there can a token keep a declared id that leaves a gap.
            vocab[token.content], taken[id] = id, token.content
    named |= {
        name: text
        for name, text in _CLASS_DEFAULTS[family].items()
        if name not in named and name not in files.settings and (text in vocab or text in named.values())
    }

    with errors_as_text("vocab.json and merges.txt do not fit together", where=files.directory):
        backend = Tokenizer(BPE(vocab=vocab, merges=merges))
        pre_tokenizer = QWEN2 if family == "qwen2" else GPT2
        backend.pre_tokenizer = pre_tokenizer.pipeline(wants(files.settings, "add_prefix_space", False))
        if family == "qwen2":
            backend.normalizer = normalizers.NFC()
        backend.decoder = decoders.ByteLevel()
        backend.add_tokens([token for _, token in sorted(declared.items(), key=lambda item: item[0])])
        backend.add_special_tokens(undeclared_special_tokens(files.settings, named))

    special = ids_of_named(backend, named)
    before, after = ends_around(files.settings, special)
    return BuiltTokenizer(
        backend=backend,
        spelling=BYTE_LEVEL,
        n_tokens=1 + max(vocab.values(), default=-1),
        special=special,
        prefix_ids=before,
        suffix_ids=after,
        warnings=tuple(warnings),
    )


def _family(files: TokenizerFiles) -> tuple[str, list[str]]:
    """Choose between GPT-2's and Qwen2's rules by tokenizer_class, or by the model's type where that is absent."""
    named = files.settings.get("tokenizer_class")
    if named is None and (files.directory / "config.json").is_file():
        config = read_json(files.directory / "config.json")
        named = config.get("model_type") if isinstance(config, Mapping) else None
    text = str(named or "GPT2").lower()
    if text.startswith("qwen"):
        return "qwen2", []
    known = text.startswith(("gpt2", "pretrainedtokenizer", "tokenizersbackend"))
    warning = f"tokenizer class {named} is not known for vocab.json + merges.txt; GPT-2's word pattern is used"
    return "gpt2", [] if known else [warning]


def _read_vocab(path: Path) -> dict[str, int]:
    vocab = read_json(path)
    if not isinstance(vocab, dict) or not vocab:
        raise TextError("content", where=path, expected="a non-empty object of token to id", found=type(vocab).__name__)
    for token, id in vocab.items():
        if type(id) is not int or not 0 <= id < 2**31:
            raise TextError(f"id of {token!r}", where=path, expected="0 or more, below 2**31", found=repr(id))
    return vocab


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TextError("is not UTF-8", where=path, found=error.reason) from None
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        pair = line.rstrip("\r")
        if not pair or (number == 1 and pair.startswith("#version")):
            continue
        left, _, right = pair.partition(" ")
        if not left or not right or " " in right:
            raise TextError(f"line {number}", where=path, expected="two tokens with a space between", found=repr(pair))
        merges.append((left, right))
    return merges
