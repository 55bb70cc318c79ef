"""Shows an answer in Markdown while it is being written.

Finished blocks are rendered once; only the last one is live. What has scrolled off the top of the screen cannot be
changed, so of a block taller than the screen only the lower part stays live.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from time import monotonic
from typing import ClassVar, TextIO

from rich import markdown
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Markdown, MarkdownElement
from rich.segment import Segment
from rich.text import Text
from rich.theme import Theme

from nearlight.cli import terminal
from nearlight.cli.live_rows import LiveRows
from nearlight.cli.markdown_blocks import Block, BlockSplitter, CodeLine, FenceOpened, TextBlock
from nearlight.cli.markdown_code import CodeHighlighter

REDRAW_S = 0.05
MAX_TEXT_WIDTH = 100
"""Longer lines are hard to read."""

_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "bold",
        "markdown.h6": "bold",
        "markdown.code": "cyan",
        "markdown.block_quote": "italic",
    }
)


class _Heading(markdown.Heading):
    """A heading at the margin, as a text in a terminal has it; rich centres and frames some."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _Heading}


class MarkdownView:
    """Takes an answer piece by piece and keeps the terminal up to date."""

    def __init__(self, out: TextIO) -> None:
        self._rows = LiveRows(out)
        self._splitter = BlockSplitter()
        self._highlighter = CodeHighlighter("")
        self._console = Console(file=io.StringIO(), force_terminal=True, theme=_THEME, legacy_windows=False)
        self._empty = True
        self._frozen = 0
        self._drawn = 0.0

    def push(self, text: str) -> None:
        """Add text; it is shown at once, or a moment later if much comes."""
        final = self._finished(self._splitter.push(terminal.printable(text)))
        now = monotonic()
        if final or now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._draw(final)

    def begin_anew(self) -> None:
        """Show what may still change once more, where the cursor is now."""
        self._rows.begin_anew()

    def finish(self) -> None:
        """Show all there is, with the cursor at the beginning of a new line."""
        self._rows.draw(self._finished(self._splitter.finish()), [])

    def _draw(self, final: list[str]) -> None:
        tail = self._splitter.tail
        if self._splitter.in_code:
            live = self._rendered(self._highlighter.preview(tail.source), terminal.width()) if tail.source else []
        else:
            live = self._text_rows(tail)[self._frozen :] if tail.source.strip() else []
        room = terminal.height() - 1
        if len(live) > room:
            overflow = len(live) - room
            final, live = final + live[:overflow], live[overflow:]
            self._frozen += overflow
        self._rows.draw(final, live)

    def _finished(self, blocks: Iterable[Block]) -> list[str]:
        """Render blocks that are final, without the rows of them that are on the screen for good already."""
        rows: list[str] = []
        for block in blocks:
            new = self._block_rows(block)
            rows += new[self._frozen :]
            self._empty = self._empty and not new
            self._frozen = 0
        return rows

    def _block_rows(self, block: Block) -> list[str]:
        if isinstance(block, TextBlock):
            return self._text_rows(block)
        if isinstance(block, CodeLine):
            return self._rendered(self._highlighter.line(block.text), None)
        if isinstance(block, FenceOpened):
            self._highlighter = CodeHighlighter(block.language)
            fence = self._rendered(Text(f"```{block.language}", "dim"), None)
            return fence if self._empty else ["", *fence]
        return self._rendered(Text("```", "dim"), None)

    def _text_rows(self, block: TextBlock) -> list[str]:
        rows = self._rendered(_Markdown(block.source, hyperlinks=False), min(terminal.width() - 1, MAX_TEXT_WIDTH))
        while rows and not rows[0]:
            del rows[0]
        while rows and not rows[-1]:
            del rows[-1]
        return ["", *rows] if block.spaced and rows and not self._empty else rows

    def _rendered(self, content: RenderableType, width: int | None) -> list[str]:
        """Render to rows of text with styles; None is as wide as it needs."""
        options = self._console.options.update(width=width or 100_000)
        return [self._row(segments) for segments in self._console.render_lines(content, options, pad=False)]

    def _row(self, segments: Iterable[Segment]) -> str:
        parts = [(segment.text, segment.style) for segment in segments if not segment.control]
        while parts and not parts[-1][0].strip():
            parts.pop()
        if parts:
            parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
        standard = ColorSystem.STANDARD
        return "".join(style.render(text, color_system=standard) if style else text for text, style in parts)
