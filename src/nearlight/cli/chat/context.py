"""What a chat does about a context that is full: it says so with figures, and drops the oldest turns when asked.

Dropped turns are gone from the prompt's beginning, so all behind them is computed anew. That is why making room by
itself goes down to half of the context: it then happens once in many turns, not at each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from nearlight.cli.chat.dialogue import Dialogue
from nearlight.errors import RequestError
from nearlight.terminal.tty import printable

OFFERS = "/trim drops the oldest turns, /undo takes the last one back, /clear begins anew"


def room_for_an_answer(context: int, max_tokens: int | None, *, was_cut: bool) -> int:
    """Return the tokens an answer should have at least; more where the one before `was_cut` by the context."""
    return min(max_tokens or context, context // (2 if was_cut else 4))


def make_room(dialogue: Dialogue, context: int, text: str | None, room: int) -> str:
    """Drop the oldest turns if `text` (None: what was said last) would leave an answer less room; say what was
    dropped.

    Units: `context` and `room` count tokens.
    """
    before = dialogue.prompt_tokens(text)
    n_turns = dialogue.n_turns - (text is None)
    if before + room <= context or dialogue.prompt_tokens(text, without=n_turns) > context:
        return ""
    kept = context // 2
    n_dropped = bisect_left(range(n_turns), True, key=lambda n: dialogue.prompt_tokens(text, without=n) <= kept)
    dropped = dialogue.trim(n_dropped)
    return dropped_text(dropped, before - dialogue.prompt_tokens(text)) if dropped else ""


def dropped_text(typed: Sequence[str], n_tokens: int | None = None) -> str:
    """Say which turns were dropped, by the first words of each."""
    which = "the oldest turn" if len(typed) == 1 else f"the oldest {len(typed)} turns"
    which += f", {n_tokens} tokens" if n_tokens else ""
    named = ", ".join(f'"{beginning(text)}"' for text in typed[:3])
    more = f" and {len(typed) - 3} more" if len(typed) > 3 else ""
    return f"dropped {which}: {named}{more}"


def beginning(text: str) -> str:
    """Return the first words of a text, in one line."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= 30 else line[:29].rstrip() + "…"


def too_long(dialogue: Dialogue, context: int, text: str | None) -> RequestError | None:
    """Say with figures that `text` (None: what was said last) does not fit; None where it does."""
    n_tokens = dialogue.prompt_tokens(text)
    if n_tokens <= context:
        return None
    alone = dialogue.prompt_tokens(text, without=dialogue.n_turns - (text is None))
    if alone > context:
        return RequestError(
            f"this message alone takes {alone} tokens, and the context holds {context}",
            advice="Up brings it back, to be shortened",
        )
    return RequestError(
        f"the chat with this message takes {n_tokens} tokens, and the context holds {context}",
        advice=f"{OFFERS}; Up brings the message back",
    )
