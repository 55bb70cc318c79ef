"""What the words of `run` are, and the prompt that is put together from them, files, and what is piped in.

A text with a space in it is a prompt; a word without is a model, and where there is no such model it is refused, since
a mistyped name would otherwise be completed by the embedded one. `-m` and `-p` leave nothing to guess.

Files come first, then what is piped in, then what was typed, with an empty line between them, as ollama and llm have
it: first the text, then what to do with it. `-` puts stdin where it stands. Beside a typed prompt stdin is only read
where it can hold a text: a pipe, a socket or a file, not a terminal or /dev/null. A pipe may be inherited from a server
whose other end never writes and never closes; so where nobody watches who could end it, the wait for its first byte is
limited, and giving up is told.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nearlight.cli.names import EMBEDDED, looks_like_model
from nearlight.errors import RequestError
from nearlight.terminal import tty
from nearlight.terminal.wrapping import say

STDIN = "-"
PATIENCE_S = 5.0
"""How long the first byte of a pipe is waited for where nobody watches; a person is told after `NOTICE_S`."""
NOTICE_S = 1.0


# -- which word is what ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """What the words of a `run` command were taken to be.

    `stdin_at` says where `-` stood: "before" or "after" the prompt, None for nowhere. `advice` is for a model that
    turns out to be none.
    """

    model: str | None
    prompt: str | None
    stdin_at: str | None = None
    advice: str | None = None


def sort_words(words: Sequence[str], model: str | None = None, prompt: str | None = None) -> Words:
    """Tell model and prompt apart; `model` and `prompt` are what the flags gave.

    Raises: RequestError where words are left over, or one of the two is given twice.
    """
    rest = [word for word in words if word != STDIN]
    stdin_at = ("after" if words[-1] == STDIN else "before") if len(rest) < len(words) else None
    advice = None
    if rest and model is None and (len(rest) > 1 or prompt is not None or _is_model(rest[0])):
        model = rest.pop(0)
        if prompt is None and not looks_like_model(model):
            quoted = shlex.quote(" ".join((model, *rest))[:60])
            advice = f"as a prompt for {EMBEDDED}: nearlight run -p {quoted}"
    if rest and prompt is None:
        prompt = rest.pop(0)
    if rest:
        shown = " ".join(rest)[:40]
        raise RequestError("too many words", found=repr(shown), advice='put quotes around the prompt: run MODEL "…"')
    return Words(model, prompt, stdin_at, advice)


def _is_model(word: str) -> bool:
    """Whether a single word is meant as a model: one without a space, or what can only be a path."""
    return bool(word) and (not re.search(r"\s", word) or looks_like_model(word))


# -- the prompt --------------------------------------------------------------------------------------------------------


def compose(words: Words, files: Sequence[str] = ()) -> str:
    """Put the prompt together. Raises: RequestError where there is none, or what is read is no text."""
    texts = [read_file(name) for name in files if name != STDIN]
    outright = words.stdin_at is not None or STDIN in files or (words.prompt is None and not texts)
    piped = read_stdin() if outright else piped_text()
    typed = words.prompt or ""
    parts = [*texts, typed, piped] if words.stdin_at == "after" else [*texts, piped, typed]
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt.strip():
        raise RequestError("the prompt is empty", advice="give some text; without any, a terminal gets a chat")
    return prompt


def read_file(name: str) -> str:
    """Read a file's text. Raises: RequestError where it cannot be read, or is no text."""
    try:
        data = Path(name).expanduser().read_bytes()
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", where=name) from None
    except (RuntimeError, ValueError) as error:  # no such user, a null character
        raise RequestError(f"cannot be read ({error})", where=name) from None
    _refuse_binary(data, name)
    try:
        return _without_last_line_end(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        found, advice = f"another byte at {error.start}", "`iconv -t UTF-8` converts it"
        raise RequestError("not a text", where=name, expected="UTF-8", found=found, advice=advice) from None


def read_stdin() -> str:
    """Read all of stdin as text, however long it takes."""
    try:
        data = sys.stdin.buffer.read()
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror or error})", where="stdin") from None
    _refuse_binary(data, "stdin")
    text = data.decode("utf-8", errors="replace")
    if len(text.encode()) != len(data):
        say("nearlight: what was piped in is not all UTF-8; the other bytes were replaced")
    return _without_last_line_end(text)


def piped_text() -> str:
    """Read what is piped in beside a prompt; empty where nothing is."""
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):  # closed
        return ""
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    if stat.S_ISREG(mode) or (waits and something_comes(descriptor)):
        return read_stdin()
    return ""


def something_comes(descriptor: int) -> bool:
    """Wait for a pipe's first byte, or its end; say whether to read it."""
    watched = tty.is_terminal(sys.stderr)
    if select.select([descriptor], [], [], NOTICE_S if watched else PATIENCE_S)[0]:
        return True
    if watched:
        note = "waiting for what is piped in (`< /dev/null` does without)"
        say(note, tty.DIM)
        return True
    advice = "`-` waits, `< /dev/null` does not"
    say(f"nearlight: nothing came from stdin within {PATIENCE_S:g} s, so it is left out; {advice}")
    return False


def _refuse_binary(data: bytes, where: str) -> None:
    if b"\0" in data:
        raise RequestError("not a text", where=where, expected="UTF-8", found=f"a null byte at {data.index(0)}")


def _without_last_line_end(text: str) -> str:
    """One line end at the end is the shell's, or the editor's, and not the prompt's."""
    return text.removesuffix("\n").removesuffix("\r")
