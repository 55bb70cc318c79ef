"""Real vocabularies and the patterns they are cut by, as llama.cpp's source has them.

Its `models` folder holds the tables of published tokenizers, texts, and the ids that their own code gave these.
NEARLIGHT_LLAMA_CPP says where the source is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from corpus import NASTY
from llama_cpp_tree import source
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from nearlight.package import open_package
from nearlight.text import lazy_bpe
from nearlight.text.pre_tokenizers import BY_NAME, PreTokenizer
from nearlight.text.tokenizer import build_tokenizer

VOCABULARIES = [
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
]
MORE = [
    "1234567 12345abc ½12",
    "a b cd  e f!/\n\n/ \r\n",
    "   \t\n x" + " " * 700 + "y",
    "IMGIMGABZ don'T 'LLama I'VE",
    "ＡＢ！？が、ㄅㄆ가나",
]
ADAPTED = {
    "kimi-k2": "a hand-written splitter",
    "afmoe": "a hand-written splitter",
    "gemma4": "cut at line ends, since its merges may not hold any; tokenizer.json cuts nowhere",
    "sarvam-moe": "as gemma4",
    "granite-embed-multi-311m": "as gemma4",
    "granite-embed-multi-97m": "capitals by ASCII alone",
}
"""Names whose patterns in llama.cpp are not those of the published tokenizer, and why."""


@pytest.mark.parametrize("most_texts", [0, 10**6], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", VOCABULARIES)
def test_ids_are_those_of_the_published_tokenizer(name: str, most_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = source() / "models" / f"ggml-vocab-{name}.gguf"
    monkeypatch.setattr(lazy_bpe, "MOST_TEXTS", most_texts)
    tokenizer = build_tokenizer(open_package(path).tokenizer)
    assert tokenizer is not None
    texts = path.with_name(path.name + ".inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    expected = path.with_name(path.name + ".out").read_text().splitlines()
    assert len(expected) > 40
    for text, ids in zip(texts, expected, strict=False):  # the texts may end with one more separator
        encoded = tokenizer.encode(text)
        assert encoded[len(tokenizer._prefix_ids) :] == [int(id) for id in ids.split()], repr(text)
        if name != "falcon":  # whose table lacks bytes
            assert tokenizer.decode(tokenizer.encode(text), special=True).endswith(text)


def named() -> Iterator[tuple[str, str, str]]:
    """Yield llama.cpp's names of pre-tokenizers, the kind each has, and the settings that go with it."""
    text = (source() / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    condition = r'(?:tokenizer_pre == "[^"]+"\s*(?:\|\|)?\s*)+'
    for match in re.finditer(rf"if \(\s*({condition})\) \{{(.*?)\}}", text, re.DOTALL):
        if kind := re.search(r"pre_type = LLAMA_VOCAB_PRE_TYPE_(\w+)", match[2]):
            for name in re.findall(r'"([^"]+)"', match[1]):
                yield name, kind[1], match[2]


def unescaped(literal: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"r": "\r", "n": "\n"}.get(match[1], match[1]), literal)


def published_patterns() -> dict[str, list[str]]:
    """Return the patterns of each kind: those of the source, or the original where a comment has it."""
    text = (source() / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    switch = text[text.index("switch (vocab.get_pre_type())") : text.index("std::vector<std::string> regex_exprs;")]
    patterns: dict[str, list[str]] = {}
    for block in switch.split("break;"):
        found, original = [], None
        for line in block.split("\n"):
            if literal := re.search(r'"(.*)"', line):
                is_comment = line.lstrip().startswith("//")
                if not is_comment:
                    found.append(unescaped(original or literal[1]))
                original = literal[1] if is_comment else None
        kinds = re.findall(r"case LLAMA_VOCAB_PRE_TYPE_(\w+)", block)
        patterns |= dict.fromkeys(["DEFAULT"] if "default:" in block else kinds, found)
    return patterns


def cuts(pre_tokenizer: PreTokenizer, text: str) -> list[str]:
    pieces = pre_tokenizer.pipeline().pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in pieces]


def test_every_name_is_known_with_what_goes_with_it() -> None:
    names = {name: settings for name, _, settings in named() if name != "whitespace"}  # a kind of tokenizer of its own
    assert len(names) > 80
    assert names.keys() <= BY_NAME.keys()
    for name, settings in names.items():
        assert BY_NAME[name].ignore_merges == ("ignore_merges = true" in settings), name
        assert BY_NAME[name].add_bos == ("add_bos = true" in settings), name


def test_texts_are_cut_as_by_the_published_patterns() -> None:
    patterns = published_patterns()
    compared = 0
    for name, kind, _ in named():
        if name in ADAPTED or name == "whitespace":
            continue
        published = Sequence([Split(Regex(pattern), "isolated") for pattern in patterns[kind]])
        for text in filter(None, [*NASTY, *MORE]):
            expected = [text[start:end] for _, (start, end) in published.pre_tokenize_str(text)]
            assert cuts(BY_NAME[name], text) == expected, (name, text)
            compared += 1
    assert compared > 2000
