"""Every error nearlight raises on purpose: one sentence that teaches.

A person who hits one of these made (or was given) something that can be mended, so each message says what was
wrong, where, what was expected, what was found, and what to do. The command line prints that line and exits with 2.

    NearlightError
    ├── PackageError         a model package is malformed: a file, a field, a tensor
    ├── UnsupportedError     well-formed, but of a kind nearlight does not know: an architecture, a tensor type
    ├── TextError            text and tokens: a tokenizer or chat template that cannot be used
    ├── RequestError         what was asked for cannot be done: empty prompt, ids out of range, context too small
    └── ShapeError           operands that do not fit together; a mistake in code, not in data
"""

from __future__ import annotations


class NearlightError(Exception):
    """Base of all errors meant for people; `str(error)` is one line.

    Compose it from parts so that every message has the same order:
    `where: what: expected X, found Y; advice`.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        advice: str | None = None,
    ) -> None:
        line = _cut(what, 1000) if where is None else f"{where}: {_cut(what, 1000)}"
        if expected is not None:
            line += f": expected {_cut(expected, 400)}"
        if found is not None:
            line += f", found {_cut(found, 200)}" if expected is not None else f": found {_cut(found, 200)}"
        if advice is not None:
            line += f"; {advice}"
        # Names from a hostile file may hold anything: one line, and nothing that steers a terminal.
        super().__init__("".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(line.split())))


def _cut(part: object, most: int) -> str:
    """Cut what a file brought along down to what a person reads."""
    text = str(part)
    return text if len(text) <= most else f"{text[: most - 1]}…"


class PackageError(NearlightError):
    """A model package is malformed."""


class UnsupportedError(NearlightError):
    """The package is well-formed, but holds something nearlight does not know."""


class TextError(NearlightError):
    """A tokenizer or chat template cannot be used."""


class RequestError(NearlightError):
    """What was asked for cannot be done with this model."""


class ShapeError(NearlightError):
    """Operands of a kernel do not fit together."""
