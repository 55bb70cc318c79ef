"""Pre-tokenizers: how byte-level vocabularies cut a text into words before merging.

The pattern a model was trained with is part of the model: another one gives other ids and a worse model, silently.
GGUF files name it in `tokenizer.ggml.pre`; Hugging Face's vocab.json + merges.txt imply it by the tokenizer's class.

Some published patterns take quadratic time, mostly by looking ahead from every digit or space to the end of a run. They
are written here so that each run is walked a fixed number of times, and cut alike.

Source: the published tokenizer.json of each family, under the names that llama.cpp gave them (llama-vocab.cpp, the
converter's get_vocab_base_pre). Where llama.cpp adapts a pattern to std::regex, the published one stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers.pre_tokenizers


def _any(*patterns: str) -> str:
    return "|".join(patterns)


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_DIGIT, _DIGITS = r"\p{N}", r"\p{N}{1,3}"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+"
_REST = r"\s+(?!\S)|\s+"
_SPACES = r"\s*[\r\n]+|" + _REST

_GPT2 = _any(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+", _SYMBOLS, _REST)
_LLAMA3 = _any(_CONTRACTIONS, _WORD, _DIGITS, _SYMBOLS + r"[\r\n]*", _SPACES)
_QWEN2 = _any(_CONTRACTIONS, _WORD, _DIGIT, _SYMBOLS + r"[\r\n]*", _SPACES)
_QWEN35 = _any(_CONTRACTIONS, r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", _DIGIT, r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", _SPACES)
_UFAKZEKA = _any(_WORD, _DIGIT, _SYMBOLS + r"[\r\n]*", _SPACES)
_SEED_CODER = _any(_CONTRACTIONS, _WORD, _DIGIT, r" ?[^\s\p{L}\p{N}\r\n]+", _SPACES)
_BAILING = _any(r"'(?i:[sdmt]|ll|ve|re)", _WORD, _DIGIT, _SYMBOLS + r"[\r\n]*", r"\s*[\r\n]", _REST)
# A word goes on over single spaces, so that a token may hold several.
_EXAONE_MOE = _any(
    _CONTRACTIONS,
    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
    _DIGIT,
    _SYMBOLS + r"[\r\n/]?",
    r"\s*[\r\n]",
    _REST,
)
# Behind a space that is no line end, the rest of the run has none either: it would have been taken before.
_JAIS2 = _any(
    _CONTRACTIONS,
    _WORD,
    _DIGITS,
    _SYMBOLS + r"[\r\n]*",
    r"(?<![^\S\r\n])\s*[\r\n]+",
    *(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)),
    r"\s{1,2}(?!\S)|\s",
)


def _cased(but: str = "") -> tuple[str, str]:
    """Return patterns of words whose capitals come first: those that end small, and those of capitals."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}" + but + "]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}" + but + "]"
    return r"[^\r\n\p{L}\p{N}]?" + upper + "*" + lower + "+", r"[^\r\n\p{L}\p{N}]?" + upper + "+" + lower + "*"


def _gpt4o(digits: str, line_ends: str = r"[\r\n/]*", but: str = "") -> str:
    small, capital = _cased(but)
    return _any(small + _CONTRACTIONS + "?", capital + _CONTRACTIONS + "?", digits, _SYMBOLS + line_ends, _SPACES)


_TEKKEN = _any(*_cased(), _DIGIT, _SYMBOLS + r"[\r\n/]*", _SPACES)
_GPT4O = _gpt4o(_DIGITS)
_KIMI_K2 = _any(r"\p{Han}+", _gpt4o(_DIGITS, line_ends=r"[\r\n]*", but=r"&&[^\p{Han}]"))

_PUNCTUATED = _any(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""", r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+")
_DEEPSEEK3 = _any(_PUNCTUATED, r" ?[\p{P}\p{S}]+[\r\n]*", _SPACES)
_SPARK = _any(_PUNCTUATED, r" ?[\p{P}\p{S}]+", r"[\r\n]", _REST)
_CASED_LETTERS = (  # escaped is what an editor might normalize
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼ"
    "ℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_CJK, _CJK_HANGUL = r"[一-龥぀-ゟ゠-ヿ]+", r"[一-龥ࠀ-一가-퟿]+"
_ASIAN = r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+"
_YOUTU = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + _CJK
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

# A run of digits in threes from its end. Published: a look ahead from every digit.
_THREES = r"\A\p{N}{1,3}(?=(?:\p{N}{3})*+\z)|(?<=\p{N})\G\p{N}{3}"
# Published: \d{1,3}(?=(?:\d{3})*\b), which leaves alone what a letter follows.
_WHOLE_NUMBER = r"(?<!\d)\d++\b"


@dataclass(frozen=True)
class PreTokenizer:
    """A pre-tokenizer: patterns applied one after another, and what goes with them.

    `ignore_merges`: a word that is a token as a whole is taken as it is. `add_bos`: the default where a file does not
    say. `byte_level` says how the vocabulary is spelled: bytes printably, or else as SentencePiece does.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    byte_level: bool = True

    def pipeline(self, add_prefix_space: bool = False) -> tokenizers.pre_tokenizers.Sequence:
        """Build the pipeline: cut by each pattern in turn, then spell the bytes printably if they are so spelled."""
        from tokenizers import Regex
        from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

        cuts = [Split(Regex(pattern), behavior="isolated", invert=False) for pattern in self.patterns]
        spelled = [ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)] if self.byte_level else []
        return Sequence([*cuts, *spelled])


