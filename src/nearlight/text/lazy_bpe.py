"""A BPE that is built only as far as a text needs it, until it is needed often.

Building one of 150,000 tokens takes half a second, longer than a small model takes to read its weights and answer. But
a text of a few lines can only ever meet the tokens whose spelling occurs in it: merging joins neighbours, so whatever
it makes is a piece of the text. A BPE of those tokens and the merges among them, in their order, gives the same ids.
Long texts, and many of them, are worth the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from nearlight.package.string_table import find
from nearlight.text.sentencepiece import merges_of

if TYPE_CHECKING:
    import tokenizers

LEAST_TOKENS = 20_000
"""A smaller vocabulary is built whole."""
LONGEST_TEXT, MOST_TEXTS = 4_000, 16

Build: TypeAlias = Callable[[dict[str, int], Sequence[str]], "tokenizers.Tokenizer"]
"""Makes a pipeline of a vocabulary and its merges, each written as two tokens with a space between."""


class LazyBPE:
    """Stands for the pipeline that `build` would make of all tokens.

    `always` are texts every part must know. `spell` writes a text as the vocabulary is written.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        merges: Sequence[str],
        always: Sequence[str],
        build: Build,
        spell: Callable[[str], str],
    ) -> None:
        self._tokens, self._merges, self._build = tokens, merges, build
        self._always = self.ids_of(frozenset(always))
        self._spell = spell
        self._n_texts = 0
        self._whole: tokenizers.Tokenizer | None = None

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        self._n_texts += 1
        if self._whole is None and len(text) <= LONGEST_TEXT and self._n_texts <= MOST_TEXTS:
            return self._part(text).encode(text, add_special_tokens=add_special_tokens)
        return self.whole().encode(text, add_special_tokens=add_special_tokens)

    def token_to_id(self, text: str) -> int | None:
        return self.ids_of({text}).get(text)

    def ids_of(self, texts: Collection[str]) -> dict[str, int]:
        """Return the ids of those texts that are tokens; of two ids with one text the last counts, as in llama.cpp."""
        return {self._tokens[id]: id for id in find(self._tokens, texts)}

    def id_to_token(self, id: int) -> str | None:
        return self._tokens[id] if 0 <= id < len(self._tokens) else None

    def get_added_tokens_decoder(self) -> Any:
        return self._build(self._always, []).get_added_tokens_decoder()

    def whole(self) -> tokenizers.Tokenizer:
        """Return the pipeline of all tokens, building it if that was not done yet."""
        if self._whole is None:
            self._whole = self._build({text: id for id, text in enumerate(self._tokens)}, self._merges)
        return self._whole

    def _part(self, text: str) -> tokenizers.Tokenizer:
        spelled = self._spell(text)
        vocab = self._always | self._tokens_in(spelled)
        possible = {f"{left} {right}" for left, right in merges_of(vocab, vocab)}
        return self._build(vocab, [self._merges[number] for number in find(self._merges, possible)])

    def _tokens_in(self, spelled: str) -> dict[str, int]:
        """Find the tokens that occur in a text: by its pieces, or token by token, whichever takes less."""
        n = len(spelled)
        if n * n > len(self._tokens):
            return {token: id for id, token in enumerate(self._tokens) if token in spelled}
        return self.ids_of({spelled[start:end] for start in range(n) for end in range(start + 1, n + 1)})
