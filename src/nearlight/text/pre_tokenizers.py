"""Pre-tokenizers: how byte-level vocabularies cut a text into words before merging.

The pattern a model was trained with is part of the model: another one gives other ids and a worse model, silently.
GGUF files name it in `tokenizer.ggml.pre`; Hugging Face's vocab.json + merges.txt imply it by the tokenizer's class.

Source: the functional content of GPT-2's, Llama 3's, Qwen2's, Tekken's and DeepSeek's published tokenizers, under the
names llama.cpp gave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers.pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES
_QWEN35 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _SPACES
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORD_LOWER = r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + "+"
_WORD_UPPER = r"[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|"
_TEKKEN = _WORD_LOWER + "|" + _WORD_UPPER + r"|\p{N}|" + _SYMBOLS + _SPACES
_GPT4O = _WORD_LOWER + _CONTRACTIONS + "?|" + _WORD_UPPER + _CONTRACTIONS + r"?|\p{N}{1,3}|" + _SYMBOLS + _SPACES
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
    + _SPACES
)


@dataclass(frozen=True)
class PreTokenizer:
    """A pre-tokenizer: patterns applied one after another, and what goes with them.

    `ignore_merges`: a word that is a token as a whole is taken as it is. `add_bos`: the default where a file does not
    say.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False

    def pipeline(self, add_prefix_space: bool = False) -> tokenizers.pre_tokenizers.Sequence:
        """Build the pipeline: cut by each pattern in turn, then spell the bytes printably."""
        from tokenizers import Regex
        from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

        cuts = [Split(Regex(pattern), behavior="isolated", invert=False) for pattern in self.patterns]
        return Sequence([*cuts, ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)])


GPT2 = PreTokenizer((_GPT2,))
QWEN2 = PreTokenizer((_QWEN2,))
LLAMA3 = PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))

_FAMILIES: tuple[tuple[PreTokenizer, str], ...] = (
    (
        GPT2,
        "gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v2-es jina-v2-de jina-v2-code gigachat roberta-bpe trillion",
    ),
    (LLAMA3, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2"),
    (PreTokenizer((_LLAMA3,)), "dbrx smaug-bpe"),
    (QWEN2, "qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan"),
    (PreTokenizer((_QWEN35,)), "qwen35"),
    (PreTokenizer((r"\p{N}", _GPT2)), "starcoder command-r smollm codeshell refact exaone"),
    (PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True), "tekken"),
    (PreTokenizer((_GPT4O,)), "gpt-4o llama4"),
    (PreTokenizer((r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)), "deepseek-v3"),
    (DEFAULT, "default"),
)
BY_NAME = {name: family for family, names in _FAMILIES for name in names.split()}
