"""SentencePiece's tokenizer.model, rebuilt as the equivalent `tokenizers` pipeline.

The file lists pieces with scores. A BPE model's merges are implied: any two pieces whose concatenation is a piece
merge, the best piece first. How spaces are marked is the class's business, not the file's:

    Llama (and any BPE model of no known class)   Metaspace: ▁ for a space and one before the text ("legacy": and
                                                  before each stretch after a special token)
    Gemma                                         ▁ for a space, none before the text
    Unigram                                       as SentencePiece itself: charsmap, spaces squeezed, one ▁ before

Source: sentencepiece_model.proto; transformers 5.23's LlamaTokenizer and GemmaTokenizer, whose ids these equal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.errors import TextError
from nearlight.package.package import NORMAL, TokenizerFiles
from nearlight.text.files import read_bytes
from nearlight.text.hf_settings import (
    added_token,
    declared_added_tokens,
    ends_around,
    ids_of_named,
    named_tokens,
    undeclared_special_tokens,
    wants,
)
from nearlight.text.protobuf import Value, WireError, fields, signed32
from nearlight.text.spelling import SENTENCEPIECE, SENTENCEPIECE_PREFIXED, SPACE
from nearlight.text.tokenizer import BuiltTokenizer, errors_as_text

if TYPE_CHECKING:
    import tokenizers

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
_UNIGRAM, _BPE = 1, 2
_SPECIAL_IDS = {40: "unk_token", 41: "bos_token", 42: "eos_token", 43: "pad_token"}


@dataclass
class SentencePieceModel:
    """What of a SentencePiece file matters for encoding; the defaults are the format's own."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    model_type: int = _UNIGRAM
    byte_fallback: bool = False
    special_ids: dict[str, int] = field(
        default_factory=lambda: {"unk_token": 0, "bos_token": 1, "eos_token": 2, "pad_token": -1}
    )
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a tokenizer.model file.

    Raises: TextError naming the file and what is wrong with it.
    """
    model, content = SentencePieceModel(), read_bytes(path)
    try:
        for number, value in fields(content):
            if number == 1:
                model.pieces.append(_piece(value))
            elif number == 2:
                _read_trainer(model, value)
            elif number == 3:
                _read_normalizer(model, value)
    except (WireError, UnicodeDecodeError) as error:
        raise TextError("is not a SentencePiece model", where=path, found=error) from None
    if not model.pieces:
        raise TextError("is not a SentencePiece model", where=path, expected="pieces", found="none")
    if model.model_type not in (_UNIGRAM, _BPE):
        raise TextError("model type", where=path, expected="1 (unigram) or 2 (BPE)", found=model.model_type)
    return model


def _message(value: Value) -> Iterable[tuple[int, Value]]:
    if not isinstance(value, bytes):
        raise WireError(f"expected a message, found {type(value).__name__}")
    return fields(value)


def _piece(value: Value) -> tuple[str, float, int]:
    text, score, kind = "", 0.0, NORMAL
    for number, item in _message(value):
        if number == 1 and isinstance(item, bytes):
            text = item.decode("utf-8")
        elif number == 2 and isinstance(item, float):
            score = item
        elif number == 3:
            kind = signed32(item)
    return text, score, kind


def _read_trainer(model: SentencePieceModel, value: Value) -> None:
    for number, item in _message(value):
        if number == 3:
            model.model_type = signed32(item)
        elif number == 35:
            model.byte_fallback = bool(item)
        elif number in _SPECIAL_IDS:
            model.special_ids[_SPECIAL_IDS[number]] = signed32(item)


def _read_normalizer(model: SentencePieceModel, value: Value) -> None:
    for number, item in _message(value):
        if number == 2 and isinstance(item, bytes):
            model.charsmap = item
        elif number == 3:
            model.add_dummy_prefix = bool(item)
        elif number == 4:
            model.remove_extra_whitespaces = bool(item)


def merges_of(vocab: Mapping[str, int], best_first: Iterable[str]) -> list[tuple[str, str]]:
    """List the merges a vocabulary implies: every split of each piece into two pieces, best piece first.

    Only where pieces of both lengths exist is a piece cut: one of a million letters, cut at each, would take minutes.
    """
    lengths = {len(piece) for piece in vocab}
    cuts = sorted(lengths - {0})
    return [
        (piece[:cut], piece[cut:])
        for piece in best_first
        for cut in cuts[: bisect_left(cuts, len(piece))]
        if len(piece) - cut in lengths and piece[:cut] in vocab and piece[cut:] in vocab
    ]


def build_from_sentencepiece(files: TokenizerFiles, special_tokens: Mapping[str, str]) -> BuiltTokenizer:
    """Build the pipeline for a directory's tokenizer.model.

    Raises: TextError naming the file and what is wrong with it.
    """
    path = files.directory / "tokenizer.model"
    model = read_sentencepiece(path)
    settings = files.settings
    pieces = {name: model.pieces[id][0] for name, id in model.special_ids.items() if 0 <= id < len(model.pieces)}
    named = pieces | named_tokens(settings, special_tokens)
    prefix = wants(settings, "add_prefix_space", model.add_dummy_prefix)
    warnings: list[str] = []

    with errors_as_text("cannot be built", where=path):
        if model.model_type == _UNIGRAM:
            backend = _unigram(model, prefix)
        elif str(settings.get("tokenizer_class", "")).startswith("Gemma"):
            backend, prefix = _gemma(model, named.get("unk_token")), False
        else:
            backend = _llama(model, prefix, legacy=wants(settings, "legacy", False))
            if model.charsmap:
                warnings.append(f"{path.name} has a character map that this tokenizer class does not apply")
        backend.add_tokens(
            [
                added_token(text, normalized=False, special=kind == CONTROL)
                for text, _, kind in model.pieces
                if kind in (CONTROL, USER_DEFINED)
            ]
        )
        for id, token in sorted(declared_added_tokens(files, named).items()):
            backend.add_tokens([token])
            if backend.token_to_id(token.content) != id:
                warnings.append(f"added token {token.content!r} is declared as id {id}; {path.name} puts it elsewhere")
        backend.add_special_tokens(undeclared_special_tokens(settings, named))

    special = ids_of_named(backend, named)
    before, after = ends_around(settings, special)
    return BuiltTokenizer(
        backend=backend,
        spelling=SENTENCEPIECE_PREFIXED if prefix else SENTENCEPIECE,
        n_tokens=len(model.pieces),
        special=special,
        token_text=lambda id: model.pieces[id][0] if id < len(model.pieces) else None,
        prefix_ids=before,
        suffix_ids=after,
        warnings=tuple(warnings),
    )


def _bpe(model: SentencePieceModel, **options: Any) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    vocab = {text: id for id, (text, _, _) in enumerate(model.pieces)}
    return Tokenizer(BPE(vocab=vocab, merges=merges_of(vocab, vocab), fuse_unk=True, byte_fallback=True, **options))


def _llama(model: SentencePieceModel, prefix: bool, *, legacy: bool) -> tokenizers.Tokenizer:
    from tokenizers.pre_tokenizers import Metaspace

    backend = _bpe(model)
    scheme = ("always" if legacy else "first") if prefix else "never"
    backend.pre_tokenizer = Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    return backend


def _gemma(model: SentencePieceModel, unk_token: str | None) -> tokenizers.Tokenizer:
    from tokenizers import normalizers, pre_tokenizers

    backend = _bpe(model, **({"unk_token": unk_token} if unk_token else {}))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return backend


def _unigram(model: SentencePieceModel, prefix: bool) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, normalizers
    from tokenizers.models import Unigram

    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if prefix:
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    vocab = [(text, score) for text, score, _ in model.pieces]
    backend = Tokenizer(Unigram(vocab, unk_id=model.special_ids["unk_token"], byte_fallback=model.byte_fallback))
    backend.normalizer = normalizers.Sequence(steps)
    return backend
