"""A GGUF file's tokenizer tables, rebuilt as the equivalent `tokenizers` pipeline.

Kinds: "gpt2" (BPE with merges and a named pre-tokenizer, which also says how bytes are spelled), "gemma4" (the same
without a name) and "llama" (SentencePiece pieces with scores). Control, unknown and user-defined tokens are found in a
text before anything else, the longest first.

Source: the `tokenizer.ggml.*` keys as llama.cpp reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nearlight.errors import TextError, UnsupportedError
from nearlight.package.package import NORMAL, TokenizerTables
from nearlight.package.special_tokens import GGUF_END_KEYS, GGUF_KEYS, SENTENCEPIECE_IDS
from nearlight.text.hf_settings import added_token, wants
from nearlight.text.lazy_bpe import LEAST_TOKENS, LazyBPE
from nearlight.text.pre_tokenizers import BY_NAME, DEFAULT
from nearlight.text.sentencepiece import BYTE, CONTROL, UNKNOWN, UNUSED, USER_DEFINED, merges_of
from nearlight.text.spelling import (
    BYTE_LEVEL,
    SENTENCEPIECE,
    SENTENCEPIECE_PREFIXED,
    SPACE,
    byte_tokens,
    printable_bytes,
    spell_bytes,
    spell_spaces,
)
from nearlight.text.tokenizer import BuiltTokenizer, errors_as_text

if TYPE_CHECKING:
    import tokenizers

_WHERE = "tokenizer.ggml"
_DEFAULT_IDS = {
    "gpt2": {"bos_token": 11, "eos_token": 11},
    "gemma4": {},
    "llama": SENTENCEPIECE_IDS,
}


def build_from_tables(tables: TokenizerTables) -> BuiltTokenizer | None:
    """Build the pipeline the tables describe, or None where the file says there is no tokenizer.

    Raises: TextError for tables that contradict each other; UnsupportedError for another kind.
    """
    if tables.kind in ("none", "no_vocab", ""):
        return None
    if tables.kind not in _DEFAULT_IDS:
        raise UnsupportedError(
            "kind of tokenizer", where=f"{_WHERE}.model", expected="gpt2, gemma4, llama or none", found=tables.kind
        )
    _check(tables)
    return _sentencepiece(tables) if tables.kind == "llama" else _bpe(tables)


def _check(tables: TokenizerTables) -> None:
    n = len(tables.tokens)
    if n == 0:
        raise TextError("token list", where=f"{_WHERE}.tokens", expected="one text per id", found="an empty list")
    for name, table in (("scores", tables.scores), ("token_type", tables.token_types)):
        if table and len(table) != n:
            raise TextError("length", where=f"{_WHERE}.{name}", expected=f"{n}, as many as tokens", found=len(table))
    for key in {*GGUF_KEYS.values(), *GGUF_END_KEYS}:
        id = tables.settings.get(key)
        valid = type(id) is int and (-1 <= id < n or id == 0xFFFFFFFF)
        if id is not None and not valid:
            raise TextError("token id", where=f"{_WHERE}.{key}", expected=f"0 to {n - 1}", found=repr(id))


def _special_ids(tables: TokenizerTables) -> dict[str, int]:
    """Return the special tokens' ids, with llama.cpp's defaults where those are tokens of that sort.

    A default is a guess: in a vocabulary of another make, id 11 may well be the comma.
    """
    types = _types(tables)
    ids = {role: tables.settings.get(key) for role, key in GGUF_KEYS.items()}
    for role, id in _DEFAULT_IDS[tables.kind].items():
        if ids[role] is None and id < len(types) and types[id] in (CONTROL, UNKNOWN):
            ids[role] = id
    # -1 and 2**32 - 1 are how writers say "none".
    return {role: int(id) for role, id in ids.items() if id is not None and 0 <= id < len(tables.tokens)}


def _vocabulary(tables: TokenizerTables) -> tuple[dict[str, int], list[str]]:
    """Map texts to ids; of two ids with one text the last wins, as in llama.cpp."""
    vocab = {text: id for id, text in enumerate(tables.tokens)}
    twice = len(tables.tokens) - len(vocab)
    warning = f"{twice} tokens repeat another token's text; encoding never gives them"
    return vocab, [warning] if twice else []


def _types(tables: TokenizerTables) -> list[int]:
    return tables.token_types or [NORMAL] * len(tables.tokens)


def _added_tokens(tables: TokenizerTables) -> list[tokenizers.AddedToken]:
    """List the tokens that are found in a text before anything is cut."""
    return [
        added_token(tables.tokens[id], normalized=False, special=kind != USER_DEFINED)
        for id, kind in tables.marked.items()
        if kind in (CONTROL, UNKNOWN, USER_DEFINED) and tables.tokens[id]
    ]


def _finish(
    tables: TokenizerTables, backend: tokenizers.Tokenizer | LazyBPE, add_bos: bool, **known: Any
) -> BuiltTokenizer:
    special = _special_ids(tables)
    bos, eos = special.get("bos_token"), special.get("eos_token")
    starts = bos is not None and wants(tables.settings, "add_bos_token", add_bos)
    ends = eos is not None and wants(tables.settings, "add_eos_token", False)
    given = [tables.settings.get(key) for key in GGUF_END_KEYS]
    return BuiltTokenizer(
        backend=backend,
        n_tokens=len(tables.tokens),
        special=special,
        token_text=lambda id: tables.tokens[id] if id < len(tables.tokens) else None,
        special_ids=frozenset(id for id, kind in tables.marked.items() if kind in (CONTROL, UNKNOWN)),
        end_ids=frozenset(id for id in given if id is not None and 0 <= id < len(tables.tokens)),
        prefix_ids=(bos,) if starts and bos is not None else (),
        suffix_ids=(eos,) if ends and eos is not None else (),
        **known,
    )


def _bpe(tables: TokenizerTables) -> BuiltTokenizer:
    from tokenizers import Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    name = "gemma4" if tables.kind == "gemma4" else str(tables.settings.get("pre", "default"))
    pre_tokenizer = BY_NAME.get(name, DEFAULT)
    byte_level = pre_tokenizer.byte_level

    def build(vocab: dict[str, int], merges: Sequence[str]) -> Tokenizer:
        with errors_as_text("tables cannot be built", where=_WHERE):
            pairs = [pair for number, merge in enumerate(merges) if _is_known(pair := _pair(merge, number), vocab)]
            ignores = pre_tokenizer.ignore_merges
            backend = Tokenizer(BPE(vocab=vocab, merges=pairs, ignore_merges=ignores, byte_fallback=not byte_level))
            backend.pre_tokenizer = pre_tokenizer.pipeline()
            if byte_level:
                backend.decoder = decoders.ByteLevel()
            else:
                backend.normalizer = normalizers.Replace(" ", SPACE)
            backend.add_tokens(added)
            return backend

    added = _added_tokens(tables)
    always = [token.content for token in added]
    if not byte_level:
        always += byte_tokens()
    spelling = BYTE_LEVEL if byte_level else SENTENCEPIECE
    lazy = LazyBPE(tables.tokens, tables.merges, always, build, spell_bytes if byte_level else spell_spaces)
    backend = lazy if len(tables.tokens) >= LEAST_TOKENS else lazy.whole()
    add_bos = pre_tokenizer.add_bos
    return _finish(
        tables,
        backend,
        add_bos,
        spelling=spelling,
        ids_of=lazy.ids_of,
        warnings=lambda: _bpe_warnings(tables, name),
    )


def _bpe_warnings(tables: TokenizerTables, name: str) -> tuple[str, ...]:
    vocab, warnings = _vocabulary(tables)
    if name == "default" or name not in BY_NAME:
        said = "names no pre-tokenizer" if name == "default" else f"names the pre-tokenizer {name!r}, which is unknown"
        warnings.append(f"the file {said}; a general one is used, and token ids may differ from the model's training")
    unknown = sum(not _is_known(_pair(merge, number), vocab) for number, merge in enumerate(tables.merges))
    if unknown:
        warnings.append(f"{unknown} of {len(tables.merges)} merges name tokens that do not exist; left out")
    byte_level = BY_NAME.get(name, DEFAULT).byte_level
    spelled = printable_bytes() if byte_level else byte_tokens()
    missing = 256 - sum(byte in vocab for byte in spelled)
    if missing:
        warnings.append(f"{missing} of 256 bytes have no token; text with those bytes loses them")
    return tuple(warnings)


def _pair(merge: str, number: int) -> tuple[str, str]:
    # The separator is the first space after the first character: a token may itself begin with one.
    cut = merge.find(" ", 1)
    if cut < 0 or cut + 1 == len(merge):
        raise TextError(
            f"merge {number}", where=f"{_WHERE}.merges", expected="two tokens with a space between", found=repr(merge)
        )
    return merge[:cut], merge[cut + 1 :]


def _is_known(pair: tuple[str, str], vocab: Mapping[str, int]) -> bool:
    left, right = pair
    return left in vocab and right in vocab and left + right in vocab


def _sentencepiece(tables: TokenizerTables) -> BuiltTokenizer:
    from tokenizers import Tokenizer, normalizers
    from tokenizers.models import BPE

    if len(tables.scores) != len(tables.tokens):
        raise TextError(
            "length",
            where=f"{_WHERE}.scores",
            expected=f"{len(tables.tokens)}, one per token",
            found=len(tables.scores),
        )
    vocab, warnings = _vocabulary(tables)
    types, unk = _types(tables), _special_ids(tables).get("unk_token")
    prefix = wants(tables.settings, "add_space_prefix", True)
    with errors_as_text("tables cannot be built", where=_WHERE):
        backend = Tokenizer(
            BPE(
                vocab=vocab,
                merges=merges_of(vocab, _best_first(tables, types, vocab)),
                fuse_unk=False,
                byte_fallback=True,
                **({} if unk is None else {"unk_token": tables.tokens[unk]}),
            )
        )
        backend.add_tokens(_added_tokens(tables))
        steps = [normalizers.Prepend(SPACE)] if prefix else []
        backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
        spelling = SENTENCEPIECE_PREFIXED if prefix else SENTENCEPIECE
        return _finish(tables, backend, True, spelling=spelling, warnings=tuple(warnings))


def _best_first(tables: TokenizerTables, types: list[int], vocab: Mapping[str, int]) -> list[str]:
    """List the pieces that merging may make, by falling score; equal scores keep the order of their ids."""
    for id, score in enumerate(tables.scores):
        if score != score:
            raise TextError(f"score of token {id}", where=f"{_WHERE}.scores", expected="a number", found="NaN")
    makeable = [id for id in vocab.values() if types[id] not in (CONTROL, UNKNOWN, UNUSED, BYTE)]
    return [tables.tokens[id] for id in sorted(makeable, key=lambda id: (-tables.scores[id], id))]
