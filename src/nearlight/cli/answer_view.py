"""Shows an answer in the chat: thinking dimmed and unformatted, then the answer, as Markdown or as plain text."""

from __future__ import annotations

from time import monotonic
from typing import Protocol, TextIO

from nearlight.cli.terminal import DIM, has_colours, printable, styled
from nearlight.cli.units import seconds_text


class View(Protocol):
    """What text is shown through; `finish` leaves the cursor at the beginning of a line."""

    def push(self, text: str) -> None: ...

    def begin_anew(self) -> None:
        """Go on where the cursor is now: something else has written to the terminal."""

    def finish(self) -> None: ...


class PlainView:
    """Text as it is, without the control characters that would let a model drive the terminal."""

    def __init__(self, out: TextIO, style: str = "") -> None:
        self._out, self._style = out, style
        self._last = "\n"

    def push(self, text: str) -> None:
        text = printable(text)
        if text:
            self._last = text[-1]  # first, since Ctrl-C may come at any moment
            self._out.write(styled(text, self._style, self._out) if self._style else text)
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
            self._view = PlainView(self._out, DIM)
            return
        if thought:
            self._out.write("\n")
        self._view = self._answer_view()

    def _answer_view(self) -> View:
        if not self._formatted or not has_colours(self._out):
            return PlainView(self._out)
        from nearlight.cli.markdown_view import MarkdownView

        return MarkdownView(self._out)
