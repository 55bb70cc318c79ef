"""Shows an answer to a person: thinking dimmed, in rows broken at words; then the answer, as Markdown or as it is.

Text that is not to be formatted (a completion, or with --no-markdown) is not broken into rows either: the terminal does
that, and a copy has the model's own lines.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol, TextIO

from nearlight.quantities import seconds_text
from nearlight.terminal.live import PlainLayout, WrappedView
from nearlight.terminal.tty import DIM, has_colours, is_terminal, moves_cursor, printable, styled


class View(Protocol):
    """What text is shown through; `finish` leaves the cursor at the beginning of a line."""

    def push(self, text: str) -> None: ...

    def begin_anew(self) -> None:
        """Go on where the cursor is now: something else has written to the terminal."""

    def finish(self) -> None: ...


class PlainView:
    """Text as it is; a terminal gets pictures of the control characters with which a model would drive it."""

    def __init__(self, out: TextIO, style: str = "") -> None:
        self._out, self._style = out, style
        self._clean = printable if is_terminal(out) else str
        self._last = "\n"

    def push(self, text: str, style: str = "") -> None:
        text = self._clean(text)
        if text:
            self._last = text[-1]  # first, since Ctrl-C may come at any moment
            self._out.write(styled(text, style or self._style, self._out))
            self._out.flush()

    def begin_anew(self) -> None:
        """Nothing to do: what is written is never changed."""

    def finish(self) -> None:
        if self._last != "\n":
            self._out.write("\n")
            self._last = "\n"
        self._out.flush()


class AnswerView:
    """Shows the two channels of an answer, one after the other."""

    def __init__(self, out: TextIO, *, formatted: bool) -> None:
        self._out = out
        self._formatted = formatted
        self._view: View | None = None
        self._channel = ""
        self._thinking_since = 0.0

    def push(self, text: str, channel: str) -> None:
        if channel != self._channel:
            self._switch(channel)
        if self._view:
            self._view.push(text)

    def begin_anew(self) -> None:
        """Go on where the cursor is now: something else has written to the terminal."""
        if self._view:
            self._view.begin_anew()

    def finish(self) -> None:
        """End the answer, however far it came."""
        if self._view:
            self._view.finish()
        if self._channel == "thinking":
            taken = seconds_text(monotonic() - self._thinking_since)
            self._out.write(styled(f"(thought for {taken})", DIM, self._out) + "\n")
        self._view, self._channel = None, ""

    def _switch(self, channel: str) -> None:
        thought = self._channel == "thinking"
        self.finish()
        self._channel = channel
        if channel == "thinking":
            self._thinking_since = monotonic()
            self._view = thinking_view(self._out)
            return
        if thought:
            self._out.write("\n")
        self._view = answer_view(self._out, formatted=self._formatted)


def answer_view(out: TextIO, *, formatted: bool) -> View:
    """Return what shows an answer: Markdown needs a terminal, and marks are left out only where styles replace them."""
    if not formatted or not moves_cursor(out):
        return PlainView(out)
    if not has_colours(out):
        return WrappedView(out, PlainLayout())
    from nearlight.terminal.markdown.layout import MarkdownLayout

    return WrappedView(out, MarkdownLayout())


def thinking_view(out: TextIO) -> View:
    """Return what shows thinking."""
    return WrappedView(out, PlainLayout(DIM if has_colours(out) else "")) if moves_cursor(out) else PlainView(out, DIM)
