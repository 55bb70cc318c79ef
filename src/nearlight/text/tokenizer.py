"""Text to token ids and back, whatever files the tokenizer came in.

One file per layout builds a `tokenizers` pipeline; this class is what the rest of nearlight sees of it. Encoding is
the library's. Decoding is our own, from each token's exact bytes, because an answer is decoded token by token and must
read the same streamed or whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearlight.errors import RequestError, TextError, UnsupportedError
from nearlight.package.package import Package, TokenizerFiles, TokenizerTables
from nearlight.package.special_tokens import END_TEXTS, true_ends
from nearlight.text.spelling import LITERAL, Spelling, literal_bytes, well_formed

if TYPE_CHECKING:
    import tokenizers

    from nearlight.text.lazy_bpe import LazyBPE


@dataclass(frozen=True)
class BuiltTokenizer:
    """What a layout's builder hands over: the pipeline, and what it knows beyond it.

    `prefix_ids` and `suffix_ids` are put around a text (BOS, EOS) where the pipeline does not do it itself; `special`
    maps "bos_token", "eos_token", … to ids; `end_ids` are ids the package itself says end a text. `token_text` and
    `ids_of` look tokens up where the pipeline is not the one to ask. `warnings` may be a function where finding them
    out takes long.
    """

    backend: tokenizers.Tokenizer | LazyBPE
    spelling: Spelling
    n_tokens: int
    special: Mapping[str, int]
    token_text: Callable[[int], str | None] | None = None
    ids_of: Callable[[Collection[str]], dict[str, int]] | None = None
    special_ids: frozenset[int] = frozenset()
    end_ids: frozenset[int] = frozenset()
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    warnings: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()


class Tokenizer:
    """Encodes text to ids and decodes ids to text.

    `special_ids` are tokens that are not part of a text (BOS, `<|im_end|>`): decoding leaves them out unless asked.
    `stop_ids` end an answer; `stop_ids_of` joins them with the package's. `warnings` are for a person to read.
    """

    def __init__(self, built: BuiltTokenizer) -> None:
        self._backend = built.backend
        self._spelling = built.spelling
        self._prefix_ids = list(built.prefix_ids)
        self._suffix_ids = list(built.suffix_ids)
        self._token_text = built.token_text or built.backend.id_to_token
        self._ids_of = built.ids_of or self._ids_one_by_one
        self._bytes: dict[int, bytes] = {}
        added = built.backend.get_added_tokens_decoder()
        self._added = {int(id): token.content for id, token in added.items()}
        self.n_tokens = max(built.n_tokens, 1 + max(self._added, default=-1))
        self.special: dict[str, int] = dict(built.special)
        marked = {int(id) for id, token in added.items() if token.special}
        self.special_ids = built.special_ids | marked | set(self.special.values())
        eos = {self.special["eos_token"]} if "eos_token" in self.special else set()
        texts = {id: self._token_text(id) or "" for id in self.special_ids | eos | built.end_ids}
        named = eos | built.end_ids
        self.stop_ids = true_ends({id: text for id, text in texts.items() if id in named or text in END_TEXTS})
        self._warnings = built.warnings

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings() if callable(self._warnings) else self._warnings

    @property
    def bos_id(self) -> int | None:
        return self.special.get("bos_token")

    @property
    def eos_id(self) -> int | None:
        return self.special.get("eos_token")

    @property
    def pad_id(self) -> int | None:
        return self.special.get("pad_token")

    @property
    def unk_id(self) -> int | None:
        return self.special.get("unk_token")

    @property
    def strips_leading_space(self) -> bool:
        """Whether decoding from the start of a text drops one leading space (SentencePiece's dummy prefix)."""
        return self._spelling.strips_leading_space

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Turn text into ids, with BOS and EOS around it as the package says if `special`.

        Special tokens written out in the text become their ids either way. The output of a chat template is encoded
        with `special=False`: templates write BOS themselves.
        """
        ids: list[int] = self._guarded(well_formed(text), special)
        return self._prefix_ids + ids + self._suffix_ids if special else ids

    def encode_continuation(self, text: str) -> list[int]:
        """Turn text that follows other text into ids: as `encode(special=False)`, without a dummy leading space."""
        if not self._spelling.strips_leading_space:
            return self.encode(text, special=False)
        # A newline in front takes the space the pipeline adds, and merges with nothing; then it is cut off again.
        anchor = "\n"
        anchor_ids, ids = self.encode(anchor, special=False), self.encode(anchor + text, special=False)
        kept = len(anchor_ids)
        return ids[kept:] if ids[:kept] == anchor_ids else self.encode(text, special=False)

    def _guarded(self, text: str, special: bool) -> list[int]:
        with errors_as_text("the tokenizer cannot encode this text"):
            ids: list[int] = self._backend.encode(text, add_special_tokens=special).ids
            return ids

    def decode(self, ids: Iterable[int], *, special: bool = False, continues: bool = False) -> str:
        """Turn ids into text; special tokens are left out unless `special`.

        `continues`: the ids follow other text, so SentencePiece's leading space stays. Bytes that are no UTF-8 become
        U+FFFD.
        Raises: RequestError for an id outside the vocabulary.
        """
        whole = b"".join(self.token_bytes(id) for id in ids if special or id not in self.special_ids)
        if self._spelling.strips_leading_space and not continues:
            whole = whole.removeprefix(b" ")
        return whole.decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """Return the exact bytes a token stands for; a special token's are its own name.

        Raises: RequestError for an id outside the vocabulary.
        """
        found = self._bytes.get(id)
        if found is None:
            found = self._bytes[id] = self._spelled(id)
        return found

    def _spelled(self, id: int) -> bytes:
        if not 0 <= id < self.n_tokens:
            raise RequestError("token id", expected=f"0 to {self.n_tokens - 1}", found=id)
        if id in self._added:
            text = self._added[id]
            return self._spelling.to_bytes(text) if self._spelling.marks_spaces else literal_bytes(text)
        text_or_none = self._token_text(id)
        return b"" if text_or_none is None else self._spelling.to_bytes(text_or_none)

    def token_text(self, id: int) -> str:
        """Return a token as a person may read it in a table: its text, with what is no UTF-8 replaced."""
        return self.token_bytes(id).decode("utf-8", errors="replace")

    def id_of(self, text: str) -> int | None:
        """Return the id of the token spelled exactly `text` in the vocabulary, or None."""
        return self.ids_of({text}).get(text)

    def ids_of(self, texts: Collection[str]) -> dict[str, int]:
        """Return the ids of those texts that are tokens, spelled exactly so; a large vocabulary is searched once."""
        spelled = {well_formed(text): text for text in texts}
        return {spelled[text]: id for text, id in self._ids_of(spelled).items()}

    def _ids_one_by_one(self, texts: Collection[str]) -> dict[str, int]:
        return {text: id for text in texts if (id := self._backend.token_to_id(text)) is not None}


def build_tokenizer(
    description: TokenizerFiles | TokenizerTables | None, special_tokens: Mapping[str, str] | None = None
) -> Tokenizer | None:
    """Build the tokenizer a package describes, or None where it has none (ids in, logits out still works).

    `special_tokens` maps "bos_token", … to their text, as `Package.special_tokens` does.
    Raises: TextError for a malformed tokenizer; UnsupportedError for one of an unknown kind.
    """
    named = dict(special_tokens or {})
    built: BuiltTokenizer | None
    if description is None:
        return None
    if isinstance(description, TokenizerTables):
        from nearlight.text.gguf_tables import build_from_tables

        built = build_from_tables(description)
    elif description.layout == "tokenizer.json":
        from nearlight.text.tokenizer_json import build_from_tokenizer_json

        built = build_from_tokenizer_json(description, named)
    elif description.layout == "vocab+merges":
        from nearlight.text.vocab_merges import build_from_vocab_merges

        built = build_from_vocab_merges(description, named)
    elif description.layout == "sentencepiece":
        from nearlight.text.sentencepiece import build_from_sentencepiece

        built = build_from_sentencepiece(description, named)
    else:
        raise UnsupportedError(
            "tokenizer layout",
            where=description.directory,
            expected="tokenizer.json, vocab+merges or sentencepiece",
            found=description.layout,
        )
    return None if built is None else Tokenizer(built)


def stop_ids_of(package: Package, tokenizer: Tokenizer | None) -> frozenset[int]:
    """Return the ids that end an answer: those the package names, and those the tokenizer knows."""
    named = frozenset[int](package.generation.get("eos_token_id", ()))
    return named | tokenizer.stop_ids if tokenizer else named


class errors_as_text:  # noqa: N801  (a context manager, read as a verb phrase)
    """Turn whatever `tokenizers` throws, a Rust panic included, into one TextError."""

    def __init__(self, what: str, where: object = None) -> None:
        self.what, self.where = what, where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        # A panic arrives as pyo3's PanicException, which is a BaseException: `except Exception` would miss it.
        if kind is None or error is None or isinstance(error, TextError):
            return
        if isinstance(error, Exception) or kind.__name__ == "PanicException":
            raise TextError(self.what, where=self.where, found=str(error)[:200] or kind.__name__) from None


__all__ = ["LITERAL", "BuiltTokenizer", "Tokenizer", "build_tokenizer", "errors_as_text", "well_formed"]