GPT2 = PreTokenizer((_GPT2,))
QWEN2 = PreTokenizer((_QWEN2,))
LLAMA3 = PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))
WHOLE = PreTokenizer((), byte_level=False)
"""Merges over the whole text, a space being ▁: Gemma 4."""

_FAMILIES: tuple[tuple[PreTokenizer, str], ...] = (
    (
        GPT2,
        "gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code gigachat roberta-bpe "
        "trillion exaone4 granite-docling a.x-4.0 mellum modern-bert",
    ),
    (LLAMA3, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
    (PreTokenizer((_LLAMA3,)), "dbrx smaug-bpe chatglm-bpe"),
    (PreTokenizer((_LLAMA3,), ignore_merges=True), "glm4 glm5"),
    (PreTokenizer((_DIGITS, _LLAMA3), ignore_merges=True), "minicpm5"),
    (PreTokenizer((_JAIS2,)), "jais-2"),
    (QWEN2, "qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo f2llmv2"),
    (PreTokenizer((_QWEN35,)), "qwen35"),
    (PreTokenizer((_UFAKZEKA,)), "ufakzeka"),
    (PreTokenizer((r"[^\n]+|\n+", _QWEN2)), "laguna"),
    (PreTokenizer((_SEED_CODER,)), "seed-coder"),
    (PreTokenizer((_BAILING,)), "bailingmoe bailingmoe2 llada-moe"),
    (PreTokenizer((_EXAONE_MOE,)), "exaone-moe"),
    (PreTokenizer((_DIGIT, _GPT2)), "starcoder command-r smollm codeshell refact exaone minerva-7b mellum2"),
    (PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")), "falcon"),
    (
        PreTokenizer(
            (
                r"<sentinel:[0-9]+>",
                r"IMGIMG[A-I]{1,4}Z",
                r"[\t\n]|    |  ",
                _DIGIT,
                r"[\p{P}!-/:-@\[-`{-~]",
                _GPT2,
            ),
            add_bos=True,
        ),
        "chameleon",
    ),
    (PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True), "tekken"),
    (PreTokenizer((_GPT4O,)), "gpt-4o llama4 kanana2 talkie minimax-m2"),
    (PreTokenizer((_GPT4O,), ignore_merges=True), "granite-embed-multi-97m"),
    (PreTokenizer((_WHOLE_NUMBER, _THREES, _GPT4O)), "tiny_aya cohere2moe"),
    (PreTokenizer((_KIMI_K2,)), "kimi-k2"),
    (PreTokenizer((_YOUTU, _gpt4o(_DIGIT)), ignore_merges=True), "youtu"),
    (PreTokenizer((_DIGITS, _CJK, _DEEPSEEK3)), "deepseek-v3 hunyuan-dense joyai-llm hy_v4"),
    (PreTokenizer((_DIGITS, _CJK, _SPARK, _DIGIT)), "spark2_5"),
    (PreTokenizer((r"\p{N}+", _THREES, _ASIAN, _DEEPSEEK3)), "afmoe"),
    (
        PreTokenizer(
            (
                r"[\r\n]",
                rf"\s?[{_CASED_LETTERS}]+",
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                r"(?<!\s)\s+\z",
                _CJK_HANGUL,
                r"\p{N}+",
            )
        ),
        "deepseek-llm",
    ),
    (PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_HANGUL, _DIGIT)), "deepseek-coder"),
    (PreTokenizer((_BLOOM,)), "bloom gpt3-finnish poro-chat"),
    (PreTokenizer((_BLOOM, _DIGIT)), "viking"),
    (PreTokenizer((r"\p{N}+", _THREES)), "superbpe"),
    (WHOLE, "gemma4 sarvam-moe granite-embed-multi-311m"),
    (DEFAULT, "default"),
)
BY_NAME = {name: family for family, names in _FAMILIES for name in names.split()}
